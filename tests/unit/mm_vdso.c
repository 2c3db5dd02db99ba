// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tasks whose vdso is not this kernel's: its functions are called in the husk and must tell what is
 * true here and now.
 */
#include "tests/unit/mm_subject.h"
#include <sys/ptrace.h>
#include <sys/user.h>
#include <time.h>

/* ------------------------------------------------------------------------------ foreign vdso */

/* Calls a function in the husk: it returns to nowhere, which we see. */
static int64_t run_function(struct husk *h, uint64_t at, uint64_t a, uint64_t b, uint64_t c)
{
	struct user_regs_struct regs;
	uint64_t back = 0x1000;
	int status;

	if (ptrace(PTRACE_GETREGS, h->pid, NULL, &regs) < 0)
		return -1000;
	regs.orig_rax = (unsigned long)-1;
	regs.rip = at;
	regs.rdi = a;
	regs.rsi = b;
	regs.rdx = c;
	regs.rsp = AT_STACK + 16 * PAGE - 8;
	if (husk_write(h, &back, 8, regs.rsp) < 0 ||
		ptrace(PTRACE_SETREGS, h->pid, NULL, &regs) < 0 ||
		ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0 ||
		waitpid(h->pid, &status, __WALL) < 0 || !WIFSTOPPED(status) ||
		ptrace(PTRACE_GETREGS, h->pid, NULL, &regs) < 0)
		return -1001;
	if (WSTOPSIG(status) != SIGSEGV || regs.rip != back) {
		printf("# signal %d at 0x%llx\n", WSTOPSIG(status), regs.rip);
		return -1002;
	}
	return (int64_t)regs.rax;
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static void run_clock(struct husk *h, uint64_t code, const struct vdso_symbol *s, int n)
{
	struct timespec got = { 0 }, before, after;

	for (int i = 0; i < n; i++) {
		time_t since = time(NULL);
		int64_t r;

		if (!strcmp(s[i].name, "__vdso_clock_gettime")) {
			clock_gettime(CLOCK_MONOTONIC, &before);
			r = run_function(h, code + s[i].offset, CLOCK_MONOTONIC, AT_STACK, 0);
			clock_gettime(CLOCK_MONOTONIC, &after);
			ok(r == 0 && husk_read(h, &got, sizeof(got), AT_STACK) == 0 &&
					!is_before(&got, &before) && !is_before(&after, &got),
				"clock_gettime of the old vdso tells the time", NULL);
		} else if (!strcmp(s[i].name, "__vdso_getcpu")) {
			r = run_function(h, code + s[i].offset, AT_STACK, AT_STACK + 8, 0);
			ok(r == 0, "getcpu of the old vdso", NULL);
		} else if (!strcmp(s[i].name, "__vdso_time")) {
			r = run_function(h, code + s[i].offset, 0, 0, 0);
			ok(r >= since && r <= time(NULL), "time of the old vdso", NULL);
		}
	}
}

/* How the saved vdso differs from what the husk has. */
enum foreign { BYTES, LARGER, UNKNOWN_FUNCTION, NO_KERNEL_VDSO, FAR_AWAY };

/* Nothing is free within 2 GiB of the vdso. */
static void add_far_away(struct subject *s, struct task *t, const struct vdso_self *self)
{
	VmaEntry *vvar = t->mm->vmas[0], *code = t->mm->vmas[1];

	t->mm->n_vmas = 0;
	anon(s, t, vvar->start - 4 * G, 4 * G / PAGE, PROT_NONE);
	arena_push(s->w->arena, t->mm->vmas, t->mm->n_vmas, vvar);
	arena_push(s->w->arena, t->mm->vmas, t->mm->n_vmas, code);
	anon(s, t, code->end, 4 * G / PAGE, PROT_NONE);
}

static uint64_t gap(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static void test_foreign(const char *what, enum foreign kind)
{
	const char *rename = kind == UNKNOWN_FUNCTION ? "getcpu" : NULL;
	uint64_t more = kind == LARGER ? PAGE : 0, old;
	struct vdso_symbol sym[VDSO_SYMBOLS_MAX];
	struct err err = ERR_INIT;
	struct vdso_self self;
	struct mm_build b;
	struct subject s;
	struct task *t;
	struct husk h;
	uint8_t *bytes;
	int r, n;

	subject_init(&s);
	t = subject_task(&s, NULL, 100);
	add_own_vdso(&s, t, AT_VDSO, &self);
	t->mm->vmas[1]->end += more;
	old = t->mm->vmas[1]->start;
	if (kind == FAR_AWAY)
		add_far_away(&s, t, &self);
	anon(&s, t, AT_STACK, 32, RW)->flags |= MAP_GROWSDOWN;
	bytes = calloc(1, self.code_len + more);
	memcpy(bytes, self.code, self.code_len);
	bytes[15] ^= 1; /* padding of the ELF header */
	n = vdso_symbols(bytes, self.code_len, sym, VDSO_SYMBOLS_MAX);
	ok(n > 5, "functions of a vdso are found", NULL);
	/* "__vdso_time" and "time" end in the same name, hence both change */
	for (size_t i = 0; rename && i + strlen(rename) < self.code_len; i++) {
		if (!memcmp(bytes + i, rename, strlen(rename) + 1))
			bytes[i] = 'q';
	}
	save_pages(&s, IMG_PAGEMAP, 100,
		(struct saved_run[]){ { AT_VDSO + self.code_offset, (self.code_len + more) / PAGE, 0,
					      bytes, 0 }, { 0 } });
	subject_seal(&s);
	r = husk_start(&h, &s.layout, 0, false, &err);
	if (r < 0)
		die("husk_start", &err);
	if (kind == NO_KERNEL_VDSO)
		h.vdso = h.vvar = 0;
	b = builder(&s, t, NULL, &h);
	r = mm_build(&b, &err);
	ok(r == 0, what, &err);
	if (kind == NO_KERNEL_VDSO)
		ok(r == 0 && !h.vdso, "no vdso lies beside it", NULL);
	else
		ok(r == 0 && h.vdso != old && gap(h.vdso, old) < 5 * G &&
				(gap(h.vdso, old) > 2 * G) == (kind == FAR_AWAY),
			"this kernel's vdso lies beside it", NULL);
	if (r == 0)
		run_clock(&h, AT_VDSO + self.code_offset, sym, n);
	free(bytes);
	end_husk(&h);
	subject_done(&s);
}

int main(void)
{
	test_foreign("a vdso with other bytes", BYTES);
	test_foreign("a larger vdso", LARGER);
	test_foreign("a vdso with unknown functions", UNKNOWN_FUNCTION);
	test_foreign("a kernel without vdso", NO_KERNEL_VDSO);
	test_foreign("a kernel's vdso far away", FAR_AWAY);
	return tap_done(&tap);
}
