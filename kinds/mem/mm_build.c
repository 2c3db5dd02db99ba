// SPDX-License-Identifier: GPL-2.0-or-later
/* Building an address space: the sequence (see build.h) and the mm's own numbers. */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/hugetlb.h"
#include "kinds/mem/build.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* -------------------------------------------------------------------------------- the tape */

void build_note(struct build *b, size_t call, uint64_t start, uint64_t end)
{
	struct call_note n = { .call = call, .start = start, .end = end };

	vec_push(&b->notes, n);
}

static bool call_failed(int64_t result)
{
	return result < 0 && result > -4096;
}

/* The tape's own sentence names call and errno; this adds the range. */
static int explain_failure(struct build *b, struct err *err)
{
	vec_each(n, &b->notes) {
		int64_t got = tape_result(b->tape, n->call);

		if (n->may_exist || !call_failed(got))
			continue;
		if (n->huge && got == -ENOMEM) {
			err_clear(err);
			(void)!hugetlb_too_few(n->huge, err);
		}
		return err_while(err, "building area 0x%lx-0x%lx", n->start, n->end);
	}
	return err_while(err, "building memory");
}

static int check_maybes(const struct build *b, struct err *err)
{
	vec_each(n, &b->notes) {
		int64_t got = tape_result(b->tape, n->call);

		if (n->may_exist && call_failed(got) && got != -EEXIST)
			return err_sysn(err, (int)-got, "cannot map area 0x%lx-0x%lx", n->start,
				n->end);
	}
	return 0;
}

/* The tape has been played; it is empty then. */
static int learn(struct build *b, int played, struct err *err)
{
	int r = played < 0 ? explain_failure(b, err) : check_maybes(b, err);

	for (size_t i = 0; i < b->n_fds && r == 0; i++) {
		if (b->taken[i])
			b->numbers[i] = (int)tape_result(b->tape, b->taken[i] - 1);
		b->taken[i] = 0;
	}
	if (r == 0)
		r = fill_learn(b, err);
	tape_reset(b->tape);
	b->notes.n = 0;
	return r;
}

int build_play(struct build *b, struct err *err)
{
	return tape_calls(b->tape) ? learn(b, husk_play(b->husk, 0, b->tape, err), err) : 0;
}

int build_room(struct build *b, size_t bytes, struct err *err)
{
	return tape_size(b->tape) + bytes > HUSK_TAPE_MAX ? build_play(b, err) : 0;
}

/* ---------------------------------------------------------------------------------- planning */

bool mm_huge_is_always(void)
{
	auto_free char *text = NULL;

	return io_slurp("/sys/kernel/mm/transparent_hugepage/enabled", &text, NULL) == 0 &&
		strstr(text, "[always]");
}

static int open_pages(struct build *b, struct err *err)
{
	const struct task *parent = b->b->inherited;
	int r = page_source_open_some(b->b->images, IMG_PAGEMAP, (unsigned long)b->task->pid,
		b->b->lazy ? PAGES_EAGER : PAGES_ALL, &b->pages, err);

	if (r < 0 || !parent)
		return r;
	b->theirs = legacy_find(b->b);
	if (!b->theirs) {
		b->theirs = &b->theirs_own;
		r = page_source_open(b->b->images, IMG_PAGEMAP, (unsigned long)parent->pid,
			&b->theirs_own, err);
		if (r == 0)
			r = page_source_map(&b->theirs_own, err);
	}
	return r < 0 ? r : page_source_map(&b->pages, err);
}

/* Descriptors the husk needs all the time; they are sent with the first files. */
static int plan_descriptors(struct build *b, struct err *err)
{
	/* an inherited address space has the right program already */
	if (b->mm->exe_file_id && !b->b->inherited) {
		int r = file_store_get_for_map(b->b->files, b->mm->exe_file_id, O_RDONLY, &b->fds[0],
			err);

		if (r < 0)
			return err_while(err, "opening the program of task %d", b->task->pid);
		b->has_exe = true;
		b->n_fds = 1;
	}
	b->layer_slot = calloc(b->pages.layers.n + 1, sizeof(*b->layer_slot));
	if (!b->layer_slot)
		return err_nomem(err);
	for (size_t i = 0; i < b->pages.layers.n; i++) {
		const struct page_layer *layer = &b->pages.layers.at[i];

		b->layer_slot[i] = SIZE_MAX;
		if (layer->fd < 0 || layer->filtered || b->n_fds > LAYERS_IN_HUSK)
			continue;
		b->layer_slot[i] = b->n_fds;
		b->fds[b->n_fds++] = layer->fd;
	}
	b->lasting = b->n_fds;
	return 0;
}

static int plan(struct build *b, struct err *err)
{
	int r = areas_check(b->task, err);

	b->thp_always = b->b->huge_always ? *b->b->huge_always : mm_huge_is_always();
	if (r == 0)
		r = open_pages(b, err);
	if (r == 0)
		r = vdso_plan(b, err);
	if (r == 0)
		r = legacy_plan(b, err);
	if (r == 0)
		r = pieces_plan(b, err);
	if (r == 0)
		r = pieces_count(b, err);
	return r < 0 ? r : plan_descriptors(b, err);
}

/* ------------------------------------------------------------------------------- mm's numbers */

