// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sockets of IPv4 and IPv6: TCP, UDP, UDP-Lite, ping and raw ones. Whoever is connected by TCP is
 * noted for kinds/sock/tcp.h at the dump and made by tcp_make.c at the restore; all others are
 * complete here.
 *
 * MPTCP: what accept(2) gives for a peer that knows only TCP is a TCP socket and treated as one. On
 * other connections the kernel refuses TCP_REPAIR, so they are refused by name; MPTCP sockets that
 * listen or are new are made like those of TCP.
 *
 * Restore: the kernel compares a new listener with every socket of its port, and those of accepted
 * connections with nobody (repair). So the listeners come first, whatever the order of the entries.
 */
#include "base/cleanup.h"
#include "kernel/tcp_repair.h"
#include "kinds/owner.h"
#include "kinds/sock/family.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/rooms.h"
#include "kinds/sock/sockopts.h"
#include "kinds/sock/tcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

/* ---- dump ---- */

static int option_of(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) < 0 ? -1 : v;
}

static bool is_known(uint32_t family, uint32_t type, uint32_t proto)
{
	if (family != AF_INET && family != AF_INET6)
		return false;
	switch (type) {
	case SOCK_STREAM:
		return proto == IPPROTO_TCP || proto == IPPROTO_MPTCP;
	case SOCK_DGRAM:
		return proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE ||
			proto == (family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	case SOCK_RAW:
		return true;
	default:
		return false;
	}
}

static bool inet_match(const struct fd_look *l)
{
	int family, type, proto;

	if (!S_ISSOCK(l->st.st_mode) || l->flags & O_PATH)
		return false;
	family = option_of(l->dup, SOL_SOCKET, SO_DOMAIN);
	type = option_of(l->dup, SOL_SOCKET, SO_TYPE);
	proto = option_of(l->dup, SOL_SOCKET, SO_PROTOCOL);
	return is_known((uint32_t)family, (uint32_t)type, (uint32_t)proto);
}

static uint32_t *words_of(const struct fd_look *l, const union inet_name *n, size_t *ret_n)
{
	bool v4 = n->any.sa_family == AF_INET;

	*ret_n = v4 ? 1 : 4;
	return v4 ? arena_memdup(l->world->arena, &n->v4.sin_addr, 4) :
		    arena_memdup(l->world->arena, &n->v6.sin6_addr, 16);
}

static int collect_names(const struct fd_look *l, InetSkEntry *e, struct err *err)
{
	union inet_name ours = { 0 }, theirs = { 0 };
	socklen_t len = sizeof(ours);
	char who[96], device[IF_NAMESIZE];

	if (getsockname(l->dup, &ours.any, &len) < 0)
		return err_sys(err, "%s: cannot read the name of the socket",
			file_look_who(l, who, sizeof(who)));
	len = sizeof(theirs);
	if (getpeername(l->dup, &theirs.any, &len) < 0)
		theirs = (union inet_name){ .any.sa_family = ours.any.sa_family };
	e->src_addr = words_of(l, &ours, &e->n_src_addr);
	e->dst_addr = words_of(l, &theirs, &e->n_dst_addr);
	e->src_port = ntohs(e->family == AF_INET ? ours.v4.sin_port : ours.v6.sin6_port);
	e->dst_port = ntohs(e->family == AF_INET ? theirs.v4.sin_port : theirs.v6.sin6_port);
	if (e->family == AF_INET6 && ours.v6.sin6_scope_id &&
		if_indextoname(ours.v6.sin6_scope_id, device))
		e->ifname = arena_strdup(l->world->arena, device);
	return 0;
}

/* What the state says; an end which reads no more by itself (SHUT_RD) shows in poll(2). */
static void collect_shutdown(const struct fd_look *l, InetSkEntry *e)
{
	struct pollfd p = { .fd = l->dup, .events = POLLRDHUP };
	int how = 0;

	if (e->type == SOCK_STREAM && !tcp_state_connected(e->state))
		return;
	if (poll(&p, 1, 0) == 1 && p.revents & POLLRDHUP)
		how |= SK_SHUTDOWN__READ;
	if (e->type == SOCK_STREAM && tcp_state_sent_fin(e->state))
		how |= SK_SHUTDOWN__WRITE;
	if (e->type != SOCK_STREAM && p.revents & POLLHUP)
		how = SK_SHUTDOWN__BOTH;
	e->has_shutdown = how;
	e->shutdown = (SkShutdown)how;
}

/* A listener's connections which nobody has accepted have no descriptor: they cannot be kept. */
static int look_at_backlog(const struct fd_look *l, InetSkEntry *e, const struct tcp_info *info,
	struct err *err)
{
	char who[96];

	e->backlog = info->tcpi_sacked; /* tcp_get_info(): sk_max_ack_backlog of a listener */
	if (!info->tcpi_unacked || l->options->skip_in_flight)
		return 0;
	return err_unsupported(err, "%s is a TCP socket listening on port %u with %u connection%s that "
		"nobody has accepted yet; --skip-in-flight drops such connections",
		file_look_who(l, who, sizeof(who)), e->src_port, info->tcpi_unacked,
		info->tcpi_unacked == 1 ? "" : "s");
}

/* linux/tcp.h: struct tcp_info goes on behind what the C library's header knows. */
struct info {
	struct tcp_info common;
	uint64_t rates[2], bytes[2]; /* 4.1, 4.2 */
	uint32_t segments_out, segments_in;
};

static int look_at_connecting(const struct fd_look *l, InetSkEntry *e, struct err *err)
{
	char who[96], ends[160];

	if (!l->options->skip_in_flight)
		return err_unsupported(err, "%s is a TCP socket whose connection (%s) is just being made; "
			"--skip-in-flight drops such connections", file_look_who(l, who, sizeof(who)),
			inet_flow_say(e, ends, sizeof(ends)));
	e->state = TCP_STATE_CLOSE;
	inet_forget_names(e);
	return 0;
}

/* Whoever waits for the end of a zero-copy send would wait for ever: its notes cannot be put back. */
static int refuse_zerocopy(const struct fd_look *l, const char *who, struct err *err)
{
	struct pollfd p = { .fd = l->dup };

	if (option_of(l->dup, SOL_SOCKET, SO_ZEROCOPY) <= 0 || poll(&p, 1, 0) != 1 ||
		!(p.revents & POLLERR))
		return 0;
	return err_busy(err, "%s is a TCP connection with completions of zero-copy sends (MSG_ZEROCOPY) that "
		"were not fetched, which cannot be saved; try again when they have been", who);
}

static int note_connection(const struct fd_look *l, InetSkEntry *e, struct err *err)
{
	struct connection c = { .isk = e, .tid = l->tid, .fd = l->fd,
		.flying = l->carrier != NULL, .seen = l->seen,
		.reuse = option_of(l->dup, SOL_SOCKET, SO_REUSEADDR) > 0 };
	char ends[160];

	file_look_who(l, c.who, sizeof(c.who));
	if (!l->options->tcp_established && !l->options->tcp_close)
		return err_unsupported(err, "%s is a connected TCP socket (%s); --tcp-established keeps "
			"the connection, --tcp-close drops it", c.who,
			inet_flow_say(e, ends, sizeof(ends)));
	if (!l->options->tcp_close && refuse_zerocopy(l, c.who, err) < 0)
		return -EAGAIN;
	inet_flow_of(e, &c.flow);
	vec_push(l->connections, c);
	return 0;
}

/* The state is that of its first subflow, which may be gone while the connection is not. */
static int refuse_mptcp(const struct fd_look *l, const InetSkEntry *e, const struct info *info,
	struct err *err)
{
	char who[96];

	if (e->proto != IPPROTO_MPTCP || e->state == TCP_STATE_LISTEN || (e->state == TCP_STATE_CLOSE &&
		!e->dst_port && !info->segments_out && !info->segments_in))
		return 0;
	return err_unsupported(err, "%s is an MPTCP socket (socket:[%lu]) with a connection, which "
		"cannot be saved: the kernel has no TCP_REPAIR for it", file_look_who(l, who, sizeof(who)),
		(unsigned long)l->st.st_ino);
}

static int collect_tcp_state(const struct fd_look *l, InetSkEntry *e, bool *ret_dead, struct err *err)
{
	struct info info = { 0 };
	socklen_t len = sizeof(info);
	char who[96];
	int r;

	if (getsockopt(l->dup, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return err_sys(err, "%s: cannot read the state of the socket",
			file_look_who(l, who, sizeof(who)));
	e->state = info.common.tcpi_state;
	r = refuse_mptcp(l, e, &info, err);
	if (r < 0)
		return r;
	if (e->state == TCP_STATE_LISTEN)
		return look_at_backlog(l, e, &info.common, err);
	/* The rest of a connection: it tells the old name, but has given the port back. */
	*ret_dead = e->state == TCP_STATE_CLOSE && (info.segments_out || info.segments_in);
	if (*ret_dead) {
		inet_forget_names(e);
		return tcp_end_collect(l->dup, l->world, e, info.common.tcpi_rcv_space, err);
	}
	if (e->state == TCP_STATE_SYN_SENT || e->state == TCP_STATE_SYN_RECV)
		return look_at_connecting(l, e, err);
	return inet_is_connection(e) ? note_connection(l, e, err) : 0;
}

static int inet_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	InetSkEntry *e = arena_msg(l->world->arena, InetSkEntry, inet_sk_entry);
	struct sock_ns *ns;
	bool dead = false;
	int r = sock_ns_of(l, &ns, err);

	if (r < 0)
		return r;
	e->id = fe->id;
	e->ino = (uint32_t)l->st.st_ino;
	e->family = (uint32_t)option_of(l->dup, SOL_SOCKET, SO_DOMAIN);
	e->type = (uint32_t)option_of(l->dup, SOL_SOCKET, SO_TYPE);
	e->proto = (uint32_t)option_of(l->dup, SOL_SOCKET, SO_PROTOCOL);
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	e->has_ns_id = true;
	e->ns_id = ns->id;
	fe->isk = e;
	r = collect_names(l, e, err);
	if (r < 0)
		return r;
	if (e->type == SOCK_STREAM) {
		r = collect_tcp_state(l, e, &dead, err);
		if (r == 0 && !dead && e->proto == IPPROTO_TCP)
			r = tcp_md5_collect(l, ns, e, err);
	} else {
		e->state = e->dst_port ? TCP_STATE_ESTABLISHED : TCP_STATE_CLOSE;
	}
	if (r < 0)
		return r;
	collect_shutdown(l, e);
	return inet_opts_collect(l, e, dead, err);
}

static int inet_bulk(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	const InetSkEntry *e = fe->isk;

	if (e->type == SOCK_DGRAM && (e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE))
		return udp_queue_collect(l, e, err);
	if (e->type != SOCK_STREAM)
		inet_queue_report(l, e);
	return 0;
}

/* ---- check ---- */

static void inet_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const InetSkEntry *e = fe->isk;
	size_t words = e->family == AF_INET ? 1 : 4;
	char what[48];

	snprintf(what, sizeof(what), "internet socket %u (file %u)", e->ino, e->id);
	if (!is_known(e->family, e->type, e->proto)) {
		finding_add(f, "inet-kind", SEV_ERROR, 0,
			"%s has family %u, type %u and protocol %u, which this version cannot restore",
			what, e->family, e->type, e->proto);
		return;
	}
	if (e->n_src_addr != words || (e->dst_port && e->n_dst_addr != words))
		finding_add(f, "inet-address", SEV_ERROR, 0, "%s has addresses of %zu and %zu words",
			what, e->n_src_addr, e->n_dst_addr);
	if (e->src_port > UINT16_MAX || e->dst_port > UINT16_MAX)
		finding_add(f, "inet-port", SEV_ERROR, 0, "%s has ports %u and %u", what, e->src_port,
			e->dst_port);
	if (e->state == 0 || e->state > TCP_STATE_NEW_SYN_RECV || e->backlog > INT32_MAX)
		finding_add(f, "inet-state", SEV_ERROR, 0, "%s has state %u and backlog %u", what,
			e->state, e->backlog);
	if (e->ifname && strlen(e->ifname) >= IF_NAMESIZE)
		finding_add(f, "inet-device", SEV_ERROR, 0, "%s has a device name of %zu bytes", what,
			strlen(e->ifname));
	if (e->ip_opts && e->ip_opts->raw && e->ip_opts->raw->n_icmpv_filter > 8)
		finding_add(f, "inet-filter", SEV_ERROR, 0, "%s has an ICMP filter of %zu words", what,
			e->ip_opts->raw->n_icmpv_filter);
	sockopts_check(e->opts, what, f);
}

/* ---- restore ---- */

static uint64_t early_key(uint32_t id)
{
	return table_key(FD_TYPES__INETSK, id);
}

static int bind_now(int fd, const union inet_name *n)
{
	return bind(fd, &n->any, inet_name_len(n)) < 0 ? -errno : 0;
}

/* Bound before another one listened there: the kernel would not allow that order now. */
static int bind_in_repair(const InetSkEntry *e, const union inet_name *n, int fd, struct err *err)
{
	int reuse = e->opts->reuseaddr, r = tcp_repair_begin(fd, err);

	if (r == 0)
		r = bind_now(fd, n);
	if (r == 0)
		r = tcp_repair_end(fd, false, err);
	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) < 0)
		r = -errno;
	return r;
}

