/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tuns: network tunnels in a network namespace of the test's own: a tun with addresses and a route,
 * a tap with several queues, one of them off, one shared with a child, and no carrier; a persistent
 * one; one descriptor that is attached to none. Packets pass in both directions.
 */
#include "descriptors.h"
#include "net.h"
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <sys/ioctl.h>

enum { TUN, TAP, TAP_TOO, TAP_OFF, LASTING, NONE, N };

enum { TEXT = 8192 };

static int fds[N];
static char tables[2][TEXT];
static struct ifreq links[N][5];
static int indices[N];

static const unsigned long asked[] = { SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFTXQLEN, SIOCGIFADDR,
	SIOCGIFNETMASK };

static const char *const names[] = { "torpor-tun", "torpor-tap", "torpor-tap", "torpor-tap",
	"torpor-last" };

static void attach(int which, short flags)
{
	struct ifreq ifr = { .ifr_flags = flags };

	fds[which] = open("/dev/net/tun", O_RDWR | O_NONBLOCK | (which == TAP ? O_CLOEXEC : 0));
	if (fds[which] < 0)
		skip("no /dev/net/tun: %s", strerror(errno));
	if (!flags)
		return;
	strcpy(ifr.ifr_name, names[which]);
	NEED(ioctl(fds[which], TUNSETIFF, &ifr) == 0);
}

static int control(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	NEED(fd >= 0);
	return fd;
}

static struct sockaddr_in in_addr(const char *text)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	NEED(inet_pton(AF_INET, text, &a.sin_addr) == 1);
	return a;
}

static void set_address(int which, unsigned long what, const char *text)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_in a = in_addr(text);

	strcpy(ifr.ifr_name, names[which]);
	memcpy(&ifr.ifr_addr, &a, sizeof(a));
	NEED(ioctl(control(), what, &ifr) == 0);
}

static void set_number(int which, unsigned long what, int n)
{
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, names[which]);
	if (what == SIOCSIFFLAGS)
		ifr.ifr_flags = (short)n;
	else
		ifr.ifr_mtu = n;
	NEED(ioctl(control(), what, &ifr) == 0);
}

static void add_route(const char *to, int which)
{
	struct rtentry rt = { .rt_flags = RTF_UP, .rt_dev = (char *)names[which] };
	struct sockaddr_in dst = in_addr(to), mask = in_addr("255.255.0.0");

	memcpy(&rt.rt_dst, &dst, sizeof(dst));
	memcpy(&rt.rt_genmask, &mask, sizeof(mask));
	NEED(ioctl(control(), SIOCADDRT, &rt) == 0);
}

static void add_ipv6(const char *text, int which)
{
	struct {
		struct in6_addr address;
		uint32_t prefix;
		int index;
	} q = { .prefix = 64, .index = (int)if_nametoindex(names[which]) };
	int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return;
	NEED(inet_pton(AF_INET6, text, &q.address) == 1);
	NEED(ioctl(s, SIOCSIFADDR, &q) == 0);
	close(s);
}

