/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/sock/sockopts.h. */
#include "kinds/sock/sockopts.h"
#include "kinds/owner.h"
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* uapi/asm-generic/socket.h, newer than the C library's headers */
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* 6.5 */
#endif
#ifndef SO_RCVPRIORITY
#define SO_RCVPRIORITY 82 /* 6.14 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* 6.16 */
#endif
#ifndef SO_INQ
#define SO_INQ 84 /* 6.17 */
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Options whose field is an int; protobuf-c's booleans are ints too. */
struct field {
	int name;
	const char *text;
	enum sockopt_when when;
	size_t has, value; /* offsets in SkOptsEntry */
};

#define FIELD(option, member, w) \
	{ option, #option, w, offsetof(SkOptsEntry, has_##member), offsetof(SkOptsEntry, member) }

static const struct field fields[] = {
	FIELD(SO_REUSEADDR, reuseaddr, SOCKOPT_EARLY),
	FIELD(SO_REUSEPORT, so_reuseport, SOCKOPT_EARLY),
	FIELD(SO_PRIORITY, so_priority, SOCKOPT_EARLY),
	FIELD(SO_MARK, so_mark, SOCKOPT_EARLY),
	FIELD(SO_DONTROUTE, so_dontroute, SOCKOPT_EARLY),
	FIELD(SO_BROADCAST, so_broadcast, SOCKOPT_EARLY),
	FIELD(SO_NO_CHECK, so_no_check, SOCKOPT_EARLY),
	FIELD(SO_KEEPALIVE, so_keepalive, SOCKOPT_EARLY),
	FIELD(SO_OOBINLINE, so_oobinline, SOCKOPT_EARLY),
	FIELD(SO_RCVLOWAT, so_rcvlowat, SOCKOPT_LATE),
	FIELD(SO_PASSCRED, so_passcred, SOCKOPT_LATE),
	FIELD(SO_PASSSEC, so_passsec, SOCKOPT_LATE),
};
_Static_assert(sizeof(protobuf_c_boolean) == sizeof(uint32_t), "booleans are handled as ints");

#define EXTRA(option, size, when, usual) { SOL_SOCKET, option, #option, size, when, usual }

/*
 * What sk_opts_entry has no field for. One of the time stamp options at most is set; the newer
 * numbers come last because they decide on the form. SO_LOCK_FILTER is the last of all.
 */
static const struct sockopt extras[] = {
	EXTRA(SO_DEBUG, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_TIMESTAMP_OLD, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_TIMESTAMPNS_OLD, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_TIMESTAMPING_OLD, 8, SOCKOPT_LATE, 0),
	EXTRA(SO_TIMESTAMP_NEW, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_TIMESTAMPNS_NEW, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_TIMESTAMPING_NEW, 8, SOCKOPT_LATE, 0),
	EXTRA(SO_RXQ_OVFL, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_WIFI_STATUS, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_PEEK_OFF, 4, SOCKOPT_LATE, -1),
	EXTRA(SO_NOFCS, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_SELECT_ERR_QUEUE, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_BUSY_POLL, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_MAX_PACING_RATE, 8, SOCKOPT_EARLY, -1),
	EXTRA(SO_INCOMING_CPU, 4, SOCKOPT_EARLY, -1),
	EXTRA(SO_ZEROCOPY, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_TXTIME, 8, SOCKOPT_EARLY, 0),
	EXTRA(SO_PREFER_BUSY_POLL, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_BUSY_POLL_BUDGET, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_RESERVE_MEM, 4, SOCKOPT_EARLY, 0),
	EXTRA(SO_TXREHASH, 4, SOCKOPT_EARLY, 255),
	EXTRA(SO_RCVMARK, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_PASSPIDFD, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_RCVPRIORITY, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_PASSRIGHTS, 4, SOCKOPT_LATE, 1),
	EXTRA(SO_INQ, 4, SOCKOPT_LATE, 0),
	EXTRA(SO_LOCK_FILTER, 4, SOCKOPT_LATE, 0),
};

/* ---- reading ---- */

/* The family does not have the option, or this kernel does not know it. */
static bool is_absent(int error)
{
	return error == ENOPROTOOPT || error == EOPNOTSUPP || error == EINVAL;
}

/* 1 read, 0 there is no such option here, -errno. */
static int read_option(int fd, int level, int name, void *value, size_t size)
{
	socklen_t len = (socklen_t)size;

	if (getsockopt(fd, level, name, value, &len) == 0)
		return 1;
	return is_absent(errno) ? 0 : -errno;
}

/* The value of an option of a table, and its length; as read_option(). */
static int read_listed(int fd, const struct sockopt *s, uint8_t value[SOCKOPT_MOST], size_t *ret_len)
{
	socklen_t len = s->size ? (socklen_t)s->size : SOCKOPT_MOST;

	memset(value, 0, s->size);
	if (getsockopt(fd, s->level, s->name, value, &len) < 0)
		return is_absent(errno) ? 0 : -errno;
	*ret_len = s->size ? s->size : len;
	return 1;
}

static bool is_usual(const struct sockopt *s, const uint8_t *value, size_t len)
{
	return s->size ? !memcmp(value, &s->usual, len) : !len;
}

/* Of the required fields; 0 where there is none. */
static int read_needed(const struct fd_look *l, SkOptsEntry *o, struct err *err)
{
	const struct {
		int name;
		uint64_t *sec, *usec;
	} times[] = {
		{ SO_SNDTIMEO, &o->so_snd_tmo_sec, &o->so_snd_tmo_usec },
		{ SO_RCVTIMEO, &o->so_rcv_tmo_sec, &o->so_rcv_tmo_usec },
	};
	char who[96];

	file_look_who(l, who, sizeof(who));
	if (read_option(l->dup, SOL_SOCKET, SO_SNDBUF, &o->so_sndbuf, 4) < 0 ||
		read_option(l->dup, SOL_SOCKET, SO_RCVBUF, &o->so_rcvbuf, 4) < 0)
		return err_sys(err, "%s: cannot read the buffer sizes of the socket", who);
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct timeval tv = { 0 };

		if (read_option(l->dup, SOL_SOCKET, times[i].name, &tv, sizeof(tv)) < 0)
			return err_sys(err, "%s: cannot read the timeouts of the socket", who);
		*times[i].sec = (uint64_t)tv.tv_sec;
		*times[i].usec = (uint64_t)tv.tv_usec;
	}
	return 0;
}

