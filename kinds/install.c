/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Puts a descriptor table into a husk: descriptions arrive in batches over the husk's socket, at
 * the lowest free numbers, and are put at all their places by dup3.
 *
 * No number is clobbered: before a batch is placed, whatever arrived at a number which the table
 * wants moves to one which it does not want and nobody has; so does the socket.
 */
#include "base/cleanup.h"
#include "kinds/lock/locks.h"
#include "kinds/store_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string.h>
#include <sys/syscall.h>

enum { TAPE_CALLS = 4000, SPARE = 1024 };

struct install {
	struct file_store *s;
	struct husk *h;
	const struct task *t;
	struct store_table *table;
	struct tape *tape;
	FdinfoEntry **fds; /* sorted by file id */
	size_t n;
	uint8_t *busy; /* numbers which the table wants, and the socket; a bit each */
	size_t n_busy;
};

static bool is_busy(const struct install *in, int n)
{
	return n >= 0 && (size_t)n < in->n_busy && (in->busy[n / 8] >> n % 8 & 1);
}

static void set_busy(struct install *in, int n, bool on)
{
	if (n < 0 || (size_t)n >= in->n_busy)
		return;
	if (on)
		in->busy[n / 8] |= (uint8_t)(1 << n % 8);
	else
		in->busy[n / 8] &= (uint8_t) ~(1 << n % 8);
}

static int spare_from(const struct install *in, int n)
{
	while (is_busy(in, n))
		n++;
	return n;
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
	in->n_busy = (size_t)most + SPARE;
	in->busy = calloc(in->n_busy / 8 + 1, 1);
	if (!in->busy)
		return err_nomem(err);
	for (size_t i = 0; i < in->n; i++)
		set_busy(in, (int)in->fds[i]->fd, true);
	qsort(in->fds, in->n, sizeof(*in->fds), by_file);
	return 0;
}

static int play(struct install *in, struct err *err)
{
	int r = tape_calls(in->tape) ? husk_play(in->h, 0, in->tape, err) : 0;

	tape_reset(in->tape);
	return r;
}

static void close_range_call(struct tape *tape, unsigned first, unsigned last)
{
	if (first <= last)
		tape_call(tape, "files", TAPE_MUST, SYS_close_range, T(first), T(last), T(0));
}

/* Nothing but the socket, at a number nobody wants. */
static int clear_table(struct install *in, struct err *err)
{
	int sock = in->h->sock_fd;

	if (is_busy(in, sock)) {
		sock = spare_from(in, 0);
		tape_call(in->tape, "files", TAPE_MUST, SYS_dup3, T(in->h->sock_fd), T(sock),
			T(O_CLOEXEC));
		in->h->sock_fd = sock;
	}
	set_busy(in, sock, true);
	in->table->sock_fd = sock;
	if (sock > 0)
		close_range_call(in->tape, 0, (unsigned)sock - 1);
	close_range_call(in->tape, (unsigned)sock + 1, ~0U);
	return play(in, err);
}

/* One description at numbers[i]: to all places which entries [*at ...) of its file want. */
static int place(struct install *in, int number, size_t *at, struct err *err)
{
	uint32_t id = in->fds[*at]->id;
	int r = 0;

	for (; *at < in->n && in->fds[*at]->id == id && r == 0; ++*at) {
		const FdinfoEntry *e = in->fds[*at];

		tape_call(in->tape, "files", TAPE_MUST, SYS_dup3, T(number), T(e->fd),
			T(e->flags & 1 ? O_CLOEXEC : 0));
		if (tape_calls(in->tape) >= TAPE_CALLS)
			r = play(in, err);
	}
	tape_call(in->tape, "files", TAPE_MUST, SYS_close, T(number));
	return r;
}

/* Out of the way with what arrived at wanted numbers. */
static void make_way(struct install *in, int *numbers, size_t n)
{
	int spare = 0;

	for (size_t i = 0; i < n; i++)
		if (!is_busy(in, numbers[i]))
			set_busy(in, numbers[i], true);
		else
			numbers[i] = -1 - numbers[i]; /* marked: has to move */
	for (size_t i = 0; i < n; i++) {
		int from = -1 - numbers[i];

		if (numbers[i] >= 0)
			continue;
		spare = spare_from(in, spare);
		tape_call(in->tape, "files", TAPE_MUST, SYS_dup3, T(from), T(spare), T(O_CLOEXEC));
		tape_call(in->tape, "files", TAPE_MUST, SYS_close, T(from));
		numbers[i] = spare;
		set_busy(in, spare, true);
	}
}

/* The next HUSK_SEND_MAX descriptions from entry *at on. */
static int install_batch(struct install *in, size_t *at, struct err *err)
{
	struct slot *slots[HUSK_SEND_MAX];
	int fds[HUSK_SEND_MAX] = { 0 }, numbers[HUSK_SEND_MAX], places[HUSK_SEND_MAX];
	size_t n = 0, next = *at;
	int r = 0;

	while (next < in->n && n < HUSK_SEND_MAX) {
		uint32_t id = in->fds[next]->id;

		r = file_store_get(in->s, id, &fds[n], err);
		if (r < 0)
			return r;
		places[n] = (int)in->fds[next]->fd;
		slots[n++] = table_get(&in->s->slots, id);
		while (next < in->n && in->fds[next]->id == id)
			next++;
	}
	r = husk_send(in->h, fds, n, numbers, err);
	if (r < 0)
		return r;
	make_way(in, numbers, n);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = place(in, numbers[i], at, err);
		set_busy(in, numbers[i], false);
	}
	if (r == 0)
		r = play(in, err);
	for (size_t i = 0; i < n && r == 0; i++)
		store_served(in->s, slots[i], in->h->pid, places[i]);
	return r;
}

int file_store_install(struct file_store *s, struct husk *h, const struct task *t, struct err *err)
{
	struct install in = { .s = s, .h = h, .t = t, .tape = tape_new(),
		.table = table_get(&s->tables, (uintptr_t)t->fds) };
	size_t at = 0;
	int r = in.table ? 0 : err_bug(err, "task %d has no descriptor table", t->pid);

	if (r == 0)
		r = install_begin(&in, err);
	if (r == 0)
		r = clear_table(&in, err);
	while (r == 0 && at < in.n)
		r = install_batch(&in, &at, err);
	tape_free(in.tape);
	free(in.fds);
	free(in.busy);
	return r;
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
