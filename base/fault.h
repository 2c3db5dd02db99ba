/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Named fault points. The environment variable TORPOR_FAULT names one ("dump:memory",
 * "restore:files"); when it is reached the operation fails as if the kernel had refused.
 * "NAME=kill" ends torpor with SIGKILL there, "NAME=stop" stops it until somebody sends SIGCONT. Used
 * by tests only.
 */
#pragma once
#include "base/err.h"

/* 0, or an ERR_KERNEL failure when this point is armed. */
int fault_point(const char *name, struct err *err) must_use;
