/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What images may ask for, whatever they say. A sparse file costs its author nothing, a message of
 * two bytes can stand for a struct of two hundred, and messages can be nested without end.
 */
#pragma once
#include <stddef.h>

/* One message; the largest real ones (an address space of a million areas) take a tenth. */
#define IMAGE_MESSAGE_MAX ((size_t)256 << 20)
/* Memory for the parsed form of a message: per byte of it, and what is free in any case. */
#define IMAGE_GROWTH ((size_t)160)
#define IMAGE_GROWTH_FREE ((size_t)64 << 10)
/* Memory of all messages and payloads in one arena. */
#define IMAGE_ARENA_MAX ((size_t)8 << 30)
/* Stack for nested messages. */
#define IMAGE_STACK_MAX ((size_t)1 << 20)
/* Tasks and threads of one set: as many ids as the kernel has (PID_MAX_LIMIT). */
#define IMAGE_IDS_MAX ((size_t)4 << 20)
