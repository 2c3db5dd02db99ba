// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Dump side of kinds/sock/tcp.h. Each connection is in repair only while it is read, so that torpor's
 * death at any other instant does no harm. In those instants the task would find every read and write
 * of it fail: a guard ends the repair, and the journal tells of it should the guard die as well.
 *
 * Counting (docs/FORMAT.md): inq_seq and outq_seq are the numbers behind everything, a FIN counts
 * one; the lengths are bytes without the FIN.
 */
#include "base/cleanup.h"
#include "base/fault.h"
#include "kernel/tcp_repair.h"
#include "kinds/sock/guard.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* 6.9 */
#endif

enum { OFF_SILENTLY = -1 }; /* TCP_REPAIR_OFF_NO_WP (linux/tcp.h) */
enum { GUARDED = 4 }; /* options of one connection */

/* Descriptors of the target, one process after the other. */
struct grab {
	pid_t tid;
	int pidfd;
};

struct saving {
	struct grab grab;
	struct tcp_waiting waiting;
	struct world *world;
	struct image_set *images;
};

static int grab_fd(struct grab *g, const struct connection *c, int *ret_fd, struct err *err)
{
	int fd;

	if (g->pidfd < 0 || g->tid != c->tid) {
		if (g->pidfd >= 0)
			close(g->pidfd);
		g->tid = c->tid;
		g->pidfd = (int)syscall(SYS_pidfd_open, c->tid, 0);
		if (g->pidfd < 0 && (errno == EINVAL || errno == ENOENT))
			g->pidfd = (int)syscall(SYS_pidfd_open, c->tid, PIDFD_THREAD);
	}
	fd = g->pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, g->pidfd, c->fd, 0);
	if (fd < 0)
		return err_sys(err, "%s: cannot get the descriptor (pidfd_getfd)", c->who);
	*ret_fd = fd;
	return 0;
}

static void grab_done(struct grab *g)
{
	if (g->pidfd >= 0)
		close(g->pidfd);
}

/* ---- one connection ---- */

static int read_numbers(int fd, const InetSkEntry *isk, TcpStreamEntry *e, struct err *err)
{
	struct tcp_amounts amounts;
	struct tcp_agreed agreed;
	struct tcp_window window;
	bool fin = tcp_state_sent_fin(isk->state) && isk->state != TCP_STATE_FIN_WAIT2;
	int r = tcp_get_agreed(fd, &agreed, err);

	if (r == 0)
		r = tcp_get_amounts(fd, &amounts, err);
	if (r == 0)
		r = tcp_get_window(fd, &window, err);
	if (r == 0)
		r = tcp_get_seq(fd, TCP_QUEUE_RECV, &e->inq_seq, err);
	if (r == 0)
		r = tcp_get_seq(fd, TCP_QUEUE_SEND, &e->outq_seq, err);
	if (r == 0 && agreed.options & TCP_AGREED_TIMESTAMPS)
		r = tcp_get_timestamp(fd, &e->timestamp, err);
	if (r < 0)
		return r;
	e->inq_len = amounts.unread;
	e->outq_len = amounts.unacked - (fin && amounts.unacked);
	e->unsq_len = amounts.unsent - (fin && amounts.unsent);
	e->opt_mask = agreed.options;
	e->mss_clamp = agreed.mss_clamp;
	e->snd_wscale = agreed.options & TCP_AGREED_WSCALE ? agreed.snd_wscale : 0;
	e->rcv_wscale = agreed.options & TCP_AGREED_WSCALE ? agreed.rcv_wscale : 0;
	e->has_timestamp = agreed.options & TCP_AGREED_TIMESTAMPS;
	e->has_rcv_wscale = agreed.options & TCP_AGREED_WSCALE;
	e->has_unsq_len = e->has_snd_wl1 = e->has_snd_wnd = e->has_max_window = true;
	e->has_rcv_wnd = e->has_rcv_wup = true;
	e->snd_wl1 = window.snd_wl1;
	e->snd_wnd = window.snd_wnd;
	e->max_window = window.max_window;
	e->rcv_wnd = window.rcv_wnd;
	e->rcv_wup = window.rcv_wup;
	/* where readers before 4.0 look for them */
	e->has_cork = e->cork = isk->tcp_opts && isk->tcp_opts->cork;
	e->has_nodelay = e->nodelay = isk->tcp_opts && isk->tcp_opts->nodelay;
	return 0;
}

