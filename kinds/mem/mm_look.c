// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an address space looks like: areas and their states from smaps, mapped files through
 * /proc/PID/map_files (which reaches deleted files, too), guard regions from the page map, the
 * places of code, data and arguments from stat. Nothing here runs in the task or changes it.
 *
 * Every area is either understood or refused; there is no "probably fine".
 */
#include "base/cleanup.h"
#include "base/far.h"
#include "base/io.h"
#include "base/log.h"
#include "kernel/pagemap.h"
#include "kernel/proc_stat.h"
#include "kernel/smaps.h"
#include "kinds/mem/aio.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "kinds/sysv.h"
#include "kinds/uring.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif

/* A mapped file that was met before; 60,000 areas often map the same few. */
struct mapped {
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	int flags;
	const char *name;
	uint32_t id;
	bool memfd;
};

struct looker {
	struct world *world;
	struct task *task;
	pid_t tid;
	struct file_collector *files;
	bool memory_only; /* mm_look_memory() */
	struct table mapped; /* key of device, inode, name, mode -> struct mapped */
};

static int refuse(const struct looker *l, const struct smaps_area *a, struct err *err,
	const char *what) must_use;

static int refuse(const struct looker *l, const struct smaps_area *a, struct err *err,
	const char *what)
{
	return err_unsupported(err, "task %d (%s): the area 0x%lx-0x%lx%s%s is %s, which cannot be saved",
		l->task->pid, task_comm(l->task), a->start, a->end, *a->name ? " " : "", a->name, what);
}

/* -------------------------------------------------------------------------- kinds of areas */

static bool is_nameless(const struct smaps_area *a)
{
	return !a->inode && !a->dev_major && !a->dev_minor && a->name[0] != '/';
}

/* Only the kernel gives these names, and only to areas without a file. */
static bool is_special(const struct smaps_area *a, const char *name)
{
	return is_nameless(a) && !strcmp(a->name, name);
}

static bool is_vvar(const struct smaps_area *a)
{
	return is_special(a, "[vvar]") || is_special(a, "[vvar_vclock]");
}

static bool is_anon_hugetlb(const struct smaps_area *a)
{
	return a->flags & VMF_HUGETLB && !strcmp(a->name, "/anon_hugepage (deleted)");
}

static bool is_uring(const struct smaps_area *a)
{
	return a->shared && !strcmp(a->name, "anon_inode:[io_uring]");
}

static int refuse_states(const struct looker *l, const struct smaps_area *a, struct err *err)
{
	if (a->flags & (VMF_UFFD_MISSING | VMF_UFFD_MINOR))
		return refuse(l, a, err, "registered with a userfaultfd");
	if (a->flags & VMF_SHADOW_STACK)
		return refuse(l, a, err, "a shadow stack");
	if (is_special(a, "[uprobes]"))
		return refuse(l, a, err, "made by user space probes");
	if (a->flags & (VMF_IO | VMF_PFNMAP) && !is_vvar(a) && !is_uring(a))
		return refuse(l, a, err, "memory of a device");
	return 0;
}

static bool is_shared_memory(const struct smaps_area *a)
{
	return a->shared && (!strncmp(a->name, "/memfd:", 7) ||
		!strcmp(a->name, "/dev/zero (deleted)") || !strcmp(a->name, "/anon_hugepage (deleted)"));
}

/*
 * What holds pages of the task's own or of shared memory. Memory the kernel writes to without being
 * seen by trackers (buffers of asynchronous I/O) shows only by the rings.
 */
static bool has_memory(struct looker *l, const struct smaps_area *a)
{
	if (!strncmp(a->name, "/[aio]", 6) || is_uring(a)) {
		l->task->written_unseen = true;
		return false;
	}
	if (a->flags & (VMF_IO | VMF_PFNMAP | VMF_SHADOW_STACK | VMF_DROPPABLE) ||
		is_special(a, "[uprobes]") || is_special(a, "[vsyscall]"))
		return false;
	return !a->shared || is_shared_memory(a);
}

/* --------------------------------------------------------------------------- mapped files */

