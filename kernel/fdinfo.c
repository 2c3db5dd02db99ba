/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parsers of /proc/PID/fdinfo/N. The kernel's lines are "key:\tvalue" in the fixed order of the
 * type; epoll and lock lines repeat.
 */
#include "kernel/fdinfo.h"
#include "base/parse.h"
#include <string.h>

bool fdinfo_parse(const char *text, struct fdinfo *ret)
{
	struct fdinfo f = { .mnt_id = -1 };
	struct cursor c;
	uint64_t v;
	int64_t pos;

	/* Negative offsets exist: files like /proc/PID/mem take all 64 bits. */
	if (!parse_field(text, "pos:", &c) || !parse_i64(&c, &pos))
		return false;
	f.pos = (uint64_t)pos;
	if (!parse_field_u64(text, "flags:", 8, &v) || v > UINT32_MAX)
		return false;
	f.flags = (uint32_t)v;
	if (parse_field_u64(text, "mnt_id:", 10, &v) && v <= INT32_MAX)
		f.mnt_id = (int)v;
	if (parse_field_u64(text, "ino:", 10, &v))
		f.ino = v;
	f.has_locks = parse_field(text, "lock:", &c);
	*ret = f;
	return true;
}

bool fdinfo_parse_eventfd(const char *text, struct fdinfo_eventfd *ret)
{
	struct fdinfo_eventfd e = { 0 };
	uint64_t v;

	if (!parse_field_u64(text, "eventfd-count:", 16, &e.count))
		return false;
	if (parse_field_u64(text, "eventfd-semaphore:", 10, &v))
		e.semaphore = v != 0;
	*ret = e;
	return true;
}

bool fdinfo_parse_bpfmap(const char *text, uint64_t *ret_memlock)
{
	uint64_t v;

	*ret_memlock = 0;
	if (parse_field_u64(text, "memlock:", 10, &v))
		*ret_memlock = v;
	return parse_field_u64(text, "frozen:", 10, &v) && v;
}

bool fdinfo_parse_signalfd(const char *text, uint64_t *ret_mask)
{
	return parse_field_u64(text, "sigmask:", 16, ret_mask);
}

/* "(SECONDS, NANOSECONDS)" */
static bool parse_pair(const char *text, const char *key, uint64_t *ret_s, uint64_t *ret_ns)
{
	struct cursor c;
	uint64_t s, ns;

	if (!parse_field(text, key, &c) || !parse_lit(&c, "(") || !parse_u64(&c, 10, &s) ||
		!parse_lit(&c, ","))
		return false;
	parse_blanks(&c);
	if (!parse_u64(&c, 10, &ns) || !parse_lit(&c, ")") || ns >= 1000000000)
		return false;
	*ret_s = s;
	*ret_ns = ns;
	return true;
}

bool fdinfo_parse_timerfd(const char *text, struct fdinfo_timerfd *ret)
{
	struct fdinfo_timerfd t = { 0 };
	uint64_t clock, flags;

	if (!parse_field_u64(text, "clockid:", 10, &clock) || clock > UINT32_MAX)
		return false;
	if (!parse_field_u64(text, "ticks:", 10, &t.ticks))
		return false;
	if (!parse_field_u64(text, "settime flags:", 8, &flags) || flags > UINT32_MAX)
		return false;
	t.clockid = (uint32_t)clock;
	t.settime_flags = (uint32_t)flags;
	if (!parse_pair(text, "it_value:", &t.value_s, &t.value_ns) ||
		!parse_pair(text, "it_interval:", &t.interval_s, &t.interval_ns))
		return false;
	*ret = t;
	return true;
}

/* Blanks, the key, blanks, the number. */
static bool parse_keyed(struct cursor *c, const char *key, int base, uint64_t *ret)
{
	parse_blanks(c);
	if (!parse_lit(c, key))
		return false;
	parse_blanks(c);
	return parse_u64(c, base, ret);
}

