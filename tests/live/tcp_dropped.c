// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What --tcp-close leaves of connections: descriptors of closed sockets. The listener goes on, and a
 * closed socket can be connected again.
 */
#include "net.h"

int main(int argc, char **argv)
{
	union name n = { 0 };
	struct wire w[2];
	int listener;

	subject_init(argc, argv);
	listener = listen_on("127.0.0.1", 0, 5);
	for (int i = 0; i < 2; i++)
		w[i] = wire_make(listener, "127.0.0.1");
	NEED(shutdown(w[1].a, SHUT_WR) == 0 && reaches_state(w[1].b, TCP_CLOSE_WAIT));
	send_all(w[0].a, "hello", 5);
	ready();
	wait_term();

	for (int i = 0; i < 2; i++) {
		socklen_t len = sizeof(n);

		SAME(tcp_state(w[i].a), TCP_CLOSE);
		SAME(tcp_state(w[i].b), TCP_CLOSE);
		CHECK(getpeername(w[i].a, &n.any, &len) < 0 && errno == ENOTCONN);
		CHECK(send(w[i].b, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	}
	n = name_make("127.0.0.1", port_of(listener));
	CHECK(connect(w[0].a, &n.any, name_len(&n)) == 0);
	w[0].b = accept(listener, NULL, NULL);
	wire_works(w[0], 9);
	pass();
}