static uint64_t mapped_key(const struct smaps_area *a, int flags)
{
	uint64_t key = table_key(makedev(a->dev_major, a->dev_minor), a->inode);

	for (const char *p = a->name; *p; p++)
		key = key * 31 + (uint8_t)*p;
	return table_key(key, (uint64_t)flags);
}

static bool mapped_is(const struct mapped *m, const struct smaps_area *a, int flags)
{
	return m->inode == a->inode && m->dev_major == a->dev_major &&
		m->dev_minor == a->dev_minor && m->flags == flags && !strcmp(m->name, a->name);
}

/* A mapping keeps its file's mode: what may be made writable later was opened for writing. */
static int open_mode(const struct smaps_area *a)
{
	return a->shared && a->flags & VMF_MAYWRITE ? O_RDWR : O_RDONLY;
}

static int open_mapped(const struct looker *l, const struct smaps_area *a, char *link, size_t size,
	int *ret_fd, struct err *err)
{
	char path[96];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", l->tid, a->start, a->end);
	*ret_fd = far_open(path, O_PATH | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "task %d (%s): cannot reach the file '%s', mapped at 0x%lx",
			l->task->pid, task_comm(l->task), a->name, a->start);
	n = readlink(path, link, size - 1);
	if (n < 0)
		return err_sys(err, "cannot read the link %s", path);
	link[n] = 0;
	return 0;
}

/* Regular files, and /dev/zero mapped privately, which is anonymous memory under a name. */
static int check_mapped(const struct looker *l, const struct smaps_area *a, int fd, const char *link,
	bool *ret_memfd, struct err *err)
{
	struct statfs fs;
	struct stat st;
	bool in_memory;

	if (far_fstat(fd, &st) < 0 || far_fstatfs(fd, &fs) < 0)
		return err_sys(err, "cannot examine the mapped file '%s'", a->name);
	if (fs.f_type == SECRETMEM_MAGIC)
		return refuse(l, a, err, "secret memory (memfd_secret(2))");
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5) && !a->shared)
		return 0;
	if (!S_ISREG(st.st_mode) || fs.f_type == DMA_BUF_MAGIC || fs.f_type == ANON_INODE_FS_MAGIC)
		return refuse(l, a, err, "a mapping of something else than a file");
	in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC;
	*ret_memfd = in_memory && !st.st_nlink &&
		(!strncmp(link, "/memfd:", 7) || !strcmp(link, "/dev/zero (deleted)"));
	return 0;
}

static int collect_mapped(struct looker *l, const struct smaps_area *a, struct mapped *m,
	struct err *err)
{
	/* Shared anonymous huge pages are a memfd in all but name. */
	static const char huge[] = "/memfd:anon_hugepage (deleted)";
	auto_close int fd = -1;
	char link[PATH_MAX];
	int rc = open_mapped(l, a, link, sizeof(link), &fd, err);

	if (rc == 0 && is_anon_hugetlb(a))
		memcpy(link, huge, sizeof(huge));
	if (rc == 0)
		rc = check_mapped(l, a, fd, link, &m->memfd, err);
	if (rc == 0)
		rc = file_collect_named(l->files, l->task, l->tid, fd, link, m->flags, &m->id, err);
	return rc;
}

static int find_mapped(struct looker *l, const struct smaps_area *a, const struct mapped **ret,
	struct err *err)
{
	int flags = open_mode(a), rc;
	uint64_t key = mapped_key(a, flags);
	struct mapped *m = table_get(&l->mapped, key);

	if (m && mapped_is(m, a, flags)) {
		*ret = m;
		return 0;
	}
	m = arena_new_of(l->world->arena, struct mapped);
	*m = (struct mapped){ .inode = a->inode, .dev_major = a->dev_major,
		.dev_minor = a->dev_minor, .flags = flags,
		.name = arena_strdup(l->world->arena, a->name) };
	rc = collect_mapped(l, a, m, err);
	if (rc < 0)
		return err_while(err, "looking at '%s', mapped at 0x%lx by task %d (%s)", a->name,
			a->start, l->task->pid, task_comm(l->task));
	table_put(&l->mapped, key, m);
	*ret = m;
	return 0;
}

/* --------------------------------------------------------------------------------- areas */

