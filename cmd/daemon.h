/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going to the background, and telling others that work can begin. */
#pragma once
#include "cmd/command.h"

/*
 * A server is ready (it listens): goes to the background if asked to (*ret_parent: this is the
 * process that was started; it shall end with success), writes the pidfile, tells --status-fd.
 */
int daemon_ready(const struct call *call, bool *ret_parent, struct err *err) must_use;
