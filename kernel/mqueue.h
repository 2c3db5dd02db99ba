/* SPDX-License-Identifier: GPL-2.0-or-later */
/* POSIX message queues (mq_overview(7)): attributes, and looking at messages without losing any. */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include <mqueue.h>
#include <stddef.h>
#include <stdint.h>

struct mqueue_message {
	uint32_t priority;
	char *bytes;
	size_t n;
};

struct mqueue_messages vec_of(struct mqueue_message);
void mqueue_messages_done(struct mqueue_messages *m);

/* pid that waits for the next message (mq_notify(3)), 0: nobody. */
int mqueue_notified(int fd, pid_t *ret);
/*
 * All messages of a queue, in the order in which they would be received; fd is open to read and
 * write and does not block. They are taken and put back by a process of its own, which finishes
 * whatever happens to its parent.
 */
int mqueue_peek(int fd, struct mqueue_messages *ret, struct err *err) must_use;
int mqueue_put(int fd, const struct mqueue_messages *m); /* -errno */
