/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `plan DIR`: what a restore of these images would do, step by step; nothing is done. */
#include "restore/plan.h"
#include "cmd/command.h"
#include "snapshot/check.h"
#include "pages/filter.h"
#include "snapshot/snapshot.h"

static int print_plan(const struct options *o, struct world *w, struct err *err)
{
	struct plan plan = { 0 };
	int r = plan_make(w, o, &plan, err);

	if (r < 0)
		return r;
	if (o->json)
		plan_print_json(&plan, stdout);
	else
		plan_print(&plan, stdout);
	return 0;
}

/* Rules that are broken would stop the restore: so they stop the plan. */
static int check(struct world *w, struct err *err)
{
	struct findings f = { 0 };
	const struct finding *bad;
	int r = 0;

	snapshot_check(w, &f);
	bad = findings_error(&f);
	if (bad)
		r = err_image(err, "%s (rule %s)", bad->text, bad->rule);
	vec_done(&f);
	return r;
}

int cmd_plan(const struct call *call, struct err *err)
{
	struct world *w = world_new();
	struct image_access access = access_open(call->o);
	struct image_set *set = NULL;
	int r;

	r = image_set_open_with(call->images_fd, false, &access, &set, err);
	if (r == 0)
		r = snapshot_load(set, w, err);
	if (r == 0)
		r = check(w, err);
	if (r == 0)
		r = print_plan(call->o, w, err);
	image_set_close(set);
	access_close(&access);
	world_free(w);
	return r;
}
