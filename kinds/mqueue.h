/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * POSIX message queues. Like System V objects they belong to the IPC namespace: a restore finds them
 * by name, or makes them again with what was in them. Queues without a name come with their
 * descriptors (kinds/file/mqueue.c).
 */
#pragma once
#include "kinds/kind.h"

/* A new queue with this name, attributes and messages, open to read and write. */
int mqueue_create(const char *name, const TorporMqueueContent *c, int *ret_fd, struct err *err) must_use;
