/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * findings DIR...: what loading and checking say of image sets, for tests that compare the rules of
 * the C side with those of the validator. One line each, words separated by tabs:
 *
 *   set DIR             what follows is about this one
 *   load SENTENCE       it could not be loaded; it was not checked then
 *   RULE SEVERITY PID   a finding
 */
#include "base/cleanup.h"
#include "image/image.h"
#include "model/findings.h"
#include "snapshot/check.h"
#include "snapshot/snapshot.h"
#include <fcntl.h>
#include <stdio.h>

static int load(int dirfd, struct world *w, struct err *err)
{
	struct image_set *set = NULL;
	int r = image_set_open(dirfd, false, &set, err);

	if (r == 0)
		r = snapshot_load(set, w, err);
	image_set_close(set);
	return r;
}

static void say(const char *dir)
{
	static const char *const names[] = { [SEV_NOTE] = "note", [SEV_WARNING] = "warning",
		[SEV_ERROR] = "error" };
	auto_close int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct world *w = world_new();
	struct err err = ERR_INIT;
	struct findings f = { 0 };
	char text[sizeof(err.text) + sizeof(err.trail) + 1];

	printf("set\t%s\n", dir);
	if (load(dirfd, w, &err) < 0)
		printf("load\t%s\n", err_text(&err, text, sizeof(text)));
	else
		snapshot_check(w, &f);
	vec_each(x, &f)
		printf("%s\t%s\t%d\n", x->rule, names[x->severity], x->pid);
	vec_done(&f);
	world_free(w);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		say(argv[i]);
	return 0;
}
