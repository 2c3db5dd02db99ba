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

enum { SOCK_GUARD_MAX = 240 }; /* options that are different at one time; a page full */

/*
 * If torpor dies from now on the option of its descriptor fd gets this value again: those noted last
 * come first.
 */
int sock_guard_note(struct table *seen, int fd, int level, int option, int value, struct err *err)
	must_use;
/* How many more may be noted. */
size_t sock_guard_room(const struct table *seen);
/* Nothing is different any more. */
void sock_guard_forget(const struct table *seen);
void sock_guard_end(const struct table *seen);
