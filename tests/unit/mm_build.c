// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Building address spaces in real husks from images made here: what /proc says afterwards, byte for
 * byte contents, sharing with the parent, foreign vdsos, damaged images, and figures of speed.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/vdso.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "pages/shmem.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

enum { EXE_ID = 1, DATA_ID = 2 };

static int n_tests, n_failed;

static void ok(bool good, const char *what, const struct err *err)
{
	char buf[1400] = "";

	n_tests++;
	n_failed += !good;
	if (!good && err_is_set(err))
		err_text(err, buf, sizeof(buf));
	printf("%sok %d - %s%s%s\n", good ? "" : "not ", n_tests, what, *buf ? ": " : "", buf);
	fflush(stdout);
}

/* ---------------------------------------------------------------------------- a store of files */

struct file_store {
	char dir[64];
	int fds[3][3]; /* by id and mode */
};

int file_store_get_for_map(struct file_store *s, uint32_t id, int flags, int *ret_fd,
	struct err *err)
{
	char path[128];

	if (id != EXE_ID && id != DATA_ID)
		return err_image(err, "there is no file %u", id);
	if (s->fds[id][flags] <= 0) {
		snprintf(path, sizeof(path), "%s/data", s->dir);
		s->fds[id][flags] = open(id == EXE_ID ? "/bin/true" : path, flags | O_CLOEXEC);
	}
	if (s->fds[id][flags] < 0)
		return err_sys(err, "cannot open file %u", id);
	*ret_fd = s->fds[id][flags];
	return 0;
}

/* --------------------------------------------------------------------------------- the subject */

/* A page's contents, so that address and seed tell every byte. */
static void page_make(uint64_t vaddr, unsigned seed, uint8_t *buf)
{
	uint64_t x = vaddr * 0x9e3779b97f4a7c15u + seed;

	for (size_t i = 0; i < PAGE; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(buf + i, &x, 8);
	}
}

struct saved_run {
	uint64_t vaddr, pages;
	unsigned seed;
	const uint8_t *bytes; /* instead of made ones */
	uint32_t flags;
};

struct subject {
	struct world *w;
	struct image_set *set;
	struct file_store store;
	struct husk_layout layout;
	int dirfd;
	uint32_t pages_id;
};

static void die(const char *what, const struct err *err)
{
	char buf[1400];

	printf("Bail out! %s: %s\n", what, err_text(err, buf, sizeof(buf)));
	exit(1);
}

