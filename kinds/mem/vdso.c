// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vdso of a restored task. Its code pages are in the image, its data pages (vvar) are not: they
 * belong to the kernel. If this kernel's vdso is the saved one byte for byte, it is moved to the
 * saved address and nothing else is needed. Otherwise both exist: the saved code as plain memory
 * where it was, because the task knows its addresses, and this kernel's in a free place; each
 * function of the old one begins with a jump to the new one, or makes the system call where the
 * new kernel has no such function. The old data area becomes zero pages, which to a function means
 * "no clock source": a thread that was stopped inside of one goes on and makes the system call.
 */
#include "base/io.h"
#include "kinds/mem/build.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { VDSO_MAX = 64 * PAGE };

/* ------------------------------------------------------------------------------------ planning */

static int find_saved(struct build *b, struct err *err)
{
	struct vdso_plan *p = &b->vdso;

	for (size_t i = 0; i < b->mm->n_vmas; i++) {
		const VmaEntry *v = b->mm->vmas[i];
		enum area_class class = area_class_of(v);

		if (class == AREA_VDSO) {
			if (p->code || v->end - v->start > VDSO_MAX)
				return err_image(err, "task %d has an impossible vdso at 0x%lx",
					b->task->pid, v->start);
			p->code = v;
		} else if (class == AREA_VVAR) {
			p->data_start = p->data_end ? p->data_start : v->start;
			p->data_end = v->end;
		}
	}
	return 0;
}

/* The saved code; *ret_complete: all of its pages are in the image. */
static int load_saved(struct build *b, bool *ret_complete, struct err *err)
{
	const VmaEntry *code = b->vdso.code;
	uint64_t len = code->end - code->start, have = 0;

	b->vdso.saved = calloc(1, len);
	if (!b->vdso.saved)
		return err_nomem(err);
	vec_each(seg, &b->pages.segments) {
		uint64_t lo = seg->vaddr > code->start ? seg->vaddr : code->start;
		uint64_t hi = segment_end(seg) < code->end ? segment_end(seg) : code->end;
		int r;

		if (lo >= hi)
			continue;
		r = page_source_read(&b->pages, seg, lo, (hi - lo) / PAGE,
			b->vdso.saved + (lo - code->start), err);
		if (r < 0)
			return err_while(err, "reading the saved vdso");
		have += hi - lo;
	}
	*ret_complete = have == len;
	return 0;
}

static bool is_same(const struct vdso_plan *p)
{
	const struct vdso_self *self = &p->self;

	return self->code && p->code->end - p->code->start == self->code_len &&
		p->data_end - p->data_start == self->data_len &&
		(!self->data_len ||
			p->code->start - p->data_start == self->code_offset - self->data_offset) &&
		!memcmp(p->saved, self->code, self->code_len);
}

/* Where this kernel's vdso goes beside a foreign one. An inherited place is kept if it is free. */
static int plan_beside(struct build *b, struct err *err)
{
	struct vdso_plan *p = &b->vdso;
	const struct husk_layout *l = b->husk->layout;
	bool parked = p->from >= l->area && p->from < l->area + l->area_len;

	p->fate = VDSO_FOREIGN;
	p->to = p->from;
	if (!p->self.n || (!parked && hole_is_free(b->task, p->from, p->self.span)))
		return 0;
	return hole_near(b->task, l, p->self.span, p->code->start, &p->to, err);
}

int vdso_plan(struct build *b, struct err *err)
{
	struct vdso_plan *p = &b->vdso;
	bool complete = false;
	int r = 0;

	if (b->b->vdso)
		p->self = *b->b->vdso;
	else
		r = vdso_look_self(&p->self, err);
	if (r < 0)
		return r;
	if (!b->husk->vdso)
		p->self = (struct vdso_self){ 0 };
	p->from = b->husk->vdso - p->self.code_offset;
	r = find_saved(b, err);
	if (r < 0 || !p->code)
		return r;
	r = load_saved(b, &complete, err);
	if (r < 0)
		return r;
	if (!complete)
		return err_image(err, "task %d: the image does not have all pages of its vdso",
			b->task->pid);
	if (!is_same(p))
		return plan_beside(b, err);
	p->fate = VDSO_SAME;
	p->to = p->code->start - p->self.code_offset;
	return 0;
}

/* -------------------------------------------------------------------------------------- moving */

static int move_parts(struct build *b, uint64_t to, struct err *err)
{
	struct vdso_plan *p = &b->vdso;
	int r = build_room(b, VDSO_PARTS_MAX * 128, err);

	if (r < 0 || p->from == to)
		return r;
	for (size_t i = 0; i < p->self.n; i++) {
		const struct vdso_part *part = &p->self.parts[i];
		size_t call = tape_call(b->tape, "vdso", TAPE_MUST, SYS_mremap,
			T(p->from + part->offset), T(part->len), T(part->len),
			T(MREMAP_MAYMOVE | MREMAP_FIXED), T(to + part->offset));

		build_note(b, call, to + part->offset, to + part->offset + part->len);
	}
	p->from = to;
	return 0;
}

int vdso_park(struct build *b, struct err *err)
{
	const struct husk_layout *l = b->husk->layout;
	uint64_t from = b->vdso.from;

	if (!b->vdso.self.n || (from >= l->area && from < l->area + l->area_len))
		return 0;
	return move_parts(b, l->park, err);
}

