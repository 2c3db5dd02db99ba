// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * MPTCP sockets without a connection: listening ones, as newer Go programs have them, and one that is
 * new. A peer that knows only TCP has connected; afterwards peers of both kinds can.
 */
#include "net.h"

enum { MPTCP = 262 };

static int listener, listener6, fresh;

static int mptcp_socket(int family)
{
	int fd = socket(family, SOCK_STREAM, MPTCP);

	if (fd < 0)
		skip("no MPTCP in this kernel: %s", strerror(errno));
	return fd;
}

static int mptcp_listen(const char *address)
{
	union name n = name_make(address, 0);
	int fd = mptcp_socket(n.any.sa_family);

	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	NEED(bind(fd, &n.any, name_len(&n)) == 0 && listen(fd, 7) == 0);
	return fd;
}

static void check_peer(int fd, const char *address)
{
	union name n = name_make(address, port_of(fd));
	struct wire w = { .a = mptcp_socket(n.any.sa_family) };

	CHECK(connect(w.a, &n.any, name_len(&n)) == 0);
	w.b = accept(fd, NULL, NULL);
	CHECK(w.b >= 0);
	wire_works(w, 3);
	wire_works(wire_make(fd, address), 4);
	SAME(get_option(fd, SOL_SOCKET, SO_PROTOCOL), MPTCP);
	SAME(get_option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	SAME(get_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
}

int main(int argc, char **argv)
{
	struct wire w;

	subject_init(argc, argv);
	listener = mptcp_listen("127.0.0.1");
	listener6 = mptcp_listen("::1");
	fresh = mptcp_socket(AF_INET);
	set_option(fresh, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fresh, IPPROTO_TCP, TCP_KEEPIDLE, 111);
	w = wire_make(listener, "127.0.0.1");
	SAME(get_option(w.b, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	ready();
	wait_term();
	wire_works(w, 2);
	check_peer(listener, "127.0.0.1");
	check_peer(listener6, "::1");
	SAME(get_option(fresh, SOL_SOCKET, SO_PROTOCOL), MPTCP);
	SAME(get_option(fresh, SOL_SOCKET, SO_KEEPALIVE), 1);
	SAME(get_option(fresh, IPPROTO_TCP, TCP_KEEPIDLE), 111);
	pass();
}
