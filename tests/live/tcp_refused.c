// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sockets that cannot be kept (argv[2]): pending (a listener with a connection nobody has accepted),
 * connecting, corked (a UDP datagram not sent yet), tls (a layer in the kernel), mptcp, zerocopy (sends
 * whose completions nobody has fetched), router (of multicasts), urgent data:
 * in front of others (urgent), alone (lone), in the stream (inline), fetched while what is in front of
 * them was not (fetched). After a dump that refused them everything goes on; after one that was allowed
 * to drop them the rest is there.
 */
#include "net.h"
#include <netinet/udp.h>

static int listener = -1, fd = -1;
static const char *what;
static struct wire wire;
static char text[5000];

enum { MRT_INIT_ = 200 /* linux/mroute.h */ };

static bool is_urgent(void)
{
	return !strcmp(what, "urgent") || !strcmp(what, "lone") || !strcmp(what, "inline") ||
		!strcmp(what, "fetched");
}

static void set_up_urgent(void)
{
	struct pollfd p = { .events = POLLPRI };
	struct wire plain;
	char c;

	listener = listen_on("127.0.0.1", 0, 5);
	plain = wire_make(listener, "127.0.0.1");
	NEED(send(plain.a, "plain", 5, 0) == 5);
	wire = wire_make(listener, "127.0.0.1");
	p.fd = wire.b;
	if (!strcmp(what, "inline"))
		set_option(wire.b, SOL_SOCKET, SO_OOBINLINE, 1);
	if (strcmp(what, "lone"))
		NEED(send(wire.a, "abc", 3, 0) == 3);
	NEED(send(wire.a, "d", 1, MSG_OOB) == 1);
	if (strcmp(what, "lone"))
		NEED(send(wire.a, "efg", 3, 0) == 3);
	NEED(poll(&p, 1, PATIENCE_MS) == 1);
	if (!strcmp(what, "fetched"))
		NEED(recv(wire.b, &c, 1, MSG_OOB) == 1 && c == 'd');
}

static void check_urgent(void)
{
	char buf[8] = "";

	if (!strcmp(what, "urgent") || !strcmp(what, "lone"))
		CHECK(recv(wire.b, buf, 1, MSG_OOB) == 1 && buf[0] == 'd');
	if (!strcmp(what, "lone"))
		return;
	SAME(recv(wire.b, buf, sizeof(buf), 0), 3);
	CHECK(!memcmp(buf, "abc", 3));
	if (!strcmp(what, "inline"))
		SAME(recv(wire.b, buf, 1, 0), 1);
	SAME(recv(wire.b, buf, 3, MSG_WAITALL), 3);
	CHECK(!memcmp(buf, "efg", 3));
}

static void set_up(void)
{
	union name n = name_make("10.99.99.99", 9);
	struct wire w;

	if (is_urgent()) {
		set_up_urgent();
	} else if (!strcmp(what, "pending")) {
		listener = listen_on("127.0.0.1", 0, 5);
		NEED(close(connect_to("127.0.0.1", port_of(listener))) == 0);
	} else if (!strcmp(what, "connecting")) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		NEED(connect(fd, &n.any, name_len(&n)) < 0 && errno == EINPROGRESS);
		SAME(tcp_state(fd), TCP_SYN_SENT);
	} else if (!strcmp(what, "corked")) {
		n = name_make("127.0.0.1", 9);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		set_option(fd, IPPROTO_UDP, UDP_CORK, 1);
		SAME(sendto(fd, "held", 4, 0, &n.any, name_len(&n)), 4);
	} else if (!strcmp(what, "router")) {
		fd = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP);
		NEED(fd >= 0);
		if (setsockopt(fd, IPPROTO_IP, MRT_INIT_, &(int){ 1 }, sizeof(int)) < 0)
			skip("no multicast routing in this kernel: %s", strerror(errno));
	} else if (!strcmp(what, "zerocopy")) {
		listener = listen_on("127.0.0.1", 0, 5);
		wire = wire_make(listener, "127.0.0.1");
		set_option(wire.a, SOL_SOCKET, SO_ZEROCOPY, 1);
		NEED(send(wire.a, text, sizeof(text), MSG_ZEROCOPY) == sizeof(text));
		NEED(poll(&(struct pollfd){ .fd = wire.a }, 1, PATIENCE_MS) == 1);
	} else if (!strcmp(what, "mptcp")) {
		/* the accepted end is a TCP socket, the one that connected is not */
		listener = listen_on("127.0.0.1", 0, 5);
		fd = socket(AF_INET, SOCK_STREAM, 262);
		if (fd < 0)
			skip("no MPTCP in this kernel: %s", strerror(errno));
		n = name_make("127.0.0.1", port_of(listener));
		NEED(connect(fd, &n.any, name_len(&n)) == 0);
	} else {
		listener = listen_on("127.0.0.1", 0, 5);
		w = wire_make(listener, "127.0.0.1");
		fd = w.a;
		if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 3) < 0)
			skip("no TLS in this kernel: %s", strerror(errno));
	}
}

int main(int argc, char **argv)
{
	subject_init(argc, argv);
	NEED(argc > 2);
	what = argv[2];
	set_up();
	ready();
	wait_term();
	if (!strcmp(what, "pending")) {
		int other = connect_to("127.0.0.1", port_of(listener));

		CHECK(accept(listener, NULL, NULL) >= 0 && close(other) == 0);
	}
	if (is_urgent())
		check_urgent();
	if (!strcmp(what, "zerocopy"))
		CHECK(recvmsg(wire.a, &(struct msghdr){ 0 }, MSG_ERRQUEUE | MSG_DONTWAIT) == 0);
	if (fd >= 0)
		CHECK(fcntl(fd, F_GETFD) >= 0);
	pass();
}
