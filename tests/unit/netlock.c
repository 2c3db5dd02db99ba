// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Firewall tables, forged packets and TCP_REPAIR in a network namespace of the test's own: a table
 * stops what it shall stop and nothing else, a forged segment passes it.
 */
#include "kernel/forge.h"
#include "kernel/nft.h"
#include "kernel/tcp_repair.h"
#include "patience.h"
#include "tap.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct pair {
	int listener, a, b;
	struct flow flow; /* as a sees it */
};

static bool own_network(void)
{
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0 && close(fd) == 0;
}

static void name_of(int fd, bool peer, uint8_t address[16], uint16_t *port)
{
	struct sockaddr_storage s;
	socklen_t len = sizeof(s);

	if ((peer ? getpeername : getsockname)(fd, (struct sockaddr *)&s, &len) < 0)
		abort();
	if (s.ss_family == AF_INET) {
		memcpy(address, &((struct sockaddr_in *)&s)->sin_addr, 4);
		*port = ntohs(((struct sockaddr_in *)&s)->sin_port);
	} else {
		memcpy(address, &((struct sockaddr_in6 *)&s)->sin6_addr, 16);
		*port = ntohs(((struct sockaddr_in6 *)&s)->sin6_port);
	}
}

static struct pair make_pair(int family)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr *name = family == AF_INET ? (void *)&v4 : (void *)&v6;
	socklen_t len = family == AF_INET ? sizeof(v4) : sizeof(v6);
	struct pair p = { .listener = socket(family, SOCK_STREAM, 0), .flow = { .family = family } };

	if (bind(p.listener, name, len) < 0 || listen(p.listener, 5) < 0 ||
		getsockname(p.listener, name, &len) < 0)
		abort();
	p.a = socket(family, SOCK_STREAM, 0);
	if (connect(p.a, name, len) < 0)
		abort();
	p.b = accept(p.listener, NULL, NULL);
	name_of(p.a, false, p.flow.ours, &p.flow.our_port);
	name_of(p.a, true, p.flow.theirs, &p.flow.their_port);
	return p;
}

static void end_pair(struct pair *p)
{
	close(p->a);
	close(p->b);
	close(p->listener);
}

/* Whether a byte written into one end comes out of the other within the time. */
static bool passes(int from, int to, int ms)
{
	struct pollfd p = { .fd = to, .events = POLLIN };
	char c = 'x';

	return send(from, &c, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 && poll(&p, 1, ms) == 1 &&
		recv(to, &c, 1, 0) == 1;
}

static void test_drop(struct tap *t, int family)
{
	const char *six = family == AF_INET6 ? " (IPv6)" : "";
	struct pair p = make_pair(family), other = make_pair(family);
	struct err err = ERR_INIT;
	struct nft_tables list;
	char what[96];

	snprintf(what, sizeof(what), "a table is made%s", six);
	tap_ok(t, nft_drop_flows("CRIU-test-1", &p.flow, 1, (struct nft_group){ 0 }, &err) == 0, what, &err);
	snprintf(what, sizeof(what), "what belongs to the flow is dropped both ways%s", six);
	tap_ok(t, !passes(p.a, p.b, 120) && !passes(p.b, p.a, 120), what, NULL);
	snprintf(what, sizeof(what), "other connections are not%s", six);
	tap_ok(t, passes(other.a, other.b, PATIENCE_MS) &&
		passes(other.b, other.a, PATIENCE_MS), what, NULL);
	tap_ok(t, nft_drop_flows("CRIU-test-1", &p.flow, 1, (struct nft_group){ 0 }, &err) == -EEXIST,
		"the same name again is refused", NULL);
	err_clear(&err);
	tap_ok(t, nft_list_tables("CRIU-", &list, &err) == 0 && list.n == 1 &&
		!strcmp(list.at[0].name, "CRIU-test-1"), "it is listed", &err);
	vec_done(&list);
	tap_ok(t, nft_delete_table("CRIU-test-1", &err) == 1 &&
		nft_delete_table("CRIU-test-1", &err) == 0, "it can be deleted once", &err);
	snprintf(what, sizeof(what), "what was dropped arrives later%s", six);
	tap_ok(t, passes(p.a, p.b, PATIENCE_MS), what, NULL);
	end_pair(&p);
	end_pair(&other);
}

static void test_many(struct tap *t)
{
	struct flow *flows = calloc(10000, sizeof(*flows));
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < 10000; i++) {
		flows[i] = (struct flow){ .family = i % 2 ? AF_INET : AF_INET6, .our_port = 80,
			.their_port = (uint16_t)(1024 + i) };
		memcpy(flows[i].ours, &i, sizeof(i));
	}
	tap_ok(t, nft_drop_flows("CRIU-many", flows, 10000, (struct nft_group){ 0 }, &err) == 0, "ten thousand flows", &err);
	tap_ok(t, nft_delete_table("CRIU-many", &err) == 1, "and away with them", &err);
	free(flows);
}