static void subject_init(struct subject *s)
{
	uint8_t page[PAGE];
	struct err err = ERR_INIT;
	int fd;

	*s = (struct subject){ .w = world_new() };
	strcpy(s->store.dir, "/tmp/mm-build-XXXXXX");
	if (!mkdtemp(s->store.dir))
		abort();
	s->dirfd = open(s->store.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (image_set_open(s->dirfd, true, &s->set, &err) < 0)
		die("image_set_open", &err);
	fd = openat(s->dirfd, "data", O_RDWR | O_CREAT, 0600);
	for (uint64_t i = 0; i < 64; i++) {
		page_make(i, 99, page);
		if (io_write_all(fd, page, PAGE) < 0)
			abort();
	}
	close(fd);
	s->layout.send_fd = -1;
}

static void subject_done(struct subject *s)
{
	char cmd[128];

	image_set_close(s->set);
	world_free(s->w);
	for (int i = 0; i < 9; i++) {
		if (s->store.fds[i / 3][i % 3] > 0)
			close(s->store.fds[i / 3][i % 3]);
	}
	close(s->dirfd);
	close(s->layout.send_fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", s->store.dir);
	if (system(cmd))
		printf("# cannot remove %s\n", s->store.dir);
}

static struct task *subject_task(struct subject *s, struct task *parent, pid_t pid)
{
	struct err err = ERR_INIT;
	struct task *t;

	if (world_add_task(s->w, parent, pid, 1, &t, &err) < 0)
		die("world_add_task", &err);
	t->threads[0].tid = pid;
	t->state = TASK_ALIVE;
	t->mm = arena_msg(s->w->arena, MmEntry, mm_entry);
	t->mm->exe_file_id = EXE_ID;
	t->mm->mm_start_code = t->mm->mm_start_data = t->mm->mm_start_stack = 0x10000000;
	t->mm->mm_end_code = t->mm->mm_end_data = 0x10001000;
	t->mm->mm_start_brk = t->mm->mm_brk = 0x10010000;
	t->mm->mm_arg_start = t->mm->mm_arg_end = 0x10000000;
	t->mm->mm_env_start = t->mm->mm_env_end = 0x10000000;
	return t;
}

static VmaEntry *area(struct subject *s, struct task *t, uint64_t start, uint64_t len,
	uint32_t prot, uint32_t flags, uint32_t status)
{
	VmaEntry *v = arena_msg(s->w->arena, VmaEntry, vma_entry);

	v->start = start;
	v->end = start + len;
	v->prot = prot;
	v->flags = flags;
	v->status = status;
	v->fd = -1;
	arena_push(s->w->arena, t->mm->vmas, t->mm->n_vmas, v);
	return v;
}

static VmaEntry *anon(struct subject *s, struct task *t, uint64_t start, uint64_t pages,
	uint32_t prot)
{
	return area(s, t, start, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS,
		VMA_REGULAR | VMA_ANON_PRIVATE);
}

static VmaEntry *mapped(struct subject *s, struct task *t, uint64_t start, uint64_t pages,
	uint32_t prot, bool shared, uint64_t pgoff)
{
	VmaEntry *v = area(s, t, start, pages * PAGE, prot, shared ? MAP_SHARED : MAP_PRIVATE,
		VMA_REGULAR | (shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE));

	v->shmid = DATA_ID;
	v->pgoff = pgoff;
	return v;
}

static void with_madv(VmaEntry *v, int advice)
{
	v->has_madv = true;
	v->madv |= 1ull << advice;
}

/* A pagemap and its pages; the runs end with pages == 0. */
static void save_pages(struct subject *s, enum image_id type, unsigned long id,
	const struct saved_run *runs)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct err err = ERR_INIT;
	struct image_writer *w;
	uint8_t page[PAGE];
	auto_file FILE *f = NULL;
	int r, fd;

	head.pages_id = ++s->pages_id;
	r = image_create_raw(s->set, IMG_PAGES, head.pages_id, &fd, &err);
	r = r < 0 ? r : image_create(s->set, type, id, &w, &err);
	r = r < 0 ? r : image_put(w, &head, &err);
	if (r < 0)
		die("images", &err);
	f = fdopen(fd, "w");
	for (; runs->pages && r == 0; runs++) {
		PagemapEntry e = PAGEMAP_ENTRY__INIT;

		e.vaddr = runs->vaddr;
		e.has_nr_pages = e.has_flags = true;
		e.nr_pages = runs->pages;
		e.flags = runs->flags ? runs->flags : RUN_PRESENT;
		r = image_put(w, &e, &err);
		for (uint64_t i = 0; e.flags & RUN_PRESENT && i < runs->pages; i++) {
			const uint8_t *from = runs->bytes ? runs->bytes + i * PAGE : page;

			if (!runs->bytes)
				page_make(runs->vaddr + i * PAGE, runs->seed, page);
			fwrite(from, PAGE, 1, f);
		}
	}
	if (r < 0 || image_finish(w, &err) < 0)
		die("pagemap", &err);
}

/* From now on the images are read. */
static void subject_seal(struct subject *s)
{
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	struct err err = ERR_INIT;
	int r;

	inv.img_version = 2;
	r = image_set_commit(s->set, &inv, &err);
	image_set_close(s->set);
	r = r < 0 ? r : image_set_open(s->dirfd, false, &s->set, &err);
	r = r < 0 ? r : mm_find_hole(s->w, HUSK_AREA_LEN, &s->layout.area, &err);
	if (r < 0)
		die("images", &err);
}

static struct mm_build builder(struct subject *s, struct task *t, struct task *parent,
	struct husk *h)
{
	return (struct mm_build){ .world = s->w, .task = t, .inherited = parent, .husk = h,
		.images = s->set, .files = &s->store };
}

static void end_husk(struct husk *h)
{
	kill(h->pid, SIGKILL);
	waitpid(h->pid, NULL, __WALL);
	husk_done(h);
}

/* ------------------------------------------------------------------------------------ looking */

static bool page_is(const struct husk *h, uint64_t vaddr, unsigned seed)
{
	uint8_t want[PAGE], got[PAGE];

	page_make(vaddr, seed, want);
	if (io_pread_all(h->mem, got, PAGE, (off_t)vaddr) < 0)
		return false;
	return !memcmp(want, got, PAGE);
}

static bool pages_are(const struct husk *h, uint64_t vaddr, uint64_t pages, unsigned seed)
{
	for (uint64_t i = 0; i < pages; i++) {
		if (!page_is(h, vaddr + i * PAGE, seed)) {
			printf("# page 0x%lx is wrong\n", vaddr + i * PAGE);
			return false;
		}
	}
	return true;
}

static bool page_is_zero(const struct husk *h, uint64_t vaddr)
{
	uint8_t got[PAGE], zero[PAGE] = { 0 };

	return io_pread_all(h->mem, got, PAGE, (off_t)vaddr) == 0 && !memcmp(zero, got, PAGE);
}

/* Page i of the data file is mapped there. */
static bool page_is_file(const struct husk *h, uint64_t vaddr, uint64_t i)
{
	uint8_t want[PAGE], got[PAGE];

	page_make(i, 99, want);
	return io_pread_all(h->mem, got, PAGE, (off_t)vaddr) == 0 && !memcmp(want, got, PAGE);
}

/* The entry of smaps for an area that starts and ends exactly there, into buf. */
static bool smaps_of(const struct husk *h, uint64_t start, uint64_t end, char *buf, size_t size)
{
	auto_free char *text = NULL;
	char head[64];
	const char *at, *flags, *nl;

	if (io_slurpf(&text, NULL, "/proc/%d/smaps", h->pid) < 0)
		return false;
	snprintf(head, sizeof(head), "\n%08lx-%08lx ", start, end);
	at = !strncmp(text, head + 1, strlen(head + 1)) ? text : strstr(text, head);
	flags = at ? strstr(at, "VmFlags:") : NULL;
	nl = flags ? strchr(flags, '\n') : NULL;
	if (!nl)
		return false;
	snprintf(buf, size, "%.*s", (int)(nl + 1 - at), at);
	return true;
}

/* Whether the area is there with these permissions and all of the flags (" lo gd"). */
static bool area_is(const struct husk *h, uint64_t start, uint64_t pages, const char *perms,
	const char *flags)
{
	char text[4096], perm[8] = "", flag[4] = "";
	const char *line;

	if (!smaps_of(h, start, start + pages * PAGE, text, sizeof(text)))
		return false;
	sscanf(*text == '\n' ? text + 1 : text, "%*s %7s", perm);
	line = strstr(text, "VmFlags:");
	for (const char *f = flags; *f && !strcmp(perm, perms); f += 3) {
		snprintf(flag, sizeof(flag), "%.3s", f);
		if (!strstr(line, flag)) {
			printf("# no flag%s in %s", flag, line);
			return false;
		}
	}
	if (strcmp(perm, perms))
		printf("# %lx is %s\n", start, perm);
	return !strcmp(perm, perms);
}

static long smaps_kb(const struct husk *h, uint64_t start, uint64_t pages, const char *key)
{
	char text[4096];
	const char *at;

	if (!smaps_of(h, start, start + pages * PAGE, text, sizeof(text)))
		return -1;
	at = strstr(text, key);
	return at ? atol(at + strlen(key)) : -1;
}

static int64_t call_in(struct husk *h, long nr, uint64_t a, uint64_t b, uint64_t c)
{
	struct err err = ERR_INIT;
	struct tape *t = tape_new();
	size_t call = tape_call(t, "test", 0, nr, T(a), T(b), T(c));
	int64_t r = husk_play(h, 0, t, &err) < 0 ? INT64_MIN : tape_result(t, call);

	tape_free(t);
	return r;
}

/* -------------------------------------------------------------------------------- all kinds */

#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define G 0x40000000ul

/* Our own vdso, as it would have been saved at `at` (vvar first). */
static void add_own_vdso(struct subject *s, struct task *t, uint64_t at, struct vdso_self *self)
{
	struct err err = ERR_INIT;

	if (vdso_look_self(self, &err) < 0 || !self->code)
		die("this kernel's vdso", &err);
	area(s, t, at + self->data_offset, self->data_len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		VMA_REGULAR | VMA_VVAR | VMA_ANON_PRIVATE);
	area(s, t, at + self->code_offset, self->code_len, RX, MAP_PRIVATE | MAP_ANONYMOUS,
		VMA_REGULAR | VMA_VDSO | VMA_ANON_PRIVATE);
}

static void add_guard(struct subject *s, struct task *t, uint64_t start, uint64_t pages)
{
	area(s, t, start, pages * PAGE, 0, 0, VMA_GUARD);
}

enum {
	AT_CODE = 0x10000000, AT_HEAP = 0x10010000, AT_RO = 0x20000000, AT_NONE = 0x20010000,
	AT_FILE = 0x21000000, AT_SHARED = 0x22000000, AT_HUGE = 0x30000000, AT_LOCK = 0x40000000,
	AT_FORK = 0x41000000, AT_WIPE = 0x42000000, AT_GUARD = 0x43000000, AT_SEAL = 0x44000000,
	AT_DROP = 0x45000000, AT_FAULT = 0x46000000,
};
#define AT_RESERVED 0x100000000000ul
#define AT_RESERVED_RW 0x200000000000ul
#define AT_RESERVED_RO 0x300000000000ul
#define AT_VDSO 0x500000000000ul
#define AT_STACK 0x7ffd00000000ul
#define TERA 0x10000000000ul

static struct task *make_all_kinds(struct subject *s, struct vdso_self *self)
{
	struct task *t = subject_task(s, NULL, 100);
	TorporAreaEntry *x = arena_msg(s->w->arena, TorporAreaEntry, torpor_area_entry);
	TorporAreaEntry *y = arena_msg(s->w->arena, TorporAreaEntry, torpor_area_entry);
	VmaEntry *v;

	anon(s, t, AT_CODE, 8, RX);
	anon(s, t, AT_HEAP, 16, RW)->status |= VMA_HEAP;
	anon(s, t, AT_RO, 4, PROT_READ);
	anon(s, t, AT_NONE, 4, PROT_NONE);
	mapped(s, t, AT_FILE, 8, PROT_READ, false, 4 * PAGE);
	mapped(s, t, AT_SHARED, 8, RW, true, 8 * PAGE);
	with_madv(anon(s, t, AT_HUGE, 2048, RW), MADV_HUGEPAGE);
	anon(s, t, AT_LOCK, 4, RW)->flags |= VMA_MAP_LOCKED;
	with_madv(anon(s, t, AT_FORK, 4, RW), MADV_DONTFORK);
	v = anon(s, t, AT_WIPE, 4, RW);
	with_madv(v, MADV_WIPEONFORK);
	with_madv(v, MADV_DONTDUMP);
	anon(s, t, AT_GUARD, 4, RW);
	x->start = anon(s, t, AT_SEAL, 4, RW)->start;
	x->has_sealed = x->sealed = true;
	v = anon(s, t, AT_DROP, 4, RW);
	v->flags = VMA_MAP_DROPPABLE | MAP_ANONYMOUS;
	v = anon(s, t, AT_FAULT, 4, RW);
	v->flags |= VMA_MAP_LOCKED;
	y->start = v->start;
	y->has_lock_on_fault = y->lock_on_fault = true;
	arena_push(s->w->arena, t->extra->areas, t->extra->n_areas, x);
	arena_push(s->w->arena, t->extra->areas, t->extra->n_areas, y);
	anon(s, t, AT_RESERVED, 4 * TERA / PAGE, PROT_NONE)->flags |= MAP_NORESERVE;
	anon(s, t, AT_RESERVED_RW, TERA / PAGE, RW)->flags |= MAP_NORESERVE;
	anon(s, t, AT_RESERVED_RO, 2 * TERA / PAGE, PROT_READ);
	add_own_vdso(s, t, AT_VDSO, self);
	anon(s, t, AT_STACK, 32, RW)->flags |= MAP_GROWSDOWN;
	area(s, t, 0xffffffffff600000, PAGE, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		VMA_VSYSCALL | VMA_ANON_PRIVATE);
	add_guard(s, t, AT_GUARD + PAGE, 2);
	t->mm->mm_start_brk = AT_HEAP;
	t->mm->mm_brk = AT_HEAP + 16 * PAGE - 100;
	t->mm->mm_start_stack = AT_STACK + 31 * PAGE;
	t->mm->mm_arg_start = AT_STACK + 20 * PAGE;
	t->mm->mm_arg_end = t->mm->mm_arg_start + 100;
	t->mm->n_mm_saved_auxv = 60;
	t->mm->mm_saved_auxv = arena_array(s->w->arena, 60, 8);
	t->mm->mm_saved_auxv[0] = 6;
	t->mm->mm_saved_auxv[1] = 4096;
	t->mm->has_thp_disabled = true;
	return t;
}

static void save_all_kinds(struct subject *s, const struct vdso_self *self)
{
	const struct saved_run runs[] = {
		{ AT_CODE, 8, 1, NULL, 0 }, { AT_HEAP, 2, 1, NULL, 0 },
		{ AT_HEAP + 5 * PAGE, 11, 1, NULL, 0 }, { AT_RO, 4, 1, NULL, 0 },
		{ AT_NONE + PAGE, 2, 1, NULL, 0 }, { AT_FILE + 2 * PAGE, 1, 1, NULL, 0 },
		{ AT_HUGE, 513, 1, NULL, 0 }, { AT_HUGE + 1000 * PAGE, 5, 1, NULL, 0 },
		{ AT_LOCK, 4, 1, NULL, 0 }, { AT_WIPE, 4, 1, NULL, 0 },
		{ AT_GUARD, 1, 1, NULL, 0 }, { AT_GUARD + 3 * PAGE, 1, 1, NULL, 0 },
		{ AT_SEAL, 1, 1, NULL, 0 }, { AT_FAULT, 1, 1, NULL, 0 },
		{ AT_RESERVED_RW + G, 2, 1, NULL, 0 }, { AT_RESERVED_RO + G, 2, 1, NULL, 0 },
		{ AT_VDSO + self->code_offset, self->code_len / PAGE, 0, self->code, 0 },
		{ AT_STACK + PAGE, 31, 1, NULL, 0 }, { 0 },
	};

	save_pages(s, IMG_PAGEMAP, 100, runs);
	subject_seal(s);
}

static void look_at_areas(struct husk *h)
{
	ok(area_is(h, AT_CODE, 8, "r-xp", ""), "code", NULL);
	ok(area_is(h, AT_HEAP, 16, "rw-p", " ac"), "heap", NULL);
	ok(area_is(h, AT_RO, 4, "r--p", ""), "read-only", NULL);
	ok(area_is(h, AT_NONE, 4, "---p", ""), "no access", NULL);
	ok(area_is(h, AT_FILE, 8, "r--p", ""), "private file", NULL);
	ok(area_is(h, AT_SHARED, 8, "rw-s", " sh"), "shared file", NULL);
	ok(area_is(h, AT_HUGE, 2048, "rw-p", " hg"), "huge pages", NULL);
	ok(area_is(h, AT_LOCK, 4, "rw-p", " lo"), "locked", NULL);
	ok(area_is(h, AT_FAULT, 4, "rw-p", " lo lf"), "locked on fault", NULL);
	ok(area_is(h, AT_FORK, 4, "rw-p", " dc"), "not forked", NULL);
	ok(area_is(h, AT_WIPE, 4, "rw-p", " wf dd"), "wiped on fork, not dumped", NULL);
	ok(area_is(h, AT_SEAL, 4, "rw-p", " sl"), "sealed", NULL);
	ok(area_is(h, AT_DROP, 4, "rw-p", " dp"), "droppable", NULL);
	ok(area_is(h, AT_RESERVED, 4 * TERA / PAGE, "---p", " nr"), "4 TiB reserved", NULL);
	ok(area_is(h, AT_RESERVED_RW, TERA / PAGE, "rw-p", " nr"), "1 TiB writable", NULL);
	ok(area_is(h, AT_RESERVED_RO, 2 * TERA / PAGE, "r--p", ""), "2 TiB read-only", NULL);
	ok(area_is(h, AT_STACK, 32, "rw-p", " gd"), "stack", NULL);
	ok(smaps_kb(h, AT_HUGE, 2048, "AnonHugePages:") == 2048 &&
			smaps_kb(h, AT_HUGE, 2048, "Rss:") == 2048 + 24,
		"a huge page where one is complete, no more memory elsewhere", NULL);
}

static void look_at_pages(struct husk *h)
{
	ok(pages_are(h, AT_CODE, 8, 1) && pages_are(h, AT_HEAP, 2, 1) &&
			pages_are(h, AT_HEAP + 5 * PAGE, 11, 1) && pages_are(h, AT_RO, 4, 1),
		"pages of anonymous memory", NULL);
	ok(pages_are(h, AT_NONE + PAGE, 2, 1), "pages without access", NULL);
	ok(pages_are(h, AT_HUGE, 513, 1) && pages_are(h, AT_HUGE + 1000 * PAGE, 5, 1),
		"pages of the huge area", NULL);
	ok(pages_are(h, AT_LOCK, 4, 1) && pages_are(h, AT_WIPE, 4, 1) &&
			pages_are(h, AT_SEAL, 1, 1) && pages_are(h, AT_FAULT, 1, 1),
		"pages of special areas", NULL);
	ok(pages_are(h, AT_RESERVED_RW + G, 2, 1) && pages_are(h, AT_RESERVED_RO + G, 2, 1),
		"pages of reservations", NULL);
	ok(page_is_zero(h, AT_HEAP + 3 * PAGE) && page_is_zero(h, AT_STACK), "zero pages", NULL);
	ok(pages_are(h, AT_STACK + PAGE, 31, 1), "pages of the stack", NULL);
	ok(page_is_file(h, AT_FILE, 4) && page_is_file(h, AT_FILE + 3 * PAGE, 7) &&
			page_is(h, AT_FILE + 2 * PAGE, 1),
		"a private file, one page changed", NULL);
	ok(page_is_file(h, AT_SHARED, 8), "a shared file", NULL);
	ok(page_is(h, AT_GUARD, 1) && !page_is_zero(h, AT_GUARD + PAGE) &&
			!page_is_zero(h, AT_GUARD + 2 * PAGE) && page_is(h, AT_GUARD + 3 * PAGE, 1),
		"guard pages", NULL);
}

static void look_at_numbers(struct husk *h, const struct vdso_self *self)
{
	char path[64], link[64] = "", text[1024];
	auto_free char *auxv = NULL, *maps = NULL;
	uint64_t heap_end = AT_HEAP + 16 * PAGE;
	size_t len = 0;

	snprintf(path, sizeof(path), "/proc/%d/exe", h->pid);
	ok(readlink(path, link, sizeof(link) - 1) > 0 && strstr(link, "/true"), "exe", NULL);
	ok(io_slurpf(&auxv, &len, "/proc/%d/auxv", h->pid) == 0 && len >= 16 && auxv[0] == 6,
		"auxv", NULL);
	ok(call_in(h, SYS_brk, 0, 0, 0) == (int64_t)heap_end - 100, "brk", NULL);
	ok(call_in(h, SYS_brk, heap_end + 3 * PAGE, 0, 0) == (int64_t)heap_end + 3 * PAGE &&
			area_is(h, AT_HEAP, 19, "rw-p", ""),
		"the heap grows as one area", NULL);
	ok(call_in(h, SYS_time, AT_STACK - 8 * PAGE, 0, 0) > 0 &&
			area_is(h, AT_STACK - 8 * PAGE, 40, "rw-p", " gd"),
		"the stack grows as one area", NULL);
	if (io_slurpf(&maps, NULL, "/proc/%d/maps", h->pid) < 0)
		return;
	snprintf(text, sizeof(text), "%lx-%lx r-xp 00000000 00:00 0                          [vdso]",
		AT_VDSO + self->code_offset, AT_VDSO + self->code_offset + self->code_len);
	ok(strstr(maps, text) != NULL, "vdso in place", NULL);
	ok(strstr(maps, "[heap]") && strstr(maps, "[stack]"), "heap and stack by name", NULL);
}

static void test_all_kinds(void)
{
	struct err err = ERR_INIT;
	struct vdso_self self;
	struct mm_build b;
	struct subject s;
	struct task *t;
	struct husk h;
	int r;

	subject_init(&s);
	t = make_all_kinds(&s, &self);
	save_all_kinds(&s, &self);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0, "mm_build of all kinds of areas", &err);
	r = r < 0 ? r : mm_finish(&b, &err);
	ok(r == 0, "mm_finish", &err);
	if (r == 0) {
		look_at_areas(&h);
		look_at_pages(&h);
		look_at_numbers(&h, &self);
		ok(call_in(&h, SYS_munmap, AT_SEAL, PAGE, 0) == -EPERM, "the seal holds", NULL);
		ok(call_in(&h, SYS_fcntl, 4, F_GETFD, 0) == -EBADF, "no descriptor is left", NULL);
		ok(b.pages_restored == 8 + 13 + 4 + 2 + 1 + 518 + 8 + 2 + 2 + 4 + 31,
			"pages are counted", NULL);
	}
	end_husk(&h);
	subject_done(&s);
}

