/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Netlink sockets (netlink(7), net/netlink/af_netlink.c): port, groups, destination, options.
 *
 * Messages that wait cannot be saved: the kernel shows no more than the first one without taking it
 * away, and what the kernel has sent nobody else can send again. Such a socket is refused by name;
 * so is one in the middle of a listing (NLM_F_DUMP), whose place only the kernel knows.
 */
#include "base/cleanup.h"
#include "kinds/sock/family.h"
#include "kinds/sock/rooms.h"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIST = 10, BY_INO = 11 }; /* for sock_key() */
enum { CONNECTED = 1 }; /* sk_state */
/* How often a list is read at most. */
enum { MOST_READS = 6 };
enum { GROUP_WORDS_MAX = 2048, PROTOCOL_MAX = 32 };

#define NETLINK_OPTION(option) { SOL_NETLINK, option, #option, 4, SOCKOPT_EARLY, 0 }

static const struct sockopt options[] = {
	NETLINK_OPTION(NETLINK_PKTINFO),
	NETLINK_OPTION(NETLINK_BROADCAST_ERROR),
	NETLINK_OPTION(NETLINK_NO_ENOBUFS),
	NETLINK_OPTION(NETLINK_LISTEN_ALL_NSID),
	NETLINK_OPTION(NETLINK_CAP_ACK),
	NETLINK_OPTION(NETLINK_EXT_ACK),
	NETLINK_OPTION(NETLINK_GET_STRICT_CHK),
	SOCKOPT_TYPE(SOCK_RAW),
};
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

/* ---- dump ---- */

struct netlink_seen {
	struct diag_netlink d;
	const uint32_t *groups;
};

struct reading {
	const struct sock_ns *ns;
	struct arena *arena;
};

static int note_socket(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct reading *r = ctx;
	struct netlink_seen *s;
	struct diag_netlink d;

	if (!diag_parse_netlink(payload, len, &d))
		return err_set(err, ERR_KERNEL, 71, "the list of netlink sockets is not understood");
	if (table_get(r->ns->seen, sock_key(r->ns, BY_INO, d.ino)))
		return 0;
	s = arena_new_of(r->arena, struct netlink_seen);
	s->d = d;
	if (d.n_groups)
		s->groups = arena_memdup(r->arena, d.groups, d.n_groups * sizeof(uint32_t));
	table_put(r->ns->seen, sock_key(r->ns, BY_INO, d.ino), s);
	return 0;
}

static int read_list(const struct fd_look *l, const struct sock_ns *ns, struct err *err)
{
	struct reading reading = { ns, l->world->arena };
	auto_close int diag = -1;
	int r = sock_ns_diag(l, &diag, err);

	if (r == 0)
		r = sock_diag_netlink(diag, note_socket, &reading, err);
	return r < 0 ? err_while(err, "listing netlink sockets") : 0;
}

/* It has a port or groups: the kernel lists it. */
static bool is_bound(int fd)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);

	return getsockname(fd, (struct sockaddr *)&a, &len) == 0 && (a.nl_pid || a.nl_groups);
}

/*
 * NULL in *ret: one that was never bound, which the kernel does not list. A list told in several
 * answers may lack sockets where others come and go (net/netlink/diag.c remembers how many it has
 * told): one that must be there is looked for again.
 */
static int find_seen(const struct fd_look *l, const struct sock_ns *ns, struct netlink_seen **ret,
	struct err *err)
{
	uint64_t list = sock_key(ns, LIST, 0), key = sock_key(ns, BY_INO, (uint32_t)l->st.st_ino);
	uintptr_t reads = (uintptr_t)table_get(l->seen, list);
	bool bound = is_bound(l->dup);
	char who[96];
	int r;

	*ret = table_get(l->seen, key);
	while (!*ret && reads < (bound ? MOST_READS : 1)) {
		r = read_list(l, ns, err);
		if (r < 0)
			return r;
		table_put(l->seen, list, (void *)++reads);
		*ret = table_get(l->seen, key);
	}
	if (!*ret && bound)
		return err_busy(err, "%s is a netlink socket (socket:[%lu]) that is missing in the "
			"kernel's list of them, in which others come and go; try again",
			file_look_who(l, who, sizeof(who)), (unsigned long)l->st.st_ino);
	return 0;
}

static int refuse_busy(const struct fd_look *l, const struct netlink_seen *s, struct err *err)
{
	struct pollfd p = { .fd = l->dup, .events = POLLIN };
	char who[96];

	file_look_who(l, who, sizeof(who));
	if (s && s->d.flags & NDIAG_FLAG_CB_RUNNING)
		return err_busy(err, "%s is a netlink socket (socket:[%lu]) in the middle of a listing "
			"from the kernel, which cannot be saved; try again when it has read all of it", who,
			(unsigned long)l->st.st_ino);
	if (poll(&p, 1, 0) > 0 && p.revents & (POLLIN | POLLERR))
		return err_busy(err, "%s is a netlink socket (socket:[%lu]) with messages it has not "
			"read, which cannot be saved; try again when it has read them", who,
			(unsigned long)l->st.st_ino);
	return 0;
}

