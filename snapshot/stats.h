/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stats-dump and stats-restore: how long it took and how many pages there were, for programs that
 * watch. They describe work that is done, so failing to write them is a warning, never a failure.
 */
#pragma once
#include "proto/messages.h"
#include <stdint.h>
#include <stdio.h>

/* Microseconds as the images keep them: what does not fit is the largest that does. */
static inline uint32_t stats_time(uint64_t us)
{
	return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* Into the directory behind workdir_fd. */
void stats_save_dump(int workdir_fd, const DumpStatsEntry *stats);
void stats_save_restore(int workdir_fd, const RestoreStatsEntry *stats);
/* One line each, for --display-stats. */
void stats_print_dump(FILE *out, const DumpStatsEntry *stats);
void stats_print_restore(FILE *out, const RestoreStatsEntry *stats);
