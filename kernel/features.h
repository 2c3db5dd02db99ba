/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this kernel can do, found out by trying. Each probe runs in a short-lived child, so it has
 * no effect on the caller; a probe that hangs or dies counts as "no".
 */
#pragma once
#include "base/err.h"

enum feature_category { FEATURE_NEEDED, FEATURE_EXTRA, FEATURE_EXPERIMENTAL };

/* HAS_kcmp, HAS_clone3_set_tid ... */
enum feature_id {
#define FEATURE(id, ...) HAS_##id,
#include "kernel/features.def"
	FEATURE_COUNT
};

struct feature {
	const char *name, *since, *lost;
	enum feature_category category;
	int (*probe)(void); /* 0 it works, -errno why not; only in a child of its own */
};

extern const struct feature features[FEATURE_COUNT];

/* 0 if the kernel has it, else a negative errno that says why not (-ETIME: no answer). */
int feature_probe(enum feature_id id) must_use;
/* FEATURE_COUNT if there is no such feature. */
enum feature_id feature_find(const char *name);
