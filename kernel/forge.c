// SPDX-License-Identifier: GPL-2.0-or-later
/* See kernel/forge.h; formats: RFC 791, 8200, 9293, 768, 3828. */
#include "kernel/forge.h"
#include "base/cleanup.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36 /* linux/in6.h, since 4.5 */
#endif
enum { MOST_PAYLOAD = 65507 };

struct packet {
	union {
		struct iphdr v4;
		struct ip6_hdr v6;
		char head[40];
	};
	char body[sizeof(struct tcphdr) + MOST_PAYLOAD];
};

static uint32_t sum_words(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len > 1; p += 2, len -= 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	return len ? sum + ((uint32_t)p[0] << 8) : sum;
}

/* Ones' complement sum over pseudo header and body, in network order. */
static uint16_t checksum(const struct flow *f, int protocol, const void *body, size_t len)
{
	size_t n = flow_address_len(f);
	uint32_t sum = sum_words(0, f->theirs, n) + sum_words(0, f->ours, n) + (uint32_t)protocol +
		(uint32_t)len;

	sum = sum_words(sum, body, len);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static size_t put_head(struct packet *p, const struct flow *f, int protocol, size_t body)
{
	if (f->family == AF_INET) {
		p->v4 = (struct iphdr){ .version = 4, .ihl = 5, .ttl = FORGED_HOPS,
			.protocol = (uint8_t)protocol, .tot_len = htons((uint16_t)(20 + body)) };
		memcpy(&p->v4.saddr, f->theirs, 4);
		memcpy(&p->v4.daddr, f->ours, 4);
		return 20;
	}
	p->v6 = (struct ip6_hdr){ 0 };
	p->v6.ip6_flow = htonl(6u << 28);
	p->v6.ip6_plen = htons((uint16_t)body);
	p->v6.ip6_nxt = (uint8_t)protocol;
	p->v6.ip6_hlim = FORGED_HOPS;
	memcpy(&p->v6.ip6_src, f->theirs, 16);
	memcpy(&p->v6.ip6_dst, f->ours, 16);
	return 40;
}

static int open_raw(const struct flow *f, struct err *err)
{
	bool v4 = f->family == AF_INET;
	int fd = socket(f->family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW), on = 1, r;
	uint32_t mark = NETWORK_LOCK_MARK;

	if (fd < 0)
		return err_sys(err, "cannot make a raw socket");
	r = setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_HDRINCL : IPV6_HDRINCL, &on,
		sizeof(on));
	if (r == 0)
		r = setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	if (r < 0) {
		r = err_sys(err, "cannot prepare a raw socket");
		close(fd);
		return r;
	}
	return fd;
}

/* The way to every address of our own, whatever device it belongs to. */
static int check_loopback(int fd, struct err *err)
{
	struct ifreq lo = { .ifr_name = "lo" };

	if (ioctl(fd, SIOCGIFFLAGS, &lo) < 0 || lo.ifr_flags & IFF_UP)
		return 0;
	return err_set(err, ERR_TARGET, ENETDOWN, "the loopback device of the network namespace is "
		"down; 'ip link set lo up' in there would help");
}

static int send_packet(const struct flow *f, const struct packet *p, size_t head, size_t body,
	struct err *err)
{
	auto_close int fd = open_raw(f, err);
	struct iovec parts[2] = { { (void *)p->head, head }, { (void *)p->body, body } };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
	int r;

	if (fd < 0)
		return fd;
	r = check_loopback(fd, err);
	if (r < 0)
		return r;
	memcpy(&v4.sin_addr, f->ours, 4);
	memcpy(&v6.sin6_addr, f->ours, 16);
	m.msg_name = f->family == AF_INET ? (void *)&v4 : (void *)&v6;
	m.msg_namelen = f->family == AF_INET ? sizeof(v4) : sizeof(v6);
	if (sendmsg(fd, &m, 0) < 0)
		return err_sys(err, "cannot send a packet to an address of our own");
	return 0;
}

int forge_segment(const struct flow *f, const struct forged_segment *s, struct err *err)
{
	struct packet p;
	struct tcphdr t = { .source = htons(f->their_port), .dest = htons(f->our_port),
		.seq = htonl(s->seq), .ack_seq = htonl(s->ack), .doff = 5, .ack = 1,
		.fin = s->fin, .rst = s->rst, .window = htons(s->window) };
	size_t head = put_head(&p, f, IPPROTO_TCP, sizeof(t));

	t.check = checksum(f, IPPROTO_TCP, &t, sizeof(t));
	memcpy(p.body, &t, sizeof(t));
	return send_packet(f, &p, head, sizeof(t), err);
}

int forge_datagram(const struct flow *f, int protocol, const void *bytes, size_t len,
	struct err *err)
{
	size_t body = sizeof(struct udphdr) + len;
	struct udphdr u = { .source = htons(f->their_port), .dest = htons(f->our_port),
		.len = htons((uint16_t)body) };
	struct packet p;
	size_t head = put_head(&p, f, protocol, body);

	if (len > MOST_PAYLOAD)
		return err_set(err, ERR_IMAGE, EMSGSIZE, "a datagram of %zu bytes is too long", len);
	memcpy(p.body, &u, sizeof(u));
	if (len)
		memcpy(p.body + sizeof(u), bytes, len);
	u.check = checksum(f, protocol, p.body, body);
	/* 0 would mean that there is none (RFC 768) */
	if (!u.check)
		u.check = 0xffff;
	memcpy(p.body, &u, sizeof(u));
	return send_packet(f, &p, head, body, err);
}
