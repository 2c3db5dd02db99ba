// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See kinds/mem/aio.h. A context is known by the address of its ring (fs/aio.c), which may be moved
 * by mremap(2). How many requests it was made for shows in the size of the ring only.
 *
 * The kernel keeps the end of the queue for itself, too; it moves by requests that complete. So
 * events which nobody has taken are replaced by as many of a read of /dev/null, and then written
 * over. Their place in the ring is another one; nothing depends on that.
 *
 * Requests in flight cannot be seen. Those of disks are over when no disk has any, or when nothing
 * has been added to the ring for a while in which every disk has completed as many as it had. The
 * event follows later, by a thread of the kernel's own that competes for a processor (direct writes
 * of ext4, fs/iomap/direct-io.c): so disks have to be found idle many times, between which we sleep
 * and have to be woken as that thread has to.
 */
#include "kinds/mem/aio.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/vec.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum {
	RING_MAGIC = 0xa10a10a1, RING_MAX = 1 << 28, CHUNK = 1024,
	STEP_US = 2000, QUIET_US = 500000, PATIENCE_US = 10000000,
	IDLE_LOOKS = 50, /* where others have waited already: */ IDLE_LOOKS_AGAIN = 2,
};

/* The head of the ring; events follow it. */
struct ring {
	uint32_t id, nr, head, tail;
	uint32_t magic, compat, incompat, header_length;
};

/* ---- dump ---- */

bool aio_is_ring(const struct smaps_area *a)
{
	return !strcmp(a->name, "/[aio] (deleted)") && !a->dev_major;
}

/* The smallest number that gives a ring of so many pages (ioctx_alloc(), aio_setup_ring()). */
static uint32_t requests_for(uint64_t len)
{
	uint64_t pages = len / PAGE;

	return pages > 1 ? (uint32_t)(64 * (pages - 1) - 1) : 1;
}

/* What a disk has completed, and works on. */
struct disk {
	uint64_t done, in_flight;
};

struct disks vec_of(struct disk);

/* Of /proc/diskstats: the first, the fifth and the ninth number behind the name. */
static bool read_disks(struct disks *ret)
{
	auto_free char *text = NULL;
	struct cursor c, line;

	ret->n = 0;
	if (io_slurp("/proc/diskstats", &text, NULL) < 0)
		return false;
	c = cursor_of(text);
	while (parse_line(&c, &line)) {
		struct disk d = { 0 };
		const char *w;
		size_t len;

		for (int i = 0; i < 12; i++) {
			parse_blanks(&line);
			if (i == 2 ? !parse_word(&line, &w, &len) : !parse_u64(&line, 10, &d.in_flight))
				return false;
			d.done += i == 3 || i == 7 ? d.in_flight : 0;
		}
		vec_push(ret, d);
	}
	return true;
}

static bool are_idle(const struct disks *disks)
{
	vec_each(d, disks)
		if (d->in_flight)
			return false;
	return true;
}

/* Each has completed as many requests since as it worked on then: one that stands still has not. */
static bool have_moved_on(const struct disks *then, const struct disks *now)
{
	for (size_t i = 0; i < then->n && i < now->n; i++)
		if (now->at[i].in_flight && now->at[i].done - then->at[i].done < then->at[i].in_flight)
			return false;
	return true;
}

static int wait_for_disks(int mem, uint64_t at, int idle_looks, struct ring *ret, struct disks *first,
	struct disks *now)
{
	uint64_t start = clock_us(), changed = start, clock;
	bool told = read_disks(first);
	uint32_t tail = 0;
	int idle = 0;

	for (;;) {
		int r = io_pread_all(mem, ret, sizeof(*ret), (off_t)at);

		if (r < 0)
			return r;
		clock = clock_us();
		told = told && read_disks(now);
		idle = told && are_idle(now) && ret->tail == tail ? idle + 1 : 0;
		if (ret->tail != tail)
			changed = clock;
		tail = ret->tail;
		if (idle >= idle_looks || clock - start > PATIENCE_US ||
			(clock - changed > QUIET_US && (!told || have_moved_on(first, now))))
			return 0;
		usleep(STEP_US);
	}
}

static int wait_idle(int mem, uint64_t at, int idle_looks, struct ring *ret)
{
	struct disks first = { 0 }, now = { 0 };
	int r = wait_for_disks(mem, at, idle_looks, ret, &first, &now);

	vec_done(&first);
	vec_done(&now);
	return r;
}

