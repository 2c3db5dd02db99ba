// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory of stopped children is looked at and saved; what was saved is compared with the
 * children's memory, and what was not saved with what a new mapping would give.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/pagemap.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "tests/unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MIB (1ul << 20)
#define GIB (1ul << 30)

enum { RW = PROT_READ | PROT_WRITE, ANON = MAP_PRIVATE | MAP_ANONYMOUS };

/* Where a child tells what it made; shared with it. */
struct told {
	char *at[32];
	size_t n;
	size_t much; /* bytes of make_much() */
};

struct rig {
	struct tap tap;
	struct told *told;
	char dir[64];
	int dirfd;
	struct image_set *images;
	struct world *world;
	struct options options;
	struct file_collector *files;
	struct task *task;
	struct page_stats stats;
	struct err err;
	pid_t pid;
};

/* -------------------------------------------------------------------------------- the rig */

static void *map_anon(size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags ? flags : ANON, -1, 0);

	if (p == MAP_FAILED)
		_exit(9);
	return p;
}

/* Every page a different text. */
static void fill(char *p, size_t len)
{
	for (size_t i = 0; i < len; i += 4096)
		snprintf(p + i, 64, "page %zu of %p", i / 4096, (void *)p);
}

static pid_t spawn(struct rig *r, void (*make)(struct told *told))
{
	int status;

	r->told->n = 0;
	r->pid = fork();
	if (r->pid == 0) {
		make(r->told);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(r->pid, &status, WUNTRACED) != r->pid || !WIFSTOPPED(status)) {
		printf("Bail out! the child did not stop\n");
		exit(1);
	}
	return r->pid;
}

static void rig_open(struct rig *r, const char *where)
{
	snprintf(r->dir, sizeof(r->dir), "%s/torpor-mm-XXXXXX", where);
	r->err = ERR_INIT;
	r->stats = (struct page_stats){ 0 };
	options_init(&r->options);
	if (!mkdtemp(r->dir) || (r->dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
		image_set_open(r->dirfd, true, &r->images, &r->err) < 0) {
		printf("Bail out! no place for images in %s\n", where);
		exit(1);
	}
	r->world = world_new();
	r->files = file_collector_new(r->world, r->images, &r->options);
	if (world_add_task(r->world, NULL, r->pid, 1, &r->task, &r->err) < 0)
		exit(1);
	r->task->real = r->task->threads[0].real = r->pid;
	r->task->threads[0].tid = r->pid;
}

static void rig_close(struct rig *r, bool end)
{
	file_collector_free(r->files);
	image_set_discard(r->images);
	image_set_close(r->images);
	options_done(&r->options);
	world_free(r->world);
	close(r->dirfd);
	rmdir(r->dir);
	if (!end)
		return;
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
}

static int look(struct rig *r)
{
	return mm_look(r->world, r->task, r->pid, r->files, &r->options, &r->err);
}

static int dump(struct rig *r)
{
	return mm_dump_pages(r->world, r->task, r->pid, r->images, 1, &r->stats, &r->err);
}

static const VmaEntry *area_at(const struct rig *r, const void *at)
{
	const MmEntry *mm = r->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++)
		if (mm->vmas[i]->start <= (uint64_t)at && (uint64_t)at < mm->vmas[i]->end &&
			mm->vmas[i]->status != VMA_GUARD)
			return mm->vmas[i];
	return NULL;
}

static bool area_is(const struct rig *r, const void *at, uint32_t status, uint32_t flags, uint64_t madv)
{
	const VmaEntry *v = area_at(r, at);
	bool good = v && v->status == status && v->flags == flags && v->madv == madv && v->fd == -1;

	if (!good && v)
		printf("# %p: status 0x%x flags 0x%x madv 0x%lx\n", at, v->status, v->flags, v->madv);
	return good;
}

static const TorporAreaEntry *extra_at(const struct rig *r, const void *at)
{
	const TorporTaskEntry *e = r->task->extra;

	for (size_t i = 0; i < e->n_areas; i++)
		if (e->areas[i]->start == (uint64_t)at)
			return e->areas[i];
	return NULL;
}

