// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Building address spaces in real husks from images made here: what /proc says afterwards, byte for
 * byte contents, damaged images, parents' images, shared objects, holes, and figures of speed.
 */
#include "tests/unit/mm_subject.h"
#include "pages/shmem.h"
#include <errno.h>
#include <sys/stat.h>

/* -------------------------------------------------------------------------------- all kinds */

static void add_guard(struct subject *s, struct task *t, uint64_t start, uint64_t pages)
{
	area(s, t, start, pages * PAGE, 0, 0, VMA_GUARD);
}

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

/* What the kernel does with huge pages on its own, anywhere on the machine. */
struct thp {
	bool off;
	unsigned long collapsed; /* made by khugepaged of small ones, holes included */
	unsigned long refused; /* could not be had when they were touched: memory is in pieces */
};

static struct thp thp_now(void)
{
	auto_free char *enabled = NULL, *collapsed = NULL, *vmstat = NULL;
	const char *refused;
	struct thp t = { .off = true };

	if (io_slurp("/sys/kernel/mm/transparent_hugepage/enabled", &enabled, NULL) == 0)
		t.off = strstr(enabled, "[never]") != NULL;
	if (io_slurp("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_collapsed", &collapsed,
		    NULL) == 0)
		t.collapsed = strtoul(collapsed, NULL, 10);
	if (io_slurp("/proc/vmstat", &vmstat, NULL) < 0)
		return t;
	refused = strstr(vmstat, "thp_fault_fallback ");
	t.refused = refused ? strtoul(strchr(refused, ' '), NULL, 10) : 0;
	return t;
}

static void look_at_huge_pages(struct husk *h, const struct thp *before)
{
	struct thp now = thp_now();
	bool scarce = now.off || now.refused > before->refused;
	long huge = smaps_kb(h, AT_HUGE, 2048, "AnonHugePages:");
	long rss = smaps_kb(h, AT_HUGE, 2048, "Rss:");
	char what[128];

	snprintf(what, sizeof(what), "2048 kB of huge pages where one is complete (%ld), 24 kB elsewhere "
		"(%ld kB in all)", huge, rss);
	ok(((huge == 2048 || scarce) && rss == 2048 + 24) || now.collapsed > before->collapsed, what,
		NULL);
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
	struct thp before;
	int r;

	subject_init(&s);
	t = make_all_kinds(&s, &self);
	save_all_kinds(&s, &self);
	before = thp_now();
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
		look_at_huge_pages(&h, &before);
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
	v->status = VMA_SHSTK;
	ok(build_once(&s, t, &err) < 0 && err.class == ERR_UNSUPPORTED, "a shadow stack", &err);
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
	ok(mm_find_hole(s.w, 0x10000000, &at, &err) == 0 && at >= 0x80000000 &&
			at + 0x10000000 < 0x200000000,
		"a hole below the areas, where no husk has its stack", &err);
	anon(&s, t, 0x11000, (0x30000000 - 0x11000) / PAGE, RW);
	anon(&s, t, 0x50000000, (0x200000000 - 0x50000000) / PAGE, RW);
	ok(mm_find_hole(s.w, 0x10000000, &at, &err) == 0 && at >= 0x7fffc0000000 + 0x10000,
		"a hole above the stack if there is no other", &err);
	anon(&s, t, 0x7fffc0010000, 0x3ff00, RW);
	ok(mm_find_hole(s.w, 0x10000000, &at, &err) == 0 && at > 0x7fff00000000 &&
			at + 0x10000000 <= 0x7fff80000000,
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

static void test_speed(int rounds, uint64_t mib)
{
	uint64_t at = 0x100000000, n_areas = 60000, n_runs = 10000, from, us;
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
	for (int i = 0; i < rounds; i++) {
		from = clock_us();
		p = mmap(NULL, mib << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ok(io_pread_all(fd, p, mib << 20, 0) == 0, "plain read", NULL);
		us = clock_us() - from;
		munmap(p, mib << 20);
		printf("# plain read of %lu MiB into fresh memory: %.3f ms\n", mib,
			(double)us / 1e3);
		speed("anonymous memory", &s, world_task(s.w, 100), mib, "MiB");
	}
	speed("60,000 areas", &s, world_task(s.w, 101), n_areas, "area");
	speed("10,000 single pages", &s, world_task(s.w, 102), n_runs, "page");
	close(fd);
	free(runs);
	subject_done(&s);
}

/* mm_build [ROUNDS MIB]: small by default, 2 256 to measure. */
int main(int argc, char **argv)
{
	test_hole();
	test_all_kinds();
	test_no_vdso();
	test_wrong();
	test_parent_images();
	test_shmem();
	test_speed(argc > 2 ? atoi(argv[1]) : 1, argc > 2 ? strtoul(argv[2], NULL, 10) : 32);
	return tap_done(&tap);
}