static uint32_t state_of(int fd)
{
	struct err err = ERR_INIT;
	uint32_t state = 0;

	if (tcp_get_state(fd, &state, &err) < 0)
		abort();
	return state;
}

/* A FIN which the peer never sent; the lock lets it through. */
static void test_forged_fin(struct tap *t, int family)
{
	struct pair p = make_pair(family);
	struct err err = ERR_INIT;
	struct forged_segment s = { .window = 1000, .fin = true };
	bool good = nft_drop_flows("CRIU-fin", &p.flow, 1, (struct nft_group){ 0 }, &err) == 0 &&
		tcp_repair_begin(p.a, &err) == 0 &&
		tcp_get_seq(p.a, TCP_QUEUE_RECV, &s.seq, &err) == 0 &&
		tcp_get_seq(p.a, TCP_QUEUE_SEND, &s.ack, &err) == 0 &&
		forge_segment(&p.flow, &s, &err) == 0;

	for (int i = 0; i < PATIENCE_MS && state_of(p.a) == TCP_STATE_ESTABLISHED; i++)
		usleep(1000);
	tap_ok(t, good && state_of(p.a) == TCP_STATE_CLOSE_WAIT &&
		state_of(p.b) == TCP_STATE_ESTABLISHED, "a forged FIN arrives, and only there", &err);
	if (nft_delete_table("CRIU-fin", &err) < 0)
		abort();
	end_pair(&p);
}

static void test_forged_datagram(struct tap *t)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in from;
	socklen_t len = sizeof(name), from_len = sizeof(from);
	struct flow f = { .family = AF_INET, .ours = { 127, 0, 0, 1 }, .theirs = { 10, 1, 2, 3 },
		.their_port = 53 };
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct err err = ERR_INIT;
	char buf[16] = "";

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		bind(fd, (void *)&name, len) < 0 || getsockname(fd, (void *)&name, &len) < 0)
		abort();
	f.our_port = ntohs(name.sin_port);
	tap_ok(t, forge_datagram(&f, IPPROTO_UDP, "hello", 5, &err) == 0 &&
		recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &from_len) == 5 &&
		!memcmp(buf, "hello", 5) && from.sin_port == htons(53) &&
		from.sin_addr.s_addr == htonl(0x0a010203), "a forged datagram has its sender", &err);
	close(fd);
}

int main(void)
{
	struct tap t = { 0 };

	if (!own_network() || nft_usable() < 0) {
		puts("ok 1 # SKIP no network namespace or no nftables here\n1..1");
		return 0;
	}
	test_drop(&t, AF_INET);
	test_drop(&t, AF_INET6);
	test_many(&t);
	test_forged_fin(&t, AF_INET);
	test_forged_fin(&t, AF_INET6);
	test_forged_datagram(&t);
	return tap_done(&t);
}
