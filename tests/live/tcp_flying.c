// SPDX-License-Identifier: GPL-2.0-or-later
/* Both ends of a TCP connection lie in the queue of a unix socket, with bytes on their way. */
#include "net.h"
#include "sockets.h"

int main(int argc, char **argv)
{
	char bytes[64], in[64];
	struct got g;
	struct wire w;
	int listener, sv[2];

	subject_init(argc, argv);
	listener = listen_on("127.0.0.1", 0, 5);
	w = wire_make(listener, "127.0.0.1");
	fill(bytes, sizeof(bytes), 8);
	send_all(w.a, bytes, sizeof(bytes));
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
	put(sv[0], "ends", 4, (int[]){ w.a, w.b }, 2);
	NEED(close(w.a) == 0 && close(w.b) == 0 && close(listener) == 0);
	ready();
	wait_term();
	get(&g, sv[1], 4);
	SAME(g.n_fds, 2);
	w = (struct wire){ g.fds[0], g.fds[1] };
	recv_all(w.b, in, sizeof(in));
	CHECK(holds(in, sizeof(in), 8));
	wire_works(w, 9);
	SAME(get_option(w.a, SOL_SOCKET, SO_REUSEADDR), 0);
	pass();
}
