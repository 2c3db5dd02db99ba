/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Socket options: set, collected, restored on a new socket, compared; hostile entries. */
#include "kinds/sock/sockopts.h"
#include "base/cleanup.h"
#include "tests/unit/tap.h"
#include <linux/filter.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

struct number {
	int name, value;
};

/* What a family may not have is left out by the test as well. */
static const struct number numbers[] = {
	{ SO_REUSEADDR, 1 }, { SO_REUSEPORT, 1 }, { SO_PRIORITY, 3 }, { SO_MARK, 77 },
	{ SO_DONTROUTE, 1 }, { SO_BROADCAST, 1 }, { SO_NO_CHECK, 1 }, { SO_KEEPALIVE, 1 },
	{ SO_OOBINLINE, 1 }, { SO_RCVLOWAT, 5 }, { SO_PASSCRED, 1 }, { SO_PASSSEC, 1 },
	{ SO_DEBUG, 1 }, { SO_TIMESTAMPNS_OLD, 1 }, { SO_RXQ_OVFL, 1 }, { SO_PEEK_OFF, 3 },
	{ SO_NOFCS, 1 }, { SO_SELECT_ERR_QUEUE, 1 }, { SO_BUSY_POLL, 20 }, { SO_INCOMING_CPU, 1 },
	{ SO_ZEROCOPY, 1 }, { SO_PREFER_BUSY_POLL, 1 }, { SO_BUSY_POLL_BUDGET, 9 },
	{ SO_TXREHASH, 0 }, { SO_RCVMARK, 1 }, { 76 /* SO_PASSPIDFD */, 1 },
	{ 82 /* SO_RCVPRIORITY */, 1 }, { 83 /* SO_PASSRIGHTS */, 0 }, { SO_LOCK_FILTER, 1 },
};
enum { N_NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

/* Everything that can be read, by option number; -1000000 where there is no such option. */
struct all {
	int value[100];
	struct timeval times[2];
	struct linger linger;
	uint64_t timestamping, pacing;
	char device[IFNAMSIZ];
	struct sock_filter filter[8];
	socklen_t n_filter;
};

static void read_all(int fd, struct all *a)
{
	socklen_t len;

	memset(a, 0, sizeof(*a));
	for (int i = 0; i < 100; i++) {
		len = sizeof(int);
		/* those which differ between any two sockets, or are read below */
		if (i == SO_COOKIE || i == SO_MEMINFO || i == SO_GET_FILTER ||
			getsockopt(fd, SOL_SOCKET, i, &a->value[i], &len) < 0)
			a->value[i] = -1000000;
	}
	len = sizeof(a->times[0]);
	getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &a->times[0], &len);
	getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &a->times[1], &len);
	len = sizeof(a->linger);
	getsockopt(fd, SOL_SOCKET, SO_LINGER, &a->linger, &len);
	len = 8;
	getsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &a->timestamping, &len);
	len = 8;
	getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &a->pacing, &len);
	len = sizeof(a->device);
	getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, a->device, &len);
	a->n_filter = 8;
	getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, a->filter, &a->n_filter);
}

static void compare(struct tap *tap, const char *what, const struct all *a, const struct all *b)
{
	char text[100];
	int bad = -1;

	for (int i = 99; i >= 0; i--)
		if (a->value[i] != b->value[i])
			bad = i;
	snprintf(text, sizeof(text), "%s: numbers (first that differs: %d, was %d, is %d)", what, bad,
		bad < 0 ? 0 : a->value[bad], bad < 0 ? 0 : b->value[bad]);
	tap_ok(tap, bad < 0, text, NULL);
	snprintf(text, sizeof(text), "%s: times, linger, rates, device, filter", what);
	tap_ok(tap, !memcmp(a->times, b->times, sizeof(a->times)) &&
		!memcmp(&a->linger, &b->linger, sizeof(a->linger)) &&
		a->timestamping == b->timestamping && a->pacing == b->pacing &&
		!strcmp(a->device, b->device) && a->n_filter == b->n_filter &&
		!memcmp(a->filter, b->filter, sizeof(a->filter)), text, NULL);
}

