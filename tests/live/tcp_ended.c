// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sockets whose connection is over: what nobody has read yet is still there, then come the end or the
 * error, once. Both sides have closed (a first, or b), the peer has sent a reset, the error was read
 * already, nobody listened.
 */
#include "net.h"

enum { CHUNK = 30000, ENDS = 6 };

static int fds[ENDS], listener;
static char bytes[CHUNK];

static int end_of(struct wire w)
{
	NEED(close(w.b) == 0);
	NEED(reaches_state(w.a, TCP_CLOSE));
	return w.a;
}

static void reset_by(int fd)
{
	struct linger linger = { 1, 0 };

	NEED(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
}

static void set_up(const char *address)
{
	struct wire w;
	union name n;

	for (int i = 0; i < 2; i++) {
		w = wire_make(listener, address);
		send_all(w.b, bytes, CHUNK);
		if (i)
			NEED(shutdown(w.b, SHUT_WR) == 0 && reaches_state(w.a, TCP_CLOSE_WAIT));
		NEED(shutdown(w.a, SHUT_WR) == 0);
		recv_end(w.b);
		fds[i] = end_of(w);
	}
	for (int i = 2; i < 5; i++) {
		w = wire_make(listener, address);
		if (i == 2)
			send_all(w.b, bytes, CHUNK);
		reset_by(w.b);
		fds[i] = end_of(w);
	}
	SAME(get_option(fds[4], SOL_SOCKET, SO_ERROR), ECONNRESET);
	/* bound, but it does not listen */
	w.b = socket(listener >= 0 && strchr(address, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	n = name_make(address, 0);
	NEED(bind(w.b, &n.any, name_len(&n)) == 0);
	n = name_make(address, port_of(w.b));
	fds[5] = socket(n.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	NEED(connect(fds[5], &n.any, name_len(&n)) < 0 && errno == EINPROGRESS);
	NEED(reaches_state(fds[5], TCP_CLOSE) && close(w.b) == 0);
}

static void expect_error(int fd, int number)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	char c;

	CHECK(poll(&p, 1, 0) == 1);
	CHECK(p.revents & POLLIN && p.revents & POLLHUP);
	SAME(!!(p.revents & POLLERR), !!number);
	if (number)
		CHECK(recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == number);
}

static void check(int listening)
{
	static const int errors[ENDS] = { 0, 0, ECONNRESET, ECONNRESET, 0, ECONNREFUSED };
	char in[CHUNK];

	for (int i = 0; i < ENDS; i++) {
		SAME(tcp_state(fds[i]), TCP_CLOSE);
		if (i < 3) {
			int len;

			CHECK(ioctl(fds[i], FIONREAD, &len) == 0);
			SAME(len, CHUNK);
			recv_all(fds[i], in, CHUNK);
			CHECK(holds(in, CHUNK / 8 * 8, 3));
		}
		expect_error(fds[i], errors[i]);
		recv_end(fds[i]);
		CHECK(send(fds[i], in, 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
		CHECK(close(fds[i]) == 0);
	}
	CHECK(close(listening) == 0);
}

int main(int argc, char **argv)
{
	int other[ENDS], spare;

	subject_init(argc, argv);
	fill(bytes, CHUNK, 3);
	listener = listen_on("127.0.0.1", 0, 5);
	set_up("127.0.0.1");
	memcpy(other, fds, sizeof(fds));
	spare = listener;
	listener = listen_on("::1", 0, 5);
	set_up("::1");
	ready();
	wait_term();
	check(listener);
	memcpy(fds, other, sizeof(fds));
	check(spare);
	pass();
}
