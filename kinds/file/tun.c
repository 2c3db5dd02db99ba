/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network tunnels (tun, tap). A descriptor is the open device node (a REG entry with the same id)
 * and perhaps attached to a network device, as one of its queues.
 *
 * A persistent device outlives the tree: a restore attaches to it. One that is not has gone with
 * its last descriptor: it is made again with its number if that is free, its addresses and routes,
 * all before the task runs. What waited to be read is lost, as packets may be.
 */
#include "kernel/tun.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "kernel/rtnl.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "names/reach.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { SEEN_DEVICES = 770, TUN_MAJOR = 10, TUN_MINOR = 200 };

static bool tun_match(const struct fd_look *l)
{
	return S_ISCHR(l->st.st_mode) && l->st.st_rdev == makedev(TUN_MAJOR, TUN_MINOR) &&
		!(l->flags & O_PATH);
}

static uint64_t name_key(const char *name)
{
	uint64_t key = SEEN_DEVICES;

	for (; *name; name++)
		key = table_key(key, (uint8_t)*name);
	return key;
}

/* ---- dump ---- */

static int refuse(const struct fd_look *l, const char *name, const char *what, struct err *err)
{
	char who[96];

	return err_unsupported(err, "%s is attached to the network tunnel '%s' %s; it cannot be saved",
		file_look_who(l, who, sizeof(who)), name, what);
}

struct notes {
	struct world *world;
	TorporTunEntry *to;
};

static int note_message(const struct nlmsghdr *h, void *ctx)
{
	const struct notes *n = ctx;
	ProtobufCBinaryData bytes = { .len = h->nlmsg_len,
		.data = arena_memdup(n->world->arena, h, h->nlmsg_len) };

	arena_push(n->world->arena, n->to->rtnl, n->to->n_rtnl, bytes);
	return 0;
}

static void add_device(const struct fd_look *l, const char *name, const TorporTunEntry *more,
	const struct tun_info *i, const struct rtnl_link *link)
{
	struct arena *arena = l->world->arena;
	NetDeviceEntry *e = arena_msg(arena, NetDeviceEntry, net_device_entry);

	e->type = ND_TYPE__TUN;
	e->ifindex = link->index;
	e->mtu = link->mtu;
	e->flags = link->flags;
	e->name = arena_strdup(arena, name);
	e->has_address = link->address_len > 0;
	e->address.len = link->address_len;
	e->address.data = arena_memdup(arena, link->address, link->address_len);
	e->tun = arena_msg(arena, TunLinkEntry, tun_link_entry);
	e->tun->flags = more->flags;
	e->tun->owner = (int32_t)link->owner;
	e->tun->group = (int32_t)link->group;
	e->tun->vnethdr = (uint32_t)i->header;
	e->tun->sndbuf = (uint32_t)i->send_buffer;
	world_add(l->world, IMG_NETDEV, l->world->inventory->root_ids->net_ns_id, e);
}

/* Once for each device. */
static int collect_device(const struct fd_look *l, const struct tun_info *i, uint32_t id,
	struct err *err)
{
	TorporTunEntry *e = arena_msg(l->world->arena, TorporTunEntry, torpor_tun_entry);
	struct notes notes = { l->world, e };
	struct rtnl_link link;
	int r;

	if (table_get(l->seen, name_key(i->name)))
		return 0;
	table_put(l->seen, name_key(i->name), e);
	r = rtnl_link_get(i->name, &link);
	if (r == 0)
		r = rtnl_each_of_link(link.index, note_message, &notes);
	if (r < 0)
		return err_sysn(err, -r, "cannot read about the network device '%s'", i->name);
	e->flags = (i->flags & ~(uint32_t)IFF_DETACH_QUEUE) | (link.has_pi ? 0 : IFF_NO_PI);
	e->offload = i->offload;
	e->little_endian = i->little_endian;
	e->queue_len = link.queue_len;
	e->has_address_mode = link.has_ipv6;
	e->address_mode = link.address_mode;
	e->has_no_carrier = e->no_carrier = link.flags & IFF_UP && !(link.flags & IFF_RUNNING) &&
		!(i->flags & IFF_DETACH_QUEUE);
	world_want_extra(l->world, id)->tun = e;
	add_device(l, i->name, e, i, &link);
	return 0;
}