/* -------------------------------------------------------------------- saved against real */

static bool has_page(const struct pagemap *map, uint64_t vaddr, uint64_t *ret_offset)
{
	size_t lo = 0, hi = map->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct run *run = &map->runs[mid];

		if (run->vaddr + run->pages * PAGE <= vaddr)
			lo = mid + 1;
		else if (run->vaddr > vaddr)
			hi = mid;
		else {
			*ret_offset = run->offset + (vaddr - run->vaddr);
			return true;
		}
	}
	return false;
}

static bool page_as_new(const struct rig *r, const VmaEntry *v, uint64_t at, const char *page)
{
	static const char zeros[PAGE];
	char path[64], now[PAGE] = "";
	auto_close int fd = -1;

	if (v->status & VMA_ANON_PRIVATE)
		return !memcmp(page, zeros, PAGE);
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", r->pid, v->start, v->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && pread(fd, now, PAGE, (off_t)(v->pgoff + at - v->start)) >= 0 &&
		!memcmp(page, now, PAGE);
}

/* Every page of every private area of a size that can be read whole. */
static bool content_is_right(struct rig *r, size_t *ret_compared)
{
	struct pagemap map;
	auto_close int mem = -1, pages = -1;
	char path[64], real[PAGE], saved[PAGE];
	uint64_t offset;
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", r->pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (pagemap_load(r->images, IMG_PAGEMAP, (unsigned long)r->pid, r->world->arena, &map,
		    &r->err) < 0 ||
		image_open_raw(r->images, IMG_PAGES, map.pages_id, &pages, &r->err) < 0)
		return false;
	for (size_t i = 0; i < r->task->mm->n_vmas; i++) {
		const VmaEntry *v = r->task->mm->vmas[i];

		if (!vma_has_pages(v) || v->end - v->start > 2 * GIB)
			continue;
		for (uint64_t at = v->start; at < v->end; at += PAGE) {
			bool have = has_page(&map, at, &offset);

			if (pread(mem, real, PAGE, (off_t)at) != PAGE) {
				if (!have) /* a guard, or behind the end of a file */
					continue;
				printf("# 0x%lx is saved but cannot be read\n", at);
				return false;
			}
			n++;
			if (have ? pread(pages, saved, PAGE, (off_t)offset) != PAGE ||
					    memcmp(real, saved, PAGE) :
				   !page_as_new(r, v, at, real)) {
				printf("# 0x%lx (status 0x%x): %s differs\n", at, v->status,
					have ? "the saved page" : "a page that was not saved");
				return false;
			}
		}
	}
	*ret_compared = n;
	return true;
}

/* -------------------------------------------------------------------------------- the zoo */

enum zoo {
	SPARSE, NOACCESS, RESERVE, LOCKED, ONFAULT, ADVISED, GUARDED, WIPED, DROPPABLE, SEALED,
	FILE_CHANGED, FILE_SHARED, FILE_RO, MEMFD_SHARED, MEMFD_PRIVATE, ZERO, SHARED, TERABYTE,
	GROWS, DONTFORK, NAMED, HEAP, HUGE_PRIVATE, HUGE_SHARED, CHEQUERED,
};

static char *sparse(void)
{
	char *p = map_anon(4 * MIB, RW, 0);

	fill(p, 40960);
	fill(p + MIB, 4096);
	p[2 * MIB] = 1;
	p[2 * MIB] = 0; /* there, but zero */
	return p;
}

