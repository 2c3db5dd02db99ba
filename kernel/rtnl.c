/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/rtnl.h. */
#include "kernel/rtnl.h"
#include "base/cleanup.h"
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 32 * 1024, MSG_ROOM = 4096 };

/* ---- asking ---- */

/* 1: go on reading, 0: that was all, -errno. */
static int take_answers(const void *buf, size_t n, rtnl_each *each, void *ctx)
{
	int left = (int)n;

	for (const struct nlmsghdr *h = buf; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
		int r;

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return mnl_nlmsg_get_payload_len(h) < sizeof(*e) ? -EBADMSG : e->error;
		r = each ? each(h, ctx) : 0;
		if (r < 0)
			return r;
	}
	return 1;
}

static int ask(const struct nlmsghdr *q, rtnl_each *each, void *ctx)
{
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	auto_free void *buf = malloc(ROOM);
	int r = 1;

	if (fd < 0 || !buf || send(fd, q, q->nlmsg_len, 0) < 0)
		return -errno;
	while (r > 0) {
		ssize_t n = recv(fd, buf, ROOM, 0);

		r = n < 0 ? -errno : take_answers(buf, (size_t)n, each, ctx);
	}
	return r;
}

/* ---- links ---- */

static int note_attr(const struct nlattr *a, void *data)
{
	const struct nlattr **table = data;

	if (mnl_attr_get_type(a) < 64)
		table[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

static uint32_t u32_of(const struct nlattr *a, uint32_t other)
{
	return a && mnl_attr_get_payload_len(a) >= 4 ? mnl_attr_get_u32(a) : other;
}

static void note_tun(const struct nlattr *info, struct rtnl_link *ret)
{
	const struct nlattr *kind[64] = { 0 }, *data[64] = { 0 };

	mnl_attr_parse_nested(info, note_attr, kind);
	if (!kind[IFLA_INFO_DATA])
		return;
	mnl_attr_parse_nested(kind[IFLA_INFO_DATA], note_attr, data);
	ret->owner = data[IFLA_TUN_OWNER] ? (int64_t)u32_of(data[IFLA_TUN_OWNER], 0) : -1;
	ret->group = data[IFLA_TUN_GROUP] ? (int64_t)u32_of(data[IFLA_TUN_GROUP], 0) : -1;
	ret->has_pi = data[IFLA_TUN_PI] && mnl_attr_get_payload_len(data[IFLA_TUN_PI]) &&
		mnl_attr_get_u8(data[IFLA_TUN_PI]);
}

static void note_ipv6(const struct nlattr *families, struct rtnl_link *ret)
{
	const struct nlattr *family[64] = { 0 }, *a[64] = { 0 };

	mnl_attr_parse_nested(families, note_attr, family);
	if (!family[AF_INET6])
		return;
	mnl_attr_parse_nested(family[AF_INET6], note_attr, a);
	ret->has_ipv6 = a[IFLA_INET6_ADDR_GEN_MODE] &&
		mnl_attr_get_payload_len(a[IFLA_INET6_ADDR_GEN_MODE]);
	if (ret->has_ipv6)
		ret->address_mode = mnl_attr_get_u8(a[IFLA_INET6_ADDR_GEN_MODE]);
}

static int note_link(const struct nlmsghdr *h, void *ctx)
{
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);
	const struct nlattr *a[64] = { 0 };
	struct rtnl_link *ret = ctx;

	if (h->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(h) < sizeof(*i))
		return 0;
	mnl_attr_parse(h, sizeof(*i), note_attr, a);
	*ret = (struct rtnl_link){ .index = (uint32_t)i->ifi_index, .flags = i->ifi_flags,
		.mtu = u32_of(a[IFLA_MTU], 0), .queue_len = u32_of(a[IFLA_TXQLEN], 0),
		.owner = -1, .group = -1 };
	if (a[IFLA_ADDRESS] && mnl_attr_get_payload_len(a[IFLA_ADDRESS]) <= sizeof(ret->address)) {
		ret->address_len = mnl_attr_get_payload_len(a[IFLA_ADDRESS]);
		memcpy(ret->address, mnl_attr_get_payload(a[IFLA_ADDRESS]), ret->address_len);
	}
	if (a[IFLA_LINKINFO])
		note_tun(a[IFLA_LINKINFO], ret);
	if (a[IFLA_AF_SPEC])
		note_ipv6(a[IFLA_AF_SPEC], ret);
	return 0;
}

static struct nlmsghdr *begin(char *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	return h;
}

int rtnl_link_get(const char *name, struct rtnl_link *ret)
{
	char buf[MSG_ROOM] = { 0 };
	struct nlmsghdr *h = begin(buf, RTM_GETLINK, NLM_F_ACK);

	*ret = (struct rtnl_link){ 0 };
	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, name);
	return ask(h, note_link, ret);
}

static void put_address_mode(struct nlmsghdr *h, uint8_t mode)
{
	struct nlattr *families = mnl_attr_nest_start(h, IFLA_AF_SPEC);
	struct nlattr *family = mnl_attr_nest_start(h, AF_INET6);

	mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, mode);
	mnl_attr_nest_end(h, family);
	mnl_attr_nest_end(h, families);
}

