/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is this world consistent and can it be restored? Pure; the same before save and after load. */
#pragma once
#include "model/findings.h"
#include "model/world.h"

/* Appends what is wrong: rules of the whole set here, then those of every room. */
void snapshot_check(const struct world *w, struct findings *f);
