/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probes of sockets and network namespaces. Whatever makes a device or a rule does so in a
 * network namespace of the probe's own, which ends with it.
 */
#include "kernel/features_priv.h"
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/net_namespace.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
/* needs netinet/in.h before it */
#include <linux/netfilter.h>

/* asm-generic/socket.h and linux/sockios.h of later kernels than the oldest we build on */
enum { BUF_LOCK = 72, UNIX_FILE = SIOCPROTOPRIVATE + 0 };
enum { ROOM = 1024, NS_NUMBER = 7, WANTED_INDEX = 1234 };

/* ---- netlink ---- */

struct request {
	struct nlmsghdr head;
	char body[ROOM];
};

static void *request_add(struct request *q, const void *data, size_t len)
{
	void *at = (char *)q + q->head.nlmsg_len;

	if (data)
		memcpy(at, data, len);
	q->head.nlmsg_len += (uint32_t)NLMSG_ALIGN(len);
	return at;
}

static void request_attr(struct request *q, int type, const void *data, size_t len)
{
	struct nlattr attr = { .nla_type = (uint16_t)type, .nla_len = (uint16_t)(NLA_HDRLEN + len) };

	request_add(q, &attr, sizeof(attr));
	request_add(q, data, len);
}

static void request_number(struct request *q, int type, uint32_t number)
{
	request_attr(q, type, &number, sizeof(number));
}

static struct request request_new(int type, int flags, const void *body, size_t len)
{
	struct request q = { .head = { .nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = (uint16_t)type,
				     .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) } };

	request_add(&q, body, len);
	return q;
}

/* Sends and reads the first answer into it: 0, or what the kernel says is wrong. */
static int netlink_ask(int protocol, const void *message, size_t len, struct request *answer)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), r = 0;
	struct nlmsgerr *failure = (struct nlmsgerr *)answer->body;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (send(fd, message, len, 0) < 0)
		r = -errno;
	n = r == 0 ? recv(fd, answer, sizeof(*answer), 0) : 0;
	if (n < 0)
		r = -errno;
	else if (r == 0 && n < (ssize_t)NLMSG_HDRLEN)
		r = -EBADMSG;
	else if (r == 0 && answer->head.nlmsg_type == NLMSG_ERROR)
		r = failure->error;
	close(fd);
	return r;
}

static int ask(int protocol, const struct request *q)
{
	struct request answer;

	return netlink_ask(protocol, q, q->head.nlmsg_len, &answer);
}

static int diag(int protocol)
{
	struct inet_diag_req_v2 body = { .sdiag_family = AF_INET, .sdiag_protocol = (uint8_t)protocol,
		.idiag_states = UINT32_MAX };
	struct request q = request_new(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &body, sizeof(body));

	return ask(NETLINK_SOCK_DIAG, &q);
}

int probe_sock_diag(void)
{
	return diag(IPPROTO_TCP);
}

int probe_net_diag_raw(void)
{
	return diag(IPPROTO_RAW);
}

/* ---- socket options ---- */

static int option_read(int family, int type, int level, int option)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0), value;
	socklen_t len = sizeof(value);

	return fd < 0 ? -errno : probe_result(getsockopt(fd, level, option, &value, &len));
}

int probe_peek_off(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), at = 0;

	if (fd < 0)
		return -errno;
	return probe_result(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at)));
}

/* A length of 0 asks how many instructions there are. */
int probe_so_get_filter(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = 0;

	if (fd < 0)
		return -errno;
	return probe_result(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len));
}

int probe_sockopt_buf_lock(void)
{
	return option_read(AF_INET, SOCK_STREAM, SOL_SOCKET, BUF_LOCK);
}

int probe_ipv6_freebind(void)
{
	return option_read(AF_INET6, SOCK_STREAM, SOL_IPV6, IPV6_FREEBIND);
}

static int set_repair(int fd)
{
	int on = 1;

	return probe_result(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)));
}

int probe_tcp_repair(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : set_repair(fd);
}

static int own_network(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return -errno;
	close(fd);
	return 0;
}

int probe_tcp_half_closed(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int server, client, r;

	r = own_network();
	if (r < 0)
		return r;
	server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server, (struct sockaddr *)&at, len) < 0 || listen(server, 1) < 0 ||
		getsockname(server, (struct sockaddr *)&at, &len) < 0 ||
		connect(client, (struct sockaddr *)&at, len) < 0 || shutdown(client, SHUT_WR) < 0)
		return -errno;
	return set_repair(client);
}

int probe_sk_ns(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : probe_result(ioctl(fd, SIOCGSKNS));
}

/* A socket without a path has no file; a kernel without the request does not get as far. */
int probe_sk_unix_file(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UNIX_FILE) >= 0 || errno == ENOENT)
		return 0;
	return -errno;
}

/* ---- devices and namespaces ---- */

int probe_tun(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), index = 1;

	return fd < 0 ? -errno : probe_result(ioctl(fd, TUNSETIFINDEX, &index));
}

