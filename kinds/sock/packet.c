/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packet sockets (packet(7), net/packet/af_packet.c): device, memberships, rings, fanout.
 *
 * Packets that wait in the queue or in a ring are lost, as packets may always be; a warning says so.
 * A receive ring begins at its first frame again, because nobody can tell the kernel where it was.
 * A mapped ring is an area whose shmid is the file id of the socket: while the dump looks at address
 * spaces it is the socket's inode (kinds/mem), settle puts the id there.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/sock/family.h"
#include "kinds/sock/rooms.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24 /* 6.6 */
#endif

enum { LIST = 20, BY_INO = 21, A_SPACE = 797 }; /* for sock_key(), table_key() */
enum { SOCKET_AREA = 0x800 }; /* status of a mapped ring */
enum { FRAME_MIN = 52 }; /* the least header and an address (TPACKET_HDRLEN) */
enum { ADDRESS_MAX = 32, MEMBERS_MAX = 65536, RING_MAX = 1 << 20 };
enum { NO_FANOUT = -1 };

#define PACKET_OPTION(option) { SOL_PACKET, option, #option, 4, SOCKOPT_EARLY, 0 }

/* What packet_sock_entry has no field for. */
static const struct sockopt options[] = {
	PACKET_OPTION(PACKET_QDISC_BYPASS),
	PACKET_OPTION(PACKET_IGNORE_OUTGOING),
	PACKET_OPTION(PACKET_TX_HAS_OFF),
	PACKET_OPTION(PACKET_VNET_HDR_SZ),
};
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

/* ---- dump ---- */

struct packet_seen {
	struct diag_packet d; /* mclist is a copy */
	const PacketSockEntry *entry; /* of the tree */
};

struct reading {
	const struct sock_ns *ns;
	struct arena *arena;
};

static int note_socket(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct reading *r = ctx;
	struct packet_seen *s = arena_new_of(r->arena, struct packet_seen);

	if (!diag_parse_packet(payload, len, &s->d))
		return err_set(err, ERR_KERNEL, 71, "the list of packet sockets is not understood");
	if (s->d.n_mclist)
		s->d.mclist = arena_memdup(r->arena, s->d.mclist, s->d.n_mclist * sizeof(*s->d.mclist));
	table_put(r->ns->seen, sock_key(r->ns, BY_INO, s->d.ino), s);
	return 0;
}

static int find_seen(const struct fd_look *l, const struct sock_ns *ns, struct packet_seen **ret,
	struct err *err)
{
	struct reading reading = { ns, l->world->arena };
	auto_close int diag = -1;
	char who[96];
	int r;

	if (!table_get(l->seen, sock_key(ns, LIST, 0))) {
		r = sock_ns_diag(l, &diag, err);
		if (r == 0)
			r = sock_diag_packet(diag, note_socket, &reading, err);
		if (r < 0)
			return err_while(err, "listing packet sockets");
		table_put(l->seen, sock_key(ns, LIST, 0), l->world);
		table_put(l->seen, table_key(A_SPACE, 0), (void *)ns);
	}
	*ret = table_get(l->seen, sock_key(ns, BY_INO, (uint32_t)l->st.st_ino));
	if (!*ret)
		return err_set(err, ERR_KERNEL, ENOENT, "%s is a packet socket (socket:[%lu]) which the "
			"kernel does not list", file_look_who(l, who, sizeof(who)),
			(unsigned long)l->st.st_ino);
	return 0;
}

static PacketRing *copy_ring(struct arena *a, const struct packet_diag_ring *from)
{
	PacketRing *r = arena_msg(a, PacketRing, packet_ring);

	r->block_size = from->pdr_block_size;
	r->block_nr = from->pdr_block_nr;
	r->frame_size = from->pdr_frame_size;
	r->frame_nr = from->pdr_frame_nr;
	r->retire_tmo = from->pdr_retire_tmo;
	r->sizeof_priv = from->pdr_sizeof_priv;
	r->features = from->pdr_features;
	return r;
}

