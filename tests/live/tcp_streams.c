// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Established connections, IPv4, IPv6 and mapped, both ends in one process: names, unread bytes,
 * bytes on the way that do not fit into the peer's buffer, and that all go on in both directions.
 */
#include "net.h"

enum { WIRES = 4, SMALL = 4000, BIG = 8 << 20 };

static struct wire wires[WIRES];
static struct ends ends[WIRES][2];
static size_t sent_big;
static char *big;

static void note_ends(void)
{
	for (int i = 0; i < WIRES; i++) {
		ends[i][0] = ends_of(wires[i].a);
		ends[i][1] = ends_of(wires[i].b);
	}
}

static void check_ends(void)
{
	for (int i = 0; i < WIRES; i++) {
		struct ends a = ends_of(wires[i].a), b = ends_of(wires[i].b);

		if (memcmp(&a, &ends[i][0], sizeof(a)) || memcmp(&b, &ends[i][1], sizeof(b)))
			fail("connection %d has other names", i);
		SAME(tcp_state(wires[i].a), TCP_ESTABLISHED);
		SAME(tcp_state(wires[i].b), TCP_ESTABLISHED);
	}
}

/* Until nothing more fits: full receive queue there, unsent bytes here. */
static void stuff(int fd)
{
	ssize_t n;

	fill(big, BIG, 99);
	while ((n = send(fd, big + sent_big, BIG - sent_big, MSG_DONTWAIT)) > 0)
		sent_big += n;
	NEED(sent_big > 0 && sent_big < BIG);
}

int main(int argc, char **argv)
{
	char small[SMALL], *in;
	int v4, v6;

	subject_init(argc, argv);
	big = map(BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	v4 = listen_on("127.0.0.1", 0, 5);
	v6 = listen_on("::", 0, 5);
	wires[0] = wire_make(v4, "127.0.0.1");
	wires[1] = wire_make(v6, "::1");
	wires[2] = wire_make(v6, "127.0.0.1");
	wires[3] = wire_make(v4, "127.0.0.1");
	fill(small, SMALL, 7);
	send_all(wires[0].a, small, SMALL);
	send_all(wires[1].b, small, SMALL);
	wire_works(wires[2], 5);
	stuff(wires[3].a);
	note_ends();
	ready();
	wait_term();

	check_ends();
	in = map(BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	recv_all(wires[0].b, in, SMALL);
	CHECK(holds(in, SMALL, 7));
	recv_all(wires[1].a, in, SMALL);
	CHECK(holds(in, SMALL, 7));
	recv_all(wires[3].b, in, sent_big);
	if (memcmp(in, big, sent_big))
		fail("the clogged connection has other bytes");
	for (int i = 0; i < WIRES; i++)
		wire_works(wires[i], 20 + i);
	/* the listeners still listen */
	wire_works(wire_make(v4, "127.0.0.1"), 50);
	wire_works(wire_make(v6, "::1"), 51);
	pass();
}
