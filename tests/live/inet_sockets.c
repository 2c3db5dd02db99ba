// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Internet sockets without a TCP connection: listeners (backlog, both families, a REUSEPORT group,
 * bound to a device), bound and fresh ones, UDP and UDP-Lite (bound, connected, datagrams that
 * wait, with their senders), raw and ping sockets. All keep their names and do their work.
 */
#include "net.h"
#include <netinet/ip_icmp.h>

enum { UDPLITE = 136, GROUP = 3, QUEUE = 6 };

struct item {
	const char *what;
	int fd;
	struct ends ends;
	int domain, type, protocol;
};

/* Ping sockets are for groups which a sysctl of the network namespace names. */
static int ping_socket(void)
{
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);

	NEED(fd >= 0 && write(fd, "0 1000", 6) == 6 && close(fd) == 0);
	return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

/* The group on lo, and what a member of it gets. */
static int group_socket(const char *group, int *ret_sender)
{
	struct group_req join = { .gr_interface = 1 };
	struct group_source_req block = { .gsr_interface = 1 };
	union name n = name_make(group, 0), other = name_make("10.1.2.3", 0);
	int fd = socket(n.any.sa_family, SOCK_DGRAM, 0);
	struct in_addr lo = { htonl(INADDR_LOOPBACK) };

	NEED(fd >= 0 && bind(fd, &n.any, name_len(&n)) == 0);
	memcpy(&join.gr_group, &n, sizeof(n));
	NEED(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &join, sizeof(join)) == 0);
	memcpy(&block.gsr_group, &n, sizeof(n));
	memcpy(&block.gsr_source, &other, sizeof(other));
	NEED(setsockopt(fd, IPPROTO_IP, MCAST_BLOCK_SOURCE, &block, sizeof(block)) == 0);
	*ret_sender = socket(n.any.sa_family, SOCK_DGRAM, 0);
	NEED(setsockopt(*ret_sender, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof(lo)) == 0);
	return fd;
}

static void check_group(int fd, int sender, const char *group)
{
	union name there = name_make(group, port_of(fd));
	struct pollfd w = { .fd = fd, .events = POLLIN };
	_Alignas(struct group_filter) char buf[GROUP_FILTER_SIZE(4)] = { 0 };
	struct group_filter *f = (void *)buf;
	socklen_t len = sizeof(buf);
	char text[8];

	SAME(sendto(sender, "all", 3, 0, &there.any, name_len(&there)), 3);
	CHECK(poll(&w, 1, PATIENCE_MS) == 1);
	SAME(recv(fd, text, sizeof(text), 0), 3);
	f->gf_interface = 1;
	f->gf_numsrc = 4;
	there = name_make(group, 0);
	memcpy(&f->gf_group, &there, sizeof(there));
	CHECK(getsockopt(fd, IPPROTO_IP, MCAST_MSFILTER, f, &len) == 0);
	SAME(f->gf_fmode, MCAST_EXCLUDE);
	SAME(f->gf_numsrc, 1);
	CHECK(((struct sockaddr_in *)&f->gf_slist[0])->sin_addr.s_addr == htonl(0x0a010203));
}

static struct item items[32];
static int n_items;

static int add(const char *what, int fd)
{
	NEED(fd >= 0 && n_items < 32);
	items[n_items++] = (struct item){ .what = what, .fd = fd };
	return fd;
}

static void note_items(void)
{
	for (struct item *i = items; i < items + n_items; i++) {
		i->ends = ends_of(i->fd);
		i->domain = get_option(i->fd, SOL_SOCKET, SO_DOMAIN);
		i->type = get_option(i->fd, SOL_SOCKET, SO_TYPE);
		i->protocol = get_option(i->fd, SOL_SOCKET, SO_PROTOCOL);
	}
}

static void check_items(void)
{
	for (struct item *i = items; i < items + n_items; i++) {
		struct ends e = ends_of(i->fd);

		if (memcmp(&e, &i->ends, sizeof(e)))
			fail("%s has another name (port %d)", i->what, port_of(i->fd));
		if (get_option(i->fd, SOL_SOCKET, SO_DOMAIN) != i->domain ||
			get_option(i->fd, SOL_SOCKET, SO_TYPE) != i->type ||
			get_option(i->fd, SOL_SOCKET, SO_PROTOCOL) != i->protocol)
			fail("%s is of another kind", i->what);
	}
}

static int bound(const char *address, int port, int type, int protocol)
{
	union name n = name_make(address, port);
	int fd = socket(n.any.sa_family, type, protocol);

	NEED(fd >= 0 && bind(fd, &n.any, name_len(&n)) == 0);
	return fd;
}

