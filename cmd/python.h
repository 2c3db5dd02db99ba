/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that are written in Python (CMD_PYTHON in options/table.c). */
#pragma once
#include "base/err.h"

/*
 * Becomes Python with the command line of this program; only returns if that fails. What Python
 * does not find beside the program or at all is an error with what to do.
 */
int python_exec(int argc, char *const *argv, struct err *err) must_use;