/* ------------------------------------------------------------------------------ inheritance */

static void look_at_child(struct husk *h, struct husk *child, const struct mm_build *b)
{
	ok(pages_are(child, AT_CODE, 40, 1) && pages_are(child, AT_CODE + 40 * PAGE, 10, 2) &&
			page_is_zero(child, AT_CODE + 50 * PAGE) &&
			pages_are(child, AT_CODE + 60 * PAGE, 40, 1) &&
			pages_are(child, AT_CODE + 100 * PAGE, 5, 3),
		"child's pages", NULL);
	ok(pages_are(h, AT_CODE, 100, 1), "the parent keeps its own", NULL);
	ok(area_is(child, AT_RO, 2, "r--p", "") && page_is(child, AT_RO, 1) &&
			page_is(child, AT_RO + PAGE, 2),
		"a part of a read-only area", NULL);
	ok(page_is_file(child, AT_FILE, 0) && page_is(child, AT_FILE + PAGE, 1) &&
			page_is_file(child, AT_FILE + 2 * PAGE, 2) &&
			area_is(child, AT_FILE, 8, "rw-p", ""),
		"a private file with other protection", NULL);
	ok(!area_is(child, AT_LOCK, 4, "rw-p", "") && area_is(h, AT_LOCK, 4, "rw-p", ""),
		"an area only the parent has", NULL);
	ok(area_is(child, AT_STACK - 4 * PAGE, 36, "rw-p", " gd") &&
			page_is_zero(child, AT_STACK - 4 * PAGE) &&
			pages_are(child, AT_STACK - 3 * PAGE, 3, 3) &&
			pages_are(child, AT_STACK, 32, 1),
		"a stack that grew after the fork", NULL);
	ok(smaps_kb(child, AT_CODE, 100, "Shared_Dirty:") == 80 * 4 ||
			smaps_kb(child, AT_CODE, 105, "Shared_Dirty:") == 80 * 4,
		"equal pages stay shared", NULL);
	ok(b->pages_skipped_cow == 80 + 1 + 1 + 32 && b->pages_restored == 10 + 5 + 1 + 3 &&
			b->pages_compared == 90 + 2 + 1 + 32,
		"pages are counted", NULL);
	if (b->pages_skipped_cow != 114)
		printf("# skipped %lu restored %lu compared %lu\n", b->pages_skipped_cow,
			b->pages_restored, b->pages_compared);
}