static int group_of(int port)
{
	union name n = name_make("127.0.0.1", port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	NEED(bind(fd, &n.any, name_len(&n)) == 0 && listen(fd, 9) == 0);
	return fd;
}

static int backlog_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
	SAME(info.tcpi_state, TCP_LISTEN);
	return info.tcpi_sacked;
}

/* A datagram from one to the other, with the right sender. */
static void check_datagram(int from, int to, const char *address, const char *text)
{
	union name there = name_make(address, port_of(to)), sender, mine = ends_of(from).ours;
	socklen_t len = sizeof(sender);
	struct pollfd w = { .fd = to, .events = POLLIN };
	char buf[64] = "";

	SAME(sendto(from, text, strlen(text), 0, &there.any, name_len(&there)), (int)strlen(text));
	CHECK(poll(&w, 1, PATIENCE_MS) == 1);
	SAME(recvfrom(to, buf, sizeof(buf), 0, &sender.any, &len), (int)strlen(text));
	CHECK(!strcmp(buf, text));
	CHECK(sender.v4.sin_port == mine.v4.sin_port);
}

/* Bytes of memory that what waits in the socket takes (SK_MEMINFO_RMEM_ALLOC). */
static unsigned waits_in(int fd)
{
	unsigned info[9] = { 0 };
	socklen_t len = sizeof(info);

	NEED(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0);
	return info[0];
}

/* It is there before this returns: the device may take a moment. */
static void put_datagram(int from, int to, const char *text, int len)
{
	union name there = name_make("127.0.0.1", port_of(to));
	unsigned before = waits_in(to);

	NEED(sendto(from, text, len, 0, &there.any, name_len(&there)) == len);
	for (int k = 0; k < PATIENCE_MS && waits_in(to) == before; k++)
		usleep(1000);
	NEED(waits_in(to) > before);
}

/* Every third is empty. */
static void fill_queue(int from, int to)
{
	char buf[64];

	for (int i = 0; i < QUEUE; i++) {
		int n = snprintf(buf, sizeof(buf), "datagram %d", i);

		put_datagram(from, to, buf, i % 3 ? n + i : 0);
	}
}

static void expect_datagram(int from, int to, const char *text)
{
	union name sender, mine = ends_of(from).ours;
	socklen_t len = sizeof(sender);
	char buf[64] = "";

	SAME(recvfrom(to, buf, sizeof(buf), MSG_DONTWAIT, &sender.any, &len), (int)strlen(text));
	CHECK(!strcmp(buf, text));
	SAME(sender.v4.sin_port, mine.v4.sin_port);
}

