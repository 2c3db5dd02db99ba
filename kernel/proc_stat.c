// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Behind the comm all fields are numbers separated by single blanks; they are collected as 64-bit
 * words by their number in proc(5) and then given their names.
 */
#include "kernel/proc_stat.h"
#include "base/parse.h"
#include <errno.h>
#include <string.h>

enum { FIRST_NUMBER = 4, LAST_NUMBER = 52 };

struct words {
	int64_t at[LAST_NUMBER + 1]; /* index: field number of proc(5) */
};

/* Numbers 4 to 52; some are printed unsigned beyond INT64_MAX and wrap, as their bits are. */
static bool take_words(struct cursor *c, struct words *w)
{
	for (int i = FIRST_NUMBER; i <= LAST_NUMBER; i++) {
		uint64_t v;

		parse_blanks(c);
		if (parse_u64(c, 10, &v))
			w->at[i] = (int64_t)v;
		else if (!parse_i64(c, &w->at[i]))
			return false;
	}
	return true;
}

static void name_words(const struct words *w, struct proc_stat *s)
{
	s->ppid = (pid_t)w->at[4];
	s->pgrp = (pid_t)w->at[5];
	s->session = (pid_t)w->at[6];
	s->tty_nr = (int32_t)w->at[7];
	s->tpgid = (pid_t)w->at[8];
	s->flags = (uint32_t)w->at[9];
	s->priority = w->at[18];
	s->nice = w->at[19];
	s->num_threads = w->at[20];
	s->starttime = (uint64_t)w->at[22];
	s->vsize = (uint64_t)w->at[23];
	s->rss = w->at[24];
	s->start_code = (uint64_t)w->at[26];
	s->end_code = (uint64_t)w->at[27];
	s->start_stack = (uint64_t)w->at[28];
	s->exit_signal = (uint64_t)w->at[38];
	s->rt_priority = (uint64_t)w->at[40];
	s->policy = (uint64_t)w->at[41];
	s->start_data = (uint64_t)w->at[45];
	s->end_data = (uint64_t)w->at[46];
	s->start_brk = (uint64_t)w->at[47];
	s->arg_start = (uint64_t)w->at[48];
	s->arg_end = (uint64_t)w->at[49];
	s->env_start = (uint64_t)w->at[50];
	s->env_end = (uint64_t)w->at[51];
	s->exit_code = (int32_t)w->at[52];
}

int proc_stat_parse(const char *text, struct proc_stat *ret, struct err *err)
{
	struct cursor c = cursor_of(text);
	const char *close = strrchr(text, ')');
	struct proc_stat s = { 0 };
	struct words w;
	uint32_t pid;
	size_t len;

	if (!parse_u32(&c, 10, &pid) || pid > INT32_MAX || !parse_lit(&c, " (") || !close ||
		close < c.at)
		return err_set(err, ERR_KERNEL, EINVAL, "a stat file in /proc has no name in it");
	s.pid = (pid_t)pid;
	len = (size_t)(close - c.at);
	if (len > sizeof(s.comm) - 1)
		len = sizeof(s.comm) - 1;
	memcpy(s.comm, c.at, len);
	c.at = close;
	if (!parse_lit(&c, ") ") || cursor_done(&c))
		return err_set(
			err, ERR_KERNEL, EINVAL, "stat of process %u in /proc is cut off", pid);
	s.state = *c.at++;
	if (!take_words(&c, &w))
		return err_set(err, ERR_KERNEL, EINVAL,
			"stat of process %u in /proc has a field that is no number", pid);
	name_words(&w, &s);
	*ret = s;
	return 0;
}
