/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of sockets: ours are found with what we know of them. In a network namespace of the test's
 * own: in a list of which others' sockets come and go the kernel may miss one or tell it twice.
 */
#include "kernel/sock_diag.h"
#include "base/cleanup.h"
#include "tests/unit/tap.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static uint32_t ino_of(int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	return (uint32_t)st.st_ino;
}

/* The answer for one inode. */
struct want {
	uint32_t ino;
	unsigned found;
	struct diag_unix u;
	char name[108];
	uint32_t icon;
	struct diag_inet i;
	struct diag_netlink n;
	uint32_t group_word;
	struct diag_packet p;
};

static int each_unix(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct want *w = ctx;
	struct diag_unix u;

	if (!diag_parse_unix(payload, len, &u))
		return err_bug(err, "not understood");
	if (u.ino != w->ino)
		return 0;
	w->found++;
	w->u = u;
	if (u.name && u.name_len <= sizeof(w->name))
		memcpy(w->name, u.name, u.name_len);
	if (u.n_icons)
		memcpy(&w->icon, u.icons, 4);
	return 0;
}

static int each_inet(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct want *w = ctx;
	struct diag_inet i;

	if (!diag_parse_inet(payload, len, &i))
		return err_bug(err, "not understood");
	if (i.msg.idiag_inode != w->ino)
		return 0;
	w->found++;
	w->i = i;
	return 0;
}

static int each_netlink(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct want *w = ctx;
	struct diag_netlink n;

	if (!diag_parse_netlink(payload, len, &n))
		return err_bug(err, "not understood");
	if (n.ino != w->ino)
		return 0;
	w->found++;
	w->n = n;
	if (n.n_groups)
		memcpy(&w->group_word, n.groups, 4);
	return 0;
}

static int each_packet(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct want *w = ctx;
	struct diag_packet p;

	if (!diag_parse_packet(payload, len, &p))
		return err_bug(err, "not understood");
	if (p.ino != w->ino)
		return 0;
	w->found++;
	w->p = p;
	return 0;
}

static void test_unix(struct tap *t, int diag)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "\0torpor-unit-diag" };
	socklen_t len = (socklen_t)(sizeof(sa_family_t) + 17);
	auto_close int l = socket(AF_UNIX, SOCK_STREAM, 0);
	auto_close int c = socket(AF_UNIX, SOCK_STREAM, 0);
	struct want w = { .ino = ino_of(l) };
	struct err err = ERR_INIT;
	int pair[2];

	if (bind(l, (struct sockaddr *)&name, len) < 0 || listen(l, 9) < 0 ||
		connect(c, (struct sockaddr *)&name, len) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || write(pair[1], "abc", 3) != 3 ||
		shutdown(pair[1], SHUT_WR) < 0) {
		tap_ok(t, false, "unix sockets", NULL);
		return;
	}
	tap_ok(t, sock_diag_unix(diag, each_unix, &w, &err) == 0 && w.found == 1, "a listener", &err);
	tap_ok(t, w.u.state == 10 && w.u.type == SOCK_STREAM && w.u.wqueue == 9 && w.u.rqueue == 1 &&
		w.u.n_icons == 1 && w.icon == ino_of(c) && w.u.name_len == 17 &&
		!memcmp(w.name, name.sun_path, 17), "its backlog, client and name", NULL);
	w = (struct want){ .ino = ino_of(c) };
	tap_ok(t, sock_diag_unix(diag, each_unix, &w, &err) == 0 && w.found == 1 && w.u.has_peer &&
		!w.u.peer, "a client nobody accepted", &err);
	w = (struct want){ .ino = ino_of(pair[0]) };
	tap_ok(t, sock_diag_unix(diag, each_unix, &w, &err) == 0 && w.found == 1 &&
		w.u.peer == ino_of(pair[1]) && w.u.rqueue == 3 && w.u.shutdown == 1 && !w.u.name,
		"one of a pair", &err);
	close(pair[0]);
	close(pair[1]);
}

static void test_others(struct tap *t, int diag)
{
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK, .nl_groups = 5 };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	auto_close int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	auto_close int udp = socket(AF_INET, SOCK_DGRAM, 0);
	auto_close int packet = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ARP));
	struct want w = { .ino = ino_of(netlink) };
	struct err err = ERR_INIT;
	socklen_t len = sizeof(nl);

	if (bind(netlink, (struct sockaddr *)&nl, len) < 0 ||
		getsockname(netlink, (struct sockaddr *)&nl, &len) < 0 ||
		bind(udp, (struct sockaddr *)&in, sizeof(in)) < 0) {
		tap_ok(t, false, "netlink and UDP", NULL);
		return;
	}
	tap_ok(t, sock_diag_netlink(diag, each_netlink, &w, &err) == 0 && w.found >= 1 &&
		w.n.portid == nl.nl_pid && w.n.n_groups >= 1 && w.group_word == 5, "netlink", &err);
	len = sizeof(in);
	getsockname(udp, (struct sockaddr *)&in, &len);
	w = (struct want){ .ino = ino_of(udp) };
	tap_ok(t, sock_diag_inet(diag, AF_INET, IPPROTO_UDP, each_inet, &w, &err) == 0 &&
		w.found == 1 && w.i.msg.id.idiag_sport == in.sin_port, "UDP", &err);
	w = (struct want){ .ino = ino_of(packet) };
	tap_ok(t, packet < 0 || (sock_diag_packet(diag, each_packet, &w, &err) == 0 &&
		w.found == 1 && w.p.num == ETH_P_ARP && w.p.type == SOCK_DGRAM), "packet", &err);
}

static void test_namespace(struct tap *t)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	auto_close int ns = -1;
	auto_close int diag = -1;
	struct want w = { .ino = ino_of(fd) };
	struct err err = ERR_INIT;
	struct stat st = { 0 };
	ino_t ino = 0;

	stat("/proc/self/ns/net", &st);
	tap_ok(t, socket_netns(fd, &ino, &ns) == 0 && ino == st.st_ino, "namespace of a socket", NULL);
	tap_ok(t, sock_diag_open(ns, &diag, &err) == 0 &&
		sock_diag_unix(diag, each_unix, &w, &err) == 0 && w.found == 1,
		"asked in a namespace by descriptor", &err);
}

/* Without the right to it, among all the others. */
static void own_network(void)
{
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	auto_close int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &up) < 0)
		printf("# lo is not up: %m\n");
}

int main(void)
{
	struct tap t = { 0 };
	struct err err = ERR_INIT;
	auto_close int diag = -1;

	own_network();
	tap_ok(&t, sock_diag_open(-1, &diag, &err) == 0, "opened", &err);
	test_unix(&t, diag);
	test_others(&t, diag);
	test_namespace(&t);
	tap_ok(&t, sock_diag_inet(diag, 99, IPPROTO_TCP, each_inet, &(struct want){ 0 }, &err) < 0 &&
		err_is_set(&err), "a family that is not there", NULL);
	return tap_done(&t);
}
