/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts a descriptor table into a husk. The husk empties its table and takes one description after
 * the other, at the lowest free number, and puts it at all its places by dup3 before the next one
 * comes. So no number is clobbered: what comes in lies at a place that is not filled yet, and is
 * gone from there, or at home, before another one is put there.
 */
#include "base/cleanup.h"
#include "inject/husk_queue.h"
#include "kinds/lock/locks.h"
#include "kinds/store_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string.h>
#include <sys/syscall.h>

enum { TAPE_CALLS = 4000 };

/* A description on the tape: it is expected at this number, its first place is that one. */
struct arrival {
	struct slot *slot;
	size_t call;
	int number, place;
};

struct install {
	struct file_store *s;
	struct husk *h;
	const struct task *t;
	struct store_table *table;
	struct tape *tape;
	FdinfoEntry **fds; /* those of one description follow each other */
	size_t n;
	uint8_t *busy; /* numbers that are in use in the husk by now; a bit each */
	size_t n_busy;
	int lowest; /* all numbers below are in use */
	int lender; /* where the pidfd of torpor lies once the table is empty */
	struct vec_of(struct arrival) arrivals; /* on the tape */
};

static bool is_busy(const struct install *in, int n)
{
	return n >= 0 && (size_t)n < in->n_busy && (in->busy[n / 8] >> n % 8 & 1);
}

static void set_busy(struct install *in, int n)
{
	in->busy[n / 8] |= (uint8_t)(1 << n % 8);
}

/* After playing. */
static int settle_arrivals(struct install *in, const struct tape *tape, struct err *err)
{
	in->h->lender_fd = in->table->lender_fd = in->lender;
	in->s->lent -= in->arrivals.n;
	vec_each(a, &in->arrivals) {
		if (tape_result(tape, a->call) != a->number)
			return err_bug(err, "a descriptor came to task %d at %lld instead of %d",
				in->t->pid, (long long)tape_result(tape, a->call), a->number);
		store_served(in->s, a->slot, in->h->pid, a->place);
	}
	in->arrivals.n = 0;
	return 0;
}

/* What is on the tape, whether it is complete or has become too long. */
static int play(struct install *in, struct err *err)
{
	int r = husk_play(in->h, 0, in->tape, err);

	if (r == 0)
		r = settle_arrivals(in, in->tape, err);
	tape_reset(in->tape);
	return r;
}

