/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image files: framing, magics and the set they form (format: docs/FORMAT.md).
 *
 * - Images are hostile until checked: every size is compared with the bytes that are left in the
 *   file before anything is allocated; a message is parsed into the caller's arena, within the
 *   limits of image/limits.h.
 * - A set that is written becomes valid by its inventory: image_set_commit() writes it last, after
 *   everything else has reached the disk. image_set_discard() removes what a failed dump wrote.
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"
#include "image/stream_plan.h"
#include "image/types.h"
#include <protobuf-c/protobuf-c.h>
#include <sched.h>
#include <sys/types.h>
#include <torpor/page_filter.h>

struct image_set;
struct journal;
struct image_reader;
struct image_writer;

/*
 * What the user gave to get at images: it goes for a set, its parents and what is made of them, and
 * must outlive them.
 */
struct image_access {
	const char *filter_dir; /* where page filters are looked for, or NULL */
	char *const *filter_files; /* shared objects with page filters */
	size_t n_filter_files;
	struct keyring *keys; /* for encrypted sets (image/keys.h), or NULL */
	bool streamed; /* the set travels by `stream` (image/stream.h), not in the directory */
	struct stream_plan stream;
	struct image_stream **idle_stream; /* writing: one that no file has gone to comes from here and
	                                    * goes back here, so that the next set can use it; or NULL */
	const cpu_set_t *cpus; /* processors for threads that decode; NULL: the caller's */
	bool pages_elsewhere; /* reading: pages files may be missing, a page server has them */
	bool pages_only; /* sets of a page server, which have no inventory */
};

/* dirfd stays the caller's. Reading: looks at the inventory for the layout (version 1 or 1.1). */
int image_set_open(int dirfd, bool write, struct image_set **ret, struct err *err) must_use;
/* Same with what the user gave, or NULL. */
int image_set_open_with(int dirfd, bool write, const struct image_access *access,
	struct image_set **ret, struct err *err) must_use;
void image_set_close(struct image_set *set);
int image_set_dirfd(const struct image_set *set);
/*
 * The journal of effects outside of the directory (image/journal.h); *ret belongs to the set, which
 * closes it. Nothing is written before the first effect.
 */
int image_set_journal(struct image_set *set, struct journal **ret, struct err *err) must_use;
/* Never NULL. */
const struct image_access *image_set_access(const struct image_set *set);

/*
 * Writing: pages go to a page server instead of into this directory (pages/client.h); it belongs to
 * the caller. NULL: they do not.
 */
struct page_client;
void image_set_send_pages(struct image_set *set, struct page_client *client);
struct page_client *image_set_page_client(const struct image_set *set);
/* Pages that are written wait there first (pages/staging.h); NULL: they do not. */
struct page_staging;
void image_set_stage_pages(struct image_set *set, struct page_staging *staging);
struct page_staging *image_set_page_staging(const struct image_set *set);

/* What only torpor understands of a set (torpor_set_entry.needs). */
enum image_needs { IMAGE_NEEDS_FILTERS = 1, IMAGE_NEEDS_KEY = 2 };

/*
 * Writing: the set gets the mark of torpor, by which other programs refuse it. The images whose
 * content needs it must be made by image_create_torpor().
 */
void image_set_need(struct image_set *set, enum image_needs need);
unsigned image_set_needs(const struct image_set *set);
/* IMAGE_DUMP_ID random bytes. Reading: zeros if the set needs nothing. */
const uint8_t *image_set_dump_id(const struct image_set *set);
uint32_t image_set_generation(const struct image_set *set);
/* Writing: the set is an increment to `parent`. */
int image_set_follow(struct image_set *set, const struct image_set *parent, struct err *err)
	must_use;
/* Reading: whether `parent` is the set that image_set_follow() was told of. */
int image_set_check_parent(const struct image_set *set, const struct image_set *parent,
	struct err *err) must_use;
/*
 * Writing, before anything else: all images are encrypted (cipher: enum aead_kind) for those whom
 * access->keys name. Nothing changes for who writes and reads images.
 */
int image_set_seal(struct image_set *set, unsigned cipher, struct err *err) must_use;
bool image_set_is_sealed(const struct image_set *set);
enum { IMAGE_DUMP_ID = 16 };

/*
 * A key of the set for one purpose into 32 bytes; different purposes have independent keys. A set
 * that is not encrypted has none: an error.
 */
int image_set_key(const struct image_set *set, const char *purpose, uint8_t *key, struct err *err)
	must_use;

/*
 * How the page filters of the set are reached from layers that do not know them, for contents of
 * files: encode sets applied of *x, writes at most x->length + expansion bytes and returns how many
 * in *ret_bytes; decode fails if they are not what was encoded for this *x.
 */
