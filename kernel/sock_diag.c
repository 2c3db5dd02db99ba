/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/sock_diag.h. */
#include "kernel/sock_diag.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { ANSWER_ROOM = 64 * 1024 };

/* ---- asking ---- */

/* The socket, made in the other namespace; the way back must not fail. */
static int open_in(int netns_fd, struct err *err)
{
	auto_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	if (home < 0)
		return err_sys(err, "cannot open torpor's own network namespace");
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_sys(err, "cannot enter a network namespace to list its sockets");
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		fd = -errno;
	if (setns(home, CLONE_NEWNET) < 0) {
		if (fd >= 0)
			close(fd);
		return err_sys(err, "cannot return to torpor's own network namespace");
	}
	return fd;
}

int sock_diag_open(int netns_fd, int *ret_fd, struct err *err)
{
	int fd, size = 4 * 1024 * 1024;

	if (netns_fd >= 0) {
		fd = open_in(netns_fd, err);
		if (err_is_set(err))
			return fd;
	} else {
		fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		if (fd < 0)
			fd = -errno;
	}
	if (fd < 0)
		return err_sysn(err, -fd, "cannot list sockets (NETLINK_SOCK_DIAG)");
	/* Fewer, larger answers; the usual size works as well. */
	(void)!setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	*ret_fd = fd;
	return 0;
}

/* 1: go on reading, 0: that was the last one. */
static int take_answers(const void *buf, size_t n, sock_diag_each *each, void *ctx, struct err *err)
{
	int left = (int)n;

	for (const struct nlmsghdr *h = buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
		int r = 0;

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR && mnl_nlmsg_get_payload_len(h) >= sizeof(*e))
			return err_sysn(err, -e->error, "cannot list sockets (sock_diag)");
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			return err_set(err, ERR_KERNEL, EINTR, "the list of sockets changed while it was read");
		if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
			r = each(mnl_nlmsg_get_payload(h), mnl_nlmsg_get_payload_len(h), ctx, err);
		if (r < 0)
			return r;
	}
	return 1;
}

static int ask(int fd, const void *body, size_t len, sock_diag_each *each, void *ctx,
	struct err *err)
{
	struct {
		struct nlmsghdr head;
		char body[128];
	} q = { .head = { .nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	auto_free void *buf = malloc(ANSWER_ROOM);
	int r = 1;

	if (!buf)
		return err_nomem(err);
	memcpy(q.body, body, len);
	if (send(fd, &q, q.head.nlmsg_len, 0) < 0)
		return err_sys(err, "cannot list sockets (sock_diag)");
	while (r > 0) {
		ssize_t n = recv(fd, buf, ANSWER_ROOM, 0);

		if (n < 0)
			return err_sys(err, "cannot read the list of sockets (sock_diag)");
		r = take_answers(buf, (size_t)n, each, ctx, err);
	}
	return r;
}

int sock_diag_unix(int fd, sock_diag_each *each, void *ctx, struct err *err)
{
	struct unix_diag_req q = { .sdiag_family = AF_UNIX, .udiag_states = ~0U,
		.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS |
			UDIAG_SHOW_RQLEN };

	return ask(fd, &q, sizeof(q), each, ctx, err);
}

static int ask_inet(int fd, int family, int protocol, uint8_t more, sock_diag_each *each, void *ctx,
	struct err *err)
{
	struct inet_diag_req_v2 q = { .sdiag_family = (uint8_t)family,
		.sdiag_protocol = (uint8_t)protocol, .idiag_ext = more, .idiag_states = ~0U };

	return ask(fd, &q, sizeof(q), each, ctx, err);
}

int sock_diag_inet(int fd, int family, int protocol, sock_diag_each *each, void *ctx,
	struct err *err)
{
	return ask_inet(fd, family, protocol, 0, each, ctx, err);
}

/* Keys come with the tcp_info (net/ipv4/inet_diag.c, inet_sk_diag_fill()). */
int sock_diag_tcp_keys(int fd, int family, sock_diag_each *each, void *ctx, struct err *err)
{
	return ask_inet(fd, family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), each, ctx, err);
}

int sock_diag_destroy(int fd, int protocol, const struct inet_diag_msg *m, struct err *err)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} q = { .head = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DESTROY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.body = { .sdiag_family = m->idiag_family, .sdiag_protocol = (uint8_t)protocol,
			.idiag_states = ~0U, .id = m->id } };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char more[256];
	} answer;
	ssize_t n;

	if (send(fd, &q, sizeof(q), 0) < 0)
		return err_sys(err, "cannot take a socket away (SOCK_DESTROY)");
	n = recv(fd, &answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(answer.error)) || answer.head.nlmsg_type != NLMSG_ERROR)
		return err_set(err, ERR_KERNEL, EPROTO, "no answer to SOCK_DESTROY");
	if (answer.error.error == -EOPNOTSUPP)
		return err_sysn(err, EOPNOTSUPP, "cannot take a closing connection away (this kernel has "
			"no INET_DIAG_DESTROY); in a minute it is gone by itself");
	if (answer.error.error)
		return err_sysn(err, -answer.error.error, "cannot take a socket away (SOCK_DESTROY)");
	return 0;
}