static uint64_t madvice_of(const struct smaps_area *a)
{
	static const struct {
		uint32_t flag;
		int advice;
	} map[] = {
		{ VMF_RAND_READ, MADV_RANDOM },
		{ VMF_SEQ_READ, MADV_SEQUENTIAL },
		{ VMF_DONTCOPY, MADV_DONTFORK },
		{ VMF_MERGEABLE, MADV_MERGEABLE },
		{ VMF_HUGEPAGE, MADV_HUGEPAGE },
		{ VMF_NOHUGEPAGE, MADV_NOHUGEPAGE },
		{ VMF_DONTDUMP, MADV_DONTDUMP },
		{ VMF_WIPEONFORK, MADV_WIPEONFORK },
	};
	uint32_t flags = a->flags;
	uint64_t madv = 0;

	if (flags & VMF_DROPPABLE)
		flags &= ~(VMF_DONTDUMP | VMF_WIPEONFORK); /* MAP_DROPPABLE brings these itself */
	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		if (flags & map[i].flag)
			madv |= 1ull << map[i].advice;
	return madv;
}

static uint32_t map_flags_of(const struct smaps_area *a)
{
	uint32_t flags = a->shared ? VMA_MAP_SHARED : VMA_MAP_PRIVATE;

	if (a->flags & VMF_DROPPABLE)
		return VMA_MAP_DROPPABLE;
	if (a->flags & VMF_GROWSDOWN)
		flags |= VMA_MAP_GROWSDOWN;
	if (a->flags & VMF_LOCKED)
		flags |= VMA_MAP_LOCKED;
	if (a->flags & VMF_NORESERVE)
		flags |= VMA_MAP_NORESERVE;
	if (is_anon_hugetlb(a) && !a->shared)
		flags |= VMA_MAP_HUGETLB |
			(uint32_t)__builtin_ctzl(a->page_size ? a->page_size : 1 << 21)
				<< VMA_MAP_HUGE_SHIFT;
	return flags;
}

static uint32_t anon_status(const struct smaps_area *a)
{
	if (is_special(a, "[vsyscall]"))
		return VMA_VSYSCALL | VMA_ANON_PRIVATE;
	if (is_vvar(a))
		return VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VVAR;
	if (is_special(a, "[vdso]"))
		return VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VDSO;
	if (is_special(a, "[heap]"))
		return VMA_REGULAR | VMA_ANON_PRIVATE | VMA_HEAP;
	return VMA_REGULAR | VMA_ANON_PRIVATE;
}

static int look_file(struct looker *l, const struct smaps_area *a, VmaEntry *v, struct err *err)
{
	const struct mapped *m = NULL;
	int rc;

	if (l->memory_only && !a->shared) {
		v->status = VMA_REGULAR | VMA_FILE_PRIVATE;
		return 0;
	}
	rc = find_mapped(l, a, &m, err);
	if (rc < 0)
		return rc;
	v->status = VMA_REGULAR | (a->shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE) |
		(m->memfd ? VMA_MEMFD : 0);
	v->shmid = m->id;
	v->pgoff = a->offset;
	v->has_fdflags = true;
	v->fdflags = (uint32_t)m->flags;
	return 0;
}

/* A packet socket's ring: for now the inode; the room of packet sockets puts the file id there. */
static bool look_ring(const struct smaps_area *a, VmaEntry *v)
{
	if (strncmp(a->name, "socket:[", 8) != 0 || !a->shared)
		return false;
	v->status = VMA_REGULAR | VMA_SOCKET;
	v->shmid = a->inode;
	v->pgoff = a->offset;
	return true;
}

static void look_extras(struct looker *l, const struct smaps_area *a, const VmaEntry *v)
{
	TorporTaskEntry *extra = l->task->extra;
	TorporAreaEntry *e;
	bool lazy_lock = a->flags & VMF_LOCKED && a->flags & VMF_LOCKONFAULT;
	bool sealed = a->flags & VMF_SEALED && !(v->status & (VMA_VDSO | VMA_VVAR | VMA_VSYSCALL));

	if (!lazy_lock && !sealed)
		return;
	e = arena_msg(l->world->arena, TorporAreaEntry, torpor_area_entry);
	e->start = a->start;
	e->has_lock_on_fault = e->lock_on_fault = lazy_lock;
	e->has_sealed = e->sealed = sealed;
	arena_push(l->world->arena, extra->areas, extra->n_areas, e);
}

