// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Urgent data (MSG_OOB) in a TCP connection. One byte of a stream is urgent; as long as the stream was
 * not read past it the kernel tells of what waits only as much as lies in front of it (tcp_inq()), and
 * shows no more to a peek. Neither that byte nor its place can be put back, so such a connection is
 * refused. An urgent byte that nobody has fetched shows in poll(2). One that was fetched (recv(2) with
 * MSG_OOB) while bytes in front of it are unread shows only in the list of sockets, which has the
 * difference of the sequence numbers.
 */
#include "base/cleanup.h"
#include "kernel/sock_diag.h"
#include "kernel/tcp_repair.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/tcp.h"
#include <errno.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/socket.h>

static int note_waiting(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct tcp_waiting *w = ctx;
	struct diag_inet d;

	(void)err;
	if (diag_parse_inet(payload, len, &d) && d.msg.idiag_inode && d.msg.idiag_rqueue)
		table_put(&w->bytes, 1 + (uint64_t)d.msg.idiag_inode,
			(void *)(uintptr_t)d.msg.idiag_rqueue);
	return 0;
}

/* Once per namespace. A kernel which cannot list TCP sockets leaves us with what poll(2) tells. */
static int list_waiting(struct tcp_waiting *w, int fd, struct err *err)
{
	auto_close int ns = -1;
	auto_close int diag = -1;
	ino_t ino = 0;
	int r;

	if (socket_netns(fd, &ino, &ns) < 0)
		ns = -1;
	if (table_get(&w->listed, 1 + (uint64_t)ino))
		return 0;
	table_put(&w->listed, 1 + (uint64_t)ino, w);
	r = sock_diag_open(ns, &diag, err);
	if (r == 0)
		r = sock_diag_inet(diag, AF_INET, IPPROTO_TCP, note_waiting, w, err);
	if (r == 0)
		r = sock_diag_inet(diag, AF_INET6, IPPROTO_TCP, note_waiting, w, err);
	if (r == -ENOENT) {
		err_clear(err);
		r = 0;
	}
	return r < 0 ? err_while(err, "listing TCP sockets") : 0;
}

/* Whether segments of any kind lie in the socket; without them there is nothing to ask for. */
static bool holds_memory(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 || info[SK_MEMINFO_RMEM_ALLOC];
}

int tcp_refuse_urgent(struct tcp_waiting *w, int fd, const struct connection *c, uint32_t unread,
	struct err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	bool urgent = poll(&p, 1, 0) == 1 && p.revents & POLLPRI;
	uintptr_t waits;
	int r;

	if (!urgent && holds_memory(fd)) {
		r = list_waiting(w, fd, err);
		if (r < 0)
			return r;
		waits = (uintptr_t)table_get(&w->bytes, 1 + (uint64_t)c->isk->ino);
		/* A FIN counts one. */
		urgent = waits > (uint64_t)unread + tcp_state_got_fin(c->isk->state);
	}
	if (!urgent)
		return 0;
	return err_busy(err, "%s is a TCP connection with urgent data (MSG_OOB) in what it has not read, "
		"which cannot be saved; try again when it has read that", c->who);
}

void tcp_waiting_done(struct tcp_waiting *w)
{
	table_done(&w->listed);
	table_done(&w->bytes);
}
