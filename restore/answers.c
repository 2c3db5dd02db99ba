// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Do the file systems answer on which the files of the images lie (names/answer.h)? Only asked where
 * something is mounted that may hang.
 */
#include "names/answer.h"
#include "restore/ctx.h"

static void ask_all(struct asking *a, const void *ctx)
{
	const struct entry_list *files = ctx;

	for (size_t i = 0; i < files->n; i++) {
		const FileEntry *fe = files->at[i]->msg;

		if (fe->reg && fe->reg->name[0] == '/' && !(fe->reg->has_ext && fe->reg->ext))
			answer_ask(a, fe->reg->name, (int64_t)i);
	}
}

int restore_await_answers(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct mount_lines mounts;
	struct unanswered u;
	int r = mountinfo_read("self", rs->world->arena, &mounts, err);

	if (r < 0 || !answer_is_doubtful(&mounts))
		return r;
	r = answer_await(ask_all, &rs->world->entries[IMG_FILES], (unsigned)rs->o->timeout, &u, err);
	return r > 0 ? answer_refuse(&u, &mounts, "a file of the images", u.path, err) : r;
}