int sock_diag_netlink(int fd, sock_diag_each *each, void *ctx, struct err *err)
{
	struct netlink_diag_req q = { .sdiag_family = AF_NETLINK, .sdiag_protocol = NDIAG_PROTO_ALL,
		.ndiag_show = NDIAG_SHOW_GROUPS | NDIAG_SHOW_FLAGS | NDIAG_SHOW_MEMINFO };

	return ask(fd, &q, sizeof(q), each, ctx, err);
}

int sock_diag_packet(int fd, sock_diag_each *each, void *ctx, struct err *err)
{
	struct packet_diag_req q = { .sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG |
			PACKET_SHOW_FANOUT | PACKET_SHOW_MEMINFO | PACKET_SHOW_FILTER };

	return ask(fd, &q, sizeof(q), each, ctx, err);
}

/* ---- parsing ---- */

struct attr {
	const void *at;
	size_t len;
};

struct attrs {
	struct attr *at;
	size_t n;
};

static int note_attr(const struct nlattr *a, void *data)
{
	struct attrs *as = data;
	uint16_t type = mnl_attr_get_type(a);

	if (type < as->n)
		as->at[type] = (struct attr){ mnl_attr_get_payload(a), mnl_attr_get_payload_len(a) };
	return MNL_CB_OK;
}

/* Copies the fixed part and notes where the attributes are. */
static bool split(const void *payload, size_t len, void *fixed, size_t fixed_len, int family,
	struct attr *at, size_t n)
{
	struct attrs as = { at, n };
	size_t skip = MNL_ALIGN(fixed_len);

	if (len < fixed_len)
		return false;
	memcpy(fixed, payload, fixed_len);
	if (*(const uint8_t *)fixed != family)
		return false;
	if (len > skip)
		mnl_attr_parse_payload((const char *)payload + skip, len - skip, note_attr, &as);
	return true;
}

/* Copies an attribute that is long enough; false: it is not there. */
static bool get(const struct attr *a, void *to, size_t size)
{
	if (!a->at || a->len < size)
		return false;
	memcpy(to, a->at, size);
	return true;
}

bool diag_parse_unix(const void *payload, size_t len, struct diag_unix *ret)
{
	struct attr a[UNIX_DIAG_MAX + 1] = { 0 };
	struct unix_diag_msg m;
	struct unix_diag_rqlen q = { 0 };
	struct unix_diag_vfs vfs = { 0 };

	if (!split(payload, len, &m, sizeof(m), AF_UNIX, a, UNIX_DIAG_MAX + 1))
		return false;
	*ret = (struct diag_unix){ .ino = m.udiag_ino, .type = m.udiag_type, .state = m.udiag_state };
	ret->has_peer = get(&a[UNIX_DIAG_PEER], &ret->peer, 4);
	get(&a[UNIX_DIAG_SHUTDOWN], &ret->shutdown, 1);
	get(&a[UNIX_DIAG_RQLEN], &q, sizeof(q));
	ret->rqueue = q.udiag_rqueue;
	ret->wqueue = q.udiag_wqueue;
	ret->has_vfs = get(&a[UNIX_DIAG_VFS], &vfs, sizeof(vfs));
	ret->vfs_ino = vfs.udiag_vfs_ino;
	ret->vfs_dev = vfs.udiag_vfs_dev;
	ret->name = a[UNIX_DIAG_NAME].at;
	ret->name_len = a[UNIX_DIAG_NAME].len;
	ret->icons = a[UNIX_DIAG_ICONS].at;
	ret->n_icons = a[UNIX_DIAG_ICONS].len / 4;
	return true;
}