static int bind_to(struct file_maker *m, const InetSkEntry *e, const union inet_name *n, int fd,
	struct err *err)
{
	char text[INET6_ADDRSTRLEN] = "?";
	int r = bind_now(fd, n), cleared;

	if (r == -EADDRINUSE && e->proto == IPPROTO_TCP && e->state != TCP_STATE_LISTEN) {
		r = bind_in_repair(e, n, fd, err);
	} else if (r == -EADDRINUSE && e->type == SOCK_STREAM) {
		cleared = inet_clear_way(m, err);
		if (cleared)
			r = cleared < 0 ? cleared : bind_now(fd, n);
	}
	if (r == 0 || err_is_set(err))
		return r;
	inet_ntop((int)e->family, e->family == AF_INET ? (void *)&n->v4.sin_addr :
		(void *)&n->v6.sin6_addr, text, sizeof(text));
	return err_sysn(err, -r, "cannot bind a socket to %s, port %u", text, e->src_port);
}

static bool has_source(const InetSkEntry *e)
{
	uint32_t any = e->type == SOCK_RAW ? 0 : e->src_port;

	for (size_t i = 0; i < e->n_src_addr; i++)
		any |= e->src_addr[i];
	return any;
}

static int name_socket(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	union inet_name n;
	int r = 0;

	if (has_source(e) && inet_name_of(e, false, &n))
		r = bind_to(m, e, &n, fd, err);
	if (r < 0)
		return r;
	if (e->type == SOCK_DGRAM)
		r = udp_queue_fill(m, e, fd, false, err);
	if (r < 0)
		return r;
	if (e->state == TCP_STATE_LISTEN) {
		if (listen(fd, (int)e->backlog) < 0)
			return err_sys(err, "cannot listen on port %u", e->src_port);
	} else if (e->type != SOCK_STREAM && e->dst_port && inet_name_of(e, true, &n)) {
		if (connect(fd, &n.any, inet_name_len(&n)) < 0)
			return err_sys(err, "cannot connect a datagram socket to its port %u",
				e->dst_port);
	}
	return 0;
}

