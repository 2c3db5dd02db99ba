/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages about addresses and routes, as images may have them. */
#include "kernel/rtnl.h"
#include "tap.h"
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

enum { NO_DEVICE = 0x7ffffff0 };

struct route {
	struct nlmsghdr h;
	struct rtmsg r;
	struct rtattr a;
	uint32_t index;
};

static struct route good(void)
{
	return (struct route){ .h = { .nlmsg_len = sizeof(struct route), .nlmsg_type = RTM_NEWROUTE },
		.r = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST,
			.rtm_scope = RT_SCOPE_LINK, .rtm_dst_len = 32 },
		.a = { .rta_len = RTA_LENGTH(4), .rta_type = RTA_OIF }, .index = 1 };
}

static int apply(const struct route *m)
{
	return rtnl_apply(m, sizeof(*m), NO_DEVICE);
}

/* None of them gets as far as the kernel. */
static void test_bad(struct tap *t)
{
	struct route m = good();

	tap_ok(t, rtnl_apply(&m, 3, NO_DEVICE) == -EBADMSG, "less than a head", NULL);
	tap_ok(t, rtnl_apply(&m, sizeof(m) - 4, NO_DEVICE) == -EBADMSG, "a length that is not there", NULL);
	m.h.nlmsg_type = RTM_DELROUTE;
	tap_ok(t, apply(&m) == -EBADMSG, "neither an address nor a route", NULL);
	m = good();
	m.a.rta_len = 200;
	tap_ok(t, apply(&m) == -EBADMSG, "an attribute beyond the end", NULL);
	m.a.rta_len = 0;
	tap_ok(t, apply(&m) == -EBADMSG, "an attribute without length", NULL);
	m = good();
	m.a.rta_type = RTA_GATEWAY;
	tap_ok(t, apply(&m) == -EBADMSG, "a route without device", NULL);
	m = good();
	m.h.nlmsg_len = NLMSG_LENGTH(4);
	tap_ok(t, rtnl_apply(&m, m.h.nlmsg_len, NO_DEVICE) == -EBADMSG, "half a route", NULL);
}

static int count(const struct nlmsghdr *h, void *ctx)
{
	++*(int *)ctx;
	return h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_NEWROUTE ? 0 : -EPROTO;
}

static void test_links(struct tap *t)
{
	struct rtnl_link link;
	int n = 0;

	tap_ok(t, rtnl_link_get("no-such-device", &link) == -ENODEV, "no device of that name", NULL);
	tap_ok(t, rtnl_link_get("lo", &link) == 0 && link.index == 1 && link.mtu > 0 &&
		link.owner == -1, "lo is device 1", NULL);
	tap_ok(t, rtnl_each_of_link(NO_DEVICE, count, &n) == 0 && n == 0, "nothing about no device",
		NULL);
	tap_ok(t, rtnl_each_of_link(link.index, count, &n) == 0, "the addresses of lo", NULL);
}

int main(void)
{
	struct tap t = { 0 };

	test_bad(&t);
	test_links(&t);
	return tap_done(&t);
}
