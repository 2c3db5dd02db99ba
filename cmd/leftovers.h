/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a dump says about what it leaves behind. */
#pragma once
#include <stdbool.h>
#include <stdio.h>

/*
 * One line for people: what the last run recorded in the directory's journal leaves, and why; or a
 * JSON array. Nothing (an empty array) where nothing stays.
 */
void print_left(FILE *out, int images_fd, bool json);
