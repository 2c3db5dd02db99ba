// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Datagrams that wait in UDP and UDP-Lite sockets. They are looked at without being taken out
 * (SO_PEEK_OFF walks through the queue, udp(7); an empty one is marked when it was shown and left out
 * from then on: net/core/datagram.c) and stand in torpor-files: the images of other
 * tools have no place for a sender. At the restore each is sent again in its sender's name, by a
 * packet that never leaves the host.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kernel/forge.h"
#include "kinds/sock/guard.h"
#include "kinds/sock/inet.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

enum { DATAGRAM_MAX = 65536, QUEUE_MAX = 1 << 20, MOST_NAPS = 3000 };

/* ---- dump ---- */

/* Where it was sent to, if the socket has asked to be told (IP_PKTINFO, IPV6_RECVPKTINFO). */
static void note_destination(struct arena *arena, struct msghdr *m, TorporDatagram *d)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		const struct in_pktinfo *v4 = (const void *)CMSG_DATA(c);
		const struct in6_pktinfo *v6 = (const void *)CMSG_DATA(c);

		d->has_destination = true;
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			d->destination.data = arena_memdup(arena, &v4->ipi_addr, 4);
			d->destination.len = 4;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			d->destination.data = arena_memdup(arena, &v6->ipi6_addr, 16);
			d->destination.len = 16;
		} else {
			d->has_destination = d->destination.len > 0;
		}
	}
}

/* The next datagram; 1 taken, 0 there is none, -errno. */
static int peek_one(const struct fd_look *l, TorporFileEntry *extra, char *buf)
{
	struct arena *arena = l->world->arena;
	union inet_name from = { 0 };
	_Alignas(struct cmsghdr) char control[512];
	struct iovec part = { buf, DATAGRAM_MAX };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part,
		.msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	TorporDatagram *d;
	ssize_t n = recvmsg(l->dup, &m, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	d = arena_msg(arena, TorporDatagram, torpor_datagram);
	d->source.data = arena_memdup(arena, &from, m.msg_namelen);
	d->source.len = m.msg_namelen;
	d->payload.data = arena_memdup(arena, buf, (size_t)n);
	d->payload.len = (size_t)n;
	note_destination(arena, &m, d);
	arena_push(arena, extra->datagrams, extra->n_datagrams, d);
	return 1;
}

static int peek_all(const struct fd_look *l, const InetSkEntry *e, const char *who, struct err *err)
{
	TorporFileEntry *extra = world_want_extra(l->world, e->id);
	auto_free char *buf = malloc(DATAGRAM_MAX);
	int old = -1, zero = 0, r;
	socklen_t len = sizeof(old);

	if (!buf)
		return err_nomem(err);
	if (getsockopt(l->dup, SOL_SOCKET, SO_PEEK_OFF, &old, &len) < 0)
		return err_sys(err, "%s: cannot look into the socket's queue (SO_PEEK_OFF)", who);
	r = sock_guard_note(l->seen, l->dup, SOL_SOCKET, SO_PEEK_OFF, old, err);
	if (r < 0)
		return r;
	r = setsockopt(l->dup, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0 ? -errno : 1;
	while (r > 0)
		r = peek_one(l, extra, buf);
	if (setsockopt(l->dup, SOL_SOCKET, SO_PEEK_OFF, &old, sizeof(old)) < 0 && r == 0)
		r = -errno;
	sock_guard_forget(l->seen);
	return r < 0 ? err_sysn(err, -r, "%s: cannot copy what waits in the socket", who) : 0;
}

/* Bytes that UDP_CORK or MSG_MORE hold back are in no queue that can be read. */
static int refuse_corked(const struct fd_look *l, const char *who, struct err *err)
{
	int held = 0;

	if (ioctl(l->dup, TIOCOUTQ, &held) < 0 || !held)
		return 0;
	/* what is on its way to a device is gone in a moment; a line that is slow or busy takes longer */
	for (int i = 0; i < 200 && held; i++) {
		usleep(i < 20 ? 500 : 5000);
		if (ioctl(l->dup, TIOCOUTQ, &held) < 0)
			return 0;
	}
	if (!held)
		return 0;
	return err_unsupported(err, "%s is a UDP socket with a datagram that is not sent yet (UDP_CORK or "
		"MSG_MORE), which cannot be read back", who);
}

void inet_queue_report(const struct fd_look *l, const InetSkEntry *e)
{
	struct pollfd p = { .fd = l->dup, .events = POLLIN };
	char who[96];

	if (poll(&p, 1, 0) == 1 && p.revents & POLLIN)
		log_warn("%s is a %s socket with packets that were not read; a restore goes on without "
			"them", file_look_who(l, who, sizeof(who)), e->type == SOCK_RAW ? "raw" : "ping");
}

int udp_queue_collect(const struct fd_look *l, const InetSkEntry *e, struct err *err)
{
	struct pollfd p = { .fd = l->dup, .events = POLLIN };
	char who[96];
	int r;

	file_look_who(l, who, sizeof(who));
	r = refuse_corked(l, who, err);
	if (r < 0)
		return r;
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLIN))
		return 0;
	/* looking would take the error from the one whom it is meant for */
	if (p.revents & POLLERR) {
		log_warn("%s has an error to report; datagrams that wait behind it are not kept", who);
		return 0;
	}
	return peek_all(l, e, who, err);
}