struct image_codec {
	void *chain;
	size_t expansion;
	int (*encode)(void *chain, struct torpor_extent *x, const uint8_t *in, uint8_t *out,
		uint32_t *ret_bytes, struct err *err);
	int (*decode)(void *chain, const struct torpor_extent *x, const uint8_t *in, uint32_t bytes,
		uint8_t *out, struct err *err);
};

void image_set_use_codec(struct image_set *set, const struct image_codec *codec);
/* NULL: contents are not filtered. Known once the filters of the set are open. */
const struct image_codec *image_set_codec(const struct image_set *set);

/* One thing a layer above keeps with the set; released when the set is closed. */
void image_set_keep(struct image_set *set, void *thing, void (*release)(void *thing));
void *image_set_kept(const struct image_set *set);

/* Name of an image into buf; returns buf. */
char *image_name(enum image_id type, unsigned long id, char *buf, size_t size);

struct image_found {
	enum image_id type;
	unsigned long id; /* 0 for those without a number */
};

struct image_list vec_of(struct image_found);

/* Which images the directory holds, by type and number; the caller calls vec_done(). */
int image_set_scan(const struct image_set *set, struct image_list *ret, struct err *err) must_use;
/* Does this file name belong to an image? 1 and what it is, or 0. */
int image_name_parse(const char *name, struct image_found *ret);

/* ---- reading ---- */
/* *ret = NULL when there is no such file (that is not an error). Checks the magics. */
int image_open(struct image_set *set, enum image_id type, unsigned long id,
	struct image_reader **ret, struct err *err) must_use;
/* Next message into arena: 1, at the end of the file 0, or an error naming file and offset. */
int image_next(struct image_reader *r, struct arena *a, void *ret_msg, struct err *err) must_use;
/* Same with another message type than the table's (pagemap: head first, then entries). */
int image_next_as(struct image_reader *r, const ProtobufCMessageDescriptor *desc, struct arena *a,
	void *ret_msg, struct err *err) must_use;
/* Payload bytes at the current place; an early end is an error. */
int image_payload(struct image_reader *r, void *buf, size_t len, struct err *err) must_use;
/* Same, into new memory of the arena. */
int image_payload_keep(struct image_reader *r, size_t len, struct arena *a, void **ret,
	struct err *err) must_use;
int image_skip(struct image_reader *r, size_t len, struct err *err) must_use;
size_t image_left(const struct image_reader *r); /* bytes after the current place */
off_t image_offset(const struct image_reader *r);
const char *image_reader_name(const struct image_reader *r);
bool image_is_torpors(const struct image_reader *r);
void image_reader_close(struct image_reader *r); /* NULL is fine */
/* Raw descriptor of an image without header (pages), O_RDONLY|O_CLOEXEC; -ENOENT if missing. */
int image_open_raw(struct image_set *set, enum image_id type, unsigned long id, int *ret_fd,
	struct err *err) must_use;

/* ---- writing ---- */
/* Creates (truncates) the file and writes the header. */
int image_create(struct image_set *set, enum image_id type, unsigned long id,
	struct image_writer **ret, struct err *err) must_use;
/* Same with a first magic that other programs refuse; image_is_torpors() tells a reader. */
int image_create_torpor(struct image_set *set, enum image_id type, unsigned long id,
	struct image_writer **ret, struct err *err) must_use;
int image_put(struct image_writer *w, const void *msg, struct err *err) must_use;
int image_put_payload(struct image_writer *w, const void *bytes, size_t len, struct err *err)
	must_use;
/* Flushes and closes; w is gone in any case. NULL is fine. */
int image_finish(struct image_writer *w, struct err *err) must_use;
/* For io_write_patient(). */
unsigned image_set_patience(const struct image_set *set);
/* The sentence for a creation or write that failed. */
int image_write_failed(struct err *err, int number, const char *name) must_use;
int image_create_raw(struct image_set *set, enum image_id type, unsigned long id, int *ret_fd,
	struct err *err) must_use;
/* How long a pages file became: a set that travels or is encrypted cannot ask the directory. */
void image_note_pages(struct image_set *set, unsigned long id, uint64_t bytes);
/* Instead of image_create_raw(): the pages file belongs to the set and is written elsewhere. */
void image_note_remote_pages(struct image_set *set, unsigned long id);
/*
 * Everything but the inventory must be finished. Removes what an older set left behind, syncs,
 * writes the inventory, syncs again.
 */
int image_set_commit(struct image_set *set, const void *inventory, struct err *err) must_use;
/* `what` could not be written: of a set that travels says who has gone, if that is why. -number. */
int image_set_write_failed(const struct image_set *set, int number, const char *what, struct err *err);
/* Removes every file this set created (not those it found). */
void image_set_discard(struct image_set *set);
/* Bytes written so far, all files. */
uint64_t image_set_bytes(const struct image_set *set);
/* One image of one message that belongs to no set (statistics): no set is opened or changed. */
int image_save_alone(int dirfd, enum image_id type, const void *msg, struct err *err) must_use;