static uint64_t own_netns(void)
{
	struct stat st;

	return stat("/proc/self/ns/net", &st) == 0 ? st.st_ino : 0;
}

static int add_name(const struct fd_look *l, uint32_t id, struct err *err)
{
	FileEntry *fe = arena_msg(l->world->arena, FileEntry, file_entry);
	int r = name_collect(l, id, flags_collect(l), &fe->reg, err);

	fe->type = FD_TYPES__REG;
	fe->id = id;
	return r < 0 ? r : world_add_file(l->world, fe, err);
}

static int tun_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TunfileEntry *e = arena_msg(l->world->arena, TunfileEntry, tunfile_entry);
	struct tun_info i;
	int r = tun_look(l->dup, &i);
	char who[96];

	e->id = fe->id;
	fe->tunf = e;
	if (r == -EBADFD)
		return add_name(l, fe->id, err);
	if (r < 0)
		return err_sysn(err, -r, "%s: cannot look at a network tunnel",
			file_look_who(l, who, sizeof(who)));
	if (i.netns && i.netns != own_netns())
		return refuse(l, i.name, "of another network namespace", err);
	if (i.filtered)
		return refuse(l, i.name, "with a packet filter (TUNATTACHFILTER)", err);
	e->netdev = arena_strdup(l->world->arena, i.name);
	e->has_detached = e->detached = i.flags & IFF_DETACH_QUEUE;
	e->has_ns_id = true;
	e->ns_id = l->world->inventory->root_ids->net_ns_id;
	r = collect_device(l, &i, fe->id, err);
	return r < 0 ? r : add_name(l, fe->id, err);
}

/* ---- restore ---- */

/* A device of the images. */
struct device {
	const NetDeviceEntry *link; /* NULL: nothing is known of it */
	const TorporTunEntry *more; /* the same */
	bool there; /* we have made it, or found a persistent one */
};

static uint64_t device_key(const char *name)
{
	return table_key(FD_TYPES__TUNF, name_key(name));
}

static uint64_t node_key(uint32_t id)
{
	return table_key(table_key(FD_TYPES__TUNF, SEEN_DEVICES), id);
}

static struct device *want_device(struct file_maker *m, const char *name)
{
	struct device *d = table_get(&m->made, device_key(name));

	if (!d) {
		d = arena_new_of(m->arena, struct device);
		table_put(&m->made, device_key(name), d);
	}
	return d;
}

static void tun_prepare(struct file_maker *m)
{
	const struct entry_list *links = &m->world->entries[IMG_NETDEV];
	const struct entry_list *files = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < links->n; i++) {
		const NetDeviceEntry *e = links->at[i]->msg;

		if (e->type == ND_TYPE__TUN && e->tun)
			want_device(m, e->name)->link = e;
	}
	for (size_t i = 0; i < files->n; i++) {
		const FileEntry *fe = files->at[i]->msg, *tun = world_file(m->world, fe->id);
		const TorporFileEntry *x = fe->tunf ? world_extra(m->world, fe->id) : NULL;

		if (x && x->tun && fe->tunf->netdev)
			want_device(m, fe->tunf->netdev)->more = x->tun;
		if (fe->reg && tun && tun->type == FD_TYPES__TUNF)
			table_put(&m->made, node_key(fe->id), fe->reg);
	}
}

static void tun_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const char *name = fe->tunf->netdev;

	if (name && (!*name || strlen(name) >= IFNAMSIZ || strchr(name, '%') || strchr(name, '/')))
		finding_add(f, "tun-name", SEV_ERROR, 0,
			"network tunnel (file %u): '%.100s' is no name of a device", fe->id, name);
}

static struct rtnl_link link_of(const struct device *d, uint32_t index)
{
	struct rtnl_link link = { .index = index, .mtu = d->link->mtu, .flags = d->link->flags,
		.queue_len = d->more->queue_len, .has_ipv6 = d->more->has_address_mode };

	/* That of a tun without Ethernet is empty. */
	if (d->link->has_address && d->link->address.len <= sizeof(link.address)) {
		link.address_len = d->link->address.len;
		memcpy(link.address, d->link->address.data, link.address_len);
	}
	return link;
}

