/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several connections of a page client, each with a thread that sends what it is given; for
 * pages/client.c. Threads are there from the first write until all is finished or freed.
 */
#pragma once
#include "pages/conn.h"

struct client_crew;

struct client_crew *client_crew_new(void);
/* The connection is taken over, also one that was never opened. */
void client_crew_add(struct client_crew *c, const struct conn *take_conn);
/* The bytes are copied. An error may be that of an earlier write. */
int client_crew_write(struct client_crew *c, uint32_t file, uint64_t at, const void *bytes, size_t len,
	struct err *err) must_use;
/* Waits until all is sent, and asks the server on each connection whether all is well. */
int client_crew_finish(struct client_crew *c, struct err *err) must_use;
/* Just closes. NULL is fine. */
void client_crew_free(struct client_crew *c);

/* client.c: says FRAME_CLOSE; the answer, the server's own sentence if it is bad. */
int client_close_files(struct conn *c, struct err *err) must_use;
