// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/stage.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include <stdio.h>

static int stage_run(const char *prefix, const struct stage *s, void *ctx, struct err *err)
{
	char point[64];
	int r;

	snprintf(point, sizeof(point), "%s:%s", prefix, s->name);
	r = s->run(ctx, err);
	if (r == 0)
		r = interrupt_check(err);
	return r < 0 ? r : fault_point(point, err);
}

static bool stage_wanted(const struct stage *s, const void *ctx)
{
	return !s->wanted || s->wanted(ctx);
}

int stages_run(const char *prefix, const struct stage *stages, void *ctx, stage_watch *watch,
	void *watch_data, struct err *err)
{
	const struct stage *s;
	uint64_t start;
	int r = 0;

	interrupt_watch();
	for (s = stages; s->name; s++) {
		if (!stage_wanted(s, ctx))
			continue;
		if (watch)
			watch(s->name, false, 0, watch_data);
		start = clock_us();
		r = stage_run(prefix, s, ctx, err);
		log_debug("%s stage '%s' took %lu us", prefix, s->name,
			(unsigned long)(clock_us() - start));
		if (watch)
			watch(s->name, true, clock_us() - start, watch_data);
		if (r < 0)
			break;
	}
	if (r < 0) {
		for (;; s--) {
			if (s->undo && stage_wanted(s, ctx))
				s->undo(ctx);
			if (s == stages)
				break;
		}
		interrupt_unwatch();
		return r;
	}
	interrupt_hold();
	while (s-- != stages)
		if (s->end && stage_wanted(s, ctx))
			s->end(ctx);
	return 0;
}