/* The kernel may split the vvar pages in two areas; images know one. */
static bool joins_last(const MmEntry *mm, const struct smaps_area *a)
{
	const VmaEntry *last = mm->n_vmas ? mm->vmas[mm->n_vmas - 1] : NULL;

	return is_vvar(a) && last && last->status & VMA_VVAR && last->end == a->start;
}

/* An area without memory to save, listed so that its neighbours are not taken for one stretch. */
static int look_foreign(struct looker *l, const struct smaps_area *a)
{
	MmEntry *mm = l->task->mm;
	VmaEntry *v = arena_msg(l->world->arena, VmaEntry, vma_entry);

	v->start = a->start;
	v->end = a->end;
	v->fd = -1;
	arena_push(l->world->arena, mm->vmas, mm->n_vmas, v);
	return 0;
}

static int look_area(const struct smaps_area *a, void *data, struct err *err)
{
	struct looker *l = data;
	MmEntry *mm = l->task->mm;
	VmaEntry *v;
	int rc = l->memory_only ? 0 : refuse_states(l, a, err);

	if (rc < 0)
		return rc;
	if (l->memory_only && !has_memory(l, a))
		return look_foreign(l, a);
	if (joins_last(mm, a)) {
		mm->vmas[mm->n_vmas - 1]->end = a->end;
		return 0;
	}
	if (a->flags & VMF_UFFD_WP)
		arena_push(l->world->arena, l->task->held, l->task->n_held, a->start);
	v = arena_msg(l->world->arena, VmaEntry, vma_entry);
	v->start = a->start;
	v->end = a->end;
	v->prot = a->prot;
	v->fd = -1;
	v->flags = map_flags_of(a);
	v->madv = madvice_of(a);
	v->has_madv = v->madv != 0;
	if (aio_is_ring(a)) {
		rc = aio_look(l->world, l->task, l->tid, a, v, err);
		if (rc < 0)
			return rc;
	} else if (is_uring(a)) {
		v->status = VMA_REGULAR | AREA_URING;
		v->shmid = a->inode;
		v->pgoff = a->offset;
	} else if (sysv_is_area(a)) {
		rc = sysv_look_area(l->files, l->world, l->task, l->tid, a, v, err);
		if (rc < 0)
			return rc;
		v->status = VMA_REGULAR | VMA_ANON_SHARED | VMA_SYSVIPC;
		v->flags |= VMA_MAP_ANONYMOUS;
	} else if (is_nameless(a) || (is_anon_hugetlb(a) && !a->shared)) {
		v->status = anon_status(a);
		v->flags |= VMA_MAP_ANONYMOUS;
	} else if (!look_ring(a, v)) {
		rc = look_file(l, a, v, err);
		if (rc < 0)
			return rc;
	}
	if (v->status & VMA_HEAP)
		mm->mm_brk = a->end;
	arena_push(l->world->arena, mm->vmas, mm->n_vmas, v);
	look_extras(l, a, v);
	return 0;
}

/* --------------------------------------------------------------------------------- guards */

static int look_guard(const struct page_span *span, void *data, struct err *err)
{
	struct looker *l = data;
	MmEntry *mm = l->task->mm;
	VmaEntry *v;

	if (!(span->is & PAGE_GUARD))
		return 0;
	v = arena_msg(l->world->arena, VmaEntry, vma_entry);
	v->start = span->start;
	v->end = span->end;
	v->status = VMA_GUARD;
	v->flags = VMA_MAP_PRIVATE | VMA_MAP_ANONYMOUS;
	v->fd = -1;
	arena_push(l->world->arena, mm->vmas, mm->n_vmas, v);
	return 0;
}