static struct task *make_parent(struct subject *s, struct vdso_self *self)
{
	struct task *t = subject_task(s, NULL, 100);

	anon(s, t, AT_CODE, 100, RW);
	anon(s, t, AT_RO, 4, PROT_READ);
	mapped(s, t, AT_FILE, 8, PROT_READ, false, 0);
	mapped(s, t, AT_SHARED, 8, RW, true, 0);
	anon(s, t, AT_LOCK, 4, RW);
	add_own_vdso(s, t, AT_VDSO, self);
	anon(s, t, AT_STACK, 32, RW)->flags |= MAP_GROWSDOWN;
	return t;
}

static struct task *make_child(struct subject *s, struct task *parent)
{
	struct task *t = subject_task(s, parent, 101);
	struct vdso_self self;

	anon(s, t, AT_CODE, 105, RW);
	anon(s, t, AT_RO, 2, PROT_READ);
	mapped(s, t, AT_FILE, 8, RW, false, 0);
	mapped(s, t, AT_SHARED, 8, PROT_READ, true, 0);
	add_own_vdso(s, t, AT_VDSO, &self);
	anon(s, t, AT_STACK - 4 * PAGE, 36, RW)->flags |= MAP_GROWSDOWN;
	return t;
}

static void save_family(struct subject *s, const struct vdso_self *self)
{
	const struct saved_run vdso = { AT_VDSO + self->code_offset, self->code_len / PAGE, 0,
		self->code, 0 };
	const struct saved_run parent[] = {
		{ AT_CODE, 100, 1, NULL, 0 }, { AT_RO, 4, 1, NULL, 0 },
		{ AT_FILE + PAGE, 2, 1, NULL, 0 }, { AT_LOCK, 4, 1, NULL, 0 }, vdso,
		{ AT_STACK, 32, 1, NULL, 0 }, { 0 },
	};
	const struct saved_run child[] = {
		{ AT_CODE, 40, 1, NULL, 0 }, { AT_CODE + 40 * PAGE, 10, 2, NULL, 0 },
		{ AT_CODE + 60 * PAGE, 40, 1, NULL, 0 }, { AT_CODE + 100 * PAGE, 5, 3, NULL, 0 },
		{ AT_RO, 1, 1, NULL, 0 }, { AT_RO + PAGE, 1, 2, NULL, 0 },
		{ AT_FILE + PAGE, 1, 1, NULL, 0 }, vdso,
		{ AT_STACK - 3 * PAGE, 3, 3, NULL, 0 }, { AT_STACK, 32, 1, NULL, 0 }, { 0 },
	};

	save_pages(s, IMG_PAGEMAP, 100, parent);
	save_pages(s, IMG_PAGEMAP, 101, child);
	subject_seal(s);
}

