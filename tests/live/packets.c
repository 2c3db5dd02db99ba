/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * packets: packet sockets on the loopback device, with a protocol number of the run's own:
 * types, options, memberships, a filter, a fanout group, receive rings of versions 2 and 3 which are
 * mapped, one of them in a child too.
 */
#include "descriptors.h"
#include "sockets.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

enum { RAW, COOKED, QUIET, FILTERED, FAN_A, FAN_B, RING2, RING3, N };
enum { LO = 1, BLOCK = 4096, BLOCKS = 4, FRAME = 2048 };

static int s[N];
static struct fd_note notes[N];
static char *ring2, *ring3;
static int port, protocol; /* distinguish runs, which share the device */

static const int options[] = { PACKET_AUXDATA, PACKET_ORIGDEV, PACKET_VERSION, PACKET_RESERVE,
	PACKET_LOSS, PACKET_VNET_HDR, PACKET_TIMESTAMP, PACKET_FANOUT, PACKET_QDISC_BYPASS,
	PACKET_IGNORE_OUTGOING };
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };
static int values[N][N_OPTIONS];
static struct sockaddr_ll names[N];

static int number(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_PACKET, option, &v, &len) < 0 ? -2 : v;
}

static void set(int fd, int option, int value)
{
	if (setsockopt(fd, SOL_PACKET, option, &value, sizeof(value)) < 0)
		fail("cannot set option %d of a packet socket: %s", option, strerror(errno));
}

static void bind_to(int fd)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol),
		.sll_ifindex = LO };

	NEED(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

/* A frame with our protocol over the loopback device. */
static void transmit(const char *text)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol),
		.sll_ifindex = LO, .sll_halen = 6 };
	char payload[64];
	int fd = socket(AF_PACKET, SOCK_DGRAM, 0);

	snprintf(payload, sizeof(payload), "%d %s", port, text);
	CHECK(fd >= 0);
	SAME(sendto(fd, payload, strlen(payload) + 1, 0, (struct sockaddr *)&a, sizeof(a)),
		strlen(payload) + 1);
	close(fd);
}

/* Whether a frame of this run has come, within that time. */
static bool hears(int fd, int skip, const char *text, int ms)
{
	char buf[256], want[64];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	snprintf(want, sizeof(want), "%d %s", port, text);
	while (poll(&p, 1, ms) > 0) {
		ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

		buf[n > 0 ? n : 0] = 0;
		if (n > skip && !strcmp(buf + skip, want))
			return true;
	}
	return false;
}

/* Two frames, "one" and "two", were sent to two sockets that take turns: each has one of them. */
static void check_turns(int a, int b)
{
	const int fds[2] = { a, b };
	unsigned got[2] = { 0 };
	char buf[256], want[2][64];

	snprintf(want[0], sizeof(want[0]), "%d one", port);
	snprintf(want[1], sizeof(want[1]), "%d two", port);
	for (int i = 0; i < PATIENCE_MS && (got[0] | got[1]) != 3; i++) {
		ssize_t n;

		for (int k = 0; k < 2; k++)
			while ((n = recv(fds[k], buf, sizeof(buf) - 1, MSG_DONTWAIT)) > 0) {
				buf[n] = 0;
				got[k] |= !strcmp(buf, want[0]) ? 1 : !strcmp(buf, want[1]) ? 2 : 0;
			}
		usleep(1000);
	}
	if (got[0] + got[1] != 3 || got[0] == 3 || got[1] == 3)
		fail("of two frames a group of two has got %u and %u", got[0], got[1]);
}

static void make_ring(int fd, int version, char **ret)
{
	struct tpacket_req3 q = { .tp_block_size = BLOCK, .tp_block_nr = BLOCKS, .tp_frame_size = FRAME,
		.tp_frame_nr = BLOCK * BLOCKS / FRAME, .tp_retire_blk_tov = 20 };

	set(fd, PACKET_VERSION, version);
	if (version == TPACKET_V2)
		set(fd, PACKET_RESERVE, 16);
	NEED(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &q,
		version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req)) == 0);
	*ret = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(*ret != MAP_FAILED);
}