bool diag_parse_inet(const void *payload, size_t len, struct diag_inet *ret)
{
	struct attr a[INET_DIAG_MAX + 1] = { 0 };
	struct inet_diag_msg m;

	if (len < sizeof(m))
		return false;
	memcpy(&m, payload, sizeof(m));
	if ((m.idiag_family != AF_INET && m.idiag_family != AF_INET6) ||
		!split(payload, len, &m, sizeof(m), m.idiag_family, a, INET_DIAG_MAX + 1))
		return false;
	*ret = (struct diag_inet){ .msg = m };
	ret->has_shutdown = get(&a[INET_DIAG_SHUTDOWN], &ret->shutdown, 1);
	ret->has_v6only = get(&a[INET_DIAG_SKV6ONLY], &ret->v6only, 1);
	ret->has_protocol = get(&a[INET_DIAG_PROTOCOL], &ret->protocol, 1);
	ret->has_mark = get(&a[INET_DIAG_MARK], &ret->mark, 4);
	ret->md5 = a[INET_DIAG_MD5SIG].at;
	ret->n_md5 = a[INET_DIAG_MD5SIG].len / sizeof(struct tcp_diag_key);
	return true;
}

static uint32_t waiting(const struct attr *meminfo)
{
	uint32_t words[SK_MEMINFO_RMEM_ALLOC + 1] = { 0 };

	get(meminfo, words, sizeof(words));
	return words[SK_MEMINFO_RMEM_ALLOC];
}

bool diag_parse_netlink(const void *payload, size_t len, struct diag_netlink *ret)
{
	struct attr a[NETLINK_DIAG_MAX + 1] = { 0 };
	struct netlink_diag_msg m;

	if (!split(payload, len, &m, sizeof(m), AF_NETLINK, a, NETLINK_DIAG_MAX + 1))
		return false;
	*ret = (struct diag_netlink){ .ino = m.ndiag_ino, .portid = m.ndiag_portid,
		.dst_portid = m.ndiag_dst_portid, .dst_group = m.ndiag_dst_group, .type = m.ndiag_type,
		.protocol = m.ndiag_protocol, .state = m.ndiag_state,
		.groups = a[NETLINK_DIAG_GROUPS].at, .n_groups = a[NETLINK_DIAG_GROUPS].len / 4,
		.rmem = waiting(&a[NETLINK_DIAG_MEMINFO]) };
	get(&a[NETLINK_DIAG_FLAGS], &ret->flags, 4);
	return true;
}

bool diag_parse_packet(const void *payload, size_t len, struct diag_packet *ret)
{
	struct attr a[PACKET_DIAG_MAX + 1] = { 0 };
	struct packet_diag_msg m;

	if (!split(payload, len, &m, sizeof(m), AF_PACKET, a, PACKET_DIAG_MAX + 1))
		return false;
	*ret = (struct diag_packet){ .ino = m.pdiag_ino, .type = m.pdiag_type, .num = m.pdiag_num,
		.mclist = a[PACKET_DIAG_MCLIST].at,
		.n_mclist = a[PACKET_DIAG_MCLIST].len / sizeof(struct packet_diag_mclist),
		.has_filter = a[PACKET_DIAG_FILTER].len > 0,
		.rmem = waiting(&a[PACKET_DIAG_MEMINFO]) };
	get(&a[PACKET_DIAG_INFO], &ret->info, sizeof(ret->info));
	ret->has_rx = get(&a[PACKET_DIAG_RX_RING], &ret->rx, sizeof(ret->rx));
	ret->has_tx = get(&a[PACKET_DIAG_TX_RING], &ret->tx, sizeof(ret->tx));
	ret->has_fanout = get(&a[PACKET_DIAG_FANOUT], &ret->fanout, 4);
	return true;
}

/* ---- a single socket ---- */

int socket_netns(int fd, ino_t *ret_ino, int *ret_fd)
{
	auto_close int ns = ioctl(fd, SIOCGSKNS);
	struct stat st;

	if (ns < 0 || fstat(ns, &st) < 0)
		return -errno;
	*ret_ino = st.st_ino;
	if (ret_fd)
		*ret_fd = take_fd(&ns);
	return 0;
}
