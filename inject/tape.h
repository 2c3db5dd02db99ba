/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tape: a list of system calls which a stopped thread plays (player/). Rooms append calls and
 * data, whoever plays it copies tape and data into the thread's address space, lets it run and
 * copies the results back; then rooms read them.
 *
 * A tape is built without knowing where it will lie: arguments may be plain values, places in the
 * tape's data (T_DATA) or results of earlier calls (T_RESULT). A call is known by its index.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tape;

struct tape_arg {
	enum { TAPE_VALUE, TAPE_DATA, TAPE_RESULT } kind;
	uint64_t value;
};

#define T(v) ((struct tape_arg){ TAPE_VALUE, (uint64_t)(v) })
#define T_PTR(p) ((struct tape_arg){ TAPE_VALUE, (uint64_t)(uintptr_t)(p) })
#define T_DATA(off) ((struct tape_arg){ TAPE_DATA, (uint64_t)(off) })
#define T_RESULT(i) ((struct tape_arg){ TAPE_RESULT, (uint64_t)(i) })

enum tape_flags {
	TAPE_MUST = 1, /* a negative result ends the tape and is an error */
	TAPE_WHOLE = 2, /* (fd, buf, len, off) call: repeat until len bytes went; result is the sum */
};

struct tape *tape_new(void);
void tape_free(struct tape *t);
/* Empties it for the next use. */
void tape_reset(struct tape *t);

/*
 * Appends a call and returns its index. `who` is the room asking (a literal, for messages). Up to
 * six arguments: tape_call(t, "mm", 0, SYS_prctl, T(PR_SET_NAME), T_DATA(off)).
 */
#define tape_call(t, who, flags, nr, ...)                                            \
	tape_call_array(t, who, flags, nr, (struct tape_arg[]){ __VA_ARGS__ },       \
		sizeof((struct tape_arg[]){ __VA_ARGS__ }) / sizeof(struct tape_arg))
#define tape_call0(t, who, flags, nr) tape_call_array(t, who, flags, nr, NULL, 0)
size_t tape_call_array(struct tape *t, const char *who, unsigned flags, long nr,
	const struct tape_arg *args, size_t n_args);

/* Copies bytes into the data and returns their offset (aligned to 16). */
size_t tape_data(struct tape *t, const void *bytes, size_t len);
/* Zeroed room for a result of the calls. */
size_t tape_room(struct tape *t, size_t len);
/*
 * Inside the data: the 8 bytes at `at` become the address of the data at `off` (for structs that
 * hold pointers: msghdr, iovec, sock_fprog).
 */
void tape_point(struct tape *t, size_t at, size_t off);

/*
 * The low 32 bits of a call's result are also put into the data at `off` while the tape plays (for
 * structs that hold a descriptor).
 */
void tape_store(struct tape *t, size_t call, size_t off);

/* After playing: */
/* Result of a call (negative errno as the kernel gave it); -ENOSYS-like INT64_MIN if not reached. */
int64_t tape_result(const struct tape *t, size_t call);
/* Data as the thread left them. */
const void *tape_at(const struct tape *t, size_t off);
size_t tape_calls(const struct tape *t);

/* ---- for players (inject/) ---- */
/* Bytes of entries plus data, for a place at address base; pointers and flags are fixed up. */
size_t tape_size(const struct tape *t);
void tape_render(struct tape *t, uint64_t base, void *buf);
uint64_t tape_entries_len(const struct tape *t); /* bytes of entries in front of the data */
/* Takes results and data back from a played copy. */
void tape_learn(struct tape *t, const void *buf);
/*
 * 0, or an error for the first TAPE_MUST call that failed:
 * "task 42: prctl(PR_SET_MM) failed: Operation not permitted, asked by 'mm'".
 */
int tape_check(const struct tape *t, pid_t tid, struct err *err) must_use;