static void test_inheritance(void)
{
	struct err err = ERR_INIT;
	struct mm_build b, c;
	struct vdso_self self;
	struct subject s;
	struct task *t, *kid;
	struct husk h, child;
	int r;

	subject_init(&s);
	t = make_parent(&s, &self);
	kid = make_child(&s, t);
	save_family(&s, &self);
	ok(mm_inherits(kid, t), "mm_inherits", NULL);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0, "mm_build of a parent", &err);
	r = r < 0 ? r : husk_fork(&h, &(struct husk_birth){ 0 }, &child, &err);
	if (r < 0)
		die("husk_fork", &err);
	c = builder(&s, kid, t, &child);
	r = mm_build(&c, &err);
	ok(r == 0, "mm_build of its child", &err);
	if (r == 0)
		look_at_child(&h, &child, &c);
	kid->mm->exe_file_id = DATA_ID;
	ok(!mm_inherits(kid, t), "another program inherits nothing", NULL);
	end_husk(&h);
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, __WALL);
	husk_done(&child);
	subject_done(&s);
}

/* ------------------------------------------------------------------------------ foreign vdso */

/* Calls a function in the husk: it returns to nowhere, which we see. */
static int64_t run_function(struct husk *h, uint64_t at, uint64_t a, uint64_t b, uint64_t c)
{
	struct user_regs_struct regs;
	uint64_t back = 0x1000;
	int status;

	if (ptrace(PTRACE_GETREGS, h->pid, NULL, &regs) < 0)
		return -1000;
	regs.orig_rax = (unsigned long)-1;
	regs.rip = at;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.rsp = AT_STACK + 16 * PAGE - 8;
	if (io_pwrite_all(h->mem, &back, 8, (off_t)regs.rsp) < 0 ||
		ptrace(PTRACE_SETREGS, h->pid, NULL, &regs) < 0 ||
		ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0 ||
		waitpid(h->pid, &status, __WALL) < 0 || !WIFSTOPPED(status) ||
		ptrace(PTRACE_GETREGS, h->pid, NULL, &regs) < 0)
		return -1001;
	if (WSTOPSIG(status) != SIGSEGV || regs.rip != back) {
		printf("# signal %d at 0x%llx\n", WSTOPSIG(status), regs.rip);
		return -1002;
	}
	return (int64_t)regs.rax;
}

