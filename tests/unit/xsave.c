// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Extended registers between ptrace's area and the image message: there and back for a real child of
 * this processor, and messages of other processors and of nobody.
 */
#include "kernel/ptrace.h"
#include "kernel/xstate.h"
#include "kinds/task/family.h"
#include "tests/unit/tap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

struct area {
	uint8_t bytes[XSTATE_MAX];
	size_t len;
};

static pid_t stopped_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return pid;
}

static bool read_area(pid_t pid, struct area *a)
{
	a->len = sizeof(a->bytes);
	return ptrace_get_xstate(pid, a->bytes, &a->len) == 0;
}

static void fill(uint8_t *to, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(i * 13 + seed);
}

/* Every component the processor has gets a pattern. */
static uint64_t fill_all(struct area *a)
{
	uint64_t bv = 3, have;
	size_t at, len;

	memcpy(&have, a->bytes + XSTATE_SOFTWARE, 8);
	fill(a->bytes + 160, 256, 1);
	for (unsigned c = XSTATE_AVX; c <= XSTATE_HI16_ZMM; c++) {
		if (!(have >> c & 1) || !xstate_place(c, &at, &len))
			continue;
		fill(a->bytes + at, len, (uint8_t)c);
		bv |= 1ull << c;
	}
	memcpy(a->bytes + XSTATE_BV, &bv, 8);
	return bv;
}

static void test_round(struct tap *t, pid_t pid, struct arena *arena, UserX86FpregsEntry *fp)
{
	struct area a, b, c;
	struct err err = ERR_INIT;
	bool good = read_area(pid, &a);
	uint64_t bv = 0;

	tap_ok(t, good && a.len >= XSTATE_MIN, "a child's registers are read", NULL);
	if (!good)
		return;
	b = a;
	bv = fill_all(&a);
	tap_ok(t, xsave_to_msg(arena, a.bytes, a.len, fp, &err) == 0 && fp->xsave &&
		fp->xsave->xstate_bv == bv, "area to message", &err);
	tap_ok(t, xsave_from_msg(fp, b.bytes, b.len, &err) == 0 && !memcmp(a.bytes, b.bytes, a.len),
		"message to area", &err);
	good = ptrace_set_xstate(pid, b.bytes, b.len) == 0 && read_area(pid, &c);
	tap_ok(t, good && c.len == a.len && !memcmp(a.bytes, c.bytes, a.len),
		"the kernel takes it and gives it back", NULL);
	printf("# %zu bytes, components 0x%llx\n", a.len, (unsigned long long)bv);
}

static int try_msg(const struct area *base, const UserX86FpregsEntry *fp, struct err *err)
{
	struct area a = *base;

	*err = ERR_INIT;
	return xsave_from_msg(fp, a.bytes, a.len, err);
}

static void test_foreign(struct tap *t, const struct area *base, const UserX86FpregsEntry *good)
{
	UserX86XsaveEntry x = *good->xsave;
	UserX86FpregsEntry fp = *good;
	uint64_t bounds[8] = { 0 };
	struct err err;

	fp.xsave = &x;
	x.xstate_bv |= 1ull << XSTATE_BNDREGS;
	tap_ok(t, try_msg(base, &fp, &err) == -74, "a component in use without its array", NULL);
	x.n_bndreg_state = 8;
	x.bndreg_state = bounds;
	tap_ok(t, try_msg(base, &fp, &err) == 0, "an empty component this processor lacks", &err);
	bounds[3] = 1;
	tap_ok(t, try_msg(base, &fp, &err) == -95 && strstr(err.text, "MPX bound registers"),
		"a component in use which this processor lacks", NULL);
	x = *good->xsave;
	x.xstate_bv |= 1ull << 18;
	tap_ok(t, try_msg(base, &fp, &err) == -95 && strstr(err.text, "AMX tile data"),
		"a component messages cannot hold", NULL);
	x = *good->xsave;
	x.n_ymmh_space = 63;
	tap_ok(t, try_msg(base, &fp, &err) == -74, "an array that is too short", NULL);
	x = *good->xsave;
	fp.n_xmm_space = 0;
	tap_ok(t, try_msg(base, &fp, &err) == -74, "no SSE registers", NULL);
	fp = *good;
	fp.xsave = NULL;
	tap_ok(t, try_msg(base, &fp, &err) == 0, "a message of a processor without xsave", &err);
}

int main(void)
{
	struct tap t = { 0 };
	struct arena *arena = arena_new();
	UserX86FpregsEntry *fp = arena_msg(arena, UserX86FpregsEntry, user_x86_fpregs_entry);
	pid_t pid = stopped_child();
	struct area base;

	test_round(&t, pid, arena, fp);
	if (fp->xsave && fp->xsave->n_ymmh_space && read_area(pid, &base))
		test_foreign(&t, &base, fp);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	arena_free(arena);
	return tap_done(&t);
}
