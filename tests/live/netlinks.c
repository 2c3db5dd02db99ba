/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netlinks: netlink sockets of several protocols and types: ports, groups (small and large
 * numbers), destinations, options; they answer requests and hear notifications.
 */
#include "descriptors.h"
#include "sockets.h"
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

enum { FRESH, PLAIN, OWN_PORT, GROUPS, FAR_GROUP, UEVENT, GENERIC, CONNECTED, USER_A, USER_B, N };

static const int options[] = { NETLINK_PKTINFO, NETLINK_NO_ENOBUFS, NETLINK_BROADCAST_ERROR,
	NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK };

static struct {
	int type, protocol, fd;
	struct fd_note note;
	struct sockaddr_nl own, peer;
	uint32_t groups[8];
	int option[6];
} s[N] = {
	[FRESH] = { SOCK_RAW, NETLINK_ROUTE },
	[PLAIN] = { SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE },
	[OWN_PORT] = { SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_ROUTE },
	[GROUPS] = { SOCK_RAW, NETLINK_ROUTE },
	[FAR_GROUP] = { SOCK_RAW, NETLINK_ROUTE },
	[UEVENT] = { SOCK_DGRAM, NETLINK_KOBJECT_UEVENT },
	[GENERIC] = { SOCK_RAW, NETLINK_GENERIC },
	[CONNECTED] = { SOCK_RAW, NETLINK_ROUTE },
	[USER_A] = { SOCK_DGRAM, NETLINK_USERSOCK },
	[USER_B] = { SOCK_DGRAM, NETLINK_USERSOCK },
};

static void bind_to(int i, uint32_t port, uint32_t groups)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups };

	NEED(bind(s[i].fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

static uint32_t some_port(void)
{
	return 0x40000000u | ((uint32_t)(now() * 1e6) & 0xffffff);
}

static void look(int i, bool first)
{
	struct sockaddr_nl own = { 0 }, peer = { 0 };
	uint32_t groups[8] = { 0 };
	socklen_t len = sizeof(own);

	NEED(getsockname(s[i].fd, (struct sockaddr *)&own, &len) == 0);
	len = sizeof(peer);
	NEED(getpeername(s[i].fd, (struct sockaddr *)&peer, &len) == 0);
	len = sizeof(groups);
	NEED(getsockopt(s[i].fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &len) == 0);
	if (first) {
		s[i].own = own;
		s[i].peer = peer;
		memcpy(s[i].groups, groups, sizeof(groups));
	}
	if (memcmp(&own, &s[i].own, sizeof(own)))
		fail("socket %d has port %u groups %x, not %u, %x", i, own.nl_pid, own.nl_groups,
			s[i].own.nl_pid, s[i].own.nl_groups);
	if (memcmp(&peer, &s[i].peer, sizeof(peer)))
		fail("socket %d sends to %u groups %x, not %u, %x", i, peer.nl_pid, peer.nl_groups,
			s[i].peer.nl_pid, s[i].peer.nl_groups);
	if (memcmp(groups, s[i].groups, sizeof(groups)))
		fail("socket %d is in groups %x %x", i, groups[0], groups[1]);
	SAME(sock_int(s[i].fd, SO_TYPE), s[i].type & 0xf);
	for (int k = 0; k < 6; k++) {
		int v = -1;

		len = sizeof(v);
		NEED(getsockopt(s[i].fd, SOL_NETLINK, options[k], &v, &len) == 0);
		if (first)
			s[i].option[k] = v;
		if (v != s[i].option[k])
			fail("option %d of socket %d is %d, not %d", options[k], i, v, s[i].option[k]);
	}
}

/* Asks for the loopback device. */
static void ask(int fd)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 7, 0 }, { .ifi_index = 1 } };
	struct nlmsghdr *h;
	char buf[8192];

	SAME(send(fd, &q, sizeof(q), 0), sizeof(q));
	CHECK(recv(fd, buf, sizeof(buf), 0) > (ssize_t)sizeof(*h));
	h = (struct nlmsghdr *)buf;
	SAME(h->nlmsg_type, RTM_NEWLINK);
	SAME(h->nlmsg_seq, 7);
}

int main(int argc, char **argv)
{
	int one = 1, size = 50000;
	unsigned far = 36; /* RTNLGRP_BRVLAN and the like: beyond the first 32 */
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct got g;
	uint32_t port;

	subject_init(argc, argv);
	for (int i = 0; i < N; i++) {
		s[i].fd = socket(AF_NETLINK, s[i].type, s[i].protocol);
		NEED(s[i].fd >= 0);
	}
	port = some_port();
	bind_to(PLAIN, 0, 0);
	bind_to(OWN_PORT, port, 0);
	bind_to(GROUPS, 0, RTMGRP_NOTIFY);
	bind_to(FAR_GROUP, 0, 0);
	NEED(setsockopt(s[FAR_GROUP].fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &far, sizeof(far)) == 0);
	bind_to(UEVENT, 0, 4); /* a group nobody sends to */
	bind_to(GENERIC, 0, 0);
	NEED(connect(s[CONNECTED].fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	bind_to(USER_A, port + 1, 0);
	bind_to(USER_B, port + 2, 0);
	to.nl_pid = port + 2;
	NEED(connect(s[USER_A].fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	for (int k = 0; k < 6; k++)
		NEED(setsockopt(s[GENERIC].fd, SOL_NETLINK, options[k], &one, sizeof(one)) == 0);
	NEED(setsockopt(s[UEVENT].fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == 0);
	NEED(setsockopt(s[UEVENT].fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
	for (int i = 0; i < N; i++) {
		look(i, true);
		fd_note(&s[i].note, s[i].fd);
	}
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		look(i, false);
		fd_check(&s[i].note, s[i].fd, false);
	}
	SAME(sock_int(s[UEVENT].fd, SO_RCVBUF), 100000);
	SAME(sock_int(s[UEVENT].fd, SO_PASSCRED), 1);
	ask(s[PLAIN].fd);
	ask(s[CONNECTED].fd);
	ask(s[FRESH].fd);
	put(s[USER_A].fd, "from user to user", 17, NULL, 0);
	get(&g, s[USER_B].fd, 100);
	text_is(&g, "from user to user");
	SAME(((struct sockaddr_nl *)&g.from)->nl_pid, port + 1);
	pass();
}