/* A page of the ring that the task has not touched is not among its own. */
static int touch(int mem, const struct smaps_area *a)
{
	char byte;
	int r = 0;

	for (uint64_t at = a->start; at < a->end && r == 0; at += PAGE)
		r = io_pread_all(mem, &byte, 1, (off_t)at);
	return r;
}

int aio_look(struct world *w, struct task *t, pid_t tid, const struct smaps_area *a, VmaEntry *v,
	struct err *err)
{
	AioRingEntry *e = arena_msg(w->arena, AioRingEntry, aio_ring_entry);
	uint64_t len = a->end - a->start;
	auto_close int mem = -1;
	struct ring ring;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mem", tid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	/* all stand still: what was waited for for one ring of the process is over for all */
	r = mem < 0 ? -errno : wait_idle(mem, a->start, t->mm->n_aios ? IDLE_LOOKS_AGAIN : IDLE_LOOKS,
		&ring);
	if (r == 0)
		r = touch(mem, a);
	if (r < 0)
		return err_sysn(err, -r, "task %d (%s): cannot read the ring of the aio context 0x%lx",
			t->pid, task_comm(t), a->start);
	if (ring.magic != RING_MAGIC || len > RING_MAX)
		return err_unsupported(err, "task %d (%s): the aio context 0x%lx has a ring of a kind "
			"that is not known", t->pid, task_comm(t), a->start);
	v->status = VMA_AIORING;
	v->flags = VMA_MAP_SHARED;
	e->id = a->start;
	e->ring_len = (uint32_t)len;
	e->nr_req = requests_for(len);
	arena_push(w->arena, t->mm->aios, t->mm->n_aios, e);
	return 0;
}

/* ---- restore ---- */

struct context {
	const struct mm_build *b;
	const VmaEntry *vma;
	const AioRingEntry *entry; /* NULL: the images do not tell */
	uint64_t len;
	uint8_t *saved; /* the whole ring; zeros where the images have nothing */
	uint32_t pending; /* events that nobody has taken */
};

static int load_ring(struct context *c, struct page_source *pages, struct err *err)
{
	const VmaEntry *v = c->vma;
	const struct ring *ring;

	c->saved = calloc(1, c->len);
	if (!c->saved)
		return err_nomem(err);
	vec_each(seg, &pages->segments) {
		uint64_t lo = seg->vaddr > v->start ? seg->vaddr : v->start;
		uint64_t hi = segment_end(seg) < v->end ? segment_end(seg) : v->end;
		int r = lo < hi ? page_source_read(pages, seg, lo, (hi - lo) / PAGE,
					  c->saved + (lo - v->start), err) : 0;

		if (r < 0)
			return r;
	}
	ring = (const struct ring *)c->saved;
	if (!ring->magic)
		return 0; /* never touched: nothing was in it */
	if (ring->magic != RING_MAGIC || ring->nr < 2 ||
		ring->nr > (c->len - sizeof(*ring)) / sizeof(struct io_event) ||
		ring->head >= ring->nr || ring->tail >= ring->nr)
		return err_image(err, "the saved ring is damaged");
	c->pending = (ring->tail + ring->nr - ring->head) % ring->nr;
	return 0;
}

static int play(const struct context *c, struct tape *tape, struct err *err)
{
	int r = husk_play(c->b->husk, 0, tape, err);

	tape_reset(tape);
	return r;
}

/* The place is kept free, so the kernel makes the ring elsewhere. */
static int make_context(struct context *c, uint32_t requests, struct tape *tape, struct err *err)
{
	const struct ring *saved = (const struct ring *)c->saved;
	struct ring ring;
	size_t at = tape_room(tape, 8);
	uint64_t made;
	int r;

	tape_call(tape, "aio", TAPE_MUST, SYS_mmap, T(c->vma->start), T(c->len), T(PROT_NONE),
		T(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE), T(-1), T(0));
	tape_call(tape, "aio", TAPE_MUST, SYS_io_setup, T(requests), T_DATA(at));
	r = husk_play(c->b->husk, 0, tape, err);
	if (r < 0)
		return r;
	memcpy(&made, tape_at(tape, at), sizeof(made));
	tape_reset(tape);
	r = husk_read(c->b->husk, &ring, sizeof(ring), made);
	if (r < 0)
		return err_sysn(err, -r, "cannot read a new ring");
	if ((saved->magic && ring.nr != saved->nr) ||
		ring.nr != (c->len - sizeof(ring)) / sizeof(struct io_event))
		return err_unsupported(err, "a ring for %u requests has %u places on this computer, "
			"not %u", requests, ring.nr, saved->nr);
	tape_call(tape, "aio", TAPE_MUST, SYS_mremap, T(made), T(c->len), T(c->len),
		T(MREMAP_MAYMOVE | MREMAP_FIXED), T(c->vma->start));
	return play(c, tape, err);
}

