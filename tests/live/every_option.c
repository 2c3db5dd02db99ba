// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every option of internet sockets that this kernel lets one read (socket(7), tcp(7), ip(7), ipv6(7),
 * udp(7), raw(7), and those without a manual), found by asking for every number: wherever a number can
 * be set to something else it is, and each must be told again afterwards. What tells no setting is
 * listed with the reason.
 */
#include "net.h"

enum { NAMES = 128, SIZE = 64, KINDS = 16, LEVELS = 7, STREAMS_END = 4, WIRES = 10 };

static const int levels[LEVELS] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP,
	IPPROTO_UDPLITE, IPPROTO_RAW };

enum who { EVERYONE, STREAMS, CONNECTIONS };

/* What is not compared, and of whom. */
static const struct {
	int level, name;
	enum who who;
	const char *why;
} others[] = {
	{ SOL_SOCKET, 4, EVERYONE, "SO_ERROR takes what it tells" },
	{ SOL_SOCKET, 49, EVERYONE, "SO_INCOMING_CPU: of the last packet" },
	{ SOL_SOCKET, 55, EVERYONE, "SO_MEMINFO: momentary" },
	{ SOL_SOCKET, 56, EVERYONE, "SO_INCOMING_NAPI_ID: of the last packet" },
	{ SOL_SOCKET, 57, EVERYONE, "SO_COOKIE: a number nobody can choose" },
	{ IPPROTO_IP, 9, STREAMS, "IP_PKTOPTIONS: of the last packet" },
	{ IPPROTO_IP, 14, EVERYONE, "IP_MTU: of the route" },
	{ IPPROTO_IP, 33, STREAMS, "IP_MULTICAST_TTL: of the first packet" },
	{ IPPROTO_IPV6, 6, STREAMS, "IPV6_2292PKTOPTIONS: of the last packet" },
	{ IPPROTO_IPV6, 17, STREAMS, "IPV6_MULTICAST_IF: of the first packet" },
	{ IPPROTO_IPV6, 18, STREAMS, "IPV6_MULTICAST_HOPS: of the first packet" },
	{ IPPROTO_IPV6, 24, EVERYONE, "IPV6_MTU: of the route" },
	{ IPPROTO_IPV6, 26, CONNECTIONS, "IPV6_V6ONLY: what bind(2) made of it" },
	{ IPPROTO_IPV6, 61, EVERYONE, "IPV6_PATHMTU: of the route" },
	{ IPPROTO_TCP, 2, CONNECTIONS, "TCP_MAXSEG: momentary" },
	{ IPPROTO_TCP, 11, EVERYONE, "TCP_INFO: momentary" },
	{ IPPROTO_TCP, 12, EVERYONE, "TCP_QUICKACK: momentary" },
	{ IPPROTO_TCP, 24, EVERYONE, "TCP_TIMESTAMP: a clock" },
	{ IPPROTO_TCP, 26, EVERYONE, "TCP_CC_INFO: momentary" },
	{ IPPROTO_TCP, 33, CONNECTIONS, "TCP_FASTOPEN_KEY: only listeners use it" },
	{ IPPROTO_TCP, 35, EVERYONE, "TCP_ZEROCOPY_RECEIVE does something" },
};

/* What is not set: it would change what the socket is, or what it may be set to later. */
static const struct {
	int level, name;
} untouched[] = {
	{ SOL_SOCKET, 44 /* SO_LOCK_FILTER */ }, { SOL_SOCKET, 62 /* SO_BINDTOIFINDEX: to lo, below */ }, { IPPROTO_TCP, 19 /* TCP_REPAIR */ },
	{ IPPROTO_IPV6, 1 /* IPV6_ADDRFORM */ }, { IPPROTO_IPV6, 26 /* IPV6_V6ONLY: below */ },
};

static const int values[] = { 1, 2, 3, 9, 77, 1000, 40000, 0 };

struct told {
	int len; /* -errno: not told */
	unsigned char value[SIZE];
};

static const char *const kind_names[KINDS] = { "TCP", "TCP of IPv6", "listener", "listener of IPv6",
	"UDP", "UDP of IPv6", "UDP-Lite", "UDP-Lite of IPv6", "raw", "raw of IPv6", "connected",
	"accepted", "connected by IPv6", "accepted by IPv6", "mapped and connected", "mapped and accepted" };
static int fds[KINDS];
static struct told (*before)[LEVELS][NAMES];

static struct told ask(int fd, int level, int name)
{
	struct told t = { 0 };
	socklen_t len = SIZE;

	t.len = getsockopt(fd, level, name, t.value, &len) < 0 ? -errno : (int)len;
	return t;
}

static bool is_other(int kind, int level, int name)
{
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (others[i].level == level && others[i].name == name)
			return others[i].who == EVERYONE || kind >= WIRES ||
				(kind < STREAMS_END && others[i].who == STREAMS);
	return false;
}

static bool is_untouched(int kind, int level, int name)
{
	for (size_t i = 0; i < sizeof(untouched) / sizeof(*untouched); i++)
		if (untouched[i].level == level && untouched[i].name == name)
			return true;
	return is_other(kind, level, name);
}