static bool netlink_match(const struct fd_look *l)
{
	return sock_family(l) == AF_NETLINK;
}

static int netlink_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	NetlinkSkEntry *e = arena_msg(l->world->arena, NetlinkSkEntry, netlink_sk_entry);
	struct netlink_seen *s = NULL;
	struct sock_ns *ns;
	int r = sock_ns_of(l, &ns, err);

	if (r == 0)
		r = find_seen(l, ns, &s, err);
	if (r == 0)
		r = refuse_busy(l, s, err);
	if (r < 0)
		return r;
	e->id = fe->id;
	e->ino = (uint32_t)l->st.st_ino;
	e->protocol = (uint32_t)sock_number(l->dup, SO_PROTOCOL, 0);
	e->state = s ? s->d.state : 7; /* TCP_CLOSE, as it is born */
	e->flags = flags_collect(l);
	if (s) {
		e->portid = s->d.portid;
		e->dst_portid = s->d.dst_portid;
		e->dst_group = s->d.dst_group;
		e->groups = (uint32_t *)s->groups;
		e->n_groups = s->d.n_groups;
		/* Readers before 4.0 know one word only. */
		while (e->n_groups > 1 && !e->groups[e->n_groups - 1])
			e->n_groups--;
	}
	e->has_ns_id = true;
	e->ns_id = ns->id;
	e->fown = fown_collect(l);
	fe->nlsk = e;
	r = sockopts_collect(l, fe->id, &e->opts, err);
	return r < 0 ? r : sockopts_collect_more(l, fe->id, options, N_OPTIONS, err);
}

/* ---- check, show ---- */

static void netlink_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const NetlinkSkEntry *e = fe->nlsk;
	char what[64];

	(void)w;
	if (!e) {
		finding_add(f, "netlink-entry", SEV_ERROR, 0, "file %u is a netlink socket that says nothing",
			fe->id);
		return;
	}
	snprintf(what, sizeof(what), "netlink socket %u (file %u)", e->ino, fe->id);
	if (e->protocol >= PROTOCOL_MAX)
		finding_add(f, "netlink-protocol", SEV_ERROR, 0, "%s has protocol %u", what, e->protocol);
	if (e->n_groups > GROUP_WORDS_MAX)
		finding_add(f, "netlink-groups", SEV_ERROR, 0, "%s has %zu words of groups", what,
			e->n_groups);
	if (e->dst_group > 32 * GROUP_WORDS_MAX)
		finding_add(f, "netlink-groups", SEV_ERROR, 0, "%s sends to group %u", what, e->dst_group);
	sockopts_check(e->opts, what, f);
}

static void netlink_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "netlink socket %u protocol %u port %u", fe->nlsk->ino, fe->nlsk->protocol,
		fe->nlsk->portid);
}

/* ---- restore ---- */

/* Groups beyond those that bind(2) has room for. */
static int join_groups(const NetlinkSkEntry *e, int fd, struct err *err)
{
	for (size_t i = 1; i < e->n_groups; i++)
		for (unsigned bit = 0; bit < 32; bit++) {
			unsigned group = (unsigned)i * 32 + bit + 1;

			if (e->groups[i] >> bit & 1 &&
				setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
				return err_sys(err, "cannot join group %u of netlink protocol %u", group,
					e->protocol);
		}
	return 0;
}

static int bind_port(const NetlinkSkEntry *e, int fd, struct err *err)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_pid = e->portid,
		.nl_groups = e->n_groups ? e->groups[0] : 0 };
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = e->dst_portid,
		.nl_groups = e->dst_group && e->dst_group <= 32 ? 1u << (e->dst_group - 1) : 0 };
	int r = 0;

	if (!e->portid)
		return 0;
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0) {
		if (errno == EADDRINUSE)
			return err_target(err, EADDRINUSE, "port %u of netlink protocol %u is in use by another "
				"process", e->portid, e->protocol);
		return err_sys(err, "cannot bind a netlink socket of protocol %u to port %u", e->protocol,
			e->portid);
	}
	r = join_groups(e, fd, err);
	if (r == 0 && e->state == CONNECTED && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		r = err_sys(err, "cannot connect a netlink socket of protocol %u to port %u", e->protocol,
			e->dst_portid);
	return r;
}

static int netlink_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const NetlinkSkEntry *e = fe->nlsk;
	int type = sockopts_saved_type(m->world, fe->id, SOCK_RAW), r;
	auto_close int fd = socket(AF_NETLINK, type | SOCK_CLOEXEC, (int)e->protocol);

	if (fd < 0)
		return err_sys(err, "cannot make a netlink socket of protocol %u", e->protocol);
	r = sockopts_early(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = sockopts_restore_more(m, fe->id, fd, options, N_OPTIONS, SOCKOPT_EARLY, err);
	if (r == 0)
		r = bind_port(e, fd, err);
	if (r == 0)
		r = sockopts_late(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

const struct file_kind file_kind_netlink = {
	.name = "netlink socket",
	.type = FD_TYPES__NETLINKSK,
	.match = netlink_match,
	.collect = netlink_collect,
	.check = netlink_check,
	.create = netlink_create,
	.describe = netlink_describe,
};