/* "tfd: 5 events: 19 data: 6  pos:0 ino:61af sdev:7" (fs/eventpoll.c) */
static bool parse_epoll_line(struct cursor c, struct fdinfo_epoll *ret)
{
	uint64_t tfd, events, data, ino, sdev;
	int64_t pos;

	if (!parse_keyed(&c, "tfd:", 10, &tfd) || tfd > INT32_MAX ||
		!parse_keyed(&c, "events:", 16, &events) || events > UINT32_MAX ||
		!parse_keyed(&c, "data:", 16, &data))
		return false;
	parse_blanks(&c);
	if (!parse_lit(&c, "pos:") || !parse_i64(&c, &pos))
		return false;
	if (!parse_keyed(&c, "ino:", 16, &ino) || !parse_keyed(&c, "sdev:", 16, &sdev) ||
		sdev > UINT32_MAX)
		return false;
	*ret = (struct fdinfo_epoll){ .tfd = (uint32_t)tfd, .events = (uint32_t)events, .data = data,
		.pos = (uint64_t)pos, .ino = ino, .sdev = (uint32_t)sdev };
	return true;
}

bool fdinfo_next_epoll(struct cursor *c, struct fdinfo_epoll *ret)
{
	struct cursor line;

	while (parse_line(c, &line)) {
		if (parse_epoll_line(line, ret))
			return true;
	}
	return false;
}

bool fdinfo_parse_pidfd(const char *text, int64_t *ret_pid)
{
	struct cursor c;

	return parse_field(text, "Pid:", &c) && parse_i64(&c, ret_pid);
}

/* ---- inotify, fanotify (fs/notify/fdinfo.c) ---- */