int rtnl_set_address_mode(uint32_t index, uint8_t mode)
{
	char buf[MSG_ROOM] = { 0 };
	struct nlmsghdr *h = begin(buf, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));

	i->ifi_index = (int)index;
	put_address_mode(h, mode);
	return ask(h, NULL, NULL);
}

int rtnl_link_set(const struct rtnl_link *link)
{
	char buf[MSG_ROOM] = { 0 };
	struct nlmsghdr *h = begin(buf, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(h, sizeof(*i));
	int r = link->has_ipv6 ?
		rtnl_set_address_mode(link->index, IN6_ADDR_GEN_MODE_NONE) : 0;

	if (r < 0)
		return r;
	i->ifi_index = (int)link->index;
	i->ifi_flags = link->flags & IFF_UP;
	i->ifi_change = IFF_UP;
	mnl_attr_put_u32(h, IFLA_MTU, link->mtu);
	mnl_attr_put_u32(h, IFLA_TXQLEN, link->queue_len);
	if (link->address_len)
		mnl_attr_put(h, IFLA_ADDRESS, link->address_len, link->address);
	return ask(h, NULL, NULL);
}

/* ---- addresses and routes ---- */

struct filter {
	uint32_t index;
	rtnl_each *each;
	void *ctx;
};

static size_t head_of(const struct nlmsghdr *h)
{
	return h->nlmsg_type == RTM_NEWADDR ? sizeof(struct ifaddrmsg) : sizeof(struct rtmsg);
}

/* The attribute that names the device of a route. */
static struct nlattr *device_attr(struct nlmsghdr *h)
{
	struct nlattr *a;

	mnl_attr_for_each(a, h, sizeof(struct rtmsg))
		if (mnl_attr_get_type(a) == RTA_OIF && mnl_attr_get_payload_len(a) == 4)
			return a;
	return NULL;
}

/* An address, or a route somebody has made: connected and local ones come with the address. */
static bool is_wanted(const struct filter *f, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *address = mnl_nlmsg_get_payload(h);
	const struct rtmsg *route = mnl_nlmsg_get_payload(h);
	const struct nlattr *device;

	if (mnl_nlmsg_get_payload_len(h) < head_of(h))
		return false;
	if (h->nlmsg_type == RTM_NEWADDR)
		return address->ifa_index == f->index;
	if (h->nlmsg_type != RTM_NEWROUTE || route->rtm_protocol == RTPROT_KERNEL ||
		route->rtm_protocol == RTPROT_RA || route->rtm_flags & RTM_F_CLONED)
		return false;
	device = device_attr((struct nlmsghdr *)h);
	return device && mnl_attr_get_u32(device) == f->index;
}

static int filter(const struct nlmsghdr *h, void *ctx)
{
	const struct filter *f = ctx;

	return is_wanted(f, h) ? f->each(h, f->ctx) : 0;
}

int rtnl_each_of_link(uint32_t index, rtnl_each *each, void *ctx)
{
	struct filter f = { index, each, ctx };
	char buf[MSG_ROOM] = { 0 };
	struct nlmsghdr *h = begin(buf, RTM_GETADDR, NLM_F_DUMP);
	int r;

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifaddrmsg));
	r = ask(h, filter, &f);
	memset(buf, 0, sizeof(buf));
	h = begin(buf, RTM_GETROUTE, NLM_F_DUMP);
	mnl_nlmsg_put_extra_header(h, sizeof(struct rtmsg));
	return r < 0 ? r : ask(h, filter, &f);
}

/* Its neighbours know the address: it is not tried out (duplicate address detection). */
static void aim_address(struct nlmsghdr *h, uint32_t index)
{
	struct ifaddrmsg *address = mnl_nlmsg_get_payload(h);
	struct nlattr *a;

	address->ifa_index = index;
	if (address->ifa_family != AF_INET6)
		return;
	address->ifa_flags |= IFA_F_NODAD;
	mnl_attr_for_each(a, h, sizeof(*address))
		if (mnl_attr_get_type(a) == IFA_FLAGS && mnl_attr_get_payload_len(a) == 4)
			*(uint32_t *)mnl_attr_get_payload(a) |= IFA_F_NODAD;
}

static void aim(struct nlmsghdr *h, uint32_t index)
{
	struct nlattr *device = h->nlmsg_type == RTM_NEWROUTE ? device_attr(h) : NULL;

	if (h->nlmsg_type == RTM_NEWADDR)
		aim_address(h, index);
	else if (device)
		memcpy(mnl_attr_get_payload(device), &index, sizeof(index));
}

int rtnl_apply(const void *msg, size_t len, uint32_t index)
{
	auto_free char *buf = malloc(len + 1);
	struct nlmsghdr *h = (void *)buf;

	if (!buf)
		return -ENOMEM;
	memcpy(buf, msg, len);
	if (len < sizeof(*h) || h->nlmsg_len != len || len > ROOM ||
		(h->nlmsg_type != RTM_NEWADDR && h->nlmsg_type != RTM_NEWROUTE) ||
		mnl_nlmsg_get_payload_len(h) < head_of(h) ||
		(h->nlmsg_type == RTM_NEWROUTE && !device_attr(h)))
		return -EBADMSG;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
	h->nlmsg_seq = 0;
	h->nlmsg_pid = 0;
	aim(h, index);
	return ask(h, NULL, NULL);
}