static void set_up(void)
{
	struct ifreq off = { .ifr_flags = IFF_DETACH_QUEUE }, mac = { 0 };
	int size = 12;

	attach(TUN, IFF_TUN | IFF_NO_PI);
	set_address(TUN, SIOCSIFADDR, "10.77.0.1");
	set_address(TUN, SIOCSIFNETMASK, "255.255.255.0");
	set_number(TUN, SIOCSIFMTU, 1400);
	set_number(TUN, SIOCSIFTXQLEN, 77);
	set_number(TUN, SIOCSIFFLAGS, IFF_UP);
	add_route("10.78.0.0", TUN);
	add_ipv6("fd77::1", TUN);
	attach(TAP, IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	attach(TAP_TOO, IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	attach(TAP_OFF, IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	NEED(ioctl(fds[TAP_OFF], TUNSETQUEUE, &off) == 0);
	NEED(ioctl(fds[TAP], TUNSETVNETHDRSZ, &size) == 0);
	NEED(ioctl(fds[TAP], TUNSETSNDBUF, &(int){ 54321 }) == 0);
	NEED(ioctl(fds[TAP], TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0);
	NEED(ioctl(fds[TAP], TUNSETOWNER, 1234) == 0);
	strcpy(mac.ifr_name, names[TAP]);
	mac.ifr_hwaddr.sa_family = 1; /* Ethernet */
	memcpy(mac.ifr_hwaddr.sa_data, "\x02torpo", 6);
	NEED(ioctl(control(), SIOCSIFHWADDR, &mac) == 0);
	set_number(TAP, SIOCSIFFLAGS, IFF_UP);
	NEED(ioctl(fds[TAP], TUNSETCARRIER, &(int){ 0 }) == 0);
	attach(LASTING, IFF_TUN);
	NEED(ioctl(fds[LASTING], TUNSETPERSIST, 1) == 0);
	attach(NONE, 0);
	NEED(fcntl(fds[TUN], F_SETOWN, getpid()) == 0); /* SIGIO is ignored */
	NEED(signal(SIGIO, SIG_IGN) != SIG_ERR);
	NEED(fcntl(fds[TUN], F_SETFL, O_NONBLOCK | O_ASYNC) == 0);
}

static void note(int which, struct ifreq *ret)
{
	for (int i = 0; i < 5; i++) {
		memset(&ret[i], 0, sizeof(ret[i]));
		strcpy(ret[i].ifr_name, names[which]);
		if (ioctl(control(), asked[i], &ret[i]) < 0)
			ret[i].ifr_flags = -1; /* has none */
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Addresses and routes, sorted; without what changes by itself after a while in IPv6. */
static void note_tables(char *ret)
{
	static const char *const files[] = { "if_inet6", "route", "ipv6_route" };
	static const int ends[] = { 41, 200, 112 };
	static const char net[] = "fd770000000000000000000000000000 40 ";
	char path[64], text[TEXT], *lines[100], *save;
	size_t len = 0;

	for (int i = 0; i < 3; i++) {
		int n = 0;

		snprintf(path, sizeof(path), "/proc/self/net/%s", files[i]);
		if (access(path, R_OK) < 0)
			continue;
		slurp(path, text, sizeof(text));
		for (char *l = strtok_r(text, "\n", &save); l && n < 100;
			l = strtok_r(NULL, "\n", &save))
			if (strstr(l, "torpor-") && (i != 2 || !strncmp(l, net, strlen(net))))
				lines[n++] = l;
		qsort(lines, n, sizeof(*lines), by_text);
		for (int k = 0; k < n; k++)
			len += snprintf(ret + len, TEXT - len, "%.*s\n", ends[i], lines[k]);
	}
}

/* New devices ask no neighbours about their addresses (DAD), and at once: that takes two seconds. */
static void ask_nobody(void)
{
	static const char *const settings[] = { "accept_dad", "router_solicitation_delay" };

	for (int i = 0; i < 2; i++) {
		char path[96];
		int fd;

		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/default/%s", settings[i]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0)
			NEED(write(fd, "0", 1) == 1 && close(fd) == 0);
	}
}

/* Whether some address may not be used yet. */
static bool some_are_tentative(void)
{
	char text[TEXT], *save;
	unsigned flags;

	if (access("/proc/self/net/if_inet6", R_OK) < 0)
		return false;
	slurp("/proc/self/net/if_inet6", text, sizeof(text));
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strstr(l, "torpor-") && sscanf(l, "%*s %*s %*s %*s %x", &flags) == 1 &&
			flags & IFA_F_TENTATIVE)
			return true;
	return false;
}

/* A worker of the kernel makes routes when an address may be used. */
static void settle(void)
{
	for (int i = 0; i < PATIENCE_MS / 5 && some_are_tentative(); i++)
		usleep(5000);
	NEED(!some_are_tentative());
	note_tables(tables[0]);
}

/* A datagram that the kernel routes into the tunnel arrives at the descriptor, and one from there. */
static void pass_packets(void)
{
	struct sockaddr_in to = in_addr("10.78.1.2"), from = in_addr("10.77.0.1");
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	unsigned char packet[2000], address[4];
	ssize_t n = 0;

	to.sin_port = htons(99);
	from.sin_port = htons(98);
	CHECK(s >= 0 && bind(s, (void *)&from, sizeof(from)) == 0);
	CHECK(sendto(s, "out", 3, 0, (void *)&to, sizeof(to)) == 3);
	for (int i = 0; i < PATIENCE_MS && !(n == 31 && packet[0] == 0x45); i++) {
		n = read(fds[TUN], packet, sizeof(packet));
		usleep(n < 0 ? 1000 : 0);
	}
	CHECK(n == 31 && !memcmp(packet + 28, "out", 3));
	/* the way back: addresses and ports exchanged, the checksums stay right */
	memcpy(address, packet + 12, 4);
	memcpy(packet + 12, packet + 16, 4);
	memcpy(packet + 16, address, 4);
	memcpy(address, packet + 20, 2);
	memcpy(packet + 20, packet + 22, 2);
	memcpy(packet + 22, address, 2);
	CHECK(write(fds[TUN], packet, 31) == 31);
	for (int i = 0; i < PATIENCE_MS && (n = recv(s, packet, sizeof(packet), 0)) < 0; i++)
		usleep(1000);
	CHECK(n == 3 && !memcmp(packet, "out", 3));
	close(s);
}

static void kid(void *arg)
{
	struct ifreq ifr = { 0 };

	(void)arg;
	child_up();
	wait_term();
	CHECK(ioctl(fds[TAP_TOO], TUNGETIFF, &ifr) == 0 && !strcmp(ifr.ifr_name, names[TAP]));
}

/* The kernel tells of a carrier after a while. */
static void check_carrier(int which, bool on)
{
	struct ifreq ifr = { 0 };

	strcpy(ifr.ifr_name, names[which]);
	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		CHECK(ioctl(control(), SIOCGIFFLAGS, &ifr) == 0 && ifr.ifr_flags & IFF_UP);
		if (!!(ifr.ifr_flags & IFF_RUNNING) == on)
			return;
		usleep(10000);
	}
	fail("the carrier of %s is %s", names[which], on ? "off" : "on");
}

static void check_link(int which)
{
	struct ifreq now[5], ifr = { 0 };

	note(which, now);
	for (int i = 0; i < 5; i++)
		if (memcmp(&now[i], &links[which][i], sizeof(now[i])))
			fail("%s: question %d has another answer", names[which], i);
	SAME((int)if_nametoindex(names[which]), indices[which]);
	CHECK(ioctl(fds[which], TUNGETIFF, &ifr) == 0 && !strcmp(ifr.ifr_name, names[which]));
	SAME(!!(ifr.ifr_flags & IFF_DETACH_QUEUE), which == TAP_OFF);
	SAME(!!(ifr.ifr_flags & IFF_PERSIST), which == LASTING);
}

int main(int argc, char **argv)
{
	struct fd_note notes[N];
	struct ifreq ifr;
	int size = 0;
	pid_t pid;

	subject_init(argc, argv);
	ask_nobody();
	set_up();
	for (int i = 0; i < N; i++)
		fd_note(&notes[i], fds[i]);
	for (int i = 0; i < NONE; i++) {
		note(i, links[i]);
		indices[i] = (int)if_nametoindex(names[i]);
	}
	pass_packets();
	settle();
	pid = child(kid, NULL);
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		fd_check(&notes[i], fds[i], true);
	for (int i = 0; i < NONE; i++)
		check_link(i);
	note_tables(tables[1]);
	if (strcmp(tables[0], tables[1]))
		fail("addresses and routes are\n%s, were\n%s", tables[1], tables[0]);
	CHECK(ioctl(fds[NONE], TUNGETIFF, &ifr) < 0 && errno == EBADFD);
	CHECK(ioctl(fds[TAP], TUNGETVNETHDRSZ, &size) == 0);
	SAME(size, 12);
	CHECK(ioctl(fds[TAP], TUNGETSNDBUF, &size) == 0);
	SAME(size, 54321);
	pass_packets();
	check_carrier(TUN, true);
	check_carrier(TAP, false);
	child_end(pid);
	CHECK(ioctl(fds[LASTING], TUNSETPERSIST, 0) == 0);
	pass();
}
