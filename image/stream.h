/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image sets that travel instead of lying in a directory. Two ways:
 *
 *   a streamer   another process which listens on a socket in the images directory, as CRIU's image
 *                streamer does: one request per file, its content goes through a pipe
 *   one stream   everything on one pipe or socket (docs/FORMAT-stream.md); a child process of ours
 *                plays the streamer for the writing side, so that both ways are the same there
 *
 * A set that is read is gathered in a file system in memory, which has no name and vanishes with its
 * last descriptor.
 */
#pragma once
#include "base/err.h"
#include "image/stream_plan.h"

struct image_stream;

/* dirfd: the images directory. */
int image_stream_open(const struct stream_plan *plan, int dirfd, struct image_stream **ret, struct err *err)
	must_use;
/* A descriptor that takes the content of a file; it cannot be sought. */
int image_stream_create(struct image_stream *s, const char *name, int *ret_fd, struct err *err) must_use;
/* All files are complete, the inventory was the last one: returns when all has been taken. */
int image_stream_commit(struct image_stream *s, struct err *err) must_use;
/* Without a commit the receiver knows that the set is not complete. NULL is fine. */
void image_stream_free(struct image_stream *s);

/* `what` could not be sent: says who has gone, if that is why. Returns -number. */
int image_stream_failed(const struct image_stream *s, int number, const char *what, struct err *err);

/* Whether no file has gone to it. */
bool image_stream_is_idle(const struct image_stream *s);

/* Gathers a whole set; *ret_dirfd is the directory in memory, the caller closes it. */
int image_stream_gather(const struct stream_plan *plan, int dirfd, int *ret_dirfd, struct err *err)
	must_use;

/* ---- stream_crawl.c: a set whose names nobody can tell ---- */
struct stream_fetcher {
	/* Gets an image into the directory, if it is not there: 1, or 0 if there is none. */
	int (*fetch)(struct stream_fetcher *f, const char *name, struct err *err);
};

int image_stream_crawl(struct stream_fetcher *fetcher, int dirfd, struct err *err) must_use;

/* ---- stream_mux.c, stream_take.c: the form of one stream ---- */
/* Plays the streamer on `sock` until it is closed. 0: a complete set was written. */
int image_stream_multiplex(int sock, int out) must_use;
/* Takes one stream apart into files of a directory. */
int image_stream_take(int in, int dirfd, struct err *err) must_use;