static int set_device(int fd, const char *name, const struct device *d)
{
	struct tun_info info = { .flags = d->more->flags, .send_buffer = (int)d->link->tun->sndbuf,
		.header = (int)d->link->tun->vnethdr, .offload = d->more->offload,
		.little_endian = d->more->little_endian };
	struct rtnl_link link;
	int r = tun_set(fd, &info, d->link->tun->owner, d->link->tun->group);

	if (r < 0)
		return r;
	link = link_of(d, if_nametoindex(name));
	r = rtnl_link_set(&link);
	for (size_t i = 0; i < d->more->n_rtnl && r == 0; i++) {
		const ProtobufCBinaryData *m = &d->more->rtnl[i];

		r = rtnl_apply(m->data, m->len, link.index);
		/* Addresses and routes which the kernel has made by itself meanwhile. */
		if (r == -EEXIST)
			r = 0;
	}
	if (r == 0 && link.has_ipv6)
		r = rtnl_set_address_mode(link.index, (uint8_t)d->more->address_mode);
	return r == 0 && d->more->no_carrier ? tun_unplug(fd) : r;
}

static int make_device(int fd, const char *name, struct device *d, struct err *err)
{
	uint32_t flags = d->more->flags;
	int r = tun_attach(fd, name, flags, d->link->ifindex);

	if (r == -EBUSY || r == -EEXIST) {
		log_warn("the network device '%s' had the number %u, which another one has now; it gets "
			"another number", name, d->link->ifindex);
		r = tun_attach(fd, name, flags, 0);
	}
	if (r == 0)
		r = set_device(fd, name, d);
	return r < 0 ? err_sysn(err, -r, "cannot make the network tunnel '%s'", name) : 0;
}

static int attach(int fd, const char *name, struct device *d, struct err *err)
{
	bool exists = if_nametoindex(name) != 0;
	uint32_t flags;
	int r;

	if (!d->link || !d->more)
		return err_unsupported(err, "the images do not say enough about the network tunnel '%s' "
			"to attach to it", name);
	flags = d->more->flags;
	if (!exists && flags & IFF_PERSIST)
		return err_target(err, ENODEV, "the persistent network tunnel '%s' is not there; make it "
			"first (ip tuntap add)", name);
	if (exists && !d->there && !(flags & IFF_PERSIST))
		return err_target(err, EEXIST, "there is a network device '%s' already, which the images "
			"have for a tunnel of their own; remove or rename it", name);
	if (!exists)
		r = make_device(fd, name, d, err);
	else
		r = tun_attach(fd, name, flags, 0);
	if (exists && r < 0)
		r = err_sysn(err, -r, "cannot attach to the network tunnel '%s'%s", name,
			r == -EBUSY ? ", which somebody else uses" : "");
	d->there |= r == 0;
	return r;
}

static int set_up(struct file_maker *m, const FileEntry *fe, const RegFileEntry *node, int fd,
	struct err *err)
{
	const TunfileEntry *e = fe->tunf;
	int r = e->netdev ? attach(fd, e->netdev, want_device(m, e->netdev), err) : 0;

	if (r == 0 && e->detached) {
		r = tun_detach(fd);
		if (r < 0)
			return err_sysn(err, -r, "cannot turn a queue of '%s' off", e->netdev);
	}
	if (r == 0)
		r = fown_restore(fd, node->fown, err);
	if (r == 0)
		r = flags_restore(fd, node->flags, err);
	/* For other kinds a task does that, by its own number; here the flags are those of the node. */
	if (r == 0 && node->flags & O_ASYNC &&
		fcntl(fd, F_SETFL, (int)(node->flags & (O_ASYNC | O_NONBLOCK))) < 0)
		r = err_sys(err, "cannot set O_ASYNC");
	return r;
}

static int tun_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const RegFileEntry *node = table_get(&m->made, node_key(fe->id));
	auto_close int fd = -1;
	int r;

	if (!node)
		return err_image(err, "network tunnel (file %u) has no device node", fe->id);
	r = reach_open(m->reach, node, (int)node->flags, &fd, err);
	if (r == 0)
		r = set_up(m, fe, node, fd, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void tun_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "network tunnel %s", fe->tunf->netdev ? fe->tunf->netdev : "(not attached)");
}

const struct file_kind file_kind_tun = {
	.name = "network tunnel",
	.type = FD_TYPES__TUNF,
	.match = tun_match,
	.collect = tun_collect,
	.check = tun_check,
	.prepare = tun_prepare,
	.create = tun_create,
	.describe = tun_describe,
};
