// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/smaps.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* State of a walk: an area is complete when the next one, or the end, is met. */
struct walk {
	const char *what;
	smaps_each *each;
	void *data;
	struct smaps_area area;
	bool have;
	uint64_t last_end;
};

static const struct {
	char name[3];
	uint32_t flag;
} vm_flags[] = {
	{ "lo", VMF_LOCKED },
	{ "lf", VMF_LOCKONFAULT },
	{ "sr", VMF_SEQ_READ },
	{ "rr", VMF_RAND_READ },
	{ "dc", VMF_DONTCOPY },
	{ "nr", VMF_NORESERVE },
	{ "ht", VMF_HUGETLB },
	{ "dd", VMF_DONTDUMP },
	{ "mg", VMF_MERGEABLE },
	{ "hg", VMF_HUGEPAGE },
	{ "nh", VMF_NOHUGEPAGE },
	{ "wf", VMF_WIPEONFORK },
	{ "gd", VMF_GROWSDOWN },
	{ "io", VMF_IO },
	{ "pf", VMF_PFNMAP },
	{ "um", VMF_UFFD_MISSING },
	{ "uw", VMF_UFFD_WP },
	{ "ui", VMF_UFFD_MINOR },
	{ "ss", VMF_SHADOW_STACK },
	{ "sl", VMF_SEALED },
	{ "dp", VMF_DROPPABLE },
	{ "mw", VMF_MAYWRITE },
	{ "mm", VMF_MIXEDMAP },
};

static uint32_t parse_flags(struct cursor line)
{
	const char *word;
	uint32_t flags = 0;
	size_t len;

	for (parse_blanks(&line); parse_word(&line, &word, &len); parse_blanks(&line))
		for (size_t i = 0; len == 2 && i < sizeof(vm_flags) / sizeof(*vm_flags); i++)
			if (word[0] == vm_flags[i].name[0] && word[1] == vm_flags[i].name[1])
				flags |= vm_flags[i].flag;
	return flags;
}

