// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Half-closed connections in every state a descriptor can be in, with and without bytes in the
 * queues: FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING. A peer that does not answer (so that
 * FIN_WAIT1, CLOSING and LAST_ACK last) is made by a receive buffer that is full.
 */
#include "net.h"

enum { CHUNK = 3000, ROOM = 8 << 20 };

static struct wire closed[2]; /* a has shut down: FIN_WAIT2 and CLOSE_WAIT; without and with bytes */
static struct wire stuck; /* a has shut down behind bytes which b has no room for: FIN_WAIT1 */
static struct wire last; /* b has shut down, then a behind bytes that do not fit: LAST_ACK */
static struct wire both; /* a has shut down behind bytes that do not fit, then b: CLOSING */
static size_t stuck_len, last_len, both_len;
static char bytes[CHUNK], *room;

static size_t stuff(int fd, uint64_t seed)
{
	size_t len = 0;
	ssize_t n;

	fill(room, ROOM, seed);
	while ((n = send(fd, room + len, ROOM - len, MSG_DONTWAIT)) > 0)
		len += n;
	NEED(len > 0 && len < ROOM);
	return len;
}

static void check_stuffed(int fd, size_t len, uint64_t seed)
{
	char *in = map(ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);

	fill(room, ROOM, seed);
	recv_all(fd, in, len);
	if (memcmp(in, room, len))
		fail("other bytes than were sent (seed %d)", (int)seed);
	recv_end(fd);
	munmap(in, ROOM);
}

static void set_up(int listener)
{
	for (int i = 0; i < 2; i++)
		closed[i] = wire_make(listener, "127.0.0.1");
	fill(bytes, CHUNK, 3);
	send_all(closed[1].a, bytes, CHUNK);
	send_all(closed[1].b, bytes, CHUNK);
	for (int i = 0; i < 2; i++) {
		NEED(shutdown(closed[i].a, SHUT_WR) == 0);
		NEED(reaches_state(closed[i].a, TCP_FIN_WAIT2));
		NEED(reaches_state(closed[i].b, TCP_CLOSE_WAIT));
	}
	stuck = wire_make(listener, "127.0.0.1");
	stuck_len = stuff(stuck.a, 11);
	NEED(shutdown(stuck.a, SHUT_WR) == 0);
	SAME(tcp_state(stuck.a), TCP_FIN_WAIT1);
	last = wire_make(listener, "127.0.0.1");
	last_len = stuff(last.a, 12);
	NEED(shutdown(last.b, SHUT_WR) == 0);
	NEED(reaches_state(last.a, TCP_CLOSE_WAIT));
	NEED(shutdown(last.a, SHUT_WR) == 0);
	SAME(tcp_state(last.a), TCP_LAST_ACK);
	NEED(reaches_state(last.b, TCP_FIN_WAIT2));
	both = wire_make(listener, "127.0.0.1");
	both_len = stuff(both.a, 13);
	NEED(shutdown(both.a, SHUT_WR) == 0 && shutdown(both.b, SHUT_WR) == 0);
	NEED(reaches_state(both.a, TCP_CLOSING));
	NEED(reaches_state(both.b, TCP_FIN_WAIT2));
}

int main(int argc, char **argv)
{
	char in[CHUNK];
	int listener;

	subject_init(argc, argv);
	room = map(ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	listener = listen_on("127.0.0.1", 0, 5);
	set_up(listener);
	ready();
	wait_term();

	for (int i = 0; i < 2; i++) {
		SAME(tcp_state(closed[i].a), TCP_FIN_WAIT2);
		SAME(tcp_state(closed[i].b), TCP_CLOSE_WAIT);
		if (i) {
			recv_all(closed[i].b, in, CHUNK);
			CHECK(holds(in, CHUNK, 3));
			recv_all(closed[i].a, in, CHUNK);
			CHECK(holds(in, CHUNK, 3));
		}
		recv_end(closed[i].b);
		/* the open half goes on, then closes */
		send_all(closed[i].b, bytes, CHUNK);
		recv_all(closed[i].a, in, CHUNK);
		CHECK(holds(in, CHUNK, 3));
		CHECK(shutdown(closed[i].b, SHUT_WR) == 0);
		recv_end(closed[i].a);
	}
	SAME(tcp_state(stuck.a), TCP_FIN_WAIT1);
	check_stuffed(stuck.b, stuck_len, 11);
	CHECK(reaches_state(stuck.a, TCP_FIN_WAIT2));
	send_all(stuck.b, bytes, CHUNK);
	recv_all(stuck.a, in, CHUNK);
	SAME(tcp_state(last.a), TCP_LAST_ACK);
	SAME(tcp_state(last.b), TCP_FIN_WAIT2);
	recv_end(last.a);
	check_stuffed(last.b, last_len, 12);
	CHECK(reaches_state(last.a, TCP_CLOSE));
	SAME(tcp_state(both.a), TCP_CLOSING);
	SAME(tcp_state(both.b), TCP_FIN_WAIT2);
	recv_end(both.a);
	check_stuffed(both.b, both_len, 13);
	CHECK(reaches_state(both.a, TCP_CLOSE));
	pass();
}