static bool same(const struct told *a, const struct told *b)
{
	return a->len == b->len && (a->len <= 0 || !memcmp(a->value, b->value, a->len));
}

/* To the first value that is told as something else than before. */
static bool change(int fd, int level, int name)
{
	struct told is = ask(fd, level, name), now;

	if (is.len != 4 && is.len != 1)
		return false;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		if (setsockopt(fd, level, name, &values[i], sizeof(int)) < 0)
			continue;
		now = ask(fd, level, name);
		if (!same(&is, &now))
			return true;
	}
	return false;
}

static void make_pair(int at, const char *listen_at, const char *address)
{
	int listener = listen_on(listen_at, 0, 5);
	struct wire w = wire_make(listener, address);

	fds[at] = w.a;
	fds[at + 1] = w.b;
	NEED(close(listener) == 0);
}

static void make_all(void)
{
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	fds[1] = socket(AF_INET6, SOCK_STREAM, 0);
	fds[2] = listen_on("127.0.0.1", 0, 5);
	fds[3] = listen_on("::", 0, 5);
	fds[4] = socket(AF_INET, SOCK_DGRAM, 0);
	fds[5] = socket(AF_INET6, SOCK_DGRAM, 0);
	fds[6] = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
	fds[7] = socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE);
	fds[8] = socket(AF_INET, SOCK_RAW, 253);
	fds[9] = socket(AF_INET6, SOCK_RAW, 253);
	make_pair(WIRES, "127.0.0.1", "127.0.0.1");
	make_pair(WIRES + 2, "::", "::1");
	make_pair(WIRES + 4, "::", "::ffff:127.0.0.1");
	for (int k = 0; k < KINDS; k++)
		NEED(fds[k] >= 0);
}

/* Settings that are no numbers. */
static void set_others(void)
{
	struct linger linger = { 1, 7 };
	struct timeval time = { 5, 250000 };
	struct in6_pktinfo info = { .ipi6_addr = IN6ADDR_LOOPBACK_INIT, .ipi6_ifindex = 1 };
	unsigned char hop[8] = { 0, 0, 1, 4 }; /* padding */
	unsigned char nop[4] = { 1, 1, 1, 0 };
	char key[16] = "0123456789abcde";
	uint64_t rate = 123456789;
	struct ip_mreqn device = { .imr_ifindex = 1 };

	for (int k = 0; k < KINDS; k++) {
		int fd = fds[k];

		(void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		(void)!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
		(void)!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
		(void)!setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
		(void)!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
		(void)!setsockopt(fd, IPPROTO_IP, IP_OPTIONS, nop, sizeof(nop));
		(void)!setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &device, sizeof(device));
		(void)!setsockopt(fd, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
		(void)!setsockopt(fd, IPPROTO_IPV6, IPV6_HOPOPTS, hop, sizeof(hop));
		(void)!setsockopt(fd, IPPROTO_IPV6, IPV6_DSTOPTS, hop, sizeof(hop));
		(void)!setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
		(void)!setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, sizeof(key));
	}
	NEED(!setsockopt(fds[5], IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 1 }, sizeof(int)));
}

static void say_difference(int k, int level, int name, const struct told *was, const struct told *is)
{
	char text[2][3 * SIZE + 8];
	const struct told *both[2] = { was, is };

	for (int i = 0; i < 2; i++) {
		int n = snprintf(text[i], sizeof(text[i]), "%d:", both[i]->len);

		for (int j = 0; j < both[i]->len && j < 20; j++)
			n += snprintf(text[i] + n, sizeof(text[i]) - n, " %02x", both[i]->value[j]);
	}
	say("FAIL: option %d of level %d of '%s' is %s, not %s", name, level, kind_names[k], text[1],
		text[0]);
}

int main(int argc, char **argv)
{
	int changed = 0, told = 0, wrong = 0;

	subject_init(argc, argv);
	before = map(sizeof(*before) * KINDS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	make_all();
	set_others();
	for (int k = 0; k < KINDS; k++)
		for (int l = 0; l < LEVELS; l++)
			for (int n = 1; n < NAMES; n++)
				if (!is_untouched(k, levels[l], n))
					changed += change(fds[k], levels[l], n);
	for (int k = 0; k < KINDS; k++)
		for (int l = 0; l < LEVELS; l++)
			for (int n = 1; n < NAMES; n++)
				before[k][l][n] = ask(fds[k], levels[l], n);
	NEED(changed > 300);
	ready();
	wait_term();
	for (int k = 0; k < KINDS; k++)
		for (int l = 0; l < LEVELS; l++)
			for (int n = 1; n < NAMES; n++) {
				struct told t = ask(fds[k], levels[l], n);

				told += t.len >= 0;
				if (is_other(k, levels[l], n) || same(&before[k][l][n], &t))
					continue;
				say_difference(k, levels[l], n, &before[k][l][n], &t);
				wrong++;
			}
	CHECK(told > 1000);
	if (wrong)
		fail("%d of %d options that were told are different; %d had been changed", wrong, told,
			changed);
	pass();
}