static bool parse_perms(struct cursor *c, struct smaps_area *a)
{
	const char *p;
	size_t len;

	if (!parse_word(c, &p, &len) || len != 4)
		return false;
	a->prot = (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
		(p[2] == 'x' ? PROT_EXEC : 0);
	a->shared = p[3] == 's';
	return true;
}

/* "start-end perms offset dev inode    name"; the name may hold blanks. */
static bool parse_header(struct cursor c, struct smaps_area *a)
{
	size_t len;

	if (!parse_u64(&c, 16, &a->start) || !parse_lit(&c, "-") || !parse_u64(&c, 16, &a->end) ||
		!parse_lit(&c, " ") || !parse_perms(&c, a) || !parse_lit(&c, " ") ||
		!parse_u64(&c, 16, &a->offset) || !parse_lit(&c, " ") ||
		!parse_u32(&c, 16, &a->dev_major) || !parse_lit(&c, ":") ||
		!parse_u32(&c, 16, &a->dev_minor) || !parse_lit(&c, " ") ||
		!parse_u64(&c, 10, &a->inode))
		return false;
	parse_blanks(&c);
	len = (size_t)(c.end - c.at);
	if (len >= sizeof(a->name))
		len = sizeof(a->name) - 1;
	memcpy(a->name, c.at, len);
	a->name[len] = 0;
	return true;
}

static int walk_emit(struct walk *w, struct err *err)
{
	if (!w->have)
		return 0;
	w->have = false;
	return w->each(&w->area, w->data, err);
}

static int walk_header(struct walk *w, struct cursor line, struct err *err)
{
	int rc = walk_emit(w, err);

	if (rc < 0)
		return rc;
	memset(&w->area, 0, offsetof(struct smaps_area, name));
	if (!parse_header(line, &w->area))
		return err_set(err, ERR_KERNEL, EPROTO, "%s: cannot read the line '%.*s'", w->what,
			(int)(line.end - line.at > 80 ? 80 : line.end - line.at), line.at);
	if (w->area.start >= w->area.end || w->area.start < w->last_end)
		return err_set(err, ERR_KERNEL, EPROTO, "%s: area 0x%lx-0x%lx is out of order",
			w->what, w->area.start, w->area.end);
	w->last_end = w->area.end;
	w->have = true;
	return 0;
}

static bool is_nonzero_kb(struct cursor line)
{
	uint64_t kb;

	parse_blanks(&line);
	return parse_u64(&line, 10, &kb) && kb;
}

/* Headers begin with a lower-case hexadecimal digit, details with a capital. */
static int walk_line(struct walk *w, struct cursor line, struct err *err)
{
	uint64_t kb;

	if (cursor_done(&line))
		return 0;
	if (*line.at < 'A' || *line.at > 'Z')
		return walk_header(w, line, err);
	switch (*line.at) {
	case 'V':
		if (parse_lit(&line, "VmFlags:"))
			w->area.flags = parse_flags(line);
		break;
	case 'K':
		if (!parse_lit(&line, "KernelPageSize:"))
			break;
		parse_blanks(&line);
		if (parse_u64(&line, 10, &kb) && kb <= UINT32_MAX)
			w->area.page_size = kb * 1024;
		break;
	case 'R':
		w->area.resident |= parse_lit(&line, "Rss:") && is_nonzero_kb(line);
		break;
	case 'S':
		w->area.resident |= (parse_lit(&line, "Swap:") || parse_lit(&line, "Shared_Hugetlb:")) &&
			is_nonzero_kb(line);
		break;
	case 'P':
		w->area.resident |= parse_lit(&line, "Private_Hugetlb:") && is_nonzero_kb(line);
		break;
	}
	return 0;
}

int smaps_parse(const char *text, size_t len, const char *what, smaps_each *each, void *data,
	struct err *err)
{
	struct walk w = { .what = what, .each = each, .data = data };
	struct cursor c = cursor_of_len(text, len), line;

	while (parse_line(&c, &line)) {
		int rc = walk_line(&w, line, err);

		if (rc < 0)
			return rc;
	}
	return walk_emit(&w, err);
}

/* Takes the whole lines off the front of buf; returns how many bytes they were. */
static int walk_lines(struct walk *w, const char *buf, size_t len, size_t *ret_used, struct err *err)
{
	const char *last = memrchr(buf, '\n', len);
	struct cursor c = cursor_of_len(buf, last ? (size_t)(last + 1 - buf) : 0), line;

	*ret_used = (size_t)(c.end - c.at);
	while (parse_line(&c, &line)) {
		int rc = walk_line(w, line, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int walk_fd(struct walk *w, int fd, char *buf, size_t room, struct err *err)
{
	size_t have = 0, used;
	ssize_t n;
	int rc;

	while ((n = read(fd, buf + have, room - have)) > 0) {
		have += (size_t)n;
		rc = walk_lines(w, buf, have, &used, err);
		if (rc < 0)
			return rc;
		have -= used;
		memmove(buf, buf + used, have);
		if (have == room)
			return err_set(err, ERR_KERNEL, EPROTO, "%s: endless line", w->what);
	}
	if (n < 0)
		return err_sys(err, "cannot read %s", w->what);
	return walk_emit(w, err);
}

int smaps_walk(pid_t pid, smaps_each *each, void *data, struct err *err)
{
	enum { ROOM = 256 * 1024 };
	char what[64];
	struct walk w = { .what = what, .each = each, .data = data };
	auto_free char *buf = malloc(ROOM);
	auto_close int fd = -1;

	snprintf(what, sizeof(what), "/proc/%d/smaps", pid);
	fd = open(what, O_RDONLY | O_CLOEXEC);
	if (!buf)
		return err_nomem(err);
	if (fd < 0)
		return err_sys(err, "cannot open %s", what);
	return walk_fd(&w, fd, buf, ROOM, err);
}
