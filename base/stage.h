/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stages: dump and restore are tables of steps with run and undo; this driver runs them.
 *
 * - Stages run in table order. When one fails, the undo of every stage that was started (the
 *   failed one included) is called in reverse order, and its error is returned.
 * - After full success every stage's `end`, if any, is called in reverse order (to let go).
 * - SIGINT, SIGTERM and SIGHUP are such a failure of the stage that runs (base/interrupt.h). After
 *   full success they are held: the caller calls interrupt_unwatch() when it has let go.
 * - Between stages the driver stops at the fault point "PREFIX:NAME" (base/fault.h) in tests.
 * - Undo and end cannot fail: they do what is possible and log a warning where something stays.
 */
#pragma once
#include "base/err.h"
#include <stdint.h>

struct stage {
	const char *name;
	int (*run)(void *ctx, struct err *err);
	void (*undo)(void *ctx); /* may be NULL */
	bool (*wanted)(const void *ctx); /* NULL: always */
	void (*end)(void *ctx); /* may be NULL */
};

/* Called before each stage (progress on a terminal) and after it with its time; may be NULL. */
typedef void stage_watch(const char *name, bool done, uint64_t us, void *data);

/* `stages` ends with an entry without name. 0 or the first failure. */
int stages_run(const char *prefix, const struct stage *stages, void *ctx, stage_watch *watch,
	void *watch_data, struct err *err) must_use;
