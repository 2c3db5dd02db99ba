/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a ring at a given address. The kernel refuses to map it where somebody wants it
 * (io_uring_get_unmapped_area()), and to move it there. But it takes what place there is: so all
 * free ranges of the address space are reserved, the wanted one is freed, and nothing else is left.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/vec.h"
#include "kinds/file/uring.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SPACE_START 0x10000ull /* vm.mmap_min_addr */
#define SPACE_END 0x7ffffffff000ull

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { CALLS = 1000 };

struct range {
	uint64_t start, end;
};

struct ranges vec_of(struct range);

static void add(struct ranges *to, uint64_t start, uint64_t end)
{
	if (start < end)
		vec_push(to, ((struct range){ start, end }));
}

/* What is free between two areas, in parts: a wanted range is a part of its own. */
static void add_parts(struct ranges *to, uint64_t start, uint64_t end, const struct uring_area *a,
	size_t n)
{
	for (size_t i = 0; i < n; i++) { /* ascending */
		if (a[i].vma->start < start || a[i].vma->end > end)
			continue;
		add(to, start, a[i].vma->start);
		add(to, a[i].vma->start, a[i].vma->end);
		start = a[i].vma->end;
	}
	add(to, start, end);
}

static int find_free(pid_t pid, const struct uring_area *a, size_t n, struct ranges *ret,
	struct err *err)
{
	auto_free char *text = NULL;
	uint64_t at = SPACE_START, start, end;
	struct cursor c, line;
	int r = io_slurpf(&text, NULL, "/proc/%d/maps", pid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the areas of task %d", pid);
	c = cursor_of(text);
	while (parse_line(&c, &line)) {
		if (!parse_u64(&line, 16, &start) || !parse_lit(&line, "-") ||
			!parse_u64(&line, 16, &end))
			return err_set(err, ERR_KERNEL, EPROTO, "cannot understand /proc/%d/maps", pid);
		if (start > SPACE_END)
			break;
		add_parts(ret, at, start, a, n);
		at = end;
	}
	add_parts(ret, at, SPACE_END, a, n);
	return 0;
}

static int play(struct place *p, struct tape *tape, struct err *err)
{
	int r = place_play(p, tape, err);

	tape_reset(tape);
	return r;
}

/* Reserves or frees all ranges; frees only those that are no ring now. */
static int for_all(struct place *p, struct tape *tape, const struct ranges *list, bool reserve,
	const struct uring_area *a, size_t n, struct err *err)
{
	size_t next = 0;
	int r = 0;

	vec_each(x, list) {
		while (next < n && a[next].vma->start < x->start)
			next++;
		if (reserve)
			tape_call(tape, "io_uring", TAPE_MUST, SYS_mmap, T(x->start), T(x->end - x->start),
				T(PROT_NONE),
				T(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE), T(-1),
				T(0));
		else if (next >= n || a[next].vma->start != x->start)
			tape_call(tape, "io_uring", TAPE_MUST, SYS_munmap, T(x->start),
				T(x->end - x->start));
		if (tape_calls(tape) >= CALLS && r == 0)
			r = play(p, tape, err);
	}
	return r == 0 && tape_calls(tape) ? play(p, tape, err) : r;
}

static int map_one(struct place *p, struct tape *tape, const struct uring_area *a, struct err *err)
{
	const VmaEntry *v = a->vma;
	size_t call;
	int r;

	tape_call(tape, "io_uring", TAPE_MUST, SYS_munmap, T(v->start), T(v->end - v->start));
	call = tape_call(tape, "io_uring", TAPE_MUST, SYS_mmap, T(0), T(v->end - v->start), T(v->prot),
		T(MAP_SHARED | MAP_POPULATE), T(a->number), T(v->pgoff));
	r = place_play(p, tape, err);
	if (r == 0 && (uint64_t)tape_result(tape, call) != v->start)
		r = err_set(err, ERR_KERNEL, EEXIST, "the memory of an io_uring came to lie at 0x%llx, not "
			"at 0x%llx", (unsigned long long)tape_result(tape, call),
			(unsigned long long)v->start);
	tape_reset(tape);
	return r;
}

int uring_place(struct place *p, const struct uring_area *a, size_t n, struct err *err)
{
	struct ranges list = { 0 };
	struct tape *tape = tape_new();
	int r = find_free(p->husk->pid, a, n, &list, err);

	if (r == 0)
		r = for_all(p, tape, &list, true, a, n, err);
	for (size_t i = 0; i < n && r == 0; i++)
		r = map_one(p, tape, &a[i], err);
	if (r == 0)
		r = for_all(p, tape, &list, false, a, n, err);
	tape_free(tape);
	vec_done(&list);
	return r;
}
