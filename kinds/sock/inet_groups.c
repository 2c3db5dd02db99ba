// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Multicast groups which a socket has joined. The kernel tells nobody which they are, but it answers
 * for a given group and device (MCAST_MSFILTER, ip(7), RFC 3678): so every group that the host is
 * in at all (/proc/net/igmp, igmp6) is asked for. The answer, with the sources that are wanted or
 * not, is the option's value in torpor-files.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "kinds/sock/inet.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

enum { SOURCES = 64, HOST_GROUPS = 4096 };

struct membership {
	uint32_t device;
	struct sockaddr_storage group;
};

/* Groups of the host, read once per dump; in the arena. */
struct host_groups {
	struct membership *at;
	size_t n;
};

static struct sockaddr_storage group_of(int family, const void *address)
{
	struct sockaddr_storage s = { .ss_family = (sa_family_t)family };

	if (family == AF_INET)
		memcpy(&((struct sockaddr_in *)&s)->sin_addr, address, 4);
	else
		memcpy(&((struct sockaddr_in6 *)&s)->sin6_addr, address, 16);
	return s;
}

static void add_group(struct arena *a, struct host_groups *g, uint32_t device, int family,
	const void *address)
{
	struct membership m = { device, group_of(family, address) };

	if (g->n < HOST_GROUPS)
		arena_push(a, g->at, g->n, m);
}

/* "1\tlo  : ..." begins a device, "\t\t\t\t010000E0 ..." is a group of it (host order, hex). */
static void read_igmp(struct arena *a, struct host_groups *g)
{
	auto_free char *text = NULL;
	struct cursor c, line;
	uint32_t device = 0, word;

	if (io_slurp("/proc/net/igmp", &text, NULL) < 0)
		return;
	c = cursor_of(text);
	while (parse_line(&c, &line)) {
		bool begins = line.at < line.end && *line.at != '\t';

		parse_blanks(&line);
		if (begins)
			(void)!parse_u32(&line, 10, &device);
		else if (parse_u32(&line, 16, &word))
			add_group(a, g, device, AF_INET, &word);
	}
}

/* "1 lo ff020000000000000000000000000001 1 ..." */
static void read_igmp6(struct arena *a, struct host_groups *g)
{
	auto_free char *text = NULL;
	struct cursor c, line;

	if (io_slurp("/proc/net/igmp6", &text, NULL) < 0)
		return;
	c = cursor_of(text);
	while (parse_line(&c, &line)) {
		uint8_t address[16];
		const char *word;
		uint32_t device;
		size_t len;

		if (!parse_u32(&line, 10, &device))
			continue;
		parse_blanks(&line);
		if (!parse_word(&line, &word, &len))
			continue;
		parse_blanks(&line);
		if (!parse_word(&line, &word, &len) || len != 32)
			continue;
		for (size_t i = 0; i < 16; i++) {
			struct cursor two = cursor_of_len(word + 2 * i, 2);
			uint64_t byte = 0;

			(void)!parse_u64(&two, 16, &byte);
			address[i] = (uint8_t)byte;
		}
		add_group(a, g, device, AF_INET6, address);
	}
}

static const struct host_groups *host_groups_of(const struct fd_look *l)
{
	uint64_t key = table_key(table_key(FD_TYPES__INETSK, 2), 0);
	struct host_groups *g = table_get(l->seen, key);

	if (g)
		return g;
	g = arena_new_of(l->world->arena, struct host_groups);
	read_igmp(l->world->arena, g);
	read_igmp6(l->world->arena, g);
	table_put(l->seen, key, g);
	return g;
}

static int level_of(const struct membership *m)
{
	return m->group.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

void inet_groups_collect(const struct fd_look *l, const InetSkEntry *e)
{
	const struct host_groups *g = host_groups_of(l);
	struct arena *arena = l->world->arena;
	_Alignas(struct group_filter) char buf[GROUP_FILTER_SIZE(SOURCES)];

	for (size_t i = 0; i < g->n; i++) {
		struct group_filter *f = (struct group_filter *)buf;
		socklen_t len = sizeof(buf);
		TorporSkOption *o;
		TorporFileEntry *extra;

		if (g->at[i].group.ss_family == AF_INET6 && e->family == AF_INET)
			continue;
		memset(buf, 0, sizeof(buf));
		f->gf_interface = g->at[i].device;
		f->gf_group = g->at[i].group;
		f->gf_numsrc = SOURCES;
		if (getsockopt(l->dup, level_of(&g->at[i]), MCAST_MSFILTER, f, &len) < 0)
			continue;
		if (f->gf_numsrc > SOURCES)
			f->gf_numsrc = SOURCES;
		o = arena_msg(arena, TorporSkOption, torpor_sk_option);
		o->level = (uint32_t)level_of(&g->at[i]);
		o->name = MCAST_MSFILTER;
		o->value.len = GROUP_FILTER_SIZE(f->gf_numsrc);
		o->value.data = arena_memdup(arena, f, o->value.len);
		extra = world_want_extra(l->world, e->id);
		arena_push(arena, extra->options, extra->n_options, o);
	}
}

static int join(const TorporSkOption *o, int fd, uint32_t id, struct err *err)
{
	struct group_filter *f = (struct group_filter *)o->value.data;
	struct group_req join = { 0 };

	if (o->value.len < GROUP_FILTER_SIZE(0) || o->value.len > GROUP_FILTER_SIZE(SOURCES) ||
		o->value.len != GROUP_FILTER_SIZE(f->gf_numsrc))
		return err_image(err, "torpor-files: file %u has a multicast group of %zu bytes", id,
			o->value.len);
	join.gr_interface = f->gf_interface;
	join.gr_group = f->gf_group;
	if (setsockopt(fd, (int)o->level, MCAST_JOIN_GROUP, &join, sizeof(join)) < 0 &&
		errno != EADDRINUSE)
		return err_sys(err, "cannot join a multicast group on device %u", f->gf_interface);
	if (f->gf_fmode == MCAST_EXCLUDE && !f->gf_numsrc)
		return 0;
	if (setsockopt(fd, (int)o->level, MCAST_MSFILTER, f, (socklen_t)o->value.len) < 0)
		return err_sys(err, "cannot choose the sources of a multicast group");
	return 0;
}

int inet_groups_restore(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, e->id);
	int r = 0;

	for (size_t i = 0; extra && i < extra->n_options && r == 0; i++) {
		const TorporSkOption *o = extra->options[i];

		if (o->name == MCAST_MSFILTER && (o->level == IPPROTO_IP || o->level == IPPROTO_IPV6))
			r = join(o, fd, e->id, err);
	}
	return r;
}
