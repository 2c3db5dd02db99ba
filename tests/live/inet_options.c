// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options of internet sockets: every one that can be read back gets an unusual value on each kind of
 * socket that takes it, also on both ends of a connection, and must have it afterwards. What this
 * kernel does not know is left out.
 */
#include "net.h"
#include <netinet/udp.h>

enum { KINDS = 8, OPTIONS = 64 };

struct option {
	int level, name, value;
};

#define S(name, value) { SOL_SOCKET, name, value }
#define I4(name, value) { IPPROTO_IP, name, value }
#define I6(name, value) { IPPROTO_IPV6, name, value }
#define T(name, value) { IPPROTO_TCP, name, value }
#define U(name, value) { IPPROTO_UDP, name, value }

static const struct option options[OPTIONS] = {
	S(SO_REUSEADDR, 1), S(SO_KEEPALIVE, 1), S(SO_OOBINLINE, 1), S(SO_PRIORITY, 5),
	S(SO_DONTROUTE, 1), S(SO_BROADCAST, 1), S(SO_RCVLOWAT, 3), S(SO_TIMESTAMPNS, 1), S(SO_MARK, 77),
	S(SO_SNDBUF, 30000), S(SO_RCVBUF, 40000), S(SO_BUSY_POLL, 50), S(SO_ZEROCOPY, 1),
	S(SO_NO_CHECK, 1), S(SO_RXQ_OVFL, 1),
	I4(IP_TOS, 16), I4(IP_TTL, 77), I4(IP_PKTINFO, 1), I4(IP_FREEBIND, 1), I4(IP_RECVTTL, 1),
	I4(IP_RECVTOS, 1), I4(IP_RECVERR, 1), I4(IP_MTU_DISCOVER, IP_PMTUDISC_DO),
	I4(IP_TRANSPARENT, 1), I4(IP_MINTTL, 3), I4(IP_BIND_ADDRESS_NO_PORT, 1),
	I4(IP_RECVORIGDSTADDR, 1), I4(IP_MULTICAST_TTL, 9), I4(IP_MULTICAST_LOOP, 0),
	I4(IP_MULTICAST_ALL, 0), I4(IP_RECVOPTS, 1), I4(IP_NODEFRAG, 1),
	I6(IPV6_TCLASS, 32), I6(IPV6_UNICAST_HOPS, 33), I6(IPV6_RECVPKTINFO, 1),
	I6(IPV6_RECVHOPLIMIT, 1), I6(IPV6_RECVTCLASS, 1), I6(IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO),
	I6(IPV6_RECVERR, 1), I6(IPV6_DONTFRAG, 1), I6(IPV6_AUTOFLOWLABEL, 0), I6(IPV6_MINHOPCOUNT, 2),
	I6(IPV6_MULTICAST_HOPS, 8), I6(IPV6_MULTICAST_LOOP, 0),
	T(TCP_NODELAY, 1), T(TCP_CORK, 1), T(TCP_KEEPIDLE, 111), T(TCP_KEEPINTVL, 22),
	T(TCP_KEEPCNT, 4), T(TCP_SYNCNT, 3), T(TCP_LINGER2, 33), T(TCP_USER_TIMEOUT, 45000),
	T(TCP_NOTSENT_LOWAT, 12345), T(TCP_THIN_LINEAR_TIMEOUTS, 1), T(TCP_INQ, 1),
	T(TCP_SAVE_SYN, 1), T(TCP_FASTOPEN_NO_COOKIE, 1), T(TCP_DEFER_ACCEPT, 7),
	T(TCP_MAXSEG, 1000), T(TCP_FASTOPEN, 6),
	U(UDP_CORK, 1), U(UDP_NO_CHECK6_TX, 1), U(UDP_GRO, 1), U(UDP_SEGMENT, 800),
};

static const char *const kind_names[KINDS] = { "TCP", "TCP6", "listener", "UDP", "UDP6", "raw",
	"connected", "accepted" };
static int fds[KINDS];
static long long values[KINDS][OPTIONS];
static struct timeval snd_time = { 5, 250000 }, rcv_time = { 0, 500000 };

