// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tapes as their builders see them: calls and data in growing arrays, rendered for a place in the
 * player's address space only when they are played.
 */
#include "inject/tape.h"
#include "base/vec.h"
#include "inject/explain.h"
#include "player/layout.h"
#include <errno.h>
#include <string.h>

enum { ALIGN = 16 };

struct call {
	const char *who;
	long nr;
	unsigned flags;
	struct tape_arg args[6];
	size_t out; /* 1 + place in the data, 0: nowhere */
	int64_t result;
};

struct point {
	size_t at, to;
};

struct tape {
	struct vec_of(struct call) calls;
	struct vec_of(struct point) points;
	uint8_t *data;
	size_t len, room;
};

struct tape *tape_new(void)
{
	struct tape *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	return t;
}

void tape_free(struct tape *t)
{
	if (!t)
		return;
	vec_done(&t->calls);
	vec_done(&t->points);
	free(t->data);
	free(t);
}

void tape_reset(struct tape *t)
{
	t->calls.n = 0;
	t->points.n = 0;
	t->len = 0;
}

size_t tape_call_array(struct tape *t, const char *who, unsigned flags, long nr,
	const struct tape_arg *args, size_t n_args)
{
	struct call c = { .who = who, .nr = nr, .flags = flags, .result = INT64_MIN };

	for (size_t i = 0; i < n_args && i < 6; i++)
		c.args[i] = args[i];
	vec_push(&t->calls, c);
	return t->calls.n - 1;
}

size_t tape_room(struct tape *t, size_t len)
{
	size_t at = t->len;
	size_t end = (at + len + ALIGN - 1) & ~(size_t)(ALIGN - 1);

	if (end > t->room) {
		size_t room = end > 2 * t->room ? end : 2 * t->room;
		uint8_t *more = realloc(t->data, room);

		if (!more)
			abort();
		t->data = more;
		t->room = room;
	}
	memset(t->data + at, 0, end - at);
	t->len = end;
	return at;
}

size_t tape_data(struct tape *t, const void *bytes, size_t len)
{
	size_t at = tape_room(t, len);

	if (len)
		memcpy(t->data + at, bytes, len);
	return at;
}

void tape_point(struct tape *t, size_t at, size_t off)
{
	struct point p = { .at = at, .to = off };

	vec_push(&t->points, p);
}

void tape_store(struct tape *t, size_t call, size_t off)
{
	t->calls.at[call].out = 1 + off;
}

int64_t tape_result(const struct tape *t, size_t call)
{
	return t->calls.at[call].result;
}

const void *tape_at(const struct tape *t, size_t off)
{
	return t->data + off;
}

size_t tape_calls(const struct tape *t)
{
	return t->calls.n;
}

uint64_t tape_entries_len(const struct tape *t)
{
	return t->calls.n * ENTRY_SIZE;
}

size_t tape_size(const struct tape *t)
{
	return tape_entries_len(t) + t->len;
}

static void put64(uint8_t *at, uint64_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void render_call(const struct call *c, uint64_t base, uint64_t data, uint8_t *e)
{
	uint32_t loads = 0;

	memset(e, 0, ENTRY_SIZE);
	put64(e + ENTRY_NR, (uint64_t)c->nr);
	for (int i = 0; i < 6; i++) {
		uint64_t v = c->args[i].value;

		if (c->args[i].kind == TAPE_DATA) {
			v += data;
		} else if (c->args[i].kind == TAPE_RESULT) {
			v = base + v * ENTRY_SIZE + ENTRY_RESULT;
			loads |= 1u << i;
		}
		put64(e + ENTRY_ARGS + 8 * i, v);
	}
	put64(e + ENTRY_RESULT, (uint64_t)INT64_MIN);
	put32(e + ENTRY_FLAGS, c->flags);
	put32(e + ENTRY_LOADS, loads);
	put64(e + ENTRY_OUT, c->out ? data + c->out - 1 : 0);
}

void tape_render(struct tape *t, uint64_t base, void *buf)
{
	uint64_t data = base + tape_entries_len(t);
	uint8_t *out = buf;

	vec_each(p, &t->points)
		put64(t->data + p->at, data + p->to);
	for (size_t i = 0; i < t->calls.n; i++)
		render_call(&t->calls.at[i], base, data, out + i * ENTRY_SIZE);
	if (t->len)
		memcpy(out + tape_entries_len(t), t->data, t->len);
}

void tape_learn(struct tape *t, const void *buf)
{
	const uint8_t *in = buf;

	for (size_t i = 0; i < t->calls.n; i++)
		memcpy(&t->calls.at[i].result, in + i * ENTRY_SIZE + ENTRY_RESULT, 8);
	if (t->len)
		memcpy(t->data, in + tape_entries_len(t), t->len);
}

/* A TAPE_WHOLE call that moved less than it was asked for is a failure too. */
static bool call_failed(const struct call *c)
{
	if (!(c->flags & TAPE_MUST))
		return false;
	if (c->result < 0 && c->result > -4096)
		return true;
	return c->flags & TAPE_WHOLE && c->result >= 0 && (uint64_t)c->result != c->args[2].value;
}

int tape_check(const struct tape *t, pid_t tid, struct err *err)
{
	for (size_t i = 0; i < t->calls.n; i++) {
		const struct call *c = &t->calls.at[i];
		char name[64];

		if (!call_failed(c))
			continue;
		explain_call(c->nr, c->args[0].value, name, sizeof(name));
		if (c->result >= 0)
			return err_set(err, ERR_KERNEL, EIO,
				"task %d: %s moved %lld of %llu bytes, asked by '%s'", tid, name,
				(long long)c->result, (unsigned long long)c->args[2].value,
				c->who);
		return err_set(err, ERR_KERNEL, (int)-c->result,
			"task %d: %s failed: %s, asked by '%s'", tid, name,
			strerror((int)-c->result), c->who);
	}
	return 0;
}
