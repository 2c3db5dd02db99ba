/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memfd_create(2) files, and shared anonymous memory, which is the same to the kernel: an area
 * made by mmap(MAP_SHARED|MAP_ANONYMOUS) refers to a nameless file called "/dev/zero".
 *
 * Dump: the inode becomes one memfd_inode_entry; a readable descriptor of it goes to the list of
 * shared memory, by which the content is saved. Restore: the inode is made when the first entry
 * asks for it, filled, and held; every description is opened anew from the holder.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "pages/shmem.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL /* 6.3 */
#define MFD_NOEXEC_SEAL 8U
#define MFD_EXEC 0x10U
#endif
#ifndef F_SEAL_EXEC /* 6.3 */
#define F_SEAL_EXEC 0x20
#endif

enum { DEFAULT_MODE = 0777 };

static const char zero_name[] = "/dev/zero";
static const char memfd_prefix[] = "/memfd:";
static const char deleted[] = " (deleted)";

struct memfd_seen {
	dev_t dev;
	ino_t ino;
	MemfdInodeEntry *inode;
};

struct memfd_made {
	const MemfdInodeEntry *inode;
	int fd; /* read-write, -1 until made */
};

static bool memfd_match(const struct fd_look *l)
{
	if (!S_ISREG(l->st.st_mode) || l->st.st_nlink)
		return false;
	if (l->fs_type != TMPFS_MAGIC && l->fs_type != HUGETLBFS_MAGIC)
		return false;
	return !strcmp(l->link, "/dev/zero (deleted)") ||
		!strncmp(l->link, memfd_prefix, sizeof(memfd_prefix) - 1);
}

static char *memfd_name(const struct fd_look *l)
{
	size_t len, cut = sizeof(deleted) - 1;
	char *name;

	if (!strncmp(l->link, zero_name, sizeof(zero_name) - 1))
		return arena_strdup(l->world->arena, zero_name);
	name = arena_strdup(l->world->arena, l->link + sizeof(memfd_prefix) - 1);
	len = strlen(name);
	if (len >= cut && !strcmp(name + len - cut, deleted))
		name[len - cut] = '\0';
	return name;
}

/* Inode numbers of two file systems (tmpfs, hugetlbfs) may be equal; the ids must not be. */
static uint32_t new_shmid(const struct fd_look *l, const void *mark)
{
	uint32_t id = (uint32_t)l->st.st_ino;

	while (!id || table_get(l->seen, table_key(500, id)))
		id += 0x10000001;
	table_put(l->seen, table_key(500, id), (void *)mark);
	return id;
}

static int memfd_add_inode(const struct fd_look *l, MemfdInodeEntry **ret, struct err *err)
{
	MemfdInodeEntry *e = arena_msg(l->world->arena, MemfdInodeEntry, memfd_inode_entry);
	struct shared_memory shared = { .size = (uint64_t)l->st.st_size };
	int r, seals;

	r = reopen(l->dup, O_RDONLY, &shared.fd, err);
	if (r < 0)
		return r;
	seals = fcntl(shared.fd, F_GET_SEALS);
	e->name = memfd_name(l);
	e->uid = l->st.st_uid;
	e->gid = l->st.st_gid;
	e->size = shared.size;
	e->shmid = shared.shmid = new_shmid(l, e);
	e->seals = seals < 0 ? F_SEAL_SEAL : (uint32_t)seals;
	e->inode_id = l->world->entries[IMG_MEMFD_INODE].n + 1;
	/* Readers before 3.19 do not know this field: only where it says something. */
	if (strcmp(e->name, zero_name) != 0 && (l->st.st_mode & 07777) != DEFAULT_MODE) {
		e->has_mode = true;
		e->mode = l->st.st_mode;
	}
	if (l->fs_type == HUGETLBFS_MAGIC) {
		unsigned shift = (unsigned)__builtin_ctzl((unsigned long)l->st.st_blksize);

		e->has_hugetlb_flag = true;
		e->hugetlb_flag = MFD_HUGETLB | shift << 26;
	}
	world_add(l->world, IMG_MEMFD_INODE, 0, e);
	vec_push(l->shared, shared);
	*ret = e;
	return 0;
}