/* n reads of /dev/null, which end at once. */
static int submit(const struct context *c, uint32_t n, struct tape *tape, struct err *err)
{
	static const char null[] = "/dev/null";
	struct iocb iocb = { .aio_lio_opcode = IOCB_CMD_PREAD };
	size_t fd, at, list, call;
	int r;

	fd = tape_call(tape, "aio", TAPE_MUST, SYS_openat, T(AT_FDCWD),
		T_DATA(tape_data(tape, null, sizeof(null))), T(O_RDONLY | O_CLOEXEC));
	r = husk_play(c->b->husk, 0, tape, err);
	if (r < 0)
		return r;
	iocb.aio_fildes = (uint32_t)tape_result(tape, fd);
	tape_reset(tape);
	at = tape_data(tape, &iocb, sizeof(iocb));
	list = tape_room(tape, 8ul * n);
	for (uint32_t i = 0; i < n; i++)
		tape_point(tape, list + 8ul * i, at);
	call = tape_call(tape, "aio", TAPE_MUST, SYS_io_submit, T(c->vma->start), T(n), T_DATA(list));
	tape_call(tape, "aio", 0, SYS_close, T(iocb.aio_fildes));
	r = husk_play(c->b->husk, 0, tape, err);
	if (r == 0 && tape_result(tape, call) != n)
		r = err_set(err, ERR_KERNEL, EAGAIN, "a new ring takes only %lld of %u requests",
			(long long)tape_result(tape, call), n);
	tape_reset(tape);
	return r;
}

/* The events that were not taken, from place 0 on. */
static int write_events(const struct context *c, struct err *err)
{
	const struct ring *ring = (const struct ring *)c->saved;
	const struct io_event *events = (const struct io_event *)(ring + 1);
	uint64_t to = c->vma->start + sizeof(*ring);
	uint32_t first = ring->nr - ring->head < c->pending ? ring->nr - ring->head : c->pending;
	int r = husk_write(c->b->husk, events + ring->head, first * sizeof(*events), to);

	if (r == 0)
		r = husk_write(c->b->husk, events, (c->pending - first) * sizeof(*events),
			to + first * sizeof(*events));
	return r < 0 ? err_sysn(err, -r, "cannot write the events of a ring") : 0;
}

static int restore_context(struct context *c, struct page_source *pages, struct err *err)
{
	struct tape *tape = tape_new();
	int r = load_ring(c, pages, err);

	if (r == 0)
		r = make_context(c, c->entry ? c->entry->nr_req : requests_for(c->len), tape, err);
	for (uint32_t left = c->pending; left && r == 0;) {
		uint32_t n = left < CHUNK ? left : CHUNK;

		r = submit(c, n, tape, err);
		left -= n;
	}
	if (r == 0 && c->pending)
		r = write_events(c, err);
	tape_free(tape);
	return r < 0 ? err_while(err, "restoring the aio context 0x%lx", c->vma->start) : 0;
}

int aio_finish(const struct mm_build *b, struct err *err)
{
	const MmEntry *mm = b->task->mm;
	struct page_source pages = { 0 };
	struct table entries = { 0 };
	bool opened = false;
	int r = 0;

	for (size_t i = 0; i < mm->n_aios; i++)
		table_put(&entries, mm->aios[i]->id, mm->aios[i]);

	for (size_t i = 0; i < mm->n_vmas && r == 0; i++) {
		struct context c = { .b = b, .vma = mm->vmas[i] };

		if (!(c.vma->status & VMA_AIORING))
			continue;
		c.len = c.vma->end - c.vma->start;
		c.entry = table_get(&entries, c.vma->start);
		if (c.len > RING_MAX)
			r = err_image(err, "the aio context 0x%lx has a ring of %lu bytes",
				c.vma->start, c.len);
		if (r == 0 && !opened)
			/* rings never come later */
			r = page_source_open_some(b->images, IMG_PAGEMAP,
				(unsigned long)b->task->pid, PAGES_EAGER, &pages, err);
		opened |= r == 0;
		if (r == 0)
			r = restore_context(&c, &pages, err);
		free(c.saved);
	}
	if (opened)
		page_source_close(&pages);
	table_done(&entries);
	return r;
}