static void run_clock(struct husk *h, uint64_t code, const struct vdso_symbol *s, int n)
{
	struct timespec got = { 0 }, now;

	for (int i = 0; i < n; i++) {
		int64_t r;

		if (!strcmp(s[i].name, "__vdso_clock_gettime")) {
			r = run_function(h, code + s[i].offset, CLOCK_MONOTONIC, AT_STACK, 0);
			clock_gettime(CLOCK_MONOTONIC, &now);
			ok(r == 0 && io_pread_all(h->mem, &got, sizeof(got), AT_STACK) == 0 &&
					now.tv_sec - got.tv_sec < 2 && got.tv_sec <= now.tv_sec,
				"clock_gettime of the old vdso tells the time", NULL);
		} else if (!strcmp(s[i].name, "__vdso_getcpu")) {
			r = run_function(h, code + s[i].offset, AT_STACK, AT_STACK + 8, 0);
			ok(r == 0, "getcpu of the old vdso", NULL);
		} else if (!strcmp(s[i].name, "__vdso_time")) {
			r = run_function(h, code + s[i].offset, 0, 0, 0);
			ok(r - time(NULL) < 2 && time(NULL) - r < 2, "time of the old vdso", NULL);
		}
	}
}

/* How the saved vdso differs from what the husk has. */
enum foreign { BYTES, LARGER, UNKNOWN_FUNCTION, NO_KERNEL_VDSO, FAR_AWAY };

/* Nothing is free within 2 GiB of the vdso. */
static void add_far_away(struct subject *s, struct task *t, const struct vdso_self *self)
{
	VmaEntry *vvar = t->mm->vmas[0], *code = t->mm->vmas[1];

	t->mm->n_vmas = 0;
	anon(s, t, vvar->start - 4 * G, 4 * G / PAGE, PROT_NONE);
	arena_push(s->w->arena, t->mm->vmas, t->mm->n_vmas, vvar);
	arena_push(s->w->arena, t->mm->vmas, t->mm->n_vmas, code);
	anon(s, t, code->end, 4 * G / PAGE, PROT_NONE);
}

