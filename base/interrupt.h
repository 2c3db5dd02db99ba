/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SIGINT, SIGTERM and SIGHUP while something is done that has to be taken back when it is not
 * finished. The first one only notes that it came: stages end and what was begun is undone. A
 * second one, or INTERRUPT_GRACE_S seconds in which that did not come to its end, kill torpor, as
 * if this were not here. A signal that was ignored before stays ignored.
 *
 * System calls that wait are interrupted by it (no SA_RESTART); who goes on waiting asks
 * interrupt_came() first.
 */
#pragma once
#include "base/err.h"

enum { INTERRUPT_GRACE_S = 10 };

void interrupt_watch(void);
/*
 * For what can no longer be taken back and must not be left half done (a tree is killed, or let go,
 * one task after the other): the first signal is without any effect, a second one kills. Holds until
 * interrupt_unwatch().
 */
void interrupt_hold(void);
/* In a child that goes on with our work: timers are not inherited (fork(2)). */
void interrupt_go_on(void);
/* From here on it kills again; one that came is remembered. */
void interrupt_unwatch(void);
/* Not true of one that came too late, or meanwhile (interrupt_hold()). */
bool interrupt_came(void);
/* 0, or the sentence that it came. */
int interrupt_check(struct err *err) must_use;
/* After everything was undone and said: ends as one who was killed by it. Returns if none came. */
void interrupt_pass_on(void);