static int copy_queue(int fd, enum tcp_queue q, size_t len, struct image_writer *w, struct err *err)
{
	auto_free char *buf = len ? malloc(len) : NULL;
	int r;

	if (!len)
		return 0;
	if (!buf)
		return err_nomem(err);
	r = tcp_peek_queue(fd, q, buf, len, err);
	return r < 0 ? r : image_put_payload(w, buf, len, err);
}

static int write_stream(struct saving *s, int fd, const struct connection *c, struct err *err)
{
	TcpStreamEntry *e = arena_msg(s->world->arena, TcpStreamEntry, tcp_stream_entry);
	struct image_writer *w;
	int q, r = read_numbers(fd, c->isk, e, err);

	if (r == 0)
		r = tcp_refuse_urgent(&s->waiting, fd, c, e->inq_len, err);
	if (r == 0)
		r = image_create(s->images, IMG_TCP_STREAM, c->isk->ino, &w, err);
	if (r < 0)
		return r;
	r = image_put(w, e, err);
	if (r == 0)
		r = copy_queue(fd, TCP_QUEUE_RECV, e->inq_len, w, err);
	if (r == 0)
		r = copy_queue(fd, TCP_QUEUE_SEND, e->outq_len, w, err);
	q = image_finish(w, r < 0 ? NULL : err);
	if (r == 0)
		r = q;
	if (r == 0)
		world_add(s->world, IMG_TCP_STREAM, c->isk->ino, e)->streamed = true;
	return r;
}

/* Peeking moves the offset of SO_PEEK_OFF, which TCP has since 6.9. -1: it is off, or there is none. */
static int get_peek_offset(int fd)
{
	socklen_t len = sizeof(int);
	int off;

	return getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, &len) < 0 ? -1 : off;
}

/* Nothing where it is off. */
static int set_peek_offset(int fd, int old, int value)
{
	return old < 0 ? 0 : setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value));
}

static int end_repair(int fd, const struct connection *c, struct err *err)
{
	int r = tcp_repair_end(fd, false, err);

	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &c->reuse, sizeof(c->reuse)) < 0)
		r = err_sys(err, "cannot set SO_REUSEADDR again");
	return r;
}

/* Should torpor die before leave_guard() the connection is as it was all the same. */
static int guard_repair(const struct connection *c, int fd, int peek, struct err *err)
{
	int r = sock_guard_note(c->seen, fd, SOL_SOCKET, SO_REUSEADDR, c->reuse, err);

	if (r == 0 && peek >= 0)
		r = sock_guard_note(c->seen, fd, SOL_SOCKET, SO_PEEK_OFF, peek, err);
	if (r == 0)
		r = sock_guard_note(c->seen, fd, IPPROTO_TCP, TCP_REPAIR, OFF_SILENTLY, err);
	/* the first to be undone: it can be set in repair only, and would outlast it */
	return r < 0 ? r : sock_guard_note(c->seen, fd, IPPROTO_TCP, TCP_REPAIR_QUEUE,
		TCP_QUEUE_NONE, err);
}

static void leave_guard(const struct connection *c)
{
	sock_guard_forget(c->seen);
}

/*
 * Of one that lies in a queue no task has a descriptor by which `torpor leftovers` could end the
 * repair later.
 */
static int guard_flying(const struct connection *c, struct err *err)
{
	return c->flying && sock_guard_room(c->seen) >= GUARDED ? guard_repair(c, c->fd, -1, err) : 0;
}

