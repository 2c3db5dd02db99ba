/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Effects as a journal names them (image/journal.h): does one still stand, and how is it taken
 * back? A journal is no proof: names are compared with what they shall have, objects with the
 * identity that was noted.
 */
#pragma once
#include "image/journal.h"

enum effect_state {
	EFFECT_ABSENT, /* it does not stand (any more), or cannot on this host */
	EFFECT_OURS, /* what stands there is the one that was noted */
	EFFECT_UNPROVEN, /* something stands there that may be another one */
	EFFECT_UNKNOWN, /* nobody can look: the file system there does not answer */
};

struct effect_item {
	const struct effect *e;
	bool same_boot; /* its journal was written on this host since it was started */
	bool silent; /* its path leads to a file system that hangs (names/silent.h): not looked at */
	bool remove; /* effects_remove() is to take it back */
	enum effect_state state;
};

/* Fills in the states. All at once, so that a list of thousands is gone through once. */
int effects_look(struct effect_item *items, size_t n, struct err *err) must_use;
/*
 * Takes back those marked, which effects_look() has found; they are absent then. Objects are
 * looked at once more before, so a second time does nothing.
 */
int effects_remove(struct effect_item *items, size_t n, struct err *err) must_use;
/* For people: "the nftables table 'inet CRIU-1'" into buf; returns buf. */
char *effect_say(const struct effect *e, char *buf, size_t size);
/* "link_remap." and digits: the names which link-remap gives (other tools use them, too). */
bool effect_is_link_name(const char *path);

/* ---- names/effects_net.c ---- */
int effects_look_net(struct effect_item *items, size_t n, struct err *err) must_use;
int effects_remove_net(struct effect_item *items, size_t n, struct err *err) must_use;
/*
 * Calls fn in every network namespace that a process, a mount of ours or a name in /run/netns leads to
 * (our own first); its dev and ino are told. What cannot be entered is left out.
 */
int effect_each_network(int (*fn)(uint64_t dev, uint64_t ino, void *ctx, struct err *err),
	void *ctx, struct err *err) must_use;