static int set_all(int fd)
{
	struct sock_filter steps[] = { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 12345, 1, 0), BPF_STMT(BPF_RET | BPF_K, 0xffff),
		BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog prog = { .len = 4, .filter = steps };
	struct timeval snd = { 3, 4000 }, rcv = { 5, 8000 };
	struct linger linger = { 1, 17 };
	int size = 100000, stamping[2] = { 1 << 3 | 1 << 4, 0 }, set = 0;
	uint64_t pacing = 5000000000ull;

	set += !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
	for (int i = 0; i < N_NUMBERS; i++)
		set += !setsockopt(fd, SOL_SOCKET, numbers[i].name, &numbers[i].value, sizeof(int));
	set += !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &snd, sizeof(snd));
	set += !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &rcv, sizeof(rcv));
	set += !setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	set += !setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, stamping, sizeof(stamping));
	set += !setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pacing, sizeof(pacing));
	set += !setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	set += !setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
	return set;
}

/* Collects from one socket and makes another one like it. */
static int copy_options(int from, int to, struct err *err)
{
	struct task task = { .pid = 1 };
	struct fd_look l = { .world = world_new(), .task = &task, .fd = from, .dup = from };
	struct file_maker m = { .world = l.world, .arena = l.world->arena };
	struct thread thread = { 0 };
	CoreEntry core = CORE_ENTRY__INIT;
	struct findings f = { 0 };
	SkOptsEntry *o = NULL;
	int r;

	thread.core = &core;
	task.threads = &thread;
	r = sockopts_collect(&l, 7, &o, err);
	if (r == 0)
		sockopts_check(o, "a socket", &f);
	if (r == 0 && f.n)
		r = err_bug(err, "%s", f.at[0].text);
	if (r == 0)
		r = sockopts_early(&m, 7, to, o, err);
	if (r == 0)
		r = sockopts_late(&m, 7, to, o, err);
	vec_done(&f);
	world_free(l.world);
	return r;
}

static void test_family(struct tap *tap, const char *what, int family, int type, int protocol,
	bool changed)
{
	auto_close int from = socket(family, type, protocol);
	auto_close int to = socket(family, type, protocol);
	struct err err = ERR_INIT;
	struct all a, b;
	char text[100];
	int set;

	if (from < 0 || to < 0) {
		tap_ok(tap, true, "# SKIP no such sockets here", NULL);
		return;
	}
	set = changed ? set_all(from) : 20;
	snprintf(text, sizeof(text), "%s: enough options could be set (%d)", what, set);
	tap_ok(tap, set >= 20, text, NULL);
	read_all(from, &a);
	snprintf(text, sizeof(text), "%s: copied", what);
	tap_ok(tap, copy_options(from, to, &err) == 0, text, &err);
	read_all(to, &b);
	compare(tap, what, &a, &b);
}

static size_t count_findings(const SkOptsEntry *o)
{
	struct findings f = { 0 };
	size_t n;

	sockopts_check(o, "a socket", &f);
	n = f.n;
	vec_done(&f);
	return n;
}

static void test_hostile(struct tap *tap)
{
	SkOptsEntry o = SK_OPTS_ENTRY__INIT;
	char name[] = "a-name-that-is-too-long";

	tap_ok(tap, count_findings(NULL) == 1, "no options", NULL);
	tap_ok(tap, count_findings(&o) == 0, "plain options", NULL);
	o.so_sndbuf = 0x80000000u;
	o.so_rcv_tmo_usec = 1000000;
	o.n_so_filter = 4097;
	o.so_bound_dev = name;
	tap_ok(tap, count_findings(&o) == 4, "four bad values", NULL);
}

int main(void)
{
	struct tap tap = { 0 };

	test_family(&tap, "unix", AF_UNIX, SOCK_STREAM, 0, true);
	test_family(&tap, "unix dgram", AF_UNIX, SOCK_DGRAM, 0, true);
	test_family(&tap, "tcp", AF_INET, SOCK_STREAM, 0, true);
	test_family(&tap, "udp6", AF_INET6, SOCK_DGRAM, 0, true);
	test_family(&tap, "netlink", AF_NETLINK, SOCK_RAW, 0, true);
	test_family(&tap, "packet", AF_PACKET, SOCK_RAW, 0, true);
	test_family(&tap, "unix unchanged", AF_UNIX, SOCK_SEQPACKET, 0, false);
	test_family(&tap, "tcp unchanged", AF_INET, SOCK_STREAM, 0, false);
	test_hostile(&tap);
	return tap_done(&tap);
}
