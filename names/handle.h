/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files found by device and file handle (open_by_handle_at(2)) instead of a name, and the names
 * which lead to them.
 */
#pragma once
#include "base/err.h"
#include "kernel/mountinfo.h"
#include "proto/messages.h"
#include <stdint.h>

struct handle_space;

/* The mounts as torpor sees them now; descriptors of mount points are opened on demand. */
int handle_space_new(struct handle_space **ret, struct err *err) must_use;
void handle_space_free(struct handle_space *s); /* NULL is fine */
/* A mount by its id or by its device (kernel's form; one that shows the whole file system first). */
const struct mount_line *handle_mount(const struct handle_space *s, int mnt_id);
const struct mount_line *handle_mount_of_dev(const struct handle_space *s, uint32_t dev);
/* All mounts in turn: NULL first, NULL at the end. */
const struct mount_line *handle_next_mount(const struct handle_space *s, const struct mount_line *m);
/*
 * An O_PATH descriptor of the file with this handle: -ESTALE if it is gone, -EOPNOTSUPP if the file
 * system has no handles, -ENODEV if it is not mounted here. Who watches the file does not notice
 * (but who watches the mount point for IN_OPEN does, the first time).
 */
int handle_open(struct handle_space *s, uint32_t dev, const FhEntry *fh) must_use;
/*
 * A path that leads to the file behind an O_PATH descriptor, into buf (PATH_MAX bytes); -ENOENT if
 * there is none.
 */
int handle_path(int fd, char *buf) must_use;