static uint64_t gap(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static void test_foreign(const char *what, enum foreign kind)
{
	const char *rename = kind == UNKNOWN_FUNCTION ? "getcpu" : NULL;
	uint64_t more = kind == LARGER ? PAGE : 0, old;
	struct vdso_symbol sym[VDSO_SYMBOLS_MAX];
	struct err err = ERR_INIT;
	struct vdso_self self;
	struct mm_build b;
	struct subject s;
	struct task *t;
	struct husk h;
	uint8_t *bytes;
	int r, n;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	add_own_vdso(&s, t, AT_VDSO, &self);
	t->mm->vmas[1]->end += more;
	old = t->mm->vmas[1]->start;
	if (kind == FAR_AWAY)
		add_far_away(&s, t, &self);
	anon(&s, t, AT_STACK, 32, RW)->flags |= MAP_GROWSDOWN;
	bytes = calloc(1, self.code_len + more);
	memcpy(bytes, self.code, self.code_len);
	bytes[15] ^= 1; /* padding of the ELF header */
	n = vdso_symbols(bytes, self.code_len, sym, VDSO_SYMBOLS_MAX);
	ok(n > 5, "functions of a vdso are found", NULL);
	/* "__vdso_time" and "time" end in the same name, hence both change */
	for (size_t i = 0; rename && i + strlen(rename) < self.code_len; i++) {
		if (!memcmp(bytes + i, rename, strlen(rename) + 1))
			bytes[i] = 'q';
	}
	save_pages(&s, IMG_PAGEMAP, 100,
		(struct saved_run[]){ { AT_VDSO + self.code_offset, (self.code_len + more) / PAGE, 0,
					      bytes, 0 }, { 0 } });
	subject_seal(&s);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	if (kind == NO_KERNEL_VDSO)
		h.vdso = h.vvar = 0;
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0, what, &err);
	if (kind == NO_KERNEL_VDSO)
		ok(r == 0 && !h.vdso, "no vdso lies beside it", NULL);
	else
		ok(r == 0 && h.vdso != old && gap(h.vdso, old) < 5 * G &&
				(gap(h.vdso, old) > 2 * G) == (kind == FAR_AWAY),
			"this kernel's vdso lies beside it", NULL);
	if (r == 0)
		run_clock(&h, AT_VDSO + self.code_offset, sym, n);
	free(bytes);
	end_husk(&h);
	subject_done(&s);
}

static void test_no_vdso(void)
{
	auto_free char *maps = NULL;
	struct err err = ERR_INIT;
	struct mm_build b;
	struct subject s;
	struct task *t;
	struct husk h;
	int r;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	anon(&s, t, AT_CODE, 4, RW);
	subject_seal(&s);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0 && io_slurpf(&maps, NULL, "/proc/%d/maps", h.pid) == 0 && !strstr(maps, "vdso") &&
			!strstr(maps, "vvar"),
		"a task without vdso", &err);
	end_husk(&h);
	subject_done(&s);
}

/* --------------------------------------------------------------------------- wrong and parents */

static int build_once(struct subject *s, struct task *t, struct err *err)
{
	struct husk h;
	struct mm_build b;
	int r = husk_start(&h, &s->layout, 0, false, err);

	if (r < 0)
		die("husk_start", err);
	b = builder(s, t, NULL, &h);
	r = mm_build(&b, err);
	if (r == 0)
		r = pages_are(&h, AT_CODE, 4, 1) ? 0 : -EBADMSG;
	end_husk(&h);
	return r;
}

static void test_wrong(void)
{
	struct err err = ERR_INIT;
	struct subject s;
	struct task *t;
	VmaEntry *v;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	v = anon(&s, t, AT_CODE, 4, RW);
	save_pages(&s, IMG_PAGEMAP, 100, (struct saved_run[]){ { AT_CODE, 4, 1, NULL, 0 }, { 0 } });
	subject_seal(&s);
	ok(build_once(&s, t, &err) == 0, "a sound image", &err);
	v->end -= PAGE;
	ok(build_once(&s, t, &err) < 0 && err.class == ERR_IMAGE, "a page outside of all areas", &err);
	err_clear(&err);
	v->end += PAGE + 1;
	ok(build_once(&s, t, &err) < 0 && err.class == ERR_IMAGE, "an odd address", &err);
	err_clear(&err);
	v->end -= 1;
	anon(&s, t, AT_CODE + PAGE, 4, RW);
	ok(build_once(&s, t, &err) < 0 && err.class == ERR_IMAGE, "areas that overlap", &err);
	err_clear(&err);
	t->mm->n_vmas = 1;
	v->status = VMA_AIORING;
	ok(build_once(&s, t, &err) < 0 && err.class == ERR_UNSUPPORTED, "an aio ring", &err);
	err_clear(&err);
	v->status = VMA_REGULAR | VMA_FILE_PRIVATE;
	v->shmid = 77;
	ok(build_once(&s, t, &err) < 0 && strstr(err.text, "77"), "a file that is not there", &err);
	subject_done(&s);
}

static void test_parent_images(void)
{
	struct err err = ERR_INIT;
	struct subject old, s;
	struct task *t;

	subject_init(&old);
	save_pages(&old, IMG_PAGEMAP, 100, (struct saved_run[]){ { AT_CODE, 3, 1, NULL, 0 }, { 0 } });
	subject_task(&old, NULL, 100);
	subject_seal(&old);
	subject_init(&s);
	if (symlinkat(old.store.dir, s.dirfd, "parent") < 0)
		abort();
	t = subject_task(&s, NULL, 100);
	anon(&s, t, AT_CODE, 4, RW);
	save_pages(&s, IMG_PAGEMAP, 100,
		(struct saved_run[]){ { AT_CODE, 1, 0, NULL, RUN_PARENT },
			{ AT_CODE + PAGE, 1, 1, NULL, 0 },
			{ AT_CODE + 2 * PAGE, 1, 0, NULL, RUN_PARENT },
			{ AT_CODE + 3 * PAGE, 1, 1, NULL, 0 }, { 0 } });
	subject_seal(&s);
	ok(build_once(&s, t, &err) == 0, "pages of a parent image", &err);
	err_clear(&err);
	subject_done(&old);
	ok(build_once(&s, t, &err) < 0 && strstr(err.text, "parent"), "parent image missing", &err);
	subject_done(&s);
}