static int by_file(const void *a, const void *b)
{
	const FdinfoEntry *x = *(FdinfoEntry *const *)a, *y = *(FdinfoEntry *const *)b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int install_begin(struct install *in, struct err *err)
{
	const struct fdtable *table = in->t->fds;
	struct rlimit limit = { 0 };
	uint32_t most = 0;

	in->n = table->n_fds;
	in->fds = reallocarray(NULL, in->n + 1, sizeof(*in->fds));
	if (!in->fds)
		return err_nomem(err);
	for (size_t i = 0; i < in->n; i++) {
		in->fds[i] = table->fds[i];
		if (in->fds[i]->fd > most)
			most = in->fds[i]->fd;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return err_sys(err, "cannot read the limit of descriptors");
	if (most >= limit.rlim_cur)
		return err_set(err, ERR_RESOURCE, EMFILE, "task %d (%s) has descriptor %u, but no more "
			"than %llu are allowed here (RLIMIT_NOFILE)", in->t->pid, task_comm(in->t), most,
			(unsigned long long)limit.rlim_cur);
	in->n_busy = in->n + (size_t)most + 2;
	in->busy = calloc(in->n_busy / 8 + 1, 1);
	if (!in->busy)
		return err_nomem(err);
	qsort(in->fds, in->n, sizeof(*in->fds), by_file);
	return 0;
}

static void close_range_call(struct tape *tape, unsigned first, unsigned last)
{
	if (first <= last)
		tape_call(tape, "files", TAPE_MUST, SYS_close_range, T(first), T(last), T(0));
}

/* A number which the table does not want. */
static int unwanted_number(const struct install *in)
{
	uint8_t *wanted = calloc(in->n_busy / 8 + 1, 1);
	int n = 0;

	if (!wanted)
		abort();
	for (size_t i = 0; i < in->n; i++)
		wanted[in->fds[i]->fd / 8] |= (uint8_t)(1 << in->fds[i]->fd % 8);
	while (wanted[n / 8] >> n % 8 & 1)
		n++;
	free(wanted);
	return n;
}

/* Nothing but the lender, at a number nobody wants. */
static void clear_table(struct install *in)
{
	int was = in->h->lender_fd, lender = unwanted_number(in);

	if (lender != was)
		tape_call(in->tape, "files", TAPE_MUST, SYS_dup3, T(was), T(lender), T(O_CLOEXEC));
	in->lender = lender;
	set_busy(in, lender);
	if (lender > 0)
		close_range_call(in->tape, 0, (unsigned)lender - 1);
	close_range_call(in->tape, (unsigned)lender + 1, ~0U);
}

/* One description: entries [at, end) are its places. */
static int take_one(struct install *in, size_t at, size_t end, struct err *err)
{
	struct arrival a = { .place = (int)in->fds[at]->fd };
	bool at_home = false;
	int fd, r = file_store_get(in->s, in->fds[at]->id, &fd, err);

	if (r < 0)
		return r;
	while (is_busy(in, in->lowest))
		in->lowest++;
	a.number = in->lowest;
	a.slot = table_get(&in->s->slots, in->fds[at]->id);
	a.call = tape_take(in->tape, in->lender, fd);
	vec_push(&in->arrivals, a);
	in->s->lent++;
	for (size_t i = at; i < end && r == 0; i++) {
		bool close_on_exec = in->fds[i]->flags & 1;
		int to = (int)in->fds[i]->fd;

		set_busy(in, to);
		if (to != a.number)
			tape_call(in->tape, "files", TAPE_MUST, SYS_dup3, T(a.number), T(to),
				T(close_on_exec ? O_CLOEXEC : 0));
		else if (!close_on_exec)
			tape_call(in->tape, "files", TAPE_MUST, SYS_fcntl, T(to), T(F_SETFD), T(0));
		at_home |= to == a.number;
		if (tape_calls(in->tape) >= TAPE_CALLS)
			r = play(in, err);
	}
	if (!at_home)
		tape_call(in->tape, "files", TAPE_MUST, SYS_close, T(a.number));
	return r;
}

static int take_all(struct install *in, struct err *err)
{
	size_t at = 0, end;
	int r = 0;

	for (; at < in->n && r == 0; at = end) {
		for (end = at + 1; end < in->n && in->fds[end]->id == in->fds[at]->id;)
			end++;
		if (in->arrivals.n >= HUSK_SEND_MAX)
			r = play(in, err);
		if (r == 0)
			r = take_one(in, at, end, err);
	}
	return r;
}

static void install_free(struct install *in)
{
	vec_done(&in->arrivals);
	free(in->fds);
	free(in->busy);
	free(in);
}

static int install_after(void *ctx, const struct tape *tape, int played, struct err *err)
{
	struct install *in = ctx;
	int r = played < 0 ? played : settle_arrivals(in, tape, err);

	if (r < 0)
		r = err_while(err, "restoring the descriptors of task %d (%s)", in->t->pid,
			task_comm(in->t));
	install_free(in);
	return r;
}

int file_store_install(struct file_store *s, struct husk_queue *q, struct husk *h,
	const struct task *t, struct err *err)
{
	/* we may have no more open than a task could */
	int r = s->lent >= HUSK_SEND_MAX ? husk_settle(q, err) : 0;
	struct install *in;

	if (r < 0)
		return r;
	in = calloc(1, sizeof(*in));
	if (!in)
		return err_nomem(err);
	*in = (struct install){ .s = s, .h = h, .t = t, .tape = tape_new(),
		.table = table_get(&s->tables, (uintptr_t)t->fds) };
	r = in->table ? install_begin(in, err) : err_bug(err, "it has no descriptor table");
	if (r == 0) {
		clear_table(in);
		r = take_all(in, err);
	}
	if (r == 0) {
		husk_later(q, h, 0, in->tape, install_after, in);
		return 0;
	}
	tape_free(in->tape);
	install_free(in);
	return err_while(err, "restoring the descriptors of task %d (%s)", t->pid, task_comm(t));
}

/* ---- what tasks do themselves ---- */

struct teller {
	struct file_store *s;
	struct husk *h;
	const struct task *t;
	struct tape *tape;
	struct table numbers; /* 1 + number -> its FdinfoEntry */
};

static bool has_number(const void *table, int number)
{
	const struct teller *tell = table;

	return number >= 0 && table_get(&tell->numbers, 1 + (uint64_t)number);
}

static int tell_play(struct teller *tell, struct err *err)
{
	int r = tape_calls(tell->tape) ? husk_play(tell->h, 0, tell->tape, err) : 0;

	tape_reset(tell->tape);
	return r;
}

static int tell_one(struct teller *tell, const struct file_kind *kind, struct slot *slot, int number,
	struct err *err)
{
	size_t at = 0;
	int more = 2, r = 0;

	while (more == 2 && r == 0) {
		more = kind->tell(&tell->s->maker, slot->entry, number, has_number, tell, tell->tape,
			&at);
		r = tell_play(tell, err);
	}
	slot->told = more == 1;
	return r;
}

/* Signals tell the number by which O_ASYNC was set, so a task sets it; queues are full by now. */
static int set_async(struct teller *tell, struct slot *slot, int number, struct err *err)
{
	int flags = slot->async ? 0 : store_async_flags(tell->s->maker.world, slot->entry);

	slot->async = true;
	if (!flags)
		return 0;
	tape_call(tell->tape, "files", TAPE_MUST, SYS_fcntl, T(number), T(F_SETFL), T(flags));
	return tell_play(tell, err);
}

static int tell_rooms(struct teller *tell, struct err *err)
{
	const struct fdtable *table = tell->t->fds;
	int r = 0;

	for (size_t i = 0; i < table->n_fds; i++)
		table_put(&tell->numbers, 1 + (uint64_t)table->fds[i]->fd, table->fds[i]);
	for (size_t i = 0; i < table->n_fds && r == 0; i++) {
		const struct file_kind *kind = file_kind_of(table->fds[i]->type);
		struct slot *slot = table_get(&tell->s->slots, table->fds[i]->id);

		if (kind && kind->tell && !slot->told)
			r = tell_one(tell, kind, slot, (int)table->fds[i]->fd, err);
		if (slot && r == 0)
			r = set_async(tell, slot, (int)table->fds[i]->fd, err);
	}
	return r;
}

static int take_locks(struct teller *tell, struct err *err)
{
	struct lock_item *at;
	int r = locks_of(&tell->s->maker, tell->t->fds, &at, err);

	while (r == 0 && at) {
		locks_tell(tell->tape, &at);
		r = tell_play(tell, err);
	}
	return r;
}

int file_store_tell(struct file_store *s, struct husk *h, const struct task *t, struct err *err)
{
	struct teller tell = { .s = s, .h = h, .t = t, .tape = tape_new() };
	int r = tell_rooms(&tell, err);

	if (r == 0)
		r = take_locks(&tell, err);
	tape_free(tell.tape);
	table_done(&tell.numbers);
	return r;
}
