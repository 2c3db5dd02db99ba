// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options of the levels IP, IPv6, TCP and UDP: those which the messages have fields for, and tables
 * of the others, which go to torpor-files (kinds/sock/sockopts.h). ip(7), ipv6(7), tcp(7), udp(7).
 *
 * What the kernel itself changes while a connection lives (TCP_QUICKACK, TCP_WINDOW_CLAMP) is left
 * to it; what would change the connection behind the back of both ends (kernel TLS, TCP-AO) is
 * refused.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/sockopts.h"
#include <errno.h>
#include <linux/icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

/* linux/in.h, linux/in6.h, linux/tcp.h: newer than the C library's headers, or not in them */
#ifndef IP_RECVERR_RFC4884
#define IP_RECVERR_RFC4884 26 /* 5.9 */
#endif
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51 /* 6.3 */
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif
#ifndef IPV6_RECVERR_RFC4884
#define IPV6_RECVERR_RFC4884 31
#endif
/* linux/in.h and in6.h, which cannot stand beside netinet/in.h */
#define IP_CHECKSUM_ 23
#define IPV6_FLOWINFO_ 11
#define IPV6_FLOWINFO_SEND_ 33
#define IPV6_ROUTER_ALERT_ISOLATE_ 30 /* 5.1 */
#define TCP_RTO_MAX_MS_ 44 /* 6.15 */
#define TCP_RTO_MIN_US_ 45 /* 6.17 */
#define TCP_DELACK_MAX_US_ 46 /* 6.17 */
#define TCP_AO_INFO_ 40 /* 6.7 */
enum { ICMP6_FILTER_ = 1, RAW_CHECKSUM = 7, ICMP_FILTER_ = 1, UDPLITE_SEND_CSCOV_ = 10,
	UDPLITE_RECV_CSCOV_ = 11, ULP_NAME = 16, CC_NAME = 16, TABLES = 8 };

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define IP4(option, size, when, usual) { IPPROTO_IP, option, #option, size, SOCKOPT_##when, usual }
#define IP6(option, size, when, usual) { IPPROTO_IPV6, option, #option, size, SOCKOPT_##when, usual }
#define TCP(option, size, when, usual) { IPPROTO_TCP, option, #option, size, SOCKOPT_##when, usual }
#define UDP(option, size, when, usual) { IPPROTO_UDP, option, #option, size, SOCKOPT_##when, usual }
#define LITE(option, size, when, usual) \
	{ IPPROTO_UDPLITE, option, #option, size, SOCKOPT_##when, usual }

static const struct sockopt ip_table[] = {
	IP4(IP_RECVOPTS, 4, LATE, 0),
	IP4(IP_RETOPTS, 4, LATE, 0),
	IP4(IP_MTU_DISCOVER, 4, EARLY, IP_PMTUDISC_WANT),
	IP4(IP_RECVERR, 4, LATE, 0),
	IP4(IP_RECVTTL, 4, LATE, 0),
	IP4(IP_RECVTOS, 4, LATE, 0),
	IP4(IP_PASSSEC, 4, LATE, 0),
	IP4(IP_TRANSPARENT, 4, EARLY, 0),
	IP4(IP_RECVORIGDSTADDR, 4, LATE, 0),
	IP4(IP_MINTTL, 4, LATE, 0),
	IP4(IP_BIND_ADDRESS_NO_PORT, 4, LATE, 0),
	IP4(IP_RECVFRAGSIZE, 4, LATE, 0),
	IP4(IP_RECVERR_RFC4884, 4, LATE, 0),
	IP4(IP_MULTICAST_LOOP, 4, EARLY, 1),
	IP4(IP_OPTIONS, 0, EARLY, 0),
	IP4(IP_CHECKSUM_, 4, LATE, 0),
	IP4(IP_UNICAST_IF, 4, EARLY, 0),
	IP4(IP_LOCAL_PORT_RANGE, 4, LATE, 0),
};

/* What a new socket of IPv4 has and one of IPv6 has not. */
static const struct sockopt ip_only_table[] = {
	IP4(IP_MULTICAST_ALL, 4, EARLY, 1),
};

static const struct sockopt ip_mapped_table[] = {
	IP4(IP_MULTICAST_ALL, 4, EARLY, 0),
};

/* Not of streams. */
static const struct sockopt ip_group_table[] = {
	IP4(IP_MULTICAST_IF, 4, EARLY, 0),
	IP4(IP_MULTICAST_TTL, 4, EARLY, 1),
};

static const struct sockopt ipv6_group_table[] = {
	IP6(IPV6_MULTICAST_IF, 4, EARLY, 0),
	IP6(IPV6_MULTICAST_HOPS, 4, EARLY, 1),
};

static const struct sockopt ipv6_table[] = {
	IP6(IPV6_UNICAST_HOPS, 4, EARLY, 64),
	IP6(IPV6_MULTICAST_LOOP, 4, EARLY, 1),
	IP6(IPV6_MULTICAST_ALL, 4, EARLY, 1),
	IP6(IPV6_MTU_DISCOVER, 4, EARLY, IPV6_PMTUDISC_WANT),
	IP6(IPV6_RECVERR, 4, LATE, 0),
	IP6(IPV6_RECVERR_RFC4884, 4, LATE, 0),
	IP6(IPV6_RECVPKTINFO, 4, LATE, 0),
	IP6(IPV6_RECVHOPLIMIT, 4, LATE, 0),
	IP6(IPV6_RECVHOPOPTS, 4, LATE, 0),
	IP6(IPV6_RECVRTHDR, 4, LATE, 0),
	IP6(IPV6_RECVDSTOPTS, 4, LATE, 0),
	IP6(IPV6_RECVPATHMTU, 4, LATE, 0),
	IP6(IPV6_RECVTCLASS, 4, LATE, 0),
	IP6(IPV6_TCLASS, 4, EARLY, 0),
	IP6(IPV6_DONTFRAG, 4, EARLY, 0),
	IP6(IPV6_AUTOFLOWLABEL, 4, EARLY, 1),
	IP6(IPV6_ADDR_PREFERENCES, 4, EARLY, 0x500),
	IP6(IPV6_MINHOPCOUNT, 4, LATE, 0),
	IP6(IPV6_RECVORIGDSTADDR, 4, LATE, 0),
	IP6(IPV6_TRANSPARENT, 4, EARLY, 0),
	IP6(IPV6_UNICAST_IF, 4, EARLY, 0),
	IP6(IPV6_RECVFRAGSIZE, 4, LATE, 0),
	IP6(IPV6_FREEBIND, 4, EARLY, 0),
	IP6(IPV6_2292PKTINFO, 4, LATE, 0),
	IP6(IPV6_2292HOPOPTS, 4, LATE, 0),
	IP6(IPV6_2292DSTOPTS, 4, LATE, 0),
	IP6(IPV6_2292RTHDR, 4, LATE, 0),
	IP6(IPV6_2292HOPLIMIT, 4, LATE, 0),
	IP6(IPV6_FLOWINFO_, 4, LATE, 0),
	IP6(IPV6_FLOWINFO_SEND_, 4, LATE, 0),
	IP6(IPV6_ROUTER_ALERT_ISOLATE_, 4, LATE, 0),
	IP6(IPV6_HOPOPTS, 0, EARLY, 0),
	IP6(IPV6_RTHDRDSTOPTS, 0, EARLY, 0),
	IP6(IPV6_RTHDR, 0, EARLY, 0),
	IP6(IPV6_DSTOPTS, 0, EARLY, 0),
};

static const struct sockopt raw_table[] = {
	IP4(IP_ROUTER_ALERT, 4, LATE, 0),
};

static const struct sockopt raw6_table[] = {
	IP6(RAW_CHECKSUM, 4, LATE, -1),
};

static const struct sockopt tcp_table[] = {
	TCP(TCP_SYNCNT, 4, EARLY, 6),
	TCP(TCP_LINGER2, 4, EARLY, 60),
	TCP(TCP_DEFER_ACCEPT, 4, EARLY, 0),
	TCP(TCP_THIN_LINEAR_TIMEOUTS, 4, EARLY, 0),
	TCP(TCP_USER_TIMEOUT, 4, EARLY, 0),
	TCP(TCP_NOTSENT_LOWAT, 4, EARLY, 0),
	TCP(TCP_SAVE_SYN, 4, EARLY, 0),
	TCP(TCP_FASTOPEN_NO_COOKIE, 4, EARLY, 0),
	TCP(TCP_INQ, 4, EARLY, 0),
	TCP(TCP_TX_DELAY, 4, LATE, 0),
	TCP(TCP_RTO_MAX_MS_, 4, EARLY, 120000),
	TCP(TCP_RTO_MIN_US_, 4, EARLY, 200000),
	TCP(TCP_DELACK_MAX_US_, 4, EARLY, 200000),
};

/* Only of sockets without a connection: of others the kernel tells something else, or nothing. */
static const struct sockopt tcp_idle_table[] = {
	TCP(TCP_MAXSEG, 4, EARLY, 536),
	TCP(TCP_WINDOW_CLAMP, 4, EARLY, 0),
	TCP(TCP_FASTOPEN_CONNECT, 4, LATE, 0), /* it would keep connect(2) from connecting */
	TCP(TCP_FASTOPEN, 4, LATE, 0),
	TCP(TCP_FASTOPEN_KEY, 0, LATE, 0),
};

static const struct sockopt udp_table[] = {
	UDP(UDP_CORK, 4, LATE, 0),
	UDP(UDP_ENCAP, 4, LATE, 0),
	UDP(UDP_NO_CHECK6_TX, 4, EARLY, 0),
	UDP(UDP_NO_CHECK6_RX, 4, EARLY, 0),
	UDP(UDP_SEGMENT, 4, LATE, 0),
	UDP(UDP_GRO, 4, LATE, 0),
};

static const struct sockopt udplite_table[] = {
	LITE(UDPLITE_SEND_CSCOV_, 4, EARLY, 0),
	LITE(UDPLITE_RECV_CSCOV_, 4, EARLY, 0),
};

/* Which tables a socket has. */
static size_t tables_of(const InetSkEntry *e, bool idle, const struct sockopt *ret[TABLES], size_t lengths[TABLES])
{
	size_t n = 0;

#define TAKE(table) (ret[n] = table, lengths[n++] = LEN(table))
	TAKE(ip_table);
	if (e->family == AF_INET6) {
		TAKE(ip_mapped_table);
		TAKE(ipv6_table);
	} else {
		TAKE(ip_only_table);
	}
	if (e->type != SOCK_STREAM)
		TAKE(ip_group_table);
	if (e->type != SOCK_STREAM && e->family == AF_INET6)
		TAKE(ipv6_group_table);
	if (e->type == SOCK_STREAM) {
		TAKE(tcp_table);
		if (idle)
			TAKE(tcp_idle_table);
	} else if (e->type == SOCK_DGRAM && e->proto == IPPROTO_UDP) {
		TAKE(udp_table);
	} else if (e->type == SOCK_DGRAM && e->proto == IPPROTO_UDPLITE) {
		TAKE(udp_table);
		TAKE(udplite_table);
	} else if (e->type == SOCK_RAW && e->family == AF_INET) {
		TAKE(raw_table);
	} else if (e->type == SOCK_RAW) {
		TAKE(raw6_table);
	}
#undef TAKE
	return n;
}

/* ---- dump ---- */

/* 1 read, 0 not there; what else goes wrong is no reason to fail. */
static bool get_int(int fd, int level, int name, int *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = 0;
	return getsockopt(fd, level, name, ret, &len) == 0;
}

static void collect_ip(const struct fd_look *l, InetSkEntry *e)
{
	IpOptsEntry *o = arena_msg(l->world->arena, IpOptsEntry, ip_opts_entry);
	int v;

	e->ip_opts = o;
	if (get_int(l->dup, IPPROTO_IP, IP_FREEBIND, &v) && v)
		o->has_freebind = o->freebind = true;
	if (get_int(l->dup, IPPROTO_IP, IP_PKTINFO, &v) && v)
		o->has_pktinfo = o->pktinfo = true;
	if (get_int(l->dup, IPPROTO_IP, IP_TOS, &v) && v) {
		o->has_tos = true;
		o->tos = (uint32_t)v;
	}
	if (get_int(l->dup, IPPROTO_IP, IP_TTL, &v) && v != 64 && v > 0) {
		o->has_ttl = true;
		o->ttl = (uint32_t)v;
	}
	if (e->family == AF_INET6 && get_int(l->dup, IPPROTO_IPV6, IPV6_V6ONLY, &v)) {
		e->has_v6only = true;
		e->v6only = v;
	}
}

/* The socket of a multicast router (MRT_INIT): interfaces and routes hang on it and cannot be read back. */
static int refuse_router(const struct fd_look *l, const InetSkEntry *e, struct err *err)
{
	auto_free char *text = NULL;
	char who[96];

	if (e->type != SOCK_RAW || e->family != AF_INET || e->proto != IPPROTO_IGMP ||
		io_slurp("/proc/sys/net/ipv4/conf/all/mc_forwarding", &text, NULL) < 0 ||
		text[0] == '0')
		return 0;
	return err_unsupported(err, "%s is a raw socket of IGMP in a network namespace in which a program "
		"routes multicasts (MRT_INIT); this one may do so, and that cannot be saved",
		file_look_who(l, who, sizeof(who)));
}

static void collect_raw(const struct fd_look *l, InetSkEntry *e)
{
	IpOptsRawEntry *o = arena_msg(l->world->arena, IpOptsRawEntry, ip_opts_raw_entry);
	uint32_t filter[8] = { 0 };
	socklen_t len = e->family == AF_INET ? 4 : sizeof(filter);
	int v;

	e->ip_opts->raw = o;
	if (get_int(l->dup, IPPROTO_IP, IP_HDRINCL, &v) && v)
		o->has_hdrincl = o->hdrincl = true;
	if (get_int(l->dup, IPPROTO_IP, IP_NODEFRAG, &v) && v)
		o->has_nodefrag = o->nodefrag = true;
	if (e->family == AF_INET6 && get_int(l->dup, IPPROTO_IPV6, RAW_CHECKSUM, &v) && v >= 0)
		o->has_checksum = o->checksum = true;
	if (e->family == AF_INET && e->proto != IPPROTO_ICMP)
		return;
	if (e->family == AF_INET6 && e->proto != IPPROTO_ICMPV6)
		return;
	if (getsockopt(l->dup, e->family == AF_INET ? SOL_RAW : IPPROTO_ICMPV6,
		e->family == AF_INET ? ICMP_FILTER_ : ICMP6_FILTER_, filter, &len) < 0)
		return;
	o->n_icmpv_filter = len / 4;
	o->icmpv_filter = arena_memdup(l->world->arena, filter, len);
}

static void collect_tcp(const struct fd_look *l, InetSkEntry *e)
{
	TcpOptsEntry *o = arena_msg(l->world->arena, TcpOptsEntry, tcp_opts_entry);
	const struct {
		int name;
		protobuf_c_boolean *has;
		uint32_t *value;
		int usual;
	} numbers[] = {
		{ TCP_KEEPCNT, &o->has_keepcnt, &o->keepcnt, 9 },
		{ TCP_KEEPIDLE, &o->has_keepidle, &o->keepidle, 7200 },
		{ TCP_KEEPINTVL, &o->has_keepintvl, &o->keepintvl, 75 },
	};
	bool keepalive = e->opts->so_keepalive;
	int v;

	if (get_int(l->dup, IPPROTO_TCP, TCP_CORK, &v) && v)
		o->has_cork = o->cork = true;
	if (get_int(l->dup, IPPROTO_TCP, TCP_NODELAY, &v) && v)
		o->has_nodelay = o->nodelay = true;
	for (size_t i = 0; i < LEN(numbers); i++) {
		if (!get_int(l->dup, IPPROTO_TCP, numbers[i].name, &v) ||
			(v == numbers[i].usual && !keepalive))
			continue;
		*numbers[i].has = true;
		*numbers[i].value = (uint32_t)v;
	}
	if (protobuf_c_message_get_packed_size(&o->base))
		e->tcp_opts = o;
}

static void add_text_option(const struct fd_look *l, uint32_t id, int name, const char *text)
{
	TorporSkOption *o = arena_msg(l->world->arena, TorporSkOption, torpor_sk_option);
	TorporFileEntry *extra = world_want_extra(l->world, id);

	o->level = IPPROTO_TCP;
	o->name = (uint32_t)name;
	o->value.data = (uint8_t *)arena_strdup(l->world->arena, text);
	o->value.len = strlen(text);
	arena_push(l->world->arena, extra->options, extra->n_options, o);
}

/* What repair knows nothing of. */
static int refuse_hidden(const struct fd_look *l, struct err *err)
{
	char text[ULP_NAME + 1] = "", info[256] = "", who[96];
	socklen_t len = ULP_NAME, info_len = 56;

	file_look_who(l, who, sizeof(who));
	if (getsockopt(l->dup, IPPROTO_TCP, TCP_ULP, text, &len) == 0 && len && text[0])
		return err_unsupported(err, "%s is a TCP socket with an upper layer in the kernel "
			"('%s'), which cannot be saved", who, text);
	if (getsockopt(l->dup, IPPROTO_TCP, TCP_AO_INFO_, info, &info_len) == 0)
		return err_unsupported(err, "%s is a TCP socket with TCP-AO keys, which cannot be read "
			"back", who);
	return 0;
}

static int collect_congestion(const struct fd_look *l, const InetSkEntry *e, struct err *err)
{
	char text[CC_NAME + 1] = "", who[96];
	socklen_t len = CC_NAME;

	if (getsockopt(l->dup, IPPROTO_TCP, TCP_CONGESTION, text, &len) < 0)
		return err_sys(err, "%s: cannot read the congestion control of a TCP socket",
			file_look_who(l, who, sizeof(who)));
	add_text_option(l, e->id, TCP_CONGESTION, text);
	return 0;
}

int inet_opts_collect(const struct fd_look *l, InetSkEntry *e, bool dead, struct err *err)
{
	const struct sockopt *tables[TABLES];
	bool idle = !dead && !inet_is_connection(e);
	size_t lengths[TABLES], n = tables_of(e, idle, tables, lengths);
	int r = sockopts_collect(l, e->id, &e->opts, err);

	if (r < 0)
		return r;
	collect_ip(l, e);
	r = refuse_router(l, e, err);
	if (r == 0 && e->type == SOCK_RAW)
		collect_raw(l, e);
	if (r == 0 && e->type == SOCK_STREAM) {
		collect_tcp(l, e);
		/* the layer of MPTCP is the kernel's own */
		r = e->proto == IPPROTO_TCP ? refuse_hidden(l, err) : 0;
		if (r == 0)
			r = collect_congestion(l, e, err);
	}
	if (r == 0 && e->type != SOCK_STREAM)
		inet_groups_collect(l, e);
	for (size_t i = 0; i < n && r == 0; i++)
		r = sockopts_collect_more(l, e->id, tables[i], lengths[i], err);
	return r;
}

/* ---- restore ---- */

static int set_int(int fd, int level, int name, const char *text, int value, struct err *err)
{
	int now;

	if (get_int(fd, level, name, &now) && now == value)
		return 0;
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		return err_sys(err, "cannot set %s of a socket to %d", text, value);
	return 0;
}
#define set_option(fd, level, name, value, err) set_int(fd, level, name, #name, (int)(value), err)

static int restore_ip(const InetSkEntry *e, int fd, struct err *err)
{
	const IpOptsEntry *o = e->ip_opts;
	int r = 0;

	if (e->family == AF_INET6 && e->has_v6only)
		r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, e->v6only, err);
	if (!o || r < 0)
		return r;
	if (o->freebind)
		r = set_option(fd, IPPROTO_IP, IP_FREEBIND, 1, err);
	if (r == 0 && o->pktinfo)
		r = set_option(fd, IPPROTO_IP, IP_PKTINFO, 1, err);
	if (r == 0 && o->has_tos)
		r = set_option(fd, IPPROTO_IP, IP_TOS, o->tos, err);
	if (r == 0 && o->has_ttl)
		r = set_option(fd, IPPROTO_IP, IP_TTL, o->ttl, err);
	return r;
}

static int restore_raw(const InetSkEntry *e, int fd, struct err *err)
{
	const IpOptsRawEntry *o = e->ip_opts ? e->ip_opts->raw : NULL;
	bool v4 = e->family == AF_INET;
	int r = 0;

	if (!o || e->type != SOCK_RAW)
		return 0;
	if (o->hdrincl)
		r = set_option(fd, IPPROTO_IP, IP_HDRINCL, 1, err);
	if (r == 0 && o->nodefrag)
		r = set_option(fd, IPPROTO_IP, IP_NODEFRAG, 1, err);
	if (r < 0 || !o->n_icmpv_filter)
		return r;
	if (setsockopt(fd, v4 ? SOL_RAW : IPPROTO_ICMPV6, v4 ? ICMP_FILTER_ : ICMP6_FILTER_,
		o->icmpv_filter, (socklen_t)(o->n_icmpv_filter * 4)) < 0)
		return err_sys(err, "cannot set the ICMP filter of a raw socket");
	return 0;
}

/* The fields of 4.0 and later, or those which came before them. */
static int restore_tcp(const InetSkEntry *e, int fd, struct err *err)
{
	const TcpOptsEntry *o = e->tcp_opts;
	const SkOptsEntry *old = e->opts;
	const struct {
		int name;
		bool has;
		uint32_t value;
	} numbers[] = {
		{ TCP_KEEPCNT, o ? o->has_keepcnt : old->has_tcp_keepcnt,
			o ? o->keepcnt : old->tcp_keepcnt },
		{ TCP_KEEPIDLE, o ? o->has_keepidle : old->has_tcp_keepidle,
			o ? o->keepidle : old->tcp_keepidle },
		{ TCP_KEEPINTVL, o ? o->has_keepintvl : old->has_tcp_keepintvl,
			o ? o->keepintvl : old->tcp_keepintvl },
	};
	int r = 0;

	for (size_t i = 0; i < LEN(numbers) && r == 0; i++)
		if (numbers[i].has && numbers[i].value)
			r = set_int(fd, IPPROTO_TCP, numbers[i].name, "a keepalive time",
				(int)numbers[i].value, err);
	if (r == 0 && o && o->nodelay)
		r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, err);
	if (r == 0 && o && o->cork)
		r = set_option(fd, IPPROTO_TCP, TCP_CORK, 1, err);
	return r;
}