/* It may have been reset between being noted and the lock: then there is nothing to save. */
static int save_in_repair(struct saving *s, int fd, const struct connection *c, struct err *err)
{
	InetSkEntry *isk = c->isk;
	int r = tcp_get_state(fd, &isk->state, err);

	if (r == 0 && !inet_is_connection(isk))
		inet_forget_names(isk);
	if (r < 0 || !isk->dst_port)
		return r;
	isk->shutdown = (SkShutdown)(isk->shutdown |
		(tcp_state_got_fin(isk->state) ? SK_SHUTDOWN__READ : 0) |
		(tcp_state_sent_fin(isk->state) ? SK_SHUTDOWN__WRITE : 0));
	isk->has_shutdown = isk->shutdown != SK_SHUTDOWN__NONE;
	return write_stream(s, fd, c, err);
}

static int save_one(struct saving *s, const struct connection *c, struct err *err)
{
	struct err second = ERR_INIT;
	auto_close int fd = -1;
	int r = grab_fd(&s->grab, c, &fd, err), q, peek;

	if (r < 0)
		return r;
	peek = get_peek_offset(fd);
	r = guard_repair(c, fd, peek, err);
	if (r == 0)
		r = tcp_repair_begin(fd, err);
	if (r < 0)
		return r;
	r = set_peek_offset(fd, peek, -1) < 0 ? err_sys(err, "cannot set SO_PEEK_OFF") : 0;
	if (r == 0)
		r = save_in_repair(s, fd, c, err);
	if (r == 0)
		r = fault_point("repair", err);
	(void)!set_peek_offset(fd, peek, peek);
	q = end_repair(fd, c, r < 0 ? &second : err);
	leave_guard(c);
	if (r == 0)
		r = q;
	if (r == 0 && !inet_is_connection(c->isk))
		r = tcp_end_collect(fd, s->world, c->isk, true, err);
	return r;
}

/* ---- all ---- */

static int note_all(const struct connection_list *list, struct image_set *images, struct err *err)
{
	struct journal *journal;
	int r = image_set_journal(images, &journal, err);

	vec_each(c, list) {
		struct effect e = { .kind = EFFECT_REPAIR, .pid = c->tid, .ino = c->isk->ino,
			.since = journal_process_start(c->tid), .path = c->reuse ? "1" : "0",
			.why = "connections are silent while they are saved" };

		if (r == 0)
			r = journal_note(journal, &e, &c->effect, err);
	}
	return r < 0 ? r : journal_sync(journal, err);
}

int tcp_save_all(const struct connection_list *list, struct world *w, struct image_set *images,
	struct err *err)
{
	struct saving s = { .grab = { .pidfd = -1 }, .world = w, .images = images };
	int r = note_all(list, images, err);

	vec_each(c, list) {
		if (r < 0)
			break;
		r = save_one(&s, c, err);
		if (r < 0)
			err_while(err, "saving a connection of %s", c->who);
	}
	if (list->n)
		sock_guard_end(list->at->seen);
	grab_done(&s.grab);
	tcp_waiting_done(&s.waiting);
	return r;
}

int tcp_silence_all(const struct connection_list *list, struct err *err)
{
	struct grab g = { .pidfd = -1 };
	int r = 0;

	vec_each(c, list) {
		auto_close int fd = -1;

		if (r < 0 || !inet_is_connection(c->isk))
			continue;
		r = grab_fd(&g, c, &fd, err);
		if (r == 0)
			r = guard_flying(c, err);
		if (r == 0)
			r = tcp_repair_begin(fd, err);
	}
	grab_done(&g);
	return r;
}

void tcp_forget_all(const struct connection_list *list, struct image_set *images)
{
	struct err ignored = ERR_INIT;
	struct journal *journal;

	if (!list->n || image_set_journal(images, &journal, &ignored) < 0)
		return;
	vec_each(c, list)
		journal_gone(journal, c->effect);
}