static void read_fields(const struct fd_look *l, SkOptsEntry *o)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		int value = 0, *has = (int *)((char *)o + fields[i].has);

		if (read_option(l->dup, SOL_SOCKET, fields[i].name, &value, sizeof(value)) != 1)
			continue;
		/* Readers before 3.18 took a mark for one that has to be set. */
		if (fields[i].name == SO_MARK && !value)
			continue;
		*has = 1;
		memcpy((char *)o + fields[i].value, &value, sizeof(value));
	}
}

static int read_others(const struct fd_look *l, SkOptsEntry *o, struct err *err)
{
	struct linger linger = { 0 };
	char name[IFNAMSIZ] = "", who[96];
	socklen_t len = sizeof(name);
	int lock = 0;

	file_look_who(l, who, sizeof(who));
	if (read_option(l->dup, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 1 &&
		linger.l_onoff) {
		o->has_so_linger = true;
		o->so_linger = (uint32_t)linger.l_linger;
	}
	if (read_option(l->dup, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock)) == 1) {
		o->has_so_buf_lock = true;
		o->so_buf_lock = (uint32_t)lock;
	}
	if (getsockopt(l->dup, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0) {
		if (errno == ENODEV)
			return err_unsupported(err, "%s is a socket bound to a network device that is "
				"gone", who);
		len = 0;
	}
	if (len)
		o->so_bound_dev = arena_memdup(l->world->arena, name, sizeof(name));
	return 0;
}

static uint64_t pack_step(const struct sock_filter *s)
{
	return (uint64_t)s->code << 48 | (uint64_t)s->jt << 40 | (uint64_t)s->jf << 32 | s->k;
}

static int read_filter(const struct fd_look *l, SkOptsEntry *o, struct err *err)
{
	struct sock_filter steps[BPF_MAXINSNS];
	/* counts instructions, not bytes: net/core/filter.c */
	socklen_t n = 0;
	char who[96];

	file_look_who(l, who, sizeof(who));
	if (getsockopt(l->dup, SOL_SOCKET, SO_GET_FILTER, NULL, &n) < 0) {
		/* The program was loaded by bpf(2), or nobody kept how it was written. */
		if (errno == EACCES)
			return err_unsupported(err, "%s is a socket with a BPF program as its filter "
				"(SO_ATTACH_BPF), which cannot be read back", who);
		return is_absent(errno) ? 0 : err_sys(err, "%s: cannot read the socket's filter", who);
	}
	if (!n)
		return 0;
	if (n > BPF_MAXINSNS)
		return err_set(err, ERR_KERNEL, EMSGSIZE, "%s: the socket's filter has %u steps", who, n);
	if (getsockopt(l->dup, SOL_SOCKET, SO_GET_FILTER, steps, &n) < 0)
		return err_sys(err, "%s: cannot read the socket's filter", who);
	o->n_so_filter = n;
	o->so_filter = arena_array(l->world->arena, n, sizeof(*o->so_filter));
	for (socklen_t i = 0; i < n; i++)
		o->so_filter[i] = pack_step(&steps[i]);
	return 0;
}

int sockopts_collect_more(const struct fd_look *l, uint32_t file_id, const struct sockopt *table,
	size_t n, struct err *err)
{
	struct arena *arena = l->world->arena;

	for (size_t i = 0; i < n; i++) {
		const struct sockopt *s = &table[i];
		TorporSkOption *option;
		TorporFileEntry *extra;
		uint8_t value[SOCKOPT_MOST];
		size_t len;
		char who[96];
		int r = read_listed(l->dup, s, value, &len);

		if (r < 0)
			return err_sysn(err, -r, "%s: cannot read %s of the socket",
				file_look_who(l, who, sizeof(who)), s->text);
		if (!r || is_usual(s, value, len))
			continue;
		option = arena_msg(arena, TorporSkOption, torpor_sk_option);
		option->level = (uint32_t)s->level;
		option->name = (uint32_t)s->name;
		option->value.data = arena_memdup(arena, value, len);
		option->value.len = len;
		extra = world_want_extra(l->world, file_id);
		arena_push(arena, extra->options, extra->n_options, option);
	}
	return 0;
}

int sockopts_collect(const struct fd_look *l, uint32_t file_id, SkOptsEntry **ret, struct err *err)
{
	SkOptsEntry *o = arena_msg(l->world->arena, SkOptsEntry, sk_opts_entry);
	int r = read_needed(l, o, err);

	if (r < 0)
		return r;
	read_fields(l, o);
	r = read_others(l, o, err);
	if (r == 0)
		r = read_filter(l, o, err);
	if (r == 0)
		r = sockopts_collect_more(l, file_id, extras, ARRAY_LEN(extras), err);
	nameless_owner_collect(l, file_id, ACCESSPERMS);
	if (r == 0)
		*ret = o;
	return r;
}

/* ---- checking ---- */

void sockopts_check(const SkOptsEntry *o, const char *what, struct findings *f)
{
	const uint64_t most = 1000000;

	if (!o) {
		finding_add(f, "sock-options", SEV_ERROR, 0, "%s has no options", what);
		return;
	}
	if (o->so_sndbuf > INT_MAX || o->so_rcvbuf > INT_MAX)
		finding_add(f, "sock-buffer", SEV_ERROR, 0, "%s has buffers of %u and %u bytes", what,
			o->so_sndbuf, o->so_rcvbuf);
	if (o->so_snd_tmo_usec >= most || o->so_rcv_tmo_usec >= most ||
		o->so_snd_tmo_sec > INT64_MAX || o->so_rcv_tmo_sec > INT64_MAX)
		finding_add(f, "sock-timeout", SEV_ERROR, 0, "%s has a timeout that is no time", what);
	if (o->n_so_filter > BPF_MAXINSNS)
		finding_add(f, "sock-filter", SEV_ERROR, 0, "%s has a filter of %zu steps", what,
			o->n_so_filter);
	if (o->so_bound_dev && strlen(o->so_bound_dev) >= IFNAMSIZ)
		finding_add(f, "sock-device", SEV_ERROR, 0, "%s is bound to a device with a name of %zu "
			"bytes", what, strlen(o->so_bound_dev));
}

/* ---- setting ---- */

static int set_option(int fd, int level, int name, const char *text, const void *value, size_t size,
	struct err *err)
{
	if (setsockopt(fd, level, name, value, (socklen_t)size) == 0)
		return 0;
	if (errno == EPERM)
		return err_sys(err, "cannot set %s of a socket; CAP_NET_ADMIN would allow it", text);
	return err_sys(err, "cannot set %s of a socket", text);
}

int sockopts_set_buffer(int fd, int option, uint32_t bytes, struct err *err)
{
	bool send = option == SO_SNDBUF;
	int half = (int)(bytes / 2), now = 0;

	if (read_option(fd, SOL_SOCKET, option, &now, sizeof(now)) == 1 && now == (int)bytes)
		return 0;
	/* The kernel doubles what it is told. */
	if (setsockopt(fd, SOL_SOCKET, send ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &half,
		sizeof(half)) == 0)
		return 0;
	return set_option(fd, SOL_SOCKET, option, send ? "SO_SNDBUF" : "SO_RCVBUF", &half,
		sizeof(half), err);
}

/* Setting a size locks it, so the locks come last. */
static int set_buffers(int fd, const SkOptsEntry *o, struct err *err)
{
	int r = sockopts_set_buffer(fd, SO_SNDBUF, o->so_sndbuf, err), now = 0;

	if (r == 0)
		r = sockopts_set_buffer(fd, SO_RCVBUF, o->so_rcvbuf, err);
	if (r < 0 || !o->has_so_buf_lock ||
		read_option(fd, SOL_SOCKET, SO_BUF_LOCK, &now, sizeof(now)) != 1 ||
		now == (int)o->so_buf_lock)
		return r;
	return set_option(fd, SOL_SOCKET, SO_BUF_LOCK, "SO_BUF_LOCK", &o->so_buf_lock, 4, err);
}

static int set_fields(int fd, const SkOptsEntry *o, enum sockopt_when when, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(fields) && r == 0; i++) {
		const struct field *f = &fields[i];
		int want, now = 0;

		if (f->when != when || !*(const int *)((const char *)o + f->has))
			continue;
		memcpy(&want, (const char *)o + f->value, sizeof(want));
		if (read_option(fd, SOL_SOCKET, f->name, &now, sizeof(now)) == 1 && now == want)
			continue;
		r = set_option(fd, SOL_SOCKET, f->name, f->text, &want, sizeof(want), err);
	}
	return r;
}

