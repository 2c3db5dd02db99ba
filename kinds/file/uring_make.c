/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore of io_uring. The ring is made by a task that has it mapped, because a thread of the ring
 * belongs to the process that made it. The kernel counts requests for itself, so as many as the ring
 * had taken are given to it: ones that do nothing (a ring of 128 entries takes some ten million a
 * second). Then its memory is written, and every task maps it where it had it.
 */
#include "base/cleanup.h"
#include "kernel/uring.h"
#include "kinds/file/family.h"
#include "kinds/file/uring.h"
#include "kinds/place.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

struct ring {
	struct ring *next;
	const FileEntry *file;
	const TorporUringEntry *entry;
	const struct task *owner; /* the first task that has it mapped */
};

static uint64_t ring_key(uint32_t id)
{
	return table_key(FD_TYPES__TORPOR_URING, id);
}

static struct ring *first_ring(struct file_maker *m)
{
	return table_get(&m->made, table_key(FD_TYPES__TORPOR_URING, UINT64_MAX));
}

static void add_ring(struct file_maker *m, const FileEntry *fe)
{
	struct ring *r = arena_new_of(m->arena, struct ring);

	*r = (struct ring){ .next = first_ring(m), .file = fe,
		.entry = world_extra(m->world, fe->id)->uring };
	table_put(&m->made, ring_key(fe->id), r);
	table_put(&m->made, table_key(FD_TYPES__TORPOR_URING, UINT64_MAX), r);
}

static void find_owners(struct file_maker *m, const struct task *t)
{
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];
		struct ring *r = v->status & AREA_URING ? table_get(&m->made, ring_key((uint32_t)v->shmid)) :
							   NULL;

		if (r && !r->owner)
			r->owner = t;
	}
}

void uring_prepare(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];
	bool any = false;

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;

		if (fe->type != FD_TYPES__TORPOR_URING)
			continue;
		add_ring(m, fe);
		any = true;
	}
	world_each_task(t, m->world)
		if (any && task_is_alive(t))
			find_owners(m, t);
}

/* ---- making ---- */

/* The thread of a ring has the credentials of who makes it, and the maker still has torpor's own. */
static int check_thread(const struct ring *r, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct ours[2];
	const ThreadCoreEntry *core = task_live_thread(r->owner)->core->thread_core;
	const CredsEntry *c = core ? core->creds : NULL;
	bool same = c && c->euid == geteuid() && c->egid == getegid() && c->n_cap_eff >= 2 &&
		syscall(SYS_capget, &head, ours) == 0;

	for (int i = 0; i < 2 && same; i++)
		same = c->cap_eff[i] == ours[i].effective;
	if (same || !(r->entry->setup & IORING_SETUP_SQPOLL))
		return 0;
	return err_unsupported(err, "task %d (%s) has an io_uring with a thread of its own, which would "
		"get torpor's credentials instead of the task's; it cannot be restored", r->owner->pid,
		task_comm(r->owner));
}

static int setup(const struct ring *r, struct place *p, int *ret_fd, struct err *err)
{
	struct io_uring_params params = { .cq_entries = r->entry->cq_entries,
		.flags = r->entry->setup | IORING_SETUP_CQSIZE };
	struct tape *tape = tape_new();
	size_t call = tape_call(tape, "io_uring", TAPE_MUST, SYS_io_uring_setup,
		T(r->entry->sq_entries), T_DATA(tape_data(tape, &params, sizeof(params))));
	int number, back, res = place_play(p, tape, err);

	if (res == 0) {
		number = (int)tape_result(tape, call);
		res = place_take(p, number, ret_fd, err);
		tape_reset(tape);
		tape_call(tape, "io_uring", 0, SYS_close, T(number));
		back = place_play(p, tape, res < 0 ? NULL : err);
		res = res < 0 ? res : back;
	}
	tape_free(tape);
	return res;
}

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* n requests that do nothing; entries are all zero, which is that. */
static int spin(const struct ring *r, const struct uring_map *m, int fd, uint32_t n)
{
	uint32_t *tail = uring_word(m, m->sq.tail), *head = uring_word(m, m->sq.head);
	uint32_t want = *tail + n;
	bool thread = r->entry->setup & IORING_SETUP_SQPOLL;
	int res;

	store(tail, want);
	if (!thread) {
		res = uring_enter(fd, n, 0);
		return res < 0 ? res : (uint32_t)res == n ? 0 : -EAGAIN;
	}
	while (load(head) != want) {
		res = load(uring_word(m, m->sq.flags)) & IORING_SQ_NEED_WAKEUP ?
			uring_enter(fd, 0, IORING_ENTER_SQ_WAKEUP) : 0;
		if (res < 0)
			return res;
	}
	return 0;
}

