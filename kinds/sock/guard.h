/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * While a dump looks into the target's sockets some of their options are different. Should torpor
 * be killed at that moment, a guard puts them back: a process which shares torpor's descriptors and
 * is told of torpor's end by the kernel (PR_SET_PDEATHSIG).
 *
 *   sock_guard_note (before an option is changed) ... sock_guard_forget (when it is as it was)
 *   sock_guard_end (no more looks)
 */
#pragma once
#include "kinds/kind.h"

enum { SOCK_GUARD_MAX = 8 }; /* options that are different at one time */

/* If torpor dies from now on, the SOL_SOCKET option gets this value again. */
int sock_guard_note(const struct fd_look *l, int fd, int option, int value, struct err *err)
	must_use;
/* Nothing is different any more. */
void sock_guard_forget(const struct table *seen);
void sock_guard_end(const struct table *seen);