static void test_shmem(void)
{
	struct err err = ERR_INIT;
	uint8_t got[PAGE], want[PAGE];
	struct subject s;
	struct stat st;
	int fd = memfd_create("x", MFD_CLOEXEC), r;

	subject_init(&s);
	save_pages(&s, IMG_PAGEMAP_SHMEM, 7,
		(struct saved_run[]){ { 0, 2, 1, NULL, 0 }, { 5 * PAGE, 1, 1, NULL, 0 }, { 0 } });
	subject_task(&s, NULL, 100);
	subject_seal(&s);
	if (ftruncate(fd, 5 * PAGE + 100) < 0)
		abort();
	r = shmem_fill(s.set, 7, fd, &err);
	page_make(PAGE, 1, want);
	ok(r == 0 && pread(fd, got, PAGE, PAGE) == PAGE && !memcmp(want, got, PAGE), "shmem_fill", &err);
	page_make(5 * PAGE, 1, want);
	ok(pread(fd, got, PAGE, 5 * PAGE) == 100 && !memcmp(want, got, 100) && !fstat(fd, &st) &&
			st.st_size == 5 * PAGE + 100 && st.st_blocks == 3 * 8,
		"size and holes of the object", NULL);
	if (ftruncate(fd, PAGE) < 0)
		abort();
	ok(shmem_fill(s.set, 7, fd, &err) < 0 && err.class == ERR_IMAGE, "a page behind its end", &err);
	err_clear(&err);
	ok(shmem_fill(s.set, 8, fd, &err) == 0, "an object without pages", &err);
	close(fd);
	subject_done(&s);
}

/* ------------------------------------------------------------------------------------- holes */

static void test_hole(void)
{
	struct err err = ERR_INIT;
	struct subject s;
	struct task *t;
	uint64_t at = 0;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	anon(&s, t, 0x10000, 0x1000, RW);
	anon(&s, t, 0x200000000, (0x7fff00000000 - 0x200000000) / PAGE, RW);
	anon(&s, t, 0x7fffc0000000, 16, RW)->flags |= MAP_GROWSDOWN;
	t->mm->mm_start_brk = 0x30000000;
	t->mm->mm_brk = 0x40000000;
	ok(mm_find_hole(s.w, 0x10000000, &at, &err) == 0 && at >= 0x7fffc0000000 + 0x10000,
		"a hole above the stack", &err);
	anon(&s, t, 0x7fffc0010000, 0x3ff00, RW);
	ok(mm_find_hole(s.w, 0x10000000, &at, &err) == 0 &&
			((at >= 0x80000000 && at < 0x200000000) ||
				(at > 0x7fff00000000 && at + 0x10000000 <= 0x7fff80000000)),
		"not below a stack, not above the heap", &err);
	ok(mm_find_hole(s.w, 0x300000000, &at, &err) < 0, "no hole is large enough", &err);
	subject_done(&s);
}

/* -------------------------------------------------------------------------------------- speed */

static void speed(const char *what, struct subject *s, struct task *t, uint64_t units,
	const char *unit)
{
	struct err err = ERR_INIT;
	struct mm_build b;
	struct husk h;
	uint64_t from, us;
	int r = husk_start(&h, &s->layout, 0, false, &err);

	if (r < 0)
		die("husk_start", &err);
	b = builder(s, t, NULL, &h);
	from = clock_us();
	r = mm_build(&b, &err);
	us = clock_us() - from;
	ok(r == 0, what, &err);
	printf("# %s: %.3f ms, %.2f us per %s\n", what, (double)us / 1e3, (double)us / (double)units,
		unit);
	end_husk(&h);
}

static void test_speed(void)
{
	uint64_t mib = 256, at = 0x100000000, n_areas = 60000, n_runs = 10000, from, us;
	struct saved_run *runs = calloc(n_runs + 1, sizeof(*runs));
	struct subject s;
	struct task *t;
	uint8_t *p;
	int fd;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	anon(&s, t, at, mib * 256, RW);
	save_pages(&s, IMG_PAGEMAP, 100,
		(struct saved_run[]){ { at, mib * 256, 1, NULL, 0 }, { 0 } });
	t = subject_task(&s, t, 101);
	for (uint64_t i = 0; i < n_areas; i++)
		anon(&s, t, at + i * PAGE, 1, i % 2 ? RW : PROT_READ);
	t = subject_task(&s, t, 102);
	anon(&s, t, at, 2 * n_runs, RW);
	for (uint64_t i = 0; i < n_runs; i++)
		runs[i] = (struct saved_run){ at + 2 * i * PAGE, 1, 1, NULL, 0 };
	save_pages(&s, IMG_PAGEMAP, 102, runs);
	subject_seal(&s);
	fd = openat(s.dirfd, "pages-1.img", O_RDONLY);
	for (int i = 0; i < 2; i++) {
		from = clock_us();
		p = mmap(NULL, mib << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ok(io_pread_all(fd, p, mib << 20, 0) == 0, "plain read", NULL);
		us = clock_us() - from;
		munmap(p, mib << 20);
		printf("# plain read of %lu MiB into fresh memory: %.3f ms\n", mib,
			(double)us / 1e3);
		speed("256 MiB", &s, world_task(s.w, 100), mib, "MiB");
	}
	speed("60,000 areas", &s, world_task(s.w, 101), n_areas, "area");
	speed("10,000 single pages", &s, world_task(s.w, 102), n_runs, "page");
	close(fd);
	free(runs);
	subject_done(&s);
}

int main(void)
{
	test_hole();
	test_all_kinds();
	test_inheritance();
	test_foreign("a vdso with other bytes", BYTES);
	test_foreign("a larger vdso", LARGER);
	test_foreign("a vdso with unknown functions", UNKNOWN_FUNCTION);
	test_foreign("a kernel without vdso", NO_KERNEL_VDSO);
	test_foreign("a kernel's vdso far away", FAR_AWAY);
	test_no_vdso();
	test_wrong();
	test_parent_images();
	test_shmem();
	test_speed();
	printf("1..%d\n", n_tests);
	return n_failed != 0;
}