static int look_guards(struct looker *l, struct err *err)
{
	const MmEntry *mm = l->task->mm;
	struct page_scanner scanner;
	uint64_t end = 0;
	int rc;

	for (size_t i = mm->n_vmas; i-- > 0 && !end;)
		if (!(mm->vmas[i]->status & VMA_VSYSCALL))
			end = mm->vmas[i]->end;
	rc = page_scanner_open(&scanner, l->tid, err);
	if (rc < 0)
		return rc;
	if (scanner.can_guard && end)
		rc = page_scan(&scanner, PAGE_GUARD, mm->vmas[0]->start, end, look_guard, l, err);
	page_scanner_close(&scanner);
	return rc;
}

/* ------------------------------------------------------------------------- the space itself */

static int look_stat(const struct looker *l, struct err *err)
{
	MmEntry *mm = l->task->mm;
	auto_free char *text = NULL;
	struct proc_stat st;
	int rc = io_slurpf(&text, NULL, "/proc/%d/stat", l->tid);

	if (rc < 0)
		return err_sysn(err, -rc, "cannot read /proc/%d/stat", l->tid);
	rc = proc_stat_parse(text, &st, err);
	if (rc < 0)
		return rc;
	mm->mm_start_code = st.start_code;
	mm->mm_end_code = st.end_code;
	mm->mm_start_data = st.start_data;
	mm->mm_end_data = st.end_data;
	mm->mm_start_stack = st.start_stack;
	mm->mm_start_brk = st.start_brk;
	mm->mm_brk = st.start_brk; /* until an area [heap] or the task itself says more */
	mm->mm_arg_start = st.arg_start;
	mm->mm_arg_end = st.arg_end;
	mm->mm_env_start = st.env_start;
	mm->mm_env_end = st.env_end;
	return 0;
}

/*
 * CRIU 4.2 refuses more words than this (its AT_VECTOR_SIZE). The pair that ends the vector can be
 * left out: the kernel puts it there again (prctl_set_mm_map).
 */
enum { AUXV_COMMON = 44 };

static int look_auxv(const struct looker *l, struct err *err)
{
	MmEntry *mm = l->task->mm;
	auto_free char *bytes = NULL;
	size_t len;
	int rc = io_slurpf(&bytes, &len, "/proc/%d/auxv", l->tid);

	if (rc < 0)
		return err_sysn(err, -rc, "cannot read /proc/%d/auxv", l->tid);
	mm->n_mm_saved_auxv = len / sizeof(uint64_t);
	if (mm->n_mm_saved_auxv > AUXV_COMMON)
		mm->n_mm_saved_auxv -= 2;
	mm->mm_saved_auxv = arena_memdup(l->world->arena, bytes,
		mm->n_mm_saved_auxv * sizeof(uint64_t));
	return 0;
}

static int look_exe(const struct looker *l, struct err *err)
{
	char path[64], link[PATH_MAX];
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", l->tid);
	fd = open(path, O_PATH | O_CLOEXEC);
	n = readlink(path, link, sizeof(link) - 1);
	if (fd < 0 || n < 0)
		return err_sys(err, "task %d (%s): cannot reach the program file", l->task->pid,
			task_comm(l->task));
	link[n] = 0;
	return file_collect_named(l->files, l->task, l->tid, fd, link, O_RDONLY,
		&l->task->mm->exe_file_id, err);
}

int mm_look(struct world *w, struct task *t, pid_t tid, struct file_collector *files,
	const struct options *o, struct err *err)
{
	struct looker l = { .world = w, .task = t, .tid = tid, .files = files };
	int rc;

	t->mm = arena_msg(w->arena, MmEntry, mm_entry);
	rc = look_stat(&l, err);
	if (rc == 0)
		rc = look_auxv(&l, err);
	if (rc == 0)
		rc = look_exe(&l, err);
	if (rc == 0)
		rc = smaps_walk(tid, look_area, &l, err);
	if (rc == 0)
		rc = look_guards(&l, err);
	table_done(&l.mapped);
	return rc;
}

int mm_look_memory(struct world *w, struct task *t, pid_t tid, struct file_collector *files,
	struct err *err)
{
	struct looker l = { .world = w, .task = t, .tid = tid, .files = files, .memory_only = true };
	int rc;

	t->mm = arena_msg(w->arena, MmEntry, mm_entry);
	rc = smaps_walk(tid, look_area, &l, err);
	table_done(&l.mapped);
	return rc;
}
