// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Gathers a set from a streamer that cannot tell names: first what has a name without number, then
 * whatever the images that are there already speak of. That finds every image a restore opens; one it
 * does not find would be missing in any restore.
 */
#include "image/image.h"
#include "image/stream.h"
#include "proto/messages.h"
#include <string.h>

enum { IPPROTO_OF_TCP = 6, STATUS_ANON_SHARED = 0x100 };

struct crawler {
	struct stream_fetcher *fetcher;
	struct image_set *set;
	struct arena *arena;
};

static int get(struct crawler *c, enum image_id type, unsigned long id, struct err *err)
{
	char name[64];
	int r = c->fetcher->fetch(c->fetcher, image_name(type, id, name, sizeof(name)), err);

	return r < 0 ? r : 0;
}

/* Those of which there is one; lists and logs of other commands are not the set's. */
static int get_plain(struct crawler *c, struct err *err)
{
	int r = 0;

	for (unsigned type = 0; type < IMG_COUNT && r == 0; type++)
		if (!strchr(image_types[type].pattern, '%') && !(image_types[type].flags & IMGF_SERVICE))
			r = get(c, (enum image_id)type, 0, err);
	return r;
}

/* All messages of an image that may be missing. */
static int each(struct crawler *c, enum image_id type, unsigned long id,
	int (*look)(struct crawler *c, const void *msg, struct err *err), struct err *err)
{
	struct image_reader *r = NULL;
	void *msg;
	int got = image_open(c->set, type, id, &r, err);

	while (got >= 0 && r && (got = image_next(r, c->arena, &msg, err)) > 0)
		got = look(c, msg, err);
	image_reader_close(r);
	return got < 0 ? got : 0;
}

/* ---- memory ---- */

static int get_pages(struct crawler *c, enum image_id type, unsigned long id, struct err *err)
{
	struct image_reader *r = NULL;
	PagemapHead *head;
	int got = get(c, type, id, err);

	if (got == 0)
		got = image_open(c->set, type, id, &r, err);
	if (got >= 0 && r)
		got = image_next_as(r, &pagemap_head__descriptor, c->arena, &head, err);
	if (got > 0)
		got = get(c, IMG_PAGES, head->pages_id, err);
	image_reader_close(r);
	return got < 0 ? got : 0;
}

static int look_mm(struct crawler *c, const void *msg, struct err *err)
{
	const MmEntry *mm = msg;
	int r = 0;

	for (size_t i = 0; i < mm->n_vmas && r == 0; i++)
		if (mm->vmas[i]->status & STATUS_ANON_SHARED)
			r = get_pages(c, IMG_PAGEMAP_SHMEM, mm->vmas[i]->shmid, err);
	return r;
}

static int look_memfd(struct crawler *c, const void *msg, struct err *err)
{
	return get_pages(c, IMG_PAGEMAP_SHMEM, ((const MemfdInodeEntry *)msg)->shmid, err);
}

static int look_shm(struct crawler *c, const void *msg, struct err *err)
{
	const IpcShmEntry *e = msg;

	return e->in_pagemaps ? get_pages(c, IMG_PAGEMAP_SHMEM, e->desc->id, err) : 0;
}

/* ---- files ---- */

static int look_remap(struct crawler *c, const void *msg, struct err *err)
{
	const RemapFilePathEntry *e = msg;

	return e->has_remap_type && e->remap_type == REMAP_TYPE__GHOST ?
		get(c, IMG_GHOST_FILE, e->remap_id, err) : 0;
}

static int look_inet(struct crawler *c, const void *msg, struct err *err)
{
	const InetSkEntry *e = msg;

	return e->proto == IPPROTO_OF_TCP ? get(c, IMG_TCP_STREAM, e->ino, err) : 0;
}

static int look_file(struct crawler *c, const void *msg, struct err *err)
{
	const FileEntry *e = msg;

	return e->isk ? look_inet(c, e->isk, err) : 0;
}

/* ---- tasks and namespaces ---- */

static int get_namespace(struct crawler *c, unsigned long id, struct err *err)
{
	int r = 0;

	for (unsigned type = 0; id && type < IMG_COUNT && r == 0; type++) {
		unsigned flags = image_types[type].flags;
		bool net = flags & IMGF_RAW && type >= IMG_NETNF_CT && type <= IMG_NFTABLES;

		if (net || (flags & IMGF_NSID && !(flags & (IMGF_STREAM | IMGF_OLD))))
			r = get(c, (enum image_id)type, id, err);
	}
	return r;
}

static int look_ids(struct crawler *c, const void *msg, struct err *err)
{
	const TaskKobjIdsEntry *e = msg;
	const unsigned long namespaces[] = { e->pid_ns_id, e->net_ns_id, e->ipc_ns_id, e->uts_ns_id,
		e->mnt_ns_id, e->user_ns_id, e->cgroup_ns_id, e->time_ns_id };
	int r = get(c, IMG_FDINFO, e->files_id, err);

	for (size_t i = 0; i < sizeof(namespaces) / sizeof(*namespaces) && r == 0; i++)
		r = get_namespace(c, namespaces[i], err);
	if (r == 0 && e->ipc_ns_id)
		r = each(c, IMG_IPCNS_SHM, e->ipc_ns_id, look_shm, err);
	return r;
}

static int look_inventory(struct crawler *c, const void *msg, struct err *err)
{
	const InventoryEntry *e = msg;

	return e->root_ids ? look_ids(c, e->root_ids, err) : 0;
}

static int look_task(struct crawler *c, const void *msg, struct err *err)
{
	const PstreeEntry *e = msg;
	int r = 0;

	for (unsigned type = 0; type < IMG_COUNT && r == 0; type++)
		if (image_types[type].flags & IMGF_TASK && type != IMG_FDINFO &&
			type != IMG_PAGEMAP_SHMEM && strncmp(image_types[type].pattern, "torpor", 6) != 0)
			r = get(c, (enum image_id)type, e->pid, err);
	for (size_t i = 0; i < e->n_threads && r == 0; i++)
		r = get(c, IMG_CORE, e->threads[i], err);
	if (r == 0)
		r = get_pages(c, IMG_PAGEMAP, e->pid, err);
	if (r == 0)
		r = each(c, IMG_MM, e->pid, look_mm, err);
	return r < 0 ? r : each(c, IMG_IDS, e->pid, look_ids, err);
}

/* ---- all ---- */

int image_stream_crawl(struct stream_fetcher *fetcher, int dirfd, struct err *err)
{
	static const struct {
		enum image_id type;
		int (*look)(struct crawler *c, const void *msg, struct err *err);
	} roots[] = {
		{ IMG_INVENTORY, look_inventory },
		{ IMG_PSTREE, look_task },
		{ IMG_FILES, look_file },
		{ IMG_INETSK, look_inet },
		{ IMG_REMAP_FPATH, look_remap },
		{ IMG_MEMFD_INODE, look_memfd },
	};
	struct crawler c = { .fetcher = fetcher, .arena = arena_new() };
	int r = get_plain(&c, err);

	if (r == 0)
		r = image_set_open(dirfd, false, &c.set, err);
	for (size_t i = 0; i < sizeof(roots) / sizeof(*roots) && r == 0; i++)
		r = each(&c, roots[i].type, 0, roots[i].look, err);
	image_set_close(c.set);
	arena_free(c.arena);
	return r;
}