/* Whether the ring holds the text somewhere. */
static bool ring_hears(int fd, const char *ring, const char *text)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char want[64];

	snprintf(want, sizeof(want), "%d %s", port, text);
	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		poll(&p, 1, 10);
		if (memmem(ring, BLOCK * BLOCKS, want, strlen(want)))
			return true;
		usleep(p.revents ? 10000 : 0); /* it holds other frames */
	}
	return false;
}

static void set_up(void)
{
	struct packet_mreq m = { .mr_ifindex = LO, .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6,
		.mr_address = { 1, 0, 0x5e, 1, 2, 3 } };
	/* frames whose 2nd word is not as expected are dropped */
	struct sock_filter none[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { 1, none };
	int group = port & 0xffff;

	for (int i = 0; i < N; i++) {
		s[i] = socket(AF_PACKET, i == RAW ? SOCK_RAW | SOCK_NONBLOCK : SOCK_DGRAM, 0);
		if (s[i] < 0)
			skip("no packet sockets: %s", strerror(errno));
	}
	set(s[RAW], PACKET_AUXDATA, 1);
	set(s[RAW], PACKET_ORIGDEV, 1);
	set(s[RAW], PACKET_VNET_HDR, 1);
	set(s[COOKED], PACKET_TIMESTAMP, 0x10);
	set(s[COOKED], PACKET_IGNORE_OUTGOING, 1);
	set(s[COOKED], PACKET_QDISC_BYPASS, 1);
	NEED(setsockopt(s[RAW], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) == 0);
	NEED(setsockopt(s[RAW], SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) == 0);
	NEED(setsockopt(s[FILTERED], SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) == 0);
	make_ring(s[RING2], TPACKET_V2, &ring2);
	make_ring(s[RING3], TPACKET_V3, &ring3);
	for (int i = 0; i < N; i++)
		if (i != QUIET)
			bind_to(s[i]);
	set(s[FAN_A], PACKET_FANOUT, group | PACKET_FANOUT_LB << 16);
	set(s[FAN_B], PACKET_FANOUT, group | PACKET_FANOUT_LB << 16);
}

static void note(void)
{
	for (int i = 0; i < N; i++) {
		socklen_t len = sizeof(names[i]);

		fd_note(&notes[i], s[i]);
		NEED(getsockname(s[i], (struct sockaddr *)&names[i], &len) == 0);
		for (int k = 0; k < N_OPTIONS; k++)
			values[i][k] = number(s[i], options[k]);
	}
}

static void check(void)
{
	for (int i = 0; i < N; i++) {
		struct sockaddr_ll name = { 0 };
		socklen_t len = sizeof(name);

		fd_check(&notes[i], s[i], false);
		CHECK(getsockname(s[i], (struct sockaddr *)&name, &len) == 0);
		if (name.sll_protocol != names[i].sll_protocol || name.sll_ifindex != names[i].sll_ifindex)
			fail("socket %d has protocol %x device %d", i, name.sll_protocol, name.sll_ifindex);
		for (int k = 0; k < N_OPTIONS; k++)
			if (number(s[i], options[k]) != values[i][k])
				fail("option %d of socket %d is %d, not %d", options[k], i,
					number(s[i], options[k]), values[i][k]);
	}
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	CHECK(ring_hears(s[RING2], ring2, "one"));
}

int main(int argc, char **argv)
{
	pid_t pid;

	subject_init(argc, argv);
	port = (int)((long)(now() * 1e6) % 1000000000);
	protocol = 0xa000 | port % 0x1000;
	set_up();
	pid = child(kid, NULL);
	note();
	ready();
	wait_term();
	check();
	transmit("one");
	CHECK(hears(s[RAW], 10 + ETH_HLEN, "one", PATIENCE_MS));
	CHECK(hears(s[COOKED], 0, "one", PATIENCE_MS));
	CHECK(!hears(s[QUIET], 0, "one", 300));
	CHECK(!hears(s[FILTERED], 0, "one", 300));
	CHECK(ring_hears(s[RING2], ring2, "one"));
	CHECK(ring_hears(s[RING3], ring3, "one"));
	/* one of the group has it, and the next one goes to the other */
	transmit("two");
	check_turns(s[FAN_A], s[FAN_B]);
	child_end(pid);
	pass();
}