static bool is_noted(int kind, const struct option *o)
{
	/* of a connection the kernel tells the size now in use */
	bool wire = kind >= 6;

	/* streams have none; an accepted one tells that of its first packet */
	if ((o->level == IPPROTO_IP && o->name == IP_MULTICAST_TTL) ||
		(o->level == IPPROTO_IPV6 && o->name == IPV6_MULTICAST_HOPS))
		return kind >= 3 && kind < 6;
	if (wire && o->level == IPPROTO_TCP && (o->name == TCP_MAXSEG || o->name == TCP_FASTOPEN))
		return false;
	return true;
}

static void set_all(void)
{
	struct linger linger = { 1, 7 };

	for (int k = 0; k < KINDS; k++) {
		for (int i = 0; i < OPTIONS; i++)
			(void)!setsockopt(fds[k], options[i].level, options[i].name, &options[i].value,
				sizeof(int));
		(void)!setsockopt(fds[k], IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
		NEED(!setsockopt(fds[k], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
		NEED(!setsockopt(fds[k], SOL_SOCKET, SO_SNDTIMEO, &snd_time, sizeof(snd_time)));
		NEED(!setsockopt(fds[k], SOL_SOCKET, SO_RCVTIMEO, &rcv_time, sizeof(rcv_time)));
	}
}

static void note_all(void)
{
	for (int k = 0; k < KINDS; k++)
		for (int i = 0; i < OPTIONS; i++)
			values[k][i] = get_option(fds[k], options[i].level, options[i].name);
}

static void check_time(int fd, int name, struct timeval want)
{
	struct timeval tv;
	socklen_t len = sizeof(tv);

	CHECK(getsockopt(fd, SOL_SOCKET, name, &tv, &len) == 0);
	SAME(tv.tv_sec, want.tv_sec);
	SAME(tv.tv_usec / 10000, want.tv_usec / 10000);
}

static void check_all(void)
{
	for (int k = 0; k < KINDS; k++) {
		struct linger linger;
		socklen_t len = sizeof(linger);
		char text[17] = "";

		for (int i = 0; i < OPTIONS; i++) {
			long long v = get_option(fds[k], options[i].level, options[i].name);

			if (is_noted(k, &options[i]) && v != values[k][i])
				fail("option %d:%d of %s is %lld, not %lld", options[i].level,
					options[i].name, kind_names[k], v, values[k][i]);
		}
		CHECK(getsockopt(fds[k], SOL_SOCKET, SO_LINGER, &linger, &len) == 0);
		CHECK(linger.l_onoff && linger.l_linger == 7);
		check_time(fds[k], SO_SNDTIMEO, snd_time);
		check_time(fds[k], SO_RCVTIMEO, rcv_time);
		len = 16;
		if (getsockopt(fds[k], IPPROTO_TCP, TCP_CONGESTION, text, &len) == 0 &&
			strcmp(text, "reno"))
			fail("congestion control of %s is '%s'", kind_names[k], text);
	}
}

int main(int argc, char **argv)
{
	union name n = name_make("127.0.0.1", 0);
	struct wire w;
	int spare;

	subject_init(argc, argv);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	fds[1] = socket(AF_INET6, SOCK_STREAM, 0);
	fds[2] = listen_on("127.0.0.1", 0, 5);
	fds[3] = socket(AF_INET, SOCK_DGRAM, 0);
	NEED(bind(fds[3], &n.any, name_len(&n)) == 0);
	fds[4] = socket(AF_INET6, SOCK_DGRAM, 0);
	fds[5] = socket(AF_INET, SOCK_RAW, 253);
	spare = listen_on("127.0.0.1", 0, 5);
	w = wire_make(spare, "127.0.0.1");
	fds[6] = w.a;
	fds[7] = w.b;
	NEED(fds[0] >= 0 && fds[1] >= 0 && fds[4] >= 0 && fds[5] >= 0);
	set_all();
	note_all();
	ready();
	wait_term();
	check_all();
	pass();
}
