/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rooms of descriptors, one file each; kinds/file_kinds.c puts them in order. */
#pragma once
#include "kinds/kind.h"

extern const struct file_kind file_kind_epoll;
extern const struct file_kind file_kind_eventfd;
extern const struct file_kind file_kind_fanotify;
extern const struct file_kind file_kind_fifo;
extern const struct file_kind file_kind_inotify;
extern const struct file_kind file_kind_memfd;
extern const struct file_kind file_kind_mqueue;
extern const struct file_kind file_kind_nsfile;
extern const struct file_kind file_kind_pidfd;
extern const struct file_kind file_kind_pipe;
extern const struct file_kind file_kind_reg;
extern const struct file_kind file_kind_signalfd;
extern const struct file_kind file_kind_timerfd;
extern const struct file_kind file_kind_tty;
extern const struct file_kind file_kind_tun;
extern const struct file_kind file_kind_uring;
extern const struct file_kind file_kind_bpfmap;