static int set_timeouts(int fd, const SkOptsEntry *o, struct err *err)
{
	struct timeval snd = { (time_t)o->so_snd_tmo_sec, (suseconds_t)o->so_snd_tmo_usec };
	struct timeval rcv = { (time_t)o->so_rcv_tmo_sec, (suseconds_t)o->so_rcv_tmo_usec };
	int r = 0;

	if (snd.tv_sec || snd.tv_usec)
		r = set_option(fd, SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO", &snd, sizeof(snd), err);
	if (r == 0 && (rcv.tv_sec || rcv.tv_usec))
		r = set_option(fd, SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO", &rcv, sizeof(rcv), err);
	return r;
}

static int set_filter(int fd, const SkOptsEntry *o, struct err *err)
{
	struct sock_filter steps[BPF_MAXINSNS];
	struct sock_fprog prog = { .len = (unsigned short)o->n_so_filter, .filter = steps };

	if (!o->n_so_filter)
		return 0;
	for (size_t i = 0; i < o->n_so_filter; i++) {
		uint64_t s = o->so_filter[i];

		steps[i] = (struct sock_filter){ .code = (uint16_t)(s >> 48), .jt = (uint8_t)(s >> 40),
			.jf = (uint8_t)(s >> 32), .k = (uint32_t)s };
	}
	return set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, "the filter", &prog, sizeof(prog), err);
}

static const TorporSkOption *find_option(const TorporFileEntry *extra, const struct sockopt *s)
{
	for (size_t i = 0; extra && i < extra->n_options; i++)
		if (extra->options[i]->level == (uint32_t)s->level &&
			extra->options[i]->name == (uint32_t)s->name)
			return extra->options[i];
	return NULL;
}

int sockopts_saved_type(const struct world *w, uint32_t file_id, int usual)
{
	static const struct sockopt type = SOCKOPT_TYPE(0);
	const TorporSkOption *o = find_option(world_extra(w, file_id), &type);
	int value = usual;

	if (o && o->value.len == sizeof(value))
		memcpy(&value, o->value.data, sizeof(value));
	return value & 0xf;
}

int sockopts_restore_more(struct file_maker *m, uint32_t file_id, int fd,
	const struct sockopt *table, size_t n, enum sockopt_when when, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, file_id);
	int r = 0;

	for (size_t i = 0; extra && i < n && r == 0; i++) {
		const TorporSkOption *o = table[i].when == when ? find_option(extra, &table[i]) : NULL;
		uint8_t now[SOCKOPT_MOST];
		size_t len;

		if (!o)
			continue;
		if (table[i].size ? o->value.len != table[i].size : o->value.len > SOCKOPT_MOST)
			return err_image(err, "torpor-files: file %u has %s of %zu bytes", file_id,
				table[i].text, o->value.len);
		if (read_listed(fd, &table[i], now, &len) == 1 && len == o->value.len &&
			!memcmp(now, o->value.data, len))
			continue;
		r = set_option(fd, table[i].level, table[i].name, table[i].text, o->value.data,
			o->value.len, err);
	}
	return r;
}