static uint64_t held_key(uint32_t id)
{
	return table_key(table_key(FD_TYPES__INETSK, 1), id);
}

/* Notes which sockets some task has: others lie in a queue only, where nobody could wake them. */
static void note_held(struct file_maker *m)
{
	world_each_task(t, m->world)
		for (size_t i = 0; task_is_alive(t) && t->fds->owner == t && i < t->fds->n_fds; i++)
			if (t->fds->fds[i]->type == FD_TYPES__INETSK)
				table_put(&m->made, held_key(t->fds->fds[i]->id), m);
}

static int open_socket(struct file_maker *m, const InetSkEntry *e, int *ret_fd, struct err *err)
{
	auto_close int fd = socket((int)e->family, (int)e->type | SOCK_CLOEXEC, (int)e->proto);
	int r;

	if (fd < 0 && errno == EACCES && e->type == SOCK_DGRAM)
		return err_sys(err, "cannot make a ping socket; the sysctl net.ipv4.ping_group_range says "
			"who may");
	if (fd < 0)
		return err_sys(err, "cannot make a socket of family %u, type %u, protocol %u", e->family,
			e->type, e->proto);
	r = inet_opts_early(m, e, fd, err);
	if (r == 0 && inet_is_dropped(m->world, e))
		r = 0; /* it stays as it is: closed */
	else if (r == 0 && tcp_end_wanted(m->world, e))
		r = tcp_end_make(m, e, fd, err);
	else if (r == 0 && inet_is_connection(e))
		r = tcp_make(m, e, fd, err);
	else if (r == 0)
		r = name_socket(m, e, fd, err);
	if (r == 0 && e->type == SOCK_DGRAM)
		r = udp_queue_fill(m, e, fd, true, err);
	if (r == 0)
		r = inet_opts_late(m, e, fd, err);
	if (r == 0 && e->type == SOCK_STREAM)
		r = tcp_md5_restore(m, e, fd, err);
	if (r == 0 && e->type != SOCK_STREAM && e->has_shutdown && e->shutdown)
		(void)!shutdown(fd, (int)e->shutdown - 1);
	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0 && inet_is_connection(e) && !inet_is_dropped(m->world, e) &&
		!table_get(&m->made, held_key(e->id)))
		r = tcp_wake(m->world, m->images, world_file(m->world, e->id), fd, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/* All listeners; each waits in m->made (1 + descriptor) until it is asked for. */
static int make_listeners(struct file_maker *m, struct err *err)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];
	uint64_t done = early_key(UINT32_MAX);
	int r = 0, fd;

	if (table_get(&m->made, done))
		return 0;
	table_put(&m->made, done, m);
	note_held(m);
	for (size_t i = 0; i < list->n && r == 0; i++) {
		const InetSkEntry *e = ((FileEntry *)list->at[i]->msg)->isk;

		if (!e || e->state != TCP_STATE_LISTEN || e->type != SOCK_STREAM)
			continue;
		r = open_socket(m, e, &fd, err);
		if (r == 0)
			table_put(&m->made, early_key(e->id), (void *)(uintptr_t)(1 + fd));
		else
			r = err_while(err, "making the listener of file entry %u", e->id);
	}
	return r;
}