/* ---- restore ---- */

static bool source_of(const TorporDatagram *d, struct flow *f)
{
	union inet_name n = { 0 };

	if (d->source.len > sizeof(n) || d->source.len < sizeof(n.v4))
		return false;
	memcpy(&n, d->source.data, d->source.len);
	f->family = n.any.sa_family;
	if (f->family == AF_INET) {
		memcpy(f->theirs, &n.v4.sin_addr, 4);
		f->their_port = ntohs(n.v4.sin_port);
		return true;
	}
	if (f->family != AF_INET6 || d->source.len != sizeof(n.v6))
		return false;
	f->their_port = ntohs(n.v6.sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&n.v6.sin6_addr)) {
		f->family = AF_INET;
		memcpy(f->theirs, n.v6.sin6_addr.s6_addr + 12, 4);
	} else {
		memcpy(f->theirs, &n.v6.sin6_addr, 16);
	}
	return true;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n && !*p)
		p++, n--;
	return !n;
}

/* The address it was sent to; of a socket that listens on all of them the host's own. */
static void destination_of(const InetSkEntry *e, const TorporDatagram *d, struct flow *f)
{
	struct flow bound;
	size_t len = flow_address_len(f);

	inet_flow_of(e, &bound);
	f->our_port = (uint16_t)e->src_port;
	if (d->has_destination && d->destination.len == len)
		memcpy(f->ours, d->destination.data, len);
	else if (d->has_destination && d->destination.len == 16 && len == 4)
		memcpy(f->ours, d->destination.data + 12, 4);
	else
		memcpy(f->ours, e->family == AF_INET6 && len == 4 ? bound.ours + 12 : bound.ours, len);
	if (!all_zero(f->ours, len))
		return;
	if (len == 4)
		memcpy(f->ours, (const uint8_t[]){ 127, 0, 0, 1 }, 4);
	else
		memcpy(f->ours, &in6addr_loopback, 16);
}

static int fill_one(const InetSkEntry *e, const TorporDatagram *d, struct err *err)
{
	struct flow f = { 0 };

	if (!source_of(d, &f))
		return err_image(err, "torpor-files: a datagram of file %u has no sender", e->id);
	destination_of(e, d, &f);
	return forge_datagram(&f, (int)e->proto, d->payload.data, d->payload.len, err);
}

/*
 * How many of the first datagrams have to be there before the socket is connected, because one of
 * them is of somebody else than its peer.
 */
static size_t from_others(const InetSkEntry *e, const TorporFileEntry *extra)
{
	struct flow ends, f = { 0 };
	size_t n = e->dst_port ? extra->n_datagrams : 0;

	inet_flow_of(e, &ends);
	while (n && source_of(extra->datagrams[n - 1], &f) && f.family == ends.family &&
		f.their_port == ends.their_port && !memcmp(f.theirs, ends.theirs, flow_address_len(&f)))
		n--;
	return n;
}

/* Bytes of memory that what waits in the socket takes. */
static uint32_t memory_used(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ? 0 : info[SK_MEMINFO_RMEM_ALLOC];
}

/* Mostly it is there at once; behind other packets, or on a busy machine, it takes a moment. */
static bool has_come(int fd, uint32_t before)
{
	for (int i = 0; i < MOST_NAPS; i++) {
		if (memory_used(fd) != before)
			return true;
		usleep(i < 100 ? 50 : 1000);
	}
	return false;
}

/* Each has come before the next one is sent: so they keep their order. */
static int send_some(const InetSkEntry *e, const TorporFileEntry *extra, size_t i, size_t end, int fd,
	struct err *err)
{
	int r = 0;

	for (; i < end && r == 0; i++) {
		uint32_t before = memory_used(fd);

		r = fill_one(e, extra->datagrams[i], err);
		if (r == 0 && !has_come(fd, before)) {
			log_warn("%zu of %zu datagrams that waited in a UDP socket of port %u do not come "
				"in again and are lost", end - i, extra->n_datagrams,
				e->src_port);
			break;
		}
	}
	return r;
}

int udp_queue_fill(struct file_maker *m, const InetSkEntry *e, int fd, bool connected, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, e->id);
	char device[IF_NAMESIZE] = "";
	socklen_t len = sizeof(device);
	size_t early, begin, end;
	int r = 0;

	if (!extra || !extra->n_datagrams || extra->n_datagrams > QUEUE_MAX)
		return 0;
	early = from_others(e, extra);
	begin = connected ? early : 0;
	end = connected ? extra->n_datagrams : early;
	if (begin == end)
		return 0;
	/* They come in by lo. */
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) < 0)
		len = 0;
	if (len && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0)
		return err_sys(err, "cannot unbind a socket from its device");
	r = send_some(e, extra, begin, end, fd, err);
	if (r == 0 && len && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, len) < 0)
		r = err_sys(err, "cannot bind a socket to '%s'", device);
	return r;
}