static int advance(const struct ring *r, const struct uring_map *m, int fd, struct err *err)
{
	const TorporUringEntry *e = r->entry;
	uint32_t most = e->sq_entries < e->cq_entries ? e->sq_entries : e->cq_entries;
	int res = 0;

	for (uint32_t i = 0; i < e->sq_array.len / sizeof(uint32_t); i++)
		uring_word(m, m->sq.array)[i] = i;
	for (uint32_t left = e->sq_head; left && res == 0;) {
		uint32_t n = left < most ? left : most;

		res = spin(r, m, fd, n);
		store(uring_word(m, m->cq.head), load(uring_word(m, m->cq.tail)));
		left -= n;
	}
	if (res < 0)
		return err_sysn(err, -res, "cannot advance an io_uring to its %u requests", e->sq_head);
	if (load(uring_word(m, m->cq.tail)) != e->cq_tail)
		return err_set(err, ERR_KERNEL, EPROTO, "an io_uring has posted %u completions, not %u",
			load(uring_word(m, m->cq.tail)), e->cq_tail);
	return 0;
}

static void write_memory(const struct ring *r, const struct uring_map *m)
{
	const TorporUringEntry *e = r->entry;

	memcpy(m->sqes, e->sqes.data, e->sqes.len);
	memcpy(m->rings + m->cq.cqes, e->cqes.data, e->cqes.len);
	if (e->sq_array.len)
		memcpy(uring_word(m, m->sq.array), e->sq_array.data, e->sq_array.len);
	*uring_word(m, m->sq.dropped) = e->sq_dropped;
	*uring_word(m, m->cq.overflow) = e->cq_overflow;
	*uring_word(m, m->cq.flags) = e->cq_flags;
	store(uring_word(m, m->cq.head), e->cq_head);
	store(uring_word(m, m->sq.tail), e->sq_tail);
}

static int fill(const struct ring *r, int fd, struct err *err)
{
	struct uring_map m;
	int res = uring_map(fd, r->entry->sq_entries, r->entry->cq_entries, &m);

	if (res < 0)
		return err_sysn(err, -res, "cannot map an io_uring");
	res = advance(r, &m, fd, err);
	if (res == 0)
		write_memory(r, &m);
	uring_unmap(&m);
	return res;
}

int uring_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const struct ring *r = table_get(&m->made, ring_key(fe->id));
	auto_close int fd = -1;
	struct place p;
	int res;

	if (!r->owner)
		return err_unsupported(err, "an io_uring that no task has mapped cannot be restored");
	res = check_thread(r, err);
	if (res == 0)
		res = place_open(m, r->owner->pid, &p, err);
	if (res == 0)
		res = setup(r, &p, &fd, err);
	if (res == 0)
		res = fill(r, fd, err);
	if (res == 0)
		res = flags_restore(fd, r->entry->flags, err);
	if (res == 0)
		*ret_fd = take_fd(&fd);
	return res;
}

/* ---- joining ---- */

