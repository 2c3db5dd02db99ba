/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for rings: kinds/uring.h. */
#include "base/cleanup.h"
#include "base/io.h"
#include "inject/hold.h"
#include "kernel/uring.h"
#include "kinds/uring.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

enum { STEP_US = 2000 };

/* The four words at the start of a ring's memory, the same in all kernels since 5.5. */
struct heads {
	uint32_t sq_head, sq_tail, cq_head, cq_tail;
};

static bool is_ring(const VmaEntry *v)
{
	return v->status & AREA_URING && v->pgoff == IORING_OFF_SQ_RING;
}

static bool has_rings(const struct task *t)
{
	for (size_t i = 0; i < t->mm->n_vmas; i++)
		if (is_ring(t->mm->vmas[i]))
			return true;
	return false;
}

/* Whether all rings have posted as much as they have taken. More than that is not worth waiting for. */
static bool are_idle(const struct task *t, int mem)
{
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		struct heads h;

		if (!is_ring(t->mm->vmas[i]))
			continue;
		if (io_pread_all(mem, &h, sizeof(h), (off_t)t->mm->vmas[i]->start) < 0 ||
			(int32_t)(h.sq_head - h.cq_tail) > 0)
			return false;
	}
	return true;
}

static int play_nothing(struct hold *h, struct tracee *threads, size_t n, struct err *err)
{
	struct tape *tape = tape_new();
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct hold_turn turn = { .h = h, .t = &threads[i], .tape = tape };

		tape_reset(tape);
		tape_call0(tape, "io_uring", 0, SYS_gettid);
		r = hold_play(&turn, 1, err);
	}
	tape_free(tape);
	return r;
}

int uring_wait(const struct task *t, struct tracee *threads, size_t n, uint64_t end,
	unsigned patience_s, struct err *err)
{
	auto_close int mem = -1;
	struct hold h;
	char path[64];
	int r;

	if (!has_rings(t))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", threads[0].tid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return err_sys(err, "cannot open the memory of task %d", t->pid);
	if (are_idle(t, mem))
		return 0;
	r = hold_begin(&h, (struct tracee *[]){ &threads[0] }, 1, patience_s, err);
	if (r < 0)
		return r;
	while (r == 0 && !are_idle(t, mem) && clock_us() < end) {
		r = play_nothing(&h, threads, n, err);
		usleep(STEP_US);
	}
	hold_end(&h, 1);
	return r;
}
