/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking what waits in a terminal, for kernel/tty*.c only. */
#pragma once
#include "kernel/tty.h"
#include <asm/termbits.h>

void tty_part_add(struct tty_parts *p, const char *bytes, size_t n);
/* Bytes that can be read, of a slave in canonical mode only whole lines; -errno. */
int tty_available(int fd);
/* Polling an empty terminal waits until what waits in front of the line discipline has moved on. */
bool tty_more_comes(int fd);
/* What the end would read is gone afterwards, and in ret, also after a failure; -errno. */
int tty_take_master(int fd, struct tty_parts *ret) must_use;
/* fd does not block; leaves other settings behind than `was`. */
int tty_take_slave(int fd, const struct termios *was, struct tty_parts *ret) must_use;