/* Words up to and with the pair that ends the vector; the kernel takes no more than it stores. */
static size_t auxv_words(const MmEntry *mm)
{
	for (size_t i = 0; i + 1 < mm->n_mm_saved_auxv; i += 2) {
		if (mm->mm_saved_auxv[i] == AT_NULL)
			return i + 2;
	}
	return mm->n_mm_saved_auxv;
}

int build_numbers(struct build *b, struct err *err)
{
	const MmEntry *mm = b->mm;
	struct prctl_mm_map map = {
		.start_code = mm->mm_start_code, .end_code = mm->mm_end_code,
		.start_data = mm->mm_start_data, .end_data = mm->mm_end_data,
		.start_brk = mm->mm_start_brk, .brk = mm->mm_brk,
		.start_stack = mm->mm_start_stack,
		.arg_start = mm->mm_arg_start, .arg_end = mm->mm_arg_end,
		.env_start = mm->mm_env_start, .env_end = mm->mm_env_end,
		.auxv_size = (uint32_t)(auxv_words(mm) * sizeof(uint64_t)),
		.exe_fd = b->has_exe ? (uint32_t)b->numbers[0] : (uint32_t)-1,
	};
	int r = build_room(b, sizeof(map) + map.auxv_size + CALL_ROOM, err);
	struct tape *t = b->tape;
	size_t at, auxv;

	if (r < 0)
		return r;
	at = tape_data(t, &map, sizeof(map));
	if (map.auxv_size) {
		auxv = tape_data(t, mm->mm_saved_auxv, map.auxv_size);
		tape_point(t, at + offsetof(struct prctl_mm_map, auxv), auxv);
	}
	if (b->has_exe && b->taken[0])
		tape_store(t, b->taken[0] - 1, at + offsetof(struct prctl_mm_map, exe_fd));
	tape_call(t, "mm", TAPE_MUST, SYS_prctl, T(PR_SET_MM), T(PR_SET_MM_MAP), T_DATA(at),
		T(sizeof(map)), T(0));
	return 0;
}

static int finish_tape(struct build *b, struct err *err)
{
	const TorporTaskEntry *extra = b->task->extra;
	bool disabled = b->mm->has_thp_disabled && b->mm->thp_disabled;
	uint32_t flags = disabled && extra && extra->has_thp_flags ? extra->thp_flags : 0;
	int r = build_room(b, (b->lasting + 1) * 128, err);

	if (r < 0)
		return r;
	/* always said: a husk has inherited somebody's setting */
	tape_call(b->tape, "mm", TAPE_MUST, SYS_prctl, T(PR_SET_THP_DISABLE), T(disabled), T(flags),
		T(0), T(0));
	for (size_t i = 0; i < b->lasting; i++)
		tape_call(b->tape, "mm", 0, SYS_close, build_fd(b, i));
	return 0;
}

/* ------------------------------------------------------------------------------- the sequence */

static int run(struct build *b, struct err *err)
{
	int r = plan(b, err);

	if (r == 0)
		r = map_pieces(b, err);
	if (r == 0)
		r = cow_forget(b, err);
	if (r == 0)
		r = fill_pieces(b, err);
	if (r == 0)
		r = map_protect(b, err);
	if (r == 0)
		r = vdso_place(b, err);
	return r < 0 ? r : finish_tape(b, err);
}

static int finish(struct build *b, int played, struct err *err)
{
	int r = learn(b, played, err);

	if (r == 0)
		r = fill_late(b, err);
	return r < 0 ? r : vdso_redirect(b, err);
}

static void build_free(struct build *b)
{
	vec_done(&b->notes);
	vec_done(&b->readings);
	vec_done(&b->chunks);
	vec_done(&b->late);
	vec_done(&b->pieces);
	page_source_close(&b->pages);
	page_source_close(&b->theirs_own);
	free(b->vdso.saved);
	free(b->layer_slot);
	free(b->compared);
	free(b);
}

static int build_failed(const struct task *t, struct err *err)
{
	return err_while(err, "restoring the memory of task %d (%s)", t->pid, task_comm(t));
}

/* The queue's tape is this build's, and stays so as long as it is needed. */
static int build_after(void *ctx, const struct tape *tape, int played, struct err *err)
{
	struct build *b = ctx;
	int r = finish(b, played, err);

	legacy_keep(b);
	if (r < 0)
		r = build_failed(b->task, err);
	build_free(b);
	return r;
}

int mm_build_later(struct mm_build *mb, struct husk_queue *q, struct err *err)
{
	struct build *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_nomem(err);
	b->b = mb;
	b->task = mb->task;
	b->mm = mb->task->mm;
	b->husk = mb->husk;
	b->queue = q;
	b->tape = tape_new();
	r = run(b, err);
	if (r == 0) {
		husk_later(q, b->husk, 0, b->tape, build_after, b);
		return 0;
	}
	legacy_keep(b);
	r = build_failed(b->task, err);
	tape_free(b->tape);
	build_free(b);
	return r;
}

int mm_build(struct mm_build *mb, struct err *err)
{
	struct husk_queue q = { 0 };
	int r = mm_build_later(mb, &q, err);

	if (r == 0)
		r = husk_settle(&q, err);
	husk_queue_done(&q);
	return r;
}