/* Single pages between holes: more than the kernel tells of at once, but not twice as many. */
static char *chequered(void)
{
	const size_t pages = 700;
	char *p = map_anon(2 * pages * PAGE, RW, 0);

	madvise(p, 2 * pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		p[2 * i * PAGE] = (char)(1 + i % 100);
	return p;
}

static char *file_of(size_t len, int prot, int flags)
{
	char name[] = "/tmp/torpor-mm-file-XXXXXX", *p;
	int fd = mkstemp(name);

	unlink(name);
	for (size_t i = 0; i < len; i += 512)
		if (pwrite(fd, name, sizeof(name), (off_t)i) < 0)
			_exit(9);
	p = mmap(NULL, len, prot, flags, fd, 0);
	close(fd);
	return p;
}

static char *memfd_of(size_t len, int flags)
{
	int fd = memfd_create("thing", 0);
	char *p;

	if (ftruncate(fd, (off_t)len))
		_exit(9);
	p = mmap(NULL, len, RW, MAP_SHARED, fd, 0);
	fill(p, 8192);
	fill(p + 32768, 4096);
	if (flags != MAP_SHARED) {
		munmap(p, len);
		p = mmap(NULL, len, RW, flags, fd, 0);
		p[4096] = 'x';
	}
	close(fd);
	return p;
}

static void make_zoo(struct told *t)
{
	char **at = t->at;
	int zero = open("/dev/zero", O_RDWR);

	at[HEAP] = malloc(1000);
	at[SPARSE] = sparse();
	at[CHEQUERED] = chequered();
	at[NOACCESS] = map_anon(32768, RW, 0);
	fill(at[NOACCESS], 8192);
	mprotect(at[NOACCESS], 32768, PROT_NONE);
	at[RESERVE] = map_anon(MIB, RW, ANON | MAP_NORESERVE);
	at[LOCKED] = map_anon(16384, RW, 0);
	mlock(at[LOCKED], 16384);
	at[ONFAULT] = map_anon(16384, RW, 0);
	syscall(SYS_mlock2, at[ONFAULT], 16384, 1);
	at[ADVISED] = map_anon(65536, RW, 0);
	madvise(at[ADVISED], 65536, MADV_RANDOM);
	madvise(at[ADVISED], 65536, MADV_DONTDUMP);
	madvise(at[ADVISED], 65536, MADV_NOHUGEPAGE);
	at[GUARDED] = map_anon(65536, RW, 0);
	fill(at[GUARDED], 65536);
	madvise(at[GUARDED] + 8192, 8192, 102);
	at[WIPED] = map_anon(8192, RW, 0);
	madvise(at[WIPED], 8192, MADV_WIPEONFORK);
	at[DROPPABLE] = mmap(NULL, 8192, RW, MAP_ANONYMOUS | 8, -1, 0);
	at[SEALED] = map_anon(8192, RW, 0);
	syscall(462, at[SEALED], 8192, 0);
	at[FILE_CHANGED] = file_of(65536, RW, MAP_PRIVATE);
	at[FILE_CHANGED][4096] = 'x';
	memset(at[FILE_CHANGED] + 8192, 0, 4096);
	at[FILE_SHARED] = file_of(65536, RW, MAP_SHARED);
	at[FILE_RO] = file_of(65536, RW, MAP_PRIVATE);
	at[FILE_RO][16384] = 'y';
	mprotect(at[FILE_RO], 65536, PROT_READ);
	at[MEMFD_SHARED] = memfd_of(65536, MAP_SHARED);
	at[MEMFD_PRIVATE] = memfd_of(65536, MAP_PRIVATE);
	at[ZERO] = mmap(NULL, 65536, RW, MAP_PRIVATE, zero, 0);
	fill(at[ZERO], 4096);
	at[SHARED] = map_anon(MIB, RW, MAP_SHARED | MAP_ANONYMOUS);
	fill(at[SHARED] + 65536, 8192);
	at[TERABYTE] = map_anon(1024 * GIB, PROT_NONE, ANON | MAP_NORESERVE);
	at[GROWS] = map_anon(65536, RW, ANON | MAP_GROWSDOWN);
	at[DONTFORK] = map_anon(8192, RW, 0);
	madvise(at[DONTFORK], 8192, MADV_DONTFORK);
	at[NAMED] = map_anon(8192, RW, MAP_SHARED | MAP_ANONYMOUS);
	syscall(SYS_prctl, 0x53564d41, 0, at[NAMED], 8192, "a name");
	at[HUGE_PRIVATE] = mmap(NULL, 4 * MIB, RW, ANON | MAP_HUGETLB, -1, 0);
	if (at[HUGE_PRIVATE] != MAP_FAILED)
		fill(at[HUGE_PRIVATE], 16384);
	at[HUGE_SHARED] = mmap(NULL, 4 * MIB, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (at[HUGE_SHARED] != MAP_FAILED)
		fill(at[HUGE_SHARED], 16384);
}

static void test_zoo_areas(struct rig *r)
{
	struct tap *t = &r->tap;
	char **at = r->told->at;
	const uint32_t private = VMA_REGULAR | VMA_ANON_PRIVATE;

	tap_ok(t, area_is(r, at[SPARSE], private, 0x22, 0), "private anonymous", NULL);
	tap_ok(t, area_is(r, at[NOACCESS], private, 0x22, 0) && !area_at(r, at[NOACCESS])->prot,
		"without access", NULL);
	tap_ok(t, area_is(r, at[RESERVE], private, 0x4022, 0), "MAP_NORESERVE", NULL);
	tap_ok(t, area_is(r, at[LOCKED], private, 0x2022, 0), "mlock", NULL);
	tap_ok(t, area_is(r, at[ADVISED], private, 0x22, 1 << 1 | 1 << 15 | 1 << 16), "madvise", NULL);
	tap_ok(t, area_is(r, at[WIPED], private, 0x22, 1 << 18), "MADV_WIPEONFORK", NULL);
	tap_ok(t, area_is(r, at[DONTFORK], private, 0x22, 1 << 10), "MADV_DONTFORK", NULL);
	tap_ok(t, at[DROPPABLE] == MAP_FAILED || area_is(r, at[DROPPABLE], private, 0x28, 0),
		"MAP_DROPPABLE", NULL);
	tap_ok(t, area_is(r, at[GROWS], private, 0x122, 0), "MAP_GROWSDOWN", NULL);
	tap_ok(t, area_is(r, at[FILE_CHANGED], 0x41, 2, 0) && area_is(r, at[ZERO], 0x41, 2, 0),
		"private files, /dev/zero among them", NULL);
	tap_ok(t, area_is(r, at[FILE_SHARED], 0x81, 1, 0) &&
			area_at(r, at[FILE_SHARED])->fdflags == O_RDWR,
		"a shared file", NULL);
	tap_ok(t, area_is(r, at[MEMFD_SHARED], 0x4081, 1, 0) &&
			area_is(r, at[MEMFD_PRIVATE], 0x4041, 2, 0),
		"memfds", NULL);
	tap_ok(t, area_is(r, at[SHARED], 0x4081, 1, 0) && area_is(r, at[NAMED], 0x4081, 1, 0),
		"shared anonymous memory", NULL);
	if (at[HUGE_SHARED] == MAP_FAILED || at[HUGE_PRIVATE] == MAP_FAILED)
		tap_ok(t, true, "huge pages # SKIP none reserved (vm.nr_hugepages)", NULL);
	else
		tap_ok(t, area_is(r, at[HUGE_SHARED], 0x4081, 1, 0) &&
				area_is(r, at[HUGE_PRIVATE], private, 0x40022 | 21 << 26, 0),
			"huge pages", NULL);
	tap_ok(t, extra_at(r, at[ONFAULT]) && extra_at(r, at[ONFAULT])->lock_on_fault,
		"MLOCK_ONFAULT", NULL);
	tap_ok(t, extra_at(r, at[SEALED]) && extra_at(r, at[SEALED])->sealed, "mseal", NULL);
}

static void test_zoo_space(struct rig *r)
{
	const MmEntry *mm = r->task->mm;
	const VmaEntry *last = mm->vmas[mm->n_vmas - 1];
	size_t vdso = 0, vvar = 0, vsyscall = 0, heap = 0;
	bool ordered = true;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		vdso += v->status == (VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VDSO);
		vvar += v->status == (VMA_REGULAR | VMA_ANON_PRIVATE | VMA_VVAR);
		vsyscall += v->status == (VMA_ANON_PRIVATE | VMA_VSYSCALL);
		heap += v->status == (VMA_REGULAR | VMA_ANON_PRIVATE | VMA_HEAP);
		ordered &= !i || v->status == VMA_GUARD || mm->vmas[i - 1]->end <= v->start;
	}
	tap_ok(&r->tap, vdso == 1 && vvar == 1 && vsyscall <= 1 && heap == 1 && ordered,
		"vdso, vvar, heap, in order", NULL);
	tap_ok(&r->tap, last->status == VMA_GUARD && last->start == (uint64_t)r->told->at[GUARDED] + 8192 &&
			last->end == last->start + 8192,
		"a guard region stands at the end", NULL);
	tap_ok(&r->tap, mm->mm_start_code && mm->mm_end_code > mm->mm_start_code &&
			mm->mm_arg_end > mm->mm_arg_start && mm->mm_env_end >= mm->mm_env_start &&
			mm->mm_start_stack && mm->mm_brk > mm->mm_start_brk && mm->exe_file_id,
		"places of code, arguments, heap", NULL);
	tap_ok(&r->tap, mm->n_mm_saved_auxv >= 20 && mm->n_mm_saved_auxv % 2 == 0 &&
			(!mm->mm_saved_auxv[mm->n_mm_saved_auxv - 1] || mm->n_mm_saved_auxv == 44),
		"the auxiliary vector, its end left out where CRIU has no room", NULL);
}

struct spans {
	struct page_span at[4096];
	size_t n;
};

static int keep_span(const struct page_span *s, void *data, struct err *err)
{
	struct spans *spans = data;
	const unsigned both = PAGE_PRESENT | PAGE_SWAPPED | PAGE_FILE | PAGE_GUARD;
	struct page_span *last = spans->n ? &spans->at[spans->n - 1] : NULL;

	if (last && last->end == s->start && last->is == (s->is & both))
		last->end = s->end;
	else if (spans->n < 4096)
		spans->at[spans->n++] = (struct page_span){ s->start, s->end, s->is & both };
	return 0;
}

/* Both ways of asking the kernel must agree (the zoo without the terabyte). */
static void test_scanners(struct rig *r)
{
	struct page_scanner s;
	static struct spans a, b;
	const unsigned want = PAGE_PRESENT | PAGE_SWAPPED;
	int rc = page_scanner_open(&s, r->pid, &r->err);
	const MmEntry *mm = r->task->mm;

	if (!s.can_scan) {
		tap_ok(&r->tap, true, "both scanners agree # SKIP no PAGEMAP_SCAN", NULL);
		page_scanner_close(&s);
		return;
	}
	for (size_t i = 0; i < mm->n_vmas && rc == 0; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (v->end - v->start > GIB || v->status & (VMA_VSYSCALL | VMA_GUARD | VMA_VVAR))
			continue;
		s.can_scan = true;
		rc = page_scan(&s, want, v->start, v->end, keep_span, &a, &r->err);
		s.can_scan = false;
		if (rc == 0)
			rc = page_scan(&s, want, v->start, v->end, keep_span, &b, &r->err);
	}
	tap_ok(&r->tap, rc == 0 && a.n > 10 && a.n == b.n && !memcmp(a.at, b.at, a.n * sizeof(*a.at)),
		"both scanners agree", &r->err);
	page_scanner_close(&s);
}

static void test_shared(struct rig *r)
{
	uint32_t next = 2;
	int rc = mm_dump_shared(r->files, r->images, &next, NULL, &r->stats, &r->err);
	struct entry_list *list = &r->world->entries[IMG_MEMFD_INODE];
	size_t maps = 0, pages = 0;

	tap_ok(&r->tap, rc == 0 && list->n >= 4, "shared objects are saved", &r->err);
	for (size_t i = 0; i < list->n; i++) {
		const MemfdInodeEntry *e = list->at[i]->msg;
		struct pagemap map;

		if (pagemap_load(r->images, IMG_PAGEMAP_SHMEM, e->shmid, r->world->arena, &map,
			    &r->err) < 0)
			break;
		maps++;
		for (size_t k = 0; k < map.n; k++)
			pages += map.runs[k].pages;
		if (!strcmp(e->name, "thing"))
			tap_ok(&r->tap, map.n == 2 && map.runs[0].vaddr == 0 && map.runs[0].pages == 2 &&
					map.runs[1].vaddr == 32768 && map.runs[1].pages == 1,
				"only the pages a memfd has", NULL);
	}
	tap_ok(&r->tap, maps == list->n && r->stats.shared_written == pages,
		"each shared object has a pagemap", &r->err);
}

static void test_zoo(struct rig *r)
{
	size_t compared = 0;
	int rc;

	spawn(r, make_zoo);
	rig_open(r, "/tmp");
	rc = look(r);
	tap_ok(&r->tap, rc == 0, "a zoo of areas is looked at", &r->err);
	if (rc == 0) {
		test_zoo_areas(r);
		test_zoo_space(r);
		test_scanners(r);
		tap_ok(&r->tap, dump(r) == 0, "its pages are saved", &r->err);
		tap_ok(&r->tap, content_is_right(r, &compared), "content is right", &r->err);
		printf("# %zu pages compared, %lu saved\n", compared, r->stats.written);
		test_shared(r);
	}
	rig_close(r, true);
}

/* ----------------------------------------------------------------------- sharing, sizes */

static char *inherited;
enum { INHERITED = 16 << 20 };

static void make_cow(struct told *t)
{
	t->at[0] = map_anon(16 * MIB, RW, 0);
	fill(t->at[0], 16 * MIB);
	for (size_t i = 0; i < INHERITED; i += 5 * 4096) /* some are private by now */
		inherited[i] = 'c';
}

static size_t count_shared(pid_t pid, const char *at, size_t len)
{
	auto_free uint64_t *bits = calloc(len / 4096, sizeof(*bits));
	struct page_scanner s;
	struct err err = ERR_INIT;
	size_t n = 0;

	if (page_scanner_open(&s, pid, &err) < 0 ||
		page_bits(&s, (uint64_t)at, len / 4096, bits, &err) < 0)
		return 0;
	page_scanner_close(&s);
	for (size_t i = 0; i < len / 4096; i++)
		n += !pagemap_is_exclusive(bits[i]);
	return n;
}

static void test_cow(struct rig *r)
{
	size_t before, compared;
	int rc;

	inherited = map_anon(INHERITED, RW, 0);
	madvise(inherited, INHERITED, MADV_NOHUGEPAGE);
	fill(inherited, INHERITED);
	spawn(r, make_cow);
	rig_open(r, "/tmp");
	before = count_shared(r->pid, inherited, INHERITED);
	rc = look(r);
	if (rc == 0)
		rc = dump(r);
	tap_ok(&r->tap, rc == 0 && content_is_right(r, &compared), "a child of a fork is saved",
		&r->err);
	tap_ok(&r->tap, before > 3000 && count_shared(r->pid, inherited, INHERITED) == before,
		"pages stay shared by copy-on-write", NULL);
	rig_close(r, true);
	munmap(inherited, INHERITED);
}

static void make_areas(struct told *t)
{
	char *p = map_anon(60000ul * 4096, RW, 0);

	for (size_t i = 0; i < 60000; i += 2) {
		p[i * 4096] = 'x';
		if (mprotect(p + i * 4096, 4096, PROT_READ))
			break;
	}
}

static void make_much(struct told *t)
{
	uint64_t *p = map_anon(t->much, RW, 0), x = 88172645463325252ull;

	madvise(p, t->much, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < t->much / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

/* What the same amount costs by plain write(2). */
static uint64_t time_plain_write(const char *dir, size_t len)
{
	char path[64], *p = map_anon(MIB, RW, 0);
	uint64_t start;
	int fd;

	memset(p, 7, MIB);
	snprintf(path, sizeof(path), "%s/torpor-mm-plain", dir);
	start = clock_us();
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t done = 0; done < len; done += MIB)
		if (write(fd, p, MIB) != (ssize_t)MIB)
			break;
	close(fd);
	start = clock_us() - start;
	unlink(path);
	munmap(p, MIB);
	return start;
}

/*
 * Much memory to tmpfs against write(2) of as much. The first round warms the machine's memory, the
 * best of the others counts; figures only, machines differ.
 */
static void test_much(struct rig *r, int rounds, size_t mib)
{
	char what[32];
	uint64_t best_plain = UINT64_MAX, best_dump = UINT64_MAX;
	int rc = 0;

	r->told->much = mib * MIB;
	spawn(r, make_much);
	for (int i = 0; i < rounds && rc == 0; i++) {
		uint64_t plain = time_plain_write("/dev/shm", mib * MIB), start;

		rig_open(r, "/dev/shm");
		rc = look(r);
		start = clock_us();
		if (rc == 0)
			rc = dump(r);
		start = clock_us() - start;
		printf("# write %lu us, dump %lu us (reading %lu us, writing %lu us)\n", plain, start,
			r->stats.memdump_us, r->stats.memwrite_us);
		best_plain = plain < best_plain ? plain : best_plain;
		best_dump = start < best_dump ? start : best_dump;
		rig_close(r, i + 1 == rounds);
	}
	snprintf(what, sizeof(what), "%zu MiB to tmpfs", mib);
	tap_ok(&r->tap, rc == 0, what, &r->err);
	printf("# %s: dump %.2f times a plain write\n", what, (double)best_dump / (double)best_plain);
}

static void timed(struct rig *r, void (*make)(struct told *t), const char *where, const char *what)
{
	uint64_t start, looked, dumped;
	int rc;

	spawn(r, make);
	rig_open(r, where);
	start = clock_us();
	rc = look(r);
	looked = clock_us();
	if (rc == 0)
		rc = dump(r);
	dumped = clock_us();
	tap_ok(&r->tap, rc == 0, what, &r->err);
	printf("# %s: %zu areas, look %lu us, dump %lu us, %lu pages (reading %lu us, writing %lu "
	       "us)\n",
		what, r->task->mm ? r->task->mm->n_vmas : 0, looked - start, dumped - looked,
		r->stats.written, r->stats.memdump_us, r->stats.memwrite_us);
	rig_close(r, true);
}

/* ----------------------------------------------------------------------------- refusals */

static void make_sysv(struct told *t)
{
	int id = shmget(IPC_PRIVATE, 8192, 0600);

	if (shmat(id, NULL, 0) == (void *)-1)
		_exit(9);
	shmctl(id, IPC_RMID, NULL);
}

static void make_uffd(struct told *t)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	ioctl(fd, UFFDIO_API, &api);
	reg.range.start = (uint64_t)map_anon(8192, RW, 0);
	reg.range.len = 8192;
	ioctl(fd, UFFDIO_REGISTER, &reg);
}

/* A page of the kernel's, shared by its inode alone. */
static void make_perf(struct told *t)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd < 0 || mmap(NULL, 8192, RW, MAP_SHARED, fd, 0) == MAP_FAILED)
		_exit(9);
}

static void test_refused(struct rig *r, void (*make)(struct told *t), const char *expect)
{
	char what[128];
	int rc;

	spawn(r, make);
	rig_open(r, "/tmp");
	rc = look(r);
	snprintf(what, sizeof(what), "%s is refused", expect);
	tap_ok(&r->tap, rc < 0 && r->err.class == ERR_UNSUPPORTED && strstr(r->err.text, expect), what,
		&r->err);
	printf("# %s\n", r->err.text);
	rig_close(r, true);
}

/* mm_dump [ROUNDS MIB]: small by default, 3 1024 to measure. */
int main(int argc, char **argv)
{
	static struct rig r;

	r.told = mmap(NULL, sizeof(*r.told), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	test_zoo(&r);
	test_cow(&r);
	timed(&r, make_areas, "/tmp", "60,000 areas");
	test_much(&r, argc > 2 ? atoi(argv[1]) : 1, argc > 2 ? strtoul(argv[2], NULL, 10) : 128);
	test_refused(&r, make_sysv, "System V shared memory");
	test_refused(&r, make_uffd, "userfaultfd");
	test_refused(&r, make_perf, "anon_inode:[perf_event]");
	return tap_done(&r.tap);
}
