/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two directions of the io_uring room, for kinds/file/uring*.c only. */
#pragma once
#include "kinds/place.h"
#include "kinds/uring.h"

void uring_prepare(struct file_maker *m);
int uring_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err) must_use;
int uring_join(struct file_maker *m, struct err *err) must_use;

/* An area of a task, and what the task calls the ring's descriptor. */
struct uring_area {
	const VmaEntry *vma;
	int number;
};

/* Maps n areas of one task, in ascending order. */
int uring_place(struct place *p, const struct uring_area *a, size_t n, struct err *err) must_use;