static void copy_members(struct arena *a, const struct diag_packet *d, PacketSockEntry *e)
{
	for (size_t i = 0; i < d->n_mclist; i++) {
		struct packet_diag_mclist from;
		PacketMclist *m = arena_msg(a, PacketMclist, packet_mclist);

		memcpy(&from, &d->mclist[i], sizeof(from));
		m->index = from.pdmc_index;
		m->type = from.pdmc_type;
		m->addr.len = from.pdmc_alen < ADDRESS_MAX ? from.pdmc_alen : ADDRESS_MAX;
		m->addr.data = arena_memdup(a, from.pdmc_addr, ADDRESS_MAX);
		for (uint32_t k = 0; k < from.pdmc_count; k++)
			arena_push(a, e->mclist, e->n_mclist, m);
	}
}

static int packet_number(int fd, int option)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_PACKET, option, &v, &len) < 0 ? 0 : v;
}

static int fill_fanout(const struct fd_look *l, const struct diag_packet *d, PacketSockEntry *e,
	struct err *err)
{
	unsigned type;
	char who[96];

	if (!d->has_fanout)
		return 0;
	/* The list does not tell the flags. */
	e->has_fanout = true;
	e->fanout = (uint32_t)packet_number(l->dup, PACKET_FANOUT);
	type = e->fanout >> 16 & 0xff;
	if (type == PACKET_FANOUT_CBPF || type == PACKET_FANOUT_EBPF)
		return err_unsupported(err, "%s is a packet socket whose fanout group is steered by a BPF "
			"program, which cannot be read back", file_look_who(l, who, sizeof(who)));
	return 0;
}

static void fill(const struct fd_look *l, const struct diag_packet *d, PacketSockEntry *e)
{
	struct arena *a = l->world->arena;

	e->type = d->type;
	e->protocol = htons(d->num);
	e->flags = flags_collect(l);
	e->ifindex = d->info.pdi_index;
	e->version = d->info.pdi_version;
	e->reserve = d->info.pdi_reserve;
	e->copy_thresh = d->info.pdi_copy_thresh;
	e->timestamp = d->info.pdi_tstamp;
	e->aux_data = d->info.pdi_flags & PDI_AUXDATA;
	e->orig_dev = d->info.pdi_flags & PDI_ORIGDEV;
	e->vnet_hdr = d->info.pdi_flags & PDI_VNETHDR;
	e->loss = d->info.pdi_flags & PDI_LOSS;
	if (d->has_rx)
		e->rx_ring = copy_ring(a, &d->rx);
	if (d->has_tx)
		e->tx_ring = copy_ring(a, &d->tx);
	copy_members(a, d, e);
}

static bool packet_match(const struct fd_look *l)
{
	return sock_family(l) == AF_PACKET;
}

static int packet_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	PacketSockEntry *e = arena_msg(l->world->arena, PacketSockEntry, packet_sock_entry);
	struct pollfd p = { .fd = l->dup, .events = POLLIN };
	struct packet_seen *s = NULL;
	struct sock_ns *ns;
	char who[96];
	int r = sock_ns_of(l, &ns, err);

	if (r == 0)
		r = find_seen(l, ns, &s, err);
	if (r < 0)
		return r;
	e->id = fe->id;
	fill(l, &s->d, e);
	e->has_ns_id = true;
	e->ns_id = ns->id;
	e->fown = fown_collect(l);
	s->entry = e;
	fe->psk = e;
	if (poll(&p, 1, 0) > 0 && p.revents & POLLIN)
		log_warn("%s: packets that wait in the packet socket (socket:[%lu]) will be lost at a restore",
			file_look_who(l, who, sizeof(who)), (unsigned long)l->st.st_ino);
	if (e->rx_ring)
		log_warn("%s: the receive ring of the packet socket will begin at its first frame; a reader "
			"that waits further on hears nothing until the kernel comes there",
			file_look_who(l, who, sizeof(who)));
	r = fill_fanout(l, &s->d, e, err);
	if (r == 0)
		r = sockopts_collect(l, fe->id, &e->opts, err);
	return r < 0 ? r : sockopts_collect_more(l, fe->id, options, N_OPTIONS, err);
}