static int restore_congestion(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, e->id);
	char now[CC_NAME + 1] = "";
	socklen_t len = CC_NAME;

	for (size_t i = 0; extra && i < extra->n_options; i++) {
		const TorporSkOption *o = extra->options[i];

		if (o->level != IPPROTO_TCP || o->name != TCP_CONGESTION || o->value.len > CC_NAME)
			continue;
		if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, now, &len) == 0 &&
			strlen(now) == o->value.len && !memcmp(now, o->value.data, o->value.len))
			continue;
		if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, o->value.data,
			(socklen_t)o->value.len) < 0)
			return err_sys(err, "cannot set the congestion control '%.*s' of a TCP socket",
				(int)o->value.len, (const char *)o->value.data);
	}
	return 0;
}

static int restore_tables(struct file_maker *m, const InetSkEntry *e, int fd,
	enum sockopt_when when, struct err *err)
{
	const struct sockopt *tables[TABLES];
	size_t lengths[TABLES], n = tables_of(e, !inet_is_connection(e), tables, lengths);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = sockopts_restore_more(m, e->id, fd, tables[i], lengths[i], when, err);
	return r;
}

int inet_opts_early(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	int r = sockopts_early(m, e->id, fd, e->opts, err);

	if (r == 0)
		r = restore_ip(e, fd, err);
	if (r == 0)
		r = restore_raw(e, fd, err);
	if (r == 0 && e->type == SOCK_STREAM)
		r = restore_congestion(m, e, fd, err);
	if (r == 0 && e->type == SOCK_STREAM)
		r = restore_tcp(e, fd, err);
	return r < 0 ? r : restore_tables(m, e, fd, SOCKOPT_EARLY, err);
}

int inet_opts_late(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	int r = sockopts_late(m, e->id, fd, e->opts, err);

	if (r == 0 && e->type != SOCK_STREAM)
		r = inet_groups_restore(m, e, fd, err);
	return r < 0 ? r : restore_tables(m, e, fd, SOCKOPT_LATE, err);
}

static uint32_t tcp_number(const struct world *w, const InetSkEntry *e, uint32_t name)
{
	const TorporFileEntry *extra = world_extra(w, e->id);
	uint32_t n = 0;

	for (size_t i = 0; extra && i < extra->n_options; i++) {
		const TorporSkOption *o = extra->options[i];

		if (o->level == IPPROTO_TCP && o->name == name && o->value.len == sizeof(n))
			memcpy(&n, o->value.data, sizeof(n));
	}
	return n;
}

uint32_t inet_rto_max(const struct world *w, const InetSkEntry *e)
{
	return tcp_number(w, e, TCP_RTO_MAX_MS_);
}

uint32_t inet_user_timeout(const struct world *w, const InetSkEntry *e)
{
	return tcp_number(w, e, TCP_USER_TIMEOUT);
}
