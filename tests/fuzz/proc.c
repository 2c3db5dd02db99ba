// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: texts of /proc/PID/status, stat, timers, limits and cgroup. */
#include "kernel/freezer.h"
#include "kernel/proc_limits.h"
#include "kernel/proc_stat.h"
#include "kernel/proc_status.h"
#include "kernel/proc_timers.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct proc_status status;
	struct proc_stat stat;
	struct proc_limits limits;
	struct proc_timer timer;
	struct cursor c, path;
	uint32_t gid;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (proc_status_parse(text, &status, NULL) == 0)
		while (proc_status_group(&status.groups, &gid))
			;
	(void)!proc_stat_parse(text, &stat, NULL);
	(void)!proc_limits_parse(text, &limits, NULL);
	(void)freezer_path(text, &path);
	c = cursor_of(text);
	while (proc_timers_next(&c, &timer, NULL) > 0)
		;
	free(text);
	return 0;
}