/* Mapped rings: from the socket's inode to its file id. */
static int packet_settle(const struct settle *with, struct err *err)
{
	const struct table *seen = with->seen;
	const struct sock_ns *ns = table_get(seen, table_key(A_SPACE, 0));

	world_each_task(t, with->world) {
		for (size_t i = 0; task_is_alive(t) && t->mm && i < t->mm->n_vmas; i++) {
			VmaEntry *v = t->mm->vmas[i];
			const struct packet_seen *s;

			if (!(v->status & SOCKET_AREA))
				continue;
			s = ns ? table_get(seen, sock_key(ns, BY_INO, v->shmid)) : NULL;
			if (!s || !s->entry)
				return err_unsupported(err, "task %d (%s): the area at 0x%lx maps a socket "
					"(socket:[%lu]) which no task has open any more", t->pid, task_comm(t),
					(unsigned long)v->start, (unsigned long)v->shmid);
			v->shmid = s->entry->id;
		}
	}
	return 0;
}

/* ---- check, show ---- */

/* As packet_set_ring() (net/packet/af_packet.c) wants it: blocks of whole pages, full of frames. */
static bool ring_is_possible(const PacketRing *r)
{
	if (!r || !r->block_nr)
		return !r || !r->frame_nr;
	return r->block_nr <= RING_MAX && r->frame_nr <= RING_MAX && r->block_size &&
		r->block_size <= 1u << 30 && r->block_size % 4096 == 0 &&
		r->frame_size >= FRAME_MIN && r->frame_size <= r->block_size &&
		r->frame_size % TPACKET_ALIGNMENT == 0 &&
		(uint64_t)(r->block_size / r->frame_size) * r->block_nr == r->frame_nr;
}

static void packet_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const PacketSockEntry *e = fe->psk;
	char what[64];

	(void)w;
	if (!e) {
		finding_add(f, "packet-entry", SEV_ERROR, 0, "file %u is a packet socket that says nothing",
			fe->id);
		return;
	}
	snprintf(what, sizeof(what), "the packet socket of file %u", fe->id);
	if (e->type != SOCK_RAW && e->type != SOCK_DGRAM && e->type != SOCK_PACKET)
		finding_add(f, "packet-type", SEV_ERROR, 0, "%s has type %u", what, e->type);
	if (e->version > TPACKET_V3)
		finding_add(f, "packet-version", SEV_ERROR, 0, "%s has version %u", what, e->version);
	if (!ring_is_possible(e->rx_ring) || !ring_is_possible(e->tx_ring))
		finding_add(f, "packet-ring", SEV_ERROR, 0, "%s has an impossible ring", what);
	if (e->n_mclist > MEMBERS_MAX)
		finding_add(f, "packet-members", SEV_ERROR, 0, "%s has %zu memberships", what, e->n_mclist);
	for (size_t i = 0; i < e->n_mclist; i++)
		if (e->mclist[i]->addr.len > ADDRESS_MAX)
			finding_add(f, "packet-members", SEV_ERROR, 0, "%s has an address of %zu bytes", what,
				e->mclist[i]->addr.len);
	sockopts_check(e->opts, what, f);
}

static void packet_describe(const FileEntry *fe, char *buf, size_t size)
{
	const PacketSockEntry *e = fe->psk;

	snprintf(buf, size, "packet socket protocol 0x%04x device %u%s%s",
		ntohs((uint16_t)e->protocol), e->ifindex, e->rx_ring || e->tx_ring ? ", rings" : "",
		e->has_fanout ? ", fanout" : "");
}

/* ---- restore ---- */

static int set_number(int fd, int option, const char *text, int value, struct err *err)
{
	if (packet_number(fd, option) == value)
		return 0;
	if (setsockopt(fd, SOL_PACKET, option, &value, sizeof(value)) < 0)
		return err_sys(err, "cannot set %s of a packet socket to %d", text, value);
	return 0;
}
#define SET(option, value) (r == 0 ? set_number(fd, option, #option, (int)(value), err) : r)

