/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A userfaultfd for the address space of somebody else: only a task itself can make one. */
#pragma once
#include "inject/tracee.h"

/*
 * Makes the stopped thread's process call userfaultfd(2), takes a duplicate (close-on-exec) and
 * closes the original. Three short stops; between the first and the last the task has one
 * descriptor more.
 */
int userfault_from_task(struct tracee *t, unsigned patience_s, int *ret_fd, struct err *err) must_use;