int sockopts_early(struct file_maker *m, uint32_t file_id, int fd, const SkOptsEntry *o,
	struct err *err)
{
	int r = nameless_owner_restore(m, file_id, fd, err);

	if (r == 0)
		r = set_buffers(fd, o, err);
	if (r == 0)
		r = set_fields(fd, o, SOCKOPT_EARLY, err);
	if (r == 0 && o->so_bound_dev && *o->so_bound_dev)
		r = set_option(fd, SOL_SOCKET, SO_BINDTODEVICE, "the device (SO_BINDTODEVICE)",
			o->so_bound_dev, strlen(o->so_bound_dev) + 1, err);
	if (r == 0)
		r = sockopts_restore_more(m, file_id, fd, extras, ARRAY_LEN(extras), SOCKOPT_EARLY, err);
	return r;
}

int sockopts_late(struct file_maker *m, uint32_t file_id, int fd, const SkOptsEntry *o,
	struct err *err)
{
	struct linger linger = { .l_onoff = 1, .l_linger = (int)o->so_linger };
	int r = set_buffers(fd, o, err);

	if (r == 0)
		r = set_fields(fd, o, SOCKOPT_LATE, err);
	if (r == 0)
		r = set_timeouts(fd, o, err);
	if (r == 0 && o->has_so_linger)
		r = set_option(fd, SOL_SOCKET, SO_LINGER, "SO_LINGER", &linger, sizeof(linger), err);
	if (r == 0)
		r = set_filter(fd, o, err);
	if (r == 0)
		r = sockopts_restore_more(m, file_id, fd, extras, ARRAY_LEN(extras), SOCKOPT_LATE, err);
	return r;
}
