/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The player: plays a tape of system calls in a thread that torpor holds by ptrace. Position
 * independent, no stack but for one word in player_heal, touches general registers only. It is
 * data for torpor itself (copied into a husk or a target), hence read-only data here.
 */
#include "player/layout.h"

	.section .rodata.player, "a", @progbits
	.balign 16
	.globl player_start, player_play, player_trap, player_heal, player_syscall, player_end

player_start:
player_play:
.Lnext:
	cmp	%rbp, %rbx
	jae	.Ldone
.Lagain:
	mov	ENTRY_LOADS(%rbx), %r12d
	mov	(ENTRY_ARGS + 0)(%rbx), %rdi
	test	$1, %r12b
	jz	1f
	mov	(%rdi), %rdi
1:	mov	(ENTRY_ARGS + 8)(%rbx), %rsi
	test	$2, %r12b
	jz	1f
	mov	(%rsi), %rsi
1:	mov	(ENTRY_ARGS + 16)(%rbx), %rdx
	test	$4, %r12b
	jz	1f
	mov	(%rdx), %rdx
1:	mov	(ENTRY_ARGS + 24)(%rbx), %r10
	test	$8, %r12b
	jz	1f
	mov	(%r10), %r10
1:	mov	(ENTRY_ARGS + 32)(%rbx), %r8
	test	$16, %r12b
	jz	1f
	mov	(%r8), %r8
1:	mov	(ENTRY_ARGS + 40)(%rbx), %r9
	test	$32, %r12b
	jz	1f
	mov	(%r9), %r9
1:	mov	ENTRY_NR(%rbx), %rax
	syscall
	testl	$ENTRY_WHOLE, ENTRY_FLAGS(%rbx)
	jz	.Lstore
	test	%rax, %rax
	js	.Lstore
	jz	.Lsum
	add	%rax, (ENTRY_ARGS + 8)(%rbx)	/* buffer */
	add	%rax, (ENTRY_ARGS + 24)(%rbx)	/* offset in the file */
	add	%rax, ENTRY_SUM(%rbx)
	sub	%rax, (ENTRY_ARGS + 16)(%rbx)	/* bytes that are left */
	jnz	.Lagain
.Lsum:
	mov	ENTRY_SUM(%rbx), %rax
.Lstore:
	mov	%rax, ENTRY_RESULT(%rbx)
	mov	ENTRY_OUT(%rbx), %rcx
	test	%rcx, %rcx
	jz	1f
	mov	%eax, (%rcx)
1:
	testl	$ENTRY_MUST, ENTRY_FLAGS(%rbx)
	jz	.Lgood
	cmp	$-4095, %rax
	jae	.Lfailed
.Lgood:
	add	$ENTRY_SIZE, %rbx
	jmp	.Lnext
.Lfailed:
	cmp	%r15, %rbx
	jae	.Ldone
	mov	%r15, %rbx
	jmp	.Lnext
.Ldone:
	jmp	*%r13

	/* End of a tape in a husk: its tracer has it stopped before it gets here. */
player_trap:
	int3
	jmp	player_trap

	/*
	 * End of a tape in a living target whose tracer is gone: flags back, then on to the cave,
	 * which unmaps this memory and restores the rest.
	 */
player_heal:
	pushq	HEAL_FLAGS(%r14)
	popfq
	mov	HEAL_AREA(%r14), %rdi
	mov	HEAL_LEN(%r14), %rsi
	mov	HEAL_CAVE(%r14), %rcx
	mov	$11, %eax			/* munmap */
	jmp	*%rcx

	/* One system call with registers set by the tracer. */
player_syscall:
	syscall
	int3
player_end:
	.section .note.GNU-stack, "", @progbits
