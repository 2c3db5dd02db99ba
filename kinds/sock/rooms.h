/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rooms of sockets, one file each; kinds/file_kinds.c puts them in order. */
#pragma once
#include "kinds/kind.h"

extern const struct file_kind file_kind_inet;
extern const struct file_kind file_kind_netlink;
extern const struct file_kind file_kind_packet;
extern const struct file_kind file_kind_unix;
extern const struct file_kind file_kind_vsock;
