/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the player (assembly) and inject/ (C) agree on. Only numbers: this file is read by both.
 *
 * A tape in memory is an array of entries followed by data. One entry:
 *
 *   0   u64 number of the system call
 *   8   u64 args[6]
 *   56  s64 result
 *   64  u32 flags (TAPE_MUST, TAPE_WHOLE)
 *   68  u32 bit i: args[i] is the address of a u64 to be loaded (the result of an earlier entry)
 *   72  u64 bytes moved so far (TAPE_WHOLE)
 *   80  u64 address of a u32 that becomes the low half of the result, or 0
 *
 * Registers when the player is entered (player_play):
 *   rbx first entry   rbp behind the last entry   r15 where to go on after a TAPE_MUST failure
 *   r13 where to jump at the end   r14 struct heal (only for player_heal)
 *   rsp room for one word below
 */
#pragma once

#define ENTRY_NR 0
#define ENTRY_ARGS 8
#define ENTRY_RESULT 56
#define ENTRY_FLAGS 64
#define ENTRY_LOADS 68
#define ENTRY_SUM 72
#define ENTRY_OUT 80
#define ENTRY_SIZE 88

#define ENTRY_MUST 1
#define ENTRY_WHOLE 2

/* struct heal: what an untraced thread needs to leave by itself. */
#define HEAL_FLAGS 0
#define HEAL_AREA 8
#define HEAL_LEN 16
#define HEAL_CAVE 24
#define HEAL_SIZE 32
