/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The images a dump is made against: the directory behind the link "parent" of its own. What is
 * unchanged since is only referred to, page by page (RUN_PARENT).
 */
#pragma once
#include "pages/pages.h"
#include "proto/messages.h"

struct page_parent {
	struct image_access access; /* that of the child, but for what is at a page server */
	struct image_set *set;
	struct arena *arena;
	const InventoryEntry *inventory; /* NULL for sets of a page server, which have none */
	const TorporTrackerEntry *tracker; /* NULL: none that is known to belong to this set */
};

/* Name of the link in an images directory. */
#define PARENT_LINK "parent"

/*
 * Makes the link, as `--prev-images-dir` says (relative to the images directory). One that is there
 * already stays, with a warning if it leads elsewhere. *ret_made tells whether it is new.
 */
int parent_link_make(int images_dirfd, const char *path, bool *ret_made, struct err *err) must_use;
/*
 * Opens the set behind the link in the directory of `child`, as child is accessed; *ret is NULL if
 * there is no link. Its directory is the caller's to close. The text of the link, for messages, is
 * in the arena. Errors name it.
 */
int parent_set_open(struct image_set *child, struct arena *a, struct image_set **ret,
	const char **ret_name, struct err *err) must_use;
/* Closes a set and its directory. NULL is fine. */
void parent_set_close(struct image_set *set);

/*
 * Opens the set behind the link in the directory of `child`, as child is accessed; *ret is NULL if
 * there is no link. The whole chain behind it must be there: a link that leads nowhere, to what is no
 * complete set or in a circle is an image error. Pages may be at a page server still.
 */
int parent_open(struct image_set *child, struct page_parent **ret, struct err *err) must_use;
void parent_close(struct page_parent *p); /* NULL is fine */