int vdso_place(struct build *b, struct err *err)
{
	struct vdso_plan *p = &b->vdso;
	int r;

	if (!p->self.n)
		return 0;
	if (p->fate == VDSO_GONE) {
		r = build_room(b, VDSO_PARTS_MAX * 128, err);
		for (size_t i = 0; r == 0 && i < p->self.n; i++)
			tape_call(b->tape, "vdso", TAPE_MUST, SYS_munmap,
				T(p->from + p->self.parts[i].offset), T(p->self.parts[i].len));
		b->husk->vdso = b->husk->vvar = 0;
		return r;
	}
	r = move_parts(b, p->to, err);
	b->husk->vdso = p->to + p->self.code_offset;
	b->husk->vvar = p->self.data_len ? p->to + p->self.data_offset : 0;
	return r;
}

/* ----------------------------------------------------------------------------------- redirecting */

struct code {
	uint8_t bytes[32];
	size_t len;
};

static void code_put(struct code *c, const void *bytes, size_t len)
{
	memcpy(c->bytes + c->len, bytes, len);
	c->len += len;
}

/* jmp rel32, or jmp *0(%rip) with the address behind it; neither touches a register */
static struct code code_jump(uint64_t from, uint64_t to)
{
	int64_t delta = (int64_t)(to - from - 5);
	int32_t near = (int32_t)delta;
	struct code c = { .len = 0 };

	if (near == delta) {
		code_put(&c, "\xe9", 1);
		code_put(&c, &near, 4);
	} else {
		code_put(&c, "\xff\x25\0\0\0\0", 6);
		code_put(&c, &to, 8);
	}
	return c;
}

/* mov $nr, %eax; syscall; ret */
static struct code code_syscall(uint32_t nr)
{
	struct code c = { .len = 0 };

	/* getrandom asked for the size of its state (length -1) says there is none: -ENOSYS */
	if (nr == SYS_getrandom)
		code_put(&c, "\x49\x83\xf8\xff\x75\x06\xb8\xda\xff\xff\xff\xc3", 12);
	code_put(&c, "\xb8", 1);
	code_put(&c, &nr, 4);
	code_put(&c, "\x0f\x05\xc3", 3);
	return c;
}

/* System call behind a vdso function, -1 if there is none. */
static long call_behind(const char *name)
{
	static const struct {
		const char *name;
		long nr;
	} table[] = {
		{ "clock_gettime", SYS_clock_gettime }, { "gettimeofday", SYS_gettimeofday },
		{ "time", SYS_time }, { "getcpu", SYS_getcpu },
		{ "clock_getres", SYS_clock_getres }, { "getrandom", SYS_getrandom },
	};

	if (!strncmp(name, "__vdso_", 7))
		name += 7;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (!strcmp(name, table[i].name))
			return table[i].nr;
	}
	return -1;
}

static const struct vdso_symbol *find_symbol(const struct vdso_symbol *s, int n, const char *name)
{
	for (int i = 0; i < n; i++) {
		if (!strcmp(s[i].name, name))
			return &s[i];
	}
	return NULL;
}

/* A thread stopped between the bytes that would be replaced must find them as they were. */
static bool is_being_run(const struct task *t, uint64_t start, size_t len)
{
	task_each_thread(th, t) {
		const CoreEntry *c = th->core;
		uint64_t ip;

		if (!c || !c->thread_info || !c->thread_info->gpregs)
			continue;
		ip = c->thread_info->gpregs->ip;
		if (ip > start && ip < start + len)
			return true;
	}
	return false;
}

static int redirect(struct build *b, const struct vdso_symbol *old, const struct vdso_symbol *new,
	struct err *err)
{
	uint64_t at = b->vdso.code->start + old->offset;
	long nr = call_behind(old->name);
	struct code c;
	int r;

	if (new)
		c = code_jump(at, b->husk->vdso + new->offset);
	else if (nr >= 0)
		c = code_syscall((uint32_t)nr);
	else
		return 0;
	/* too small or in use: the old code goes on with zero data, by system calls */
	if (c.len > old->size || is_being_run(b->task, at, c.len))
		return 0;
	r = husk_write(b->husk, c.bytes, c.len, at);
	return r < 0 ? err_sysn(err, -r, "cannot redirect %s in the vdso of task %d", old->name,
			       b->task->pid) : 0;
}

int vdso_redirect(struct build *b, struct err *err)
{
	struct vdso_symbol old[VDSO_SYMBOLS_MAX], new[VDSO_SYMBOLS_MAX];
	const struct vdso_plan *p = &b->vdso;
	int n_old, n_new = 0, r = 0;

	if (p->fate != VDSO_FOREIGN)
		return 0;
	n_old = vdso_symbols(p->saved, p->code->end - p->code->start, old, VDSO_SYMBOLS_MAX);
	if (n_old < 0)
		return err_image(err, "task %d: its saved vdso is not an ELF image", b->task->pid);
	if (p->self.code)
		n_new = vdso_symbols(p->self.code, p->self.code_len, new, VDSO_SYMBOLS_MAX);
	for (int i = 0; r == 0 && i < n_old; i++)
		r = redirect(b, &old[i], find_symbol(new, n_new, old[i].name), err);
	return r;
}