static void check_queue(int from, int to)
{
	union name sender, mine = ends_of(from).ours;
	socklen_t len = sizeof(sender);
	char buf[64], expect[64];

	for (int i = 0; i < QUEUE; i++) {
		int n = snprintf(expect, sizeof(expect), "datagram %d", i);

		SAME(recvfrom(to, buf, sizeof(buf), MSG_DONTWAIT, &sender.any, &len), i % 3 ? n + i : 0);
		CHECK(i % 3 == 0 || !memcmp(buf, expect, n));
		CHECK(sender.v4.sin_port == mine.v4.sin_port);
		CHECK(sender.v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	}
	CHECK(recv(to, buf, sizeof(buf), MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

/* Echo requests to lo come back to whoever listens for ICMP; a raw socket sees the IP header, too. */
static void check_ping(int fd, int header)
{
	union name there = name_make("127.0.0.1", 0);
	struct icmphdr h = { .type = ICMP_ECHO, .un.echo = { htons(77), htons(1) } };
	unsigned char buf[256];
	uint32_t sum = (ICMP_ECHO << 8) + 77 + 1;

	h.checksum = htons((uint16_t)~sum);
	SAME(sendto(fd, &h, sizeof(h), 0, &there.any, name_len(&there)), (int)sizeof(h));
	for (int i = 0; i < 10; i++) {
		struct pollfd w = { .fd = fd, .events = POLLIN };

		CHECK(poll(&w, 1, PATIENCE_MS) == 1);
		CHECK(recv(fd, buf, sizeof(buf), 0) >= header + 8);
		if (buf[header] == ICMP_ECHOREPLY)
			return;
	}
	fail("no answer to a ping");
}

/* What a reset leaves of an accepted connection. */
static int dead_socket(int listener)
{
	struct wire w = wire_make(listener, "127.0.0.1");
	struct linger now = { 1, 0 };
	char c;

	NEED(setsockopt(w.a, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0 && close(w.a) == 0);
	NEED(reaches_state(w.b, TCP_CLOSE));
	NEED(recv(w.b, &c, 1, 0) < 0 && errno == ECONNRESET);
	return w.b;
}

int main(int argc, char **argv)
{
	int listener, any, dual, only6, device, group[GROUP], udp, sender, talk, lite[2], six, ping, echo, waits;
	int member, shout, dead, mixed, peer;
	struct stat st;
	union name n;

	subject_init(argc, argv);
	add("a fresh socket", socket(AF_INET, SOCK_STREAM, 0));
	add("a fresh IPv6 socket", socket(AF_INET6, SOCK_STREAM, 0));
	add("a bound socket", bound("127.0.0.1", 0, SOCK_STREAM, 0));
	listener = add("a listener", listen_on("127.0.0.1", 0, 17));
	any = add("a listener on all addresses", listen_on("0.0.0.0", 0, 5));
	dual = add("a dual listener", listen_on("::", 0, 5));
	only6 = socket(AF_INET6, SOCK_STREAM, 0);
	set_option(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	n = name_make("::", port_of(any));
	NEED(bind(only6, &n.any, name_len(&n)) == 0 && listen(only6, 5) == 0);
	add("an IPv6 listener with the port of another", only6);
	device = socket(AF_INET, SOCK_STREAM, 0);
	NEED(setsockopt(device, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0 && listen(device, 5) == 0);
	add("a listener of one device", device);
	group[0] = add("first of a group", group_of(0));
	for (int i = 1; i < GROUP; i++)
		group[i] = add("one of a group", group_of(port_of(group[0])));
	udp = add("a UDP socket", bound("127.0.0.1", 0, SOCK_DGRAM, 0));
	six = add("an IPv6 UDP socket", bound("::", 0, SOCK_DGRAM, 0));
	sender = add("a UDP sender", bound("127.0.0.1", 0, SOCK_DGRAM, 0));
	waits = add("a UDP socket with datagrams", bound("0.0.0.0", 0, SOCK_DGRAM, 0));
	fill_queue(sender, waits);
	talk = add("a connected UDP socket", socket(AF_INET, SOCK_DGRAM, 0));
	n = name_make("127.0.0.1", port_of(udp));
	NEED(connect(talk, &n.any, name_len(&n)) == 0);
	mixed = add("a UDP socket connected with others' datagrams", bound("127.0.0.1", 0, SOCK_DGRAM, 0));
	peer = add("its peer", bound("127.0.0.1", 0, SOCK_DGRAM, 0));
	put_datagram(peer, mixed, "first", 5);
	put_datagram(sender, mixed, "other", 5);
	n = name_make("127.0.0.1", port_of(peer));
	NEED(connect(mixed, &n.any, name_len(&n)) == 0);
	put_datagram(peer, mixed, "last", 4);
	for (int i = 0; i < 2; i++)
		lite[i] = add("a UDP-Lite socket", bound("127.0.0.1", 0, SOCK_DGRAM, UDPLITE));
	ping = add("a raw ICMP socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
	echo = add("a ping socket", ping_socket());
	n = name_make("127.0.0.1", 0);
	NEED(bind(echo, &n.any, name_len(&n)) == 0);
	add("a raw socket", socket(AF_INET, SOCK_RAW, 253));
	add("a raw IPv6 socket", socket(AF_INET6, SOCK_RAW, 253));
	member = add("a member of a group", group_socket("239.1.2.3", &shout));
	add("who speaks to it", shout);
	NEED(fchown(talk, 1234, 2345) == 0);
	note_items();
	dead = dead_socket(listener);
	ready();
	wait_term();

	check_items();
	SAME(backlog_of(listener), 17);
	SAME(tcp_state(dead), TCP_CLOSE);
	CHECK(send(dead, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	SAME(backlog_of(group[1]), 9);
	wire_works(wire_make(listener, "127.0.0.1"), 1);
	wire_works(wire_make(any, "127.0.0.2"), 2);
	wire_works(wire_make(dual, "::1"), 3);
	wire_works(wire_make(dual, "127.0.0.1"), 4);
	wire_works(wire_make(only6, "::1"), 5);
	wire_works(wire_make(device, "127.0.0.1"), 6);
	check_queue(sender, waits);
	expect_datagram(peer, mixed, "first");
	expect_datagram(sender, mixed, "other");
	expect_datagram(peer, mixed, "last");
	check_datagram(sender, udp, "127.0.0.1", "one");
	check_datagram(sender, six, "127.0.0.1", "two");
	check_datagram(talk, udp, "127.0.0.1", "three");
	check_datagram(lite[0], lite[1], "127.0.0.1", "lite");
	check_group(member, shout, "239.1.2.3");
	CHECK(fstat(talk, &st) == 0);
	SAME(st.st_uid, 1234);
	SAME(st.st_gid, 2345);
	check_ping(ping, 20);
	check_ping(echo, 0);
	pass();
}