static int memfd_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	uint64_t key = table_key(table_key(501, l->st.st_dev), l->st.st_ino);
	struct memfd_seen *seen = table_get(l->seen, key);
	MemfdFileEntry *e = arena_msg(l->world->arena, MemfdFileEntry, memfd_file_entry);
	struct fdinfo info = { 0 };
	int r;

	if (seen && (seen->dev != l->st.st_dev || seen->ino != l->st.st_ino))
		return err_bug(err, "two memory files have the same key");
	if (!seen) {
		seen = arena_new_of(l->world->arena, struct memfd_seen);
		seen->dev = l->st.st_dev;
		seen->ino = l->st.st_ino;
		r = memfd_add_inode(l, &seen->inode, err);
		if (r < 0)
			return r;
		table_put(l->seen, key, seen);
	}
	e->id = fe->id;
	e->flags = flags_collect(l);
	if (fdinfo_parse(l->fdinfo, &info))
		e->pos = info.pos;
	e->fown = fown_collect(l);
	e->inode_id = (uint32_t)seen->inode->inode_id;
	fe->memfd = e;
	return 0;
}

/* The holder of an inode; indexes all inodes on the first call. NULL: there is none. */
static struct memfd_made *memfd_find(struct file_maker *m, uint64_t inode_id)
{
	uint64_t done = table_key(FD_TYPES__MEMFD, UINT64_MAX);
	struct entry_list *list = &m->world->entries[IMG_MEMFD_INODE];

	for (size_t i = 0; !table_get(&m->made, done) && i < list->n; i++) {
		const MemfdInodeEntry *e = list->at[i]->msg;
		struct memfd_made *made = arena_new_of(m->arena, struct memfd_made);

		made->inode = e;
		made->fd = -1;
		table_put(&m->made, table_key(FD_TYPES__MEMFD, (uint32_t)e->inode_id), made);
	}
	table_put(&m->made, done, m);
	return table_get(&m->made, table_key(FD_TYPES__MEMFD, (uint32_t)inode_id));
}

static void memfd_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	/* Linear over few inodes would be quadratic over many: only what one entry shows. */
	if (fe->memfd && !fe->memfd->inode_id)
		finding_add(f, "memfd-inode", SEV_ERROR, 0, "memfd (file %u) has no inode", fe->id);
}

/*
 * Real shared anonymous memory: mapped here, then opened by its map_files link. Neither its name
 * nor its accounting differ from what the target had.
 */
static int make_zero(const MemfdInodeEntry *e, int *ret_fd)
{
	size_t len = (e->size + 4095) & ~4095ull;
	char path[96];
	void *p;

	if (!len)
		return -EINVAL;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		(unsigned long)p + len);
	*ret_fd = open(path, O_RDWR | O_CLOEXEC);
	munmap(p, len);
	return *ret_fd < 0 ? -1 : 0;
}

static int make_memfd(const MemfdInodeEntry *e, int *ret_fd, struct err *err)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | e->hugetlb_flag;
	const unsigned huge_size = 0x3fu << 26; /* of a page, as a power of 2 */
	auto_close int fd = -1;

	if (e->hugetlb_flag && (e->hugetlb_flag & ~huge_size) != MFD_HUGETLB)
		return err_image(err, "the memory file '%s' has impossible huge pages (0x%x)", e->name,
			e->hugetlb_flag);
	fd = memfd_create(e->name, flags | (e->seals & F_SEAL_EXEC ? MFD_NOEXEC_SEAL : MFD_EXEC));
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(e->name, flags);
	if (fd < 0)
		return err_sys(err, "cannot make the memory file '%s'", e->name);
	if (e->size > INT64_MAX || ftruncate(fd, (off_t)e->size) < 0)
		return err_sys(err, "cannot give the memory file '%s' %llu bytes", e->name,
			(unsigned long long)e->size);
	if ((e->uid || e->gid) && fchown(fd, e->uid, e->gid) < 0)
		return err_sys(err, "cannot give the memory file '%s' to uid %u, gid %u", e->name,
			e->uid, e->gid);
	if (e->has_mode && fchmod(fd, e->mode & 07777) < 0)
		return err_sys(err, "cannot set the mode of the memory file '%s'", e->name);
	*ret_fd = take_fd(&fd);
	return 0;
}