/* The descriptor of a listener made before, which is the caller's from now on; -1: none. */
static int take_listener(struct file_maker *m, uint32_t id)
{
	uintptr_t at = (uintptr_t)table_get(&m->made, early_key(id));

	if (!at || at == (uintptr_t)m)
		return -1;
	table_put(&m->made, early_key(id), m);
	return (int)at - 1;
}

static int inet_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	int r = make_listeners(m, err), fd;

	if (r < 0)
		return r;
	fd = take_listener(m, fe->id);
	if (fd < 0)
		return open_socket(m, fe->isk, ret_fd, err);
	*ret_fd = fd;
	return 0;
}

static void inet_clean(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		int fd = fe->isk ? take_listener(m, fe->id) : -1;

		if (fd >= 0)
			close(fd);
	}
}

static void inet_describe(const FileEntry *fe, char *buf, size_t size)
{
	const InetSkEntry *e = fe->isk;
	const char *what = e->type == SOCK_STREAM ? "TCP" :
		e->type == SOCK_RAW		  ? "raw" :
		e->proto == IPPROTO_UDP		  ? "UDP" :
		e->proto == IPPROTO_UDPLITE	  ? "UDP-Lite" :
						    "ping";
	char text[160];

	if (e->dst_port)
		snprintf(buf, size, "%s socket %s between %s", what, tcp_state_name(e->state),
			inet_flow_say(e, text, sizeof(text)));
	else
		snprintf(buf, size, "%s socket %s port %u", what, tcp_state_name(e->state),
			e->src_port);
}

const struct file_kind file_kind_inet = {
	.name = "internet socket",
	.type = FD_TYPES__INETSK,
	.match = inet_match,
	.collect = inet_collect,
	.bulk = inet_bulk,
	.check = inet_check,
	.create = inet_create,
	.clean = inet_clean,
	.describe = inet_describe,
};