static int set_ring(int fd, int option, const PacketRing *from, struct err *err)
{
	struct tpacket_req3 q = { 0 };

	if (!from)
		return 0;
	q.tp_block_size = from->block_size;
	q.tp_block_nr = from->block_nr;
	q.tp_frame_size = from->frame_size;
	q.tp_frame_nr = from->frame_nr;
	q.tp_retire_blk_tov = from->retire_tmo;
	q.tp_sizeof_priv = from->sizeof_priv;
	q.tp_feature_req_word = from->features;
	/* Versions before 3 take the same beginning and check the length. */
	if (setsockopt(fd, SOL_PACKET, option, &q,
		packet_number(fd, PACKET_VERSION) == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req)) < 0)
		return err_sys(err, "cannot make a ring of %u blocks of %u bytes for a packet socket",
			from->block_nr, from->block_size);
	return 0;
}

static int set_all(const PacketSockEntry *e, int fd, struct err *err)
{
	int r = 0;

	r = SET(PACKET_VERSION, e->version);
	r = SET(PACKET_RESERVE, e->reserve);
	r = SET(PACKET_TIMESTAMP, e->timestamp);
	r = SET(PACKET_AUXDATA, e->aux_data);
	r = SET(PACKET_ORIGDEV, e->orig_dev);
	r = SET(PACKET_VNET_HDR, e->vnet_hdr);
	r = SET(PACKET_LOSS, e->loss);
	/* It cannot be read back. */
	if (r == 0 && e->copy_thresh &&
		setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &e->copy_thresh, 4) < 0)
		r = err_sys(err, "cannot set PACKET_COPY_THRESH of a packet socket");
	if (r == 0)
		r = set_ring(fd, PACKET_RX_RING, e->rx_ring, err);
	return r < 0 ? r : set_ring(fd, PACKET_TX_RING, e->tx_ring, err);
}

static int add_members(const PacketSockEntry *e, int fd, struct err *err)
{
	for (size_t i = 0; i < e->n_mclist; i++) {
		/* packet_mreq with room for the longest address */
		struct {
			int index;
			unsigned short type, len;
			unsigned char addr[ADDRESS_MAX];
		} m = { .index = (int)e->mclist[i]->index, .type = (unsigned short)e->mclist[i]->type,
			.len = (unsigned short)e->mclist[i]->addr.len };

		if (m.len)
			memcpy(m.addr, e->mclist[i]->addr.data, m.len);
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m,
			m.len > 8 ? sizeof(m) : sizeof(struct packet_mreq)) < 0)
			return err_sys(err, "cannot add a membership of a packet socket at device %d", m.index);
	}
	return 0;
}

/* Packets come from here on; a fanout group takes only bound sockets. */
static int start(const PacketSockEntry *e, int fd, struct err *err)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = (uint16_t)e->protocol,
		.sll_ifindex = (int)e->ifindex };
	uint32_t fanout = e->fanout;

	if ((a.sll_protocol || a.sll_ifindex) && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(err, "cannot bind a packet socket to device %d", a.sll_ifindex);
	if (e->has_fanout && fanout != (uint32_t)NO_FANOUT &&
		setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof(fanout)) < 0)
		return err_sys(err, "cannot join fanout group %u with a packet socket", fanout & 0xffff);
	return 0;
}

static int packet_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const PacketSockEntry *e = fe->psk;
	auto_close int fd = socket(AF_PACKET, (int)e->type | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make a packet socket");
	r = sockopts_early(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = set_all(e, fd, err);
	if (r == 0)
		r = sockopts_restore_more(m, fe->id, fd, options, N_OPTIONS, SOCKOPT_EARLY, err);
	if (r == 0)
		r = add_members(e, fd, err);
	/* The filter before the first packet. */
	if (r == 0)
		r = sockopts_late(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = start(e, fd, err);
	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

const struct file_kind file_kind_packet = {
	.name = "packet socket",
	.type = FD_TYPES__PACKETSK,
	.match = packet_match,
	.collect = packet_collect,
	.settle = packet_settle,
	.check = packet_check,
	.create = packet_create,
	.describe = packet_describe,
};