/*
 * Seals: F_SEAL_WRITE before anything is mapped (later the mappings would forbid it); what allows
 * older writable mappings, and the seal of the seals, at the very end.
 */
static int add_seals(int fd, const MemfdInodeEntry *e, bool late, struct err *err)
{
	uint32_t have = F_SEAL_EXEC, after = F_SEAL_SEAL | F_SEAL_FUTURE_WRITE;
	uint32_t seals = e->seals & (late ? after : ~after) & ~have;

	if (seals && fcntl(fd, F_ADD_SEALS, seals) < 0)
		return err_sys(err, "cannot seal the memory file '%s'", e->name);
	return 0;
}

static int memfd_hold(struct file_maker *m, const MemfdFileEntry *e, int *ret_fd, struct err *err)
{
	struct memfd_made *made = memfd_find(m, e->inode_id);
	const MemfdInodeEntry *inode = made ? made->inode : NULL;
	auto_close int fd = -1;
	bool zero;
	int r = -1;

	if (!made)
		return err_image(err, "memfd.img has no inode %u, which file entry %u needs", e->inode_id,
			e->id);
	if (made->fd >= 0) {
		*ret_fd = made->fd;
		return 0;
	}
	zero = !strcmp(inode->name, zero_name);
	if (zero)
		r = make_zero(inode, &fd);
	if (r < 0)
		r = make_memfd(inode, &fd, err);
	if (r == 0 && inode->size)
		r = shmem_fill(m->images, inode->shmid, fd, err);
	if (r == 0 && !zero)
		r = add_seals(fd, inode, false, err);
	if (r < 0)
		return err_while(err, "making the shared memory '%s' (%u)", inode->name, inode->shmid);
	*ret_fd = made->fd = take_fd(&fd);
	return 0;
}

static int memfd_create_room(struct file_maker *m, const FileEntry *fe, int *ret_fd,
	struct err *err)
{
	const MemfdFileEntry *e = fe->memfd;
	auto_close int fd = -1;
	int holder, r;

	r = memfd_hold(m, e, &holder, err);
	if (r == 0)
		r = reopen(holder, (int)e->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_ASYNC), &fd, err);
	if (r < 0)
		return r;
	if (e->pos && lseek(fd, (off_t)e->pos, SEEK_SET) < 0)
		return err_sys(err, "cannot go to offset %llu of a memory file",
			(unsigned long long)e->pos);
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int memfd_open_map(struct file_maker *m, const FileEntry *fe, int flags, int *ret_fd,
	struct err *err)
{
	int holder, r = memfd_hold(m, fe->memfd, &holder, err);

	return r < 0 ? r : reopen(holder, flags & O_ACCMODE, ret_fd, err);
}

static int memfd_connect(struct file_maker *m, const FileEntry *fe, int fd, struct err *err)
{
	struct memfd_made *made = memfd_find(m, fe->memfd->inode_id);

	if (!made || made->fd < 0 || !strcmp(made->inode->name, zero_name))
		return 0;
	/* Several entries of one inode: the second call finds it sealed already. */
	if (fcntl(made->fd, F_GET_SEALS) == (int)made->inode->seals)
		return 0;
	return add_seals(made->fd, made->inode, true, err);
}

static void memfd_clean(struct file_maker *m)
{
	struct entry_list *list = &m->world->entries[IMG_MEMFD_INODE];

	for (size_t i = 0; i < list->n; i++) {
		struct memfd_made *made =
			memfd_find(m, ((MemfdInodeEntry *)list->at[i]->msg)->inode_id);

		if (made && made->fd >= 0)
			close(take_fd(&made->fd));
	}
}

static void memfd_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "memory file (inode %u) @%llu", fe->memfd->inode_id,
		(unsigned long long)fe->memfd->pos);
}

const struct file_kind file_kind_memfd = {
	.name = "memory file",
	.type = FD_TYPES__MEMFD,
	.match = memfd_match,
	.collect = memfd_collect,
	.check = memfd_check,
	.create = memfd_create_room,
	.open_map = memfd_open_map,
	.connect = memfd_connect,
	.clean = memfd_clean,
	.describe = memfd_describe,
};
