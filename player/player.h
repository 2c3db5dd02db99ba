/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The player's bytes and the places in it (player.S). */
#pragma once
#include <stddef.h>

extern const char player_start[], player_play[], player_trap[], player_heal[], player_syscall[],
	player_end[];

#define PLAYER_OFFSET(symbol) ((size_t)((symbol) - player_start))
#define PLAYER_LEN PLAYER_OFFSET(player_end)