static bool parse_keyed_u32(struct cursor *c, const char *key, int base, uint32_t *ret)
{
	uint64_t v;

	if (!parse_keyed(c, key, base, &v) || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool parse_hex_byte(struct cursor *c, uint8_t *ret)
{
	struct cursor two = *c;
	uint64_t v;

	if (c->end - c->at < 2)
		return false;
	two.end = two.at + 2;
	if (!parse_u64(&two, 16, &v) || !cursor_done(&two))
		return false;
	c->at += 2;
	*ret = (uint8_t)v;
	return true;
}

/* "fhandle-bytes:8 fhandle-type:1 f_handle:6780a700d20a49fa", or nothing */
static bool parse_handle(struct cursor *c, struct fdinfo_handle *ret)
{
	*ret = (struct fdinfo_handle){ 0 };
	parse_blanks(c);
	if (cursor_done(c))
		return true;
	if (!parse_keyed_u32(c, "fhandle-bytes:", 16, &ret->bytes) ||
		ret->bytes > sizeof(ret->data) ||
		!parse_keyed_u32(c, "fhandle-type:", 16, &ret->type))
		return false;
	parse_blanks(c);
	if (!parse_lit(c, "f_handle:"))
		return false;
	for (uint32_t i = 0; i < ret->bytes; i++)
		if (!parse_hex_byte(c, &ret->data[i]))
			return false;
	return true;
}

/* "inotify wd:1 ino:a78067 sdev:fe00000 mask:fff ignored_mask:0 fhandle-bytes:..." */
static bool parse_inotify_line(struct cursor c, struct fdinfo_watch *ret)
{
	struct fdinfo_watch w = { 0 };

	if (!parse_lit(&c, "inotify") || !parse_keyed_u32(&c, "wd:", 16, &w.wd) ||
		!parse_keyed(&c, "ino:", 16, &w.ino) ||
		!parse_keyed_u32(&c, "sdev:", 16, &w.sdev) ||
		!parse_keyed_u32(&c, "mask:", 16, &w.mask) ||
		!parse_keyed_u32(&c, "ignored_mask:", 16, &w.ignored) ||
		!parse_handle(&c, &w.handle))
		return false;
	*ret = w;
	return true;
}

bool fdinfo_next_inotify(struct cursor *c, struct fdinfo_watch *ret)
{
	struct cursor line;

	while (parse_line(c, &line)) {
		if (parse_inotify_line(line, ret))
			return true;
	}
	return false;
}

bool fdinfo_parse_fanotify(const char *text, uint32_t *ret_flags, uint32_t *ret_event_flags)
{
	struct cursor c;

	return parse_field(text, "fanotify flags:", &c) && parse_u32(&c, 16, ret_flags) &&
		parse_keyed_u32(&c, "event-flags:", 16, ret_event_flags);
}

/*
 * "fanotify ino:a78336 sdev:fe00000 mflags:40 mask:3b ignored_mask:2 fhandle-bytes:...",
 * "fanotify mnt_id:1e mflags:0 mask:2 ignored_mask:0", "fanotify sdev:fe00000 mflags:0 ..."
 */
static bool parse_mark_line(struct cursor c, struct fdinfo_mark *ret)
{
	struct fdinfo_mark m = { .kind = FDINFO_MARK_OTHER, .mnt_id = -1 };
	struct fdinfo_watch *w = &m.watch;
	uint32_t mnt = 0;

	if (!parse_lit(&c, "fanotify"))
		return false;
	if (parse_keyed_u32(&c, "mnt_id:", 16, &mnt) && mnt <= INT32_MAX) {
		m.kind = FDINFO_MARK_MOUNT;
		m.mnt_id = (int)mnt;
	} else if (parse_keyed(&c, "ino:", 16, &w->ino)) {
		m.kind = FDINFO_MARK_INODE;
		if (!parse_keyed_u32(&c, "sdev:", 16, &w->sdev))
			return false;
	} else if (parse_keyed_u32(&c, "sdev:", 16, &w->sdev)) {
		m.kind = FDINFO_MARK_FS;
	} else {
		parse_blanks(&c);
		if (parse_lit(&c, "flags:"))
			return false; /* the line about the group */
		*ret = m;
		return true;
	}
	if (!parse_keyed_u32(&c, "mflags:", 16, &m.mflags) ||
		!parse_keyed_u32(&c, "mask:", 16, &w->mask) ||
		!parse_keyed_u32(&c, "ignored_mask:", 16, &w->ignored) ||
		!parse_handle(&c, &w->handle))
		m.kind = FDINFO_MARK_OTHER;
	*ret = m;
	return true;
}

bool fdinfo_next_mark(struct cursor *c, struct fdinfo_mark *ret)
{
	struct cursor line;

	while (parse_line(c, &line)) {
		if (parse_mark_line(line, ret))
			return true;
	}
	return false;
}

/* ---- locks ---- */

static bool parse_word_is(struct cursor *c, const char *word)
{
	struct cursor try = *c;
	const char *w;
	size_t n;

	parse_blanks(&try);
	if (!parse_word(&try, &w, &n) || n != strlen(word) || memcmp(w, word, n) != 0)
		return false;
	*c = try;
	return true;
}

static enum fdinfo_lock_kind parse_lock_kind(struct cursor *c)
{
	const char *w;
	size_t n;

	if (parse_word_is(c, "POSIX"))
		return FDINFO_POSIX;
	if (parse_word_is(c, "FLOCK"))
		return FDINFO_FLOCK;
	if (parse_word_is(c, "OFDLCK"))
		return FDINFO_OFD;
	if (parse_word_is(c, "LEASE"))
		return FDINFO_LEASE;
	parse_blanks(c);
	(void)!parse_word(c, &w, &n);
	return FDINFO_OTHER;
}

/* "lock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF" (fs/locks.c) */
static bool parse_lock_line(struct cursor c, struct fdinfo_lock *ret)
{
	struct fdinfo_lock l = { 0 };
	const char *w;
	uint64_t n;
	size_t len;

	if (!parse_lit(&c, "lock:"))
		return false;
	parse_blanks(&c);
	if (!parse_u64(&c, 10, &n) || !parse_lit(&c, ":"))
		return false;
	l.kind = parse_lock_kind(&c);
	parse_blanks(&c);
	l.breaking = parse_word_is(&c, "BREAKING");
	if (!l.breaking && !parse_word(&c, &w, &len)) /* ADVISORY, MANDATORY, ACTIVE ... */
		return false;
	l.write = parse_word_is(&c, "WRITE");
	l.none = !l.write && l.kind == FDINFO_LEASE && parse_word_is(&c, "UNLCK");
	if (!l.write && !l.none && !parse_word_is(&c, "READ"))
		l.kind = FDINFO_OTHER;
	parse_blanks(&c);
	if (!parse_i64(&c, &l.pid))
		return false;
	parse_blanks(&c);
	if (!parse_word(&c, &w, &len)) /* device and inode */
		return false;
	parse_blanks(&c);
	if (!parse_u64(&c, 10, &l.start))
		return false;
	parse_blanks(&c);
	if (parse_lit(&c, "EOF"))
		l.end = UINT64_MAX;
	else if (!parse_u64(&c, 10, &l.end))
		return false;
	*ret = l;
	return true;
}

bool fdinfo_next_lock(struct cursor *c, struct fdinfo_lock *ret)
{
	struct cursor line;

	while (parse_line(c, &line)) {
		if (parse_lock_line(line, ret))
			return true;
	}
	return false;
}
