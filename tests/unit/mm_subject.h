/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the tests of address spaces: worlds and images made by hand, a store with two files, and what
 * /proc says of a husk afterwards. Included by one program each, hence the static functions.
 */
#pragma once
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/vdso.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "tests/unit/tap.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#pragma GCC diagnostic ignored "-Wunused-function"

enum { EXE_ID = 1, DATA_ID = 2 };

static struct tap tap;

static void ok(bool good, const char *what, const struct err *err)
{
	tap_ok(&tap, good, what, err);
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
	husk_layout_done(&s->layout);
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

static bool page_is(struct husk *h, uint64_t vaddr, unsigned seed)
{
	uint8_t want[PAGE], got[PAGE];

	page_make(vaddr, seed, want);
	if (husk_read(h, got, PAGE, vaddr) < 0)
		return false;
	return !memcmp(want, got, PAGE);
}

static bool pages_are(struct husk *h, uint64_t vaddr, uint64_t pages, unsigned seed)
{
	for (uint64_t i = 0; i < pages; i++) {
		if (!page_is(h, vaddr + i * PAGE, seed)) {
			printf("# page 0x%lx is wrong\n", vaddr + i * PAGE);
			return false;
		}
	}
	return true;
}

static bool page_is_zero(struct husk *h, uint64_t vaddr)
{
	uint8_t got[PAGE], zero[PAGE] = { 0 };

	return husk_read(h, got, PAGE, vaddr) == 0 && !memcmp(zero, got, PAGE);
}

/* Page i of the data file is mapped there. */
static bool page_is_file(struct husk *h, uint64_t vaddr, uint64_t i)
{
	uint8_t want[PAGE], got[PAGE];

	page_make(i, 99, want);
	return husk_read(h, got, PAGE, vaddr) == 0 && !memcmp(want, got, PAGE);
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