static int register_files(struct file_maker *m, const struct ring *r, int fd, struct err *err)
{
	const TorporUringEntry *e = r->entry;
	int *fds = arena_array(m->arena, e->file_slots, sizeof(*fds)), res = 0;

	for (uint32_t i = 0; i < e->file_slots; i++)
		fds[i] = -1;
	for (size_t i = 0; i < e->n_files && res == 0; i++)
		res = file_maker_fd(m, e->files[i]->file, &fds[e->files[i]->slot], err);
	if (res == 0 && e->file_slots) {
		res = uring_register(fd, IORING_REGISTER_FILES, fds, e->file_slots);
		if (res < 0)
			res = err_sysn(err, -res, "cannot register %u files with an io_uring",
				e->file_slots);
	}
	for (uint32_t i = 0; i < e->file_slots; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return res;
}

/* The memory is that of the one who registers it. */
static void tell_buffers(const struct ring *r, struct tape *tape, int number)
{
	const TorporUringEntry *e = r->entry;
	struct iovec *iov = calloc(e->buffer_slots, sizeof(*iov));

	if (!iov)
		abort();
	for (size_t i = 0; i < e->n_buffers; i++)
		iov[e->buffers[i]->slot] = (struct iovec){ (void *)(uintptr_t)e->buffers[i]->addr,
			e->buffers[i]->len };
	tape_call(tape, "io_uring", TAPE_MUST, SYS_io_uring_register, T(number),
		T(IORING_REGISTER_BUFFERS),
		T_DATA(tape_data(tape, iov, e->buffer_slots * sizeof(*iov))), T(e->buffer_slots));
	free(iov);
}

static int join_buffers(struct file_maker *m, const struct ring *r, int fd, struct err *err)
{
	struct tape *tape = tape_new();
	struct place p;
	int number, res = place_open(m, r->owner->pid, &p, err);

	if (res == 0)
		res = place_send(&p, &fd, 1, &number, err);
	if (res == 0) {
		tell_buffers(r, tape, number);
		tape_call(tape, "io_uring", 0, SYS_close, T(number));
		res = place_play(&p, tape, err);
	}
	tape_free(tape);
	return res;
}

static int join_ring(struct file_maker *m, const struct ring *r, struct err *err)
{
	auto_close int fd = -1;
	int res = file_maker_fd(m, r->file->id, &fd, err);

	if (res == 0)
		res = register_files(m, r, fd, err);
	if (res == 0 && r->entry->buffer_slots)
		res = join_buffers(m, r, fd, err);
	return res;
}

/* One descriptor of each ring for the time of the mapping. */
static int lend_rings(struct file_maker *m, struct place *p, struct uring_area *a, size_t n,
	struct table *numbers, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		uint32_t id = (uint32_t)a[i].vma->shmid;
		intptr_t known = (intptr_t)table_get(numbers, id);
		auto_close int fd = -1;

		if (!known) {
			int number;

			r = file_maker_fd(m, id, &fd, err);
			if (r == 0)
				r = place_send(p, &fd, 1, &number, err);
			if (r < 0)
				break;
			known = number + 1;
			table_put(numbers, id, (void *)known);
		}
		a[i].number = (int)known - 1;
	}
	return r;
}

static int take_back(struct place *p, const struct uring_area *a, size_t n, struct table *numbers,
	struct err *err)
{
	struct tape *tape = tape_new();
	int r;

	for (size_t i = 0; i < n; i++) {
		uint32_t id = (uint32_t)a[i].vma->shmid;

		if ((intptr_t)table_get(numbers, id) != a[i].number + 1)
			continue;
		tape_call(tape, "io_uring", 0, SYS_close, T(a[i].number));
		table_put(numbers, id, (void *)(intptr_t)-1);
	}
	r = place_play(p, tape, err);
	tape_free(tape);
	return r;
}

static int map_areas(struct file_maker *m, const struct task *t, struct uring_area *a, size_t n,
	struct err *err)
{
	struct table numbers = { 0 };
	struct place p;
	int r = place_open(m, t->pid, &p, err);

	if (r == 0)
		r = lend_rings(m, &p, a, n, &numbers, err);
	if (r == 0)
		r = uring_place(&p, a, n, err);
	if (r == 0)
		r = take_back(&p, a, n, &numbers, err);
	table_done(&numbers);
	return r < 0 ? err_while(err, "giving task %d (%s) its io_uring", t->pid, task_comm(t)) : 0;
}

static int join_task(struct file_maker *m, const struct task *t, struct err *err)
{
	struct uring_area *list = NULL;
	size_t n = 0;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		struct uring_area a = { .vma = t->mm->vmas[i] };

		if (!(a.vma->status & AREA_URING))
			continue;
		if (!table_get(&m->made, ring_key((uint32_t)a.vma->shmid)))
			return err_image(err, "task %d: area 0x%lx is memory of file %lu, which is no "
				"io_uring", t->pid, a.vma->start, (unsigned long)a.vma->shmid);
		arena_push(m->arena, list, n, a);
	}
	return n ? map_areas(m, t, list, n, err) : 0;
}

int uring_join(struct file_maker *m, struct err *err)
{
	int res = 0;

	for (const struct ring *r = first_ring(m); r && res == 0; r = r->next)
		res = join_ring(m, r, err);
	world_each_task(t, m->world)
		if (task_is_alive(t) && res == 0)
			res = join_task(m, t, err);
	return res;
}
