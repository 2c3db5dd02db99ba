/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * registers_hold(): fills every register a program may own, spins, stores them again. The general
 * registers (all but rsp), the direction flag, x87 stack and control word, mxcsr, and as the
 * processor has it xmm, ymm, zmm0-31 and the mask registers.
 */
#pragma once
#include "subject.h"
#include <stddef.h>

enum vector_level { VECTOR_SSE, VECTOR_AVX, VECTOR_AVX512 };

/* A page of counters in the file "beats", for whoever looks from outside. */
maybe_unused static volatile uint64_t *beats_begin(void)
{
	int fd = open("beats", O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *page;

	NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(page != MAP_FAILED && close(fd) == 0);
	return page;
}

struct registers {
	uint64_t in[15], out[15]; /* rax rbx rcx rdx rsi rdi rbp r8-r15 */
	uint64_t flags_out;
	uint64_t level;
	uint32_t mxcsr_in, mxcsr_out;
	uint16_t cw_in, cw_out;
	uint32_t pad;
	double st_in[8], st_out[8];
	uint64_t k_in[8], k_out[8];
	uint8_t v_in[32][64], v_out[32][64];
};

_Static_assert(offsetof(struct registers, out) == 120, "used in the assembly");
_Static_assert(offsetof(struct registers, flags_out) == 240, "used in the assembly");
_Static_assert(offsetof(struct registers, level) == 248, "used in the assembly");
_Static_assert(offsetof(struct registers, mxcsr_in) == 256, "used in the assembly");
_Static_assert(offsetof(struct registers, cw_in) == 264, "used in the assembly");
_Static_assert(offsetof(struct registers, st_in) == 272, "used in the assembly");
_Static_assert(offsetof(struct registers, k_in) == 400, "used in the assembly");
_Static_assert(offsetof(struct registers, v_in) == 528, "used in the assembly");
_Static_assert(offsetof(struct registers, v_out) == 2576, "used in the assembly");

volatile int registers_go __attribute__((visibility("hidden"))); /* ends all spins */
/* Spins `spins` times (0: without end) or until registers_go. */
void registers_spin(struct registers *r, uint64_t spins) __attribute__((visibility("hidden")));

asm(".pushsection .text\n"
	".type registers_spin, @function\n"
	"registers_spin:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	push %rdi\n	push %rsi\n"
	"	fninit\n	fldcw 264(%rdi)\n	ldmxcsr 256(%rdi)\n"
	"	.set n, 0\n	.rept 8\n	fldl 272+8*n(%rdi)\n	.set n, n+1\n	.endr\n"
	"	cmpl $1, 248(%rdi)\n	je 2f\n	ja 3f\n"
	"	.altmacro\n"
	"	.macro vecs op, reg, first, last, step, base\n"
	"	.set n, \\first\n"
	"	.rept \\last-\\first+1\n"
	"	vec1 \\op, \\reg, %n, \\step, \\base\n"
	"	.set n, n+1\n"
	"	.endr\n"
	"	.endm\n"
	"	.macro vec1 op, reg, num, step, base\n"
	"	\\op \\base+\\step*\\num(%rdi), %\\reg\\num\n"
	"	.endm\n"
	"	.macro vouts op, reg, first, last, step, base\n"
	"	.set n, \\first\n"
	"	.rept \\last-\\first+1\n"
	"	vout1 \\op, \\reg, %n, \\step, \\base\n"
	"	.set n, n+1\n"
	"	.endr\n"
	"	.endm\n"
	"	.macro vout1 op, reg, num, step, base\n"
	"	\\op %\\reg\\num, \\base+\\step*\\num(%rdi)\n"
	"	.endm\n"
	"	vecs movdqu, xmm, 0, 15, 64, 528\n"
	"	jmp 4f\n"
	"2:	vecs vmovdqu, ymm, 0, 15, 64, 528\n"
	"	jmp 4f\n"
	"3:	vecs vmovdqu64, zmm, 0, 31, 64, 528\n"
	"	vecs kmovq, k, 0, 7, 8, 400\n"
	"4:	mov 0(%rdi), %rax\n	mov 8(%rdi), %rbx\n	mov 16(%rdi), %rcx\n"
	"	mov 24(%rdi), %rdx\n	mov 32(%rdi), %rsi\n	mov 48(%rdi), %rbp\n"
	"	mov 56(%rdi), %r8\n	mov 64(%rdi), %r9\n	mov 72(%rdi), %r10\n"
	"	mov 80(%rdi), %r11\n	mov 88(%rdi), %r12\n	mov 96(%rdi), %r13\n"
	"	mov 104(%rdi), %r14\n	mov 112(%rdi), %r15\n	mov 40(%rdi), %rdi\n"
	"	std\n"
	"5:	pause\n	decq (%rsp)\n	jz 6f\n"
	"	cmpl $0, registers_go(%rip)\n	je 5b\n"
	"6:	push %rdi\n	mov 16(%rsp), %rdi\n"
	"	mov %rax, 120(%rdi)\n	mov %rbx, 128(%rdi)\n	mov %rcx, 136(%rdi)\n"
	"	mov %rdx, 144(%rdi)\n	mov %rsi, 152(%rdi)\n	mov %rbp, 168(%rdi)\n"
	"	mov %r8, 176(%rdi)\n	mov %r9, 184(%rdi)\n	mov %r10, 192(%rdi)\n"
	"	mov %r11, 200(%rdi)\n	mov %r12, 208(%rdi)\n	mov %r13, 216(%rdi)\n"
	"	mov %r14, 224(%rdi)\n	mov %r15, 232(%rdi)\n	pop 160(%rdi)\n"
	"	pushf\n	pop 240(%rdi)\n	cld\n"
	"	cmpl $1, 248(%rdi)\n	je 2f\n	ja 3f\n"
	"	vouts movdqu, xmm, 0, 15, 64, 2576\n"
	"	jmp 4f\n"
	"2:	vouts vmovdqu, ymm, 0, 15, 64, 2576\n"
	"	vzeroupper\n"
	"	jmp 4f\n"
	"3:	vouts vmovdqu64, zmm, 0, 31, 64, 2576\n"
	"	vouts kmovq, k, 0, 7, 8, 464\n"
	"	vzeroupper\n"
	"4:	stmxcsr 260(%rdi)\n	fnstcw 266(%rdi)\n"
	"	.set n, 7\n	.rept 8\n	fstpl 336+8*n(%rdi)\n	.set n, n-1\n	.endr\n"
	"	fninit\n	push $0x1f80\n	ldmxcsr (%rsp)\n	pop %rsi\n"
	"	pop %rsi\n	pop %rdi\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	"	.noaltmacro\n"
	".size registers_spin, .-registers_spin\n"
	".popsection\n");

static enum vector_level registers_level(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
		return VECTOR_AVX512;
	return __builtin_cpu_supports("avx") ? VECTOR_AVX : VECTOR_SSE;
}

/* Contents that depend on a seed. Rounding modes of x87 and SSE, and values that fit them. */
maybe_unused static void registers_fill(struct registers *r, unsigned seed)
{
	memset(r, 0, sizeof(*r));
	r->level = registers_level();
	fill(r->in, sizeof(r->in), seed);
	fill(r->k_in, sizeof(r->k_in), seed + 1);
	fill(r->v_in, sizeof(r->v_in), seed + 2);
	for (int i = 0; i < 8; i++)
		r->st_in[i] = 1.0 / (i + 3 + seed % 1000);
	r->mxcsr_in = 0x1f80 | (seed & 3) << 13;
	r->cw_in = 0x37f & ~0xc00;
	r->cw_in |= (seed >> 2 & 3) << 10;
}

/* NULL if the registers came out as they went in, else the name of the first that did not. */
maybe_unused static const char *registers_differ(const struct registers *r)
{
	static const unsigned widths[] = { 16, 32, 64 };
	static const char names[15][4] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
		"r9", "r10", "r11", "r12", "r13", "r14", "r15" };

	for (int i = 0; i < 15; i++)
		if (r->in[i] != r->out[i])
			return names[i];
	if (!(r->flags_out & 0x400))
		return "direction flag";
	for (int i = 0; i < (r->level == VECTOR_AVX512 ? 32 : 16); i++)
		if (memcmp(r->v_in[i], r->v_out[i], widths[r->level]))
			return "a vector register";
	if (r->level == VECTOR_AVX512 && memcmp(r->k_in, r->k_out, sizeof(r->k_in)))
		return "a mask register";
	if (memcmp(r->st_in, r->st_out, sizeof(r->st_in)))
		return "an x87 register";
	if ((r->mxcsr_out & ~0x3fu) != r->mxcsr_in)
		return "mxcsr";
	return r->cw_out == r->cw_in ? NULL : "x87 control word";
}