/* A tap device in the present network namespace, as long as the descriptor is open. */
static int make_tap(int *ret_fd)
{
	struct ifreq tap = { .ifr_name = "probe0", .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, TUNSETIFF, &tap) < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int probe_tun_ns(void)
{
	int fd, r = own_network();

	if (r == 0)
		r = make_tap(&fd);
	return r < 0 ? r : probe_result(ioctl(fd, SIOCGSKNS));
}

static int open_network(void)
{
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Gives the namespace behind fd a number in the present one. */
static int number_network(int fd)
{
	struct rtgenmsg body = { .rtgen_family = AF_UNSPEC };
	struct request q = request_new(RTM_NEWNSID, NLM_F_ACK, &body, sizeof(body));

	request_number(&q, NETNSA_FD, (uint32_t)fd);
	request_number(&q, NETNSA_NSID, NS_NUMBER);
	return ask(NETLINK_ROUTE, &q);
}

static int outer_and_own(int *ret_outer)
{
	int outer = open_network(), r;

	if (outer < 0)
		return -errno;
	r = own_network();
	*ret_outer = outer;
	return r < 0 ? r : number_network(outer);
}

int probe_nsid(void)
{
	struct rtgenmsg body = { .rtgen_family = AF_UNSPEC };
	struct request q = request_new(RTM_GETNSID, 0, &body, sizeof(body));
	int outer, r = outer_and_own(&outer);

	if (r < 0)
		return r;
	request_number(&q, NETNSA_FD, (uint32_t)outer);
	return ask(NETLINK_ROUTE, &q);
}

/* An unknown attribute would be passed over, so a number that nobody has must fail. */
static int link_of(uint32_t number)
{
	struct ifinfomsg body = { .ifi_index = 1 };
	struct request q = request_new(RTM_GETLINK, 0, &body, sizeof(body));

	request_number(&q, IFLA_IF_NETNSID, number);
	return ask(NETLINK_ROUTE, &q);
}

int probe_link_nsid(void)
{
	int outer, r = outer_and_own(&outer);

	if (r == 0)
		r = link_of(NS_NUMBER);
	if (r < 0)
		return r;
	return link_of(NS_NUMBER + 1) < 0 ? 0 : -ENOTSUP;
}

/* Moves a tap device to another namespace, where it asks for a number. */
int probe_newifindex(void)
{
	struct request q;
	int here, there, tap, r;

	r = own_network();
	there = open_network();
	if (r == 0)
		r = own_network();
	here = open_network();
	if (r == 0)
		r = make_tap(&tap);
	if (r < 0 || here < 0 || there < 0)
		return r < 0 ? r : -EMFILE;
	q = request_new(RTM_NEWLINK, NLM_F_ACK,
		&(struct ifinfomsg){ .ifi_index = (int)if_nametoindex("probe0") },
		sizeof(struct ifinfomsg));
	request_number(&q, IFLA_NET_NS_FD, (uint32_t)there);
	request_number(&q, IFLA_NEW_IFINDEX, WANTED_INDEX);
	r = ask(NETLINK_ROUTE, &q);
	if (r < 0 || setns(there, CLONE_NEWNET) < 0)
		return r < 0 ? r : -errno;
	return if_nametoindex("probe0") == WANTED_INDEX ? 0 : -ENOTSUP;
}

int probe_external_net_ns(void)
{
	return 0; /* a mark for programs that ask: needs nothing of the kernel */
}

/* ---- netfilter ---- */

static struct request filter_request(int message, int flags, int family)
{
	struct nfgenmsg body = { .nfgen_family = (uint8_t)family, .version = NFNETLINK_V0 };

	return request_new(NFNL_SUBSYS_NFTABLES << 8 | message, flags, &body, sizeof(body));
}

int probe_nftables(void)
{
	struct request q = filter_request(NFT_MSG_GETGEN, 0, AF_UNSPEC);

	return ask(NETLINK_NETFILTER, &q);
}

static struct request batch_edge(int message)
{
	struct nfgenmsg body = { .res_id = htons(NFNL_SUBSYS_NFTABLES) };

	return request_new(message, 0, &body, sizeof(body));
}

/* A set whose key is two values of 4 bytes side by side. */
int probe_network_lock_nftables(void)
{
	struct request parts[4] = { batch_edge(NFNL_MSG_BATCH_BEGIN),
		filter_request(NFT_MSG_NEWTABLE, NLM_F_CREATE, NFPROTO_INET),
		filter_request(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_ACK, NFPROTO_INET),
		batch_edge(NFNL_MSG_BATCH_END) };
	char batch[4 * ROOM];
	struct request answer;
	size_t len = 0;
	int r = own_network();

	if (r < 0)
		return r;
	request_attr(&parts[1], NFTA_TABLE_NAME, "probe", sizeof("probe"));
	request_attr(&parts[2], NFTA_SET_TABLE, "probe", sizeof("probe"));
	request_attr(&parts[2], NFTA_SET_NAME, "probe", sizeof("probe"));
	request_number(&parts[2], NFTA_SET_ID, htonl(1));
	request_number(&parts[2], NFTA_SET_KEY_TYPE, htonl(0));
	request_number(&parts[2], NFTA_SET_KEY_LEN, htonl(8));
	for (int i = 0; i < 4; i++) {
		memcpy(batch + len, &parts[i], parts[i].head.nlmsg_len);
		len += NLMSG_ALIGN(parts[i].head.nlmsg_len);
	}
	return netlink_ask(NETLINK_NETFILTER, batch, len, &answer);
}

int probe_has_ipt_legacy(void)
{
	static const char *const paths[] = { "/usr/sbin/iptables-legacy-save",
		"/sbin/iptables-legacy-save", "/usr/local/sbin/iptables-legacy-save" };

	for (int i = 0; i < 3; i++)
		if (access(paths[i], X_OK) == 0)
			return 0;
	return -ENOENT;
}
