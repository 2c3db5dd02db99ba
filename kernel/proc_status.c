// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One pass over the lines; a table says what each key is and where its value goes. The keys come
 * in a fixed order, so the search for the next one starts where the last one was found.
 */
#include "kernel/proc_status.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum line_kind {
	LINE_CHAR,
	LINE_PID,
	LINE_DEC,
	LINE_HEX,
	LINE_OCT,
	LINE_FOUR,
	LINE_IDS,
	LINE_REST,
	LINE_FEATURES,
};

struct line_rule {
	const char *key;
	enum line_kind kind;
	size_t offset;
	bool basic; /* every kernel prints it for every task */
};

#define RULE(key, kind, member)                                                                    \
	{                                                                                          \
		key, kind, offsetof(struct proc_status, member), false                             \
	}
#define BASIC(key, kind, member)                                                                   \
	{                                                                                          \
		key, kind, offsetof(struct proc_status, member), true                              \
	}

static const struct line_rule rules[] = {
	RULE("Umask:", LINE_OCT, umask),
	BASIC("State:", LINE_CHAR, state),
	BASIC("Tgid:", LINE_PID, tgid),
	BASIC("Pid:", LINE_PID, pid),
	BASIC("PPid:", LINE_PID, ppid),
	BASIC("TracerPid:", LINE_PID, tracer),
	BASIC("Uid:", LINE_FOUR, uids),
	BASIC("Gid:", LINE_FOUR, gids),
	RULE("Groups:", LINE_REST, groups),
	RULE("NStgid:", LINE_IDS, nstgid),
	RULE("NSpid:", LINE_IDS, nspid),
	RULE("NSpgid:", LINE_IDS, nspgid),
	RULE("NSsid:", LINE_IDS, nssid),
	RULE("Threads:", LINE_DEC, threads),
	RULE("SigPnd:", LINE_HEX, sigpnd),
	RULE("ShdPnd:", LINE_HEX, shdpnd),
	BASIC("SigBlk:", LINE_HEX, sigblk),
	RULE("SigIgn:", LINE_HEX, sigign),
	RULE("SigCgt:", LINE_HEX, sigcgt),
	RULE("CapInh:", LINE_HEX, cap_inh),
	BASIC("CapPrm:", LINE_HEX, cap_prm),
	RULE("CapEff:", LINE_HEX, cap_eff),
	BASIC("CapBnd:", LINE_HEX, cap_bnd),
	RULE("CapAmb:", LINE_HEX, cap_amb),
	RULE("NoNewPrivs:", LINE_DEC, no_new_privs),
	RULE("Seccomp:", LINE_DEC, seccomp),
	RULE("Seccomp_filters:", LINE_DEC, seccomp_filters),
	RULE("x86_Thread_features:", LINE_FEATURES, shadow_stack),
};

enum { N_RULES = sizeof(rules) / sizeof(*rules) };

static bool take_pid(struct cursor *c, pid_t *ret)
{
	uint32_t v;

	if (!parse_u32(c, 10, &v) || v > INT32_MAX)
		return false;
	*ret = (pid_t)v;
	return true;
}

static bool take_four(struct cursor *c, uint32_t ids[4])
{
	for (int i = 0; i < 4; i++) {
		parse_blanks(c);
		if (!parse_u32(c, 10, &ids[i]))
			return false;
	}
	return true;
}

static bool take_ids(struct cursor *c, struct ns_ids *ids)
{
	ids->n = 0;
	for (parse_blanks(c); !cursor_done(c); parse_blanks(c)) {
		if (ids->n == PROC_NS_LEVELS || !take_pid(c, &ids->at[ids->n]))
			return false;
		ids->n++;
	}
	return ids->n > 0;
}

static bool take_features(struct cursor *c, bool *shadow_stack)
{
	const char *word;
	size_t len;

	for (parse_blanks(c); parse_word(c, &word, &len); parse_blanks(c))
		if (len == 5 && !memcmp(word, "shstk", 5))
			*shadow_stack = true;
	return true;
}

static bool take_value(struct cursor *c, const struct line_rule *r, struct proc_status *st)
{
	void *at = (char *)st + r->offset;

	parse_blanks(c);
	switch (r->kind) {
	case LINE_CHAR:
		if (cursor_done(c))
			return false;
		*(char *)at = *c->at;
		return true;
	case LINE_PID:
		return take_pid(c, at);
	case LINE_DEC:
		return parse_u64(c, 10, at);
	case LINE_HEX:
		return parse_u64(c, 16, at);
	case LINE_OCT:
		return parse_u64(c, 8, at);
	case LINE_FOUR:
		return take_four(c, at);
	case LINE_IDS:
		return take_ids(c, at);
	case LINE_REST:
		*(struct cursor *)at = *c;
		return true;
	case LINE_FEATURES:
		return take_features(c, at);
	}
	return false;
}

/* The rule of a line, which is moved behind the key; N_RULES if nobody wants it. */
static size_t rule_of(struct cursor *line, size_t from)
{
	for (size_t i = 0; i < N_RULES; i++) {
		size_t r = (from + i) % N_RULES;

		if (parse_lit(line, rules[r].key))
			return r;
	}
	return N_RULES;
}

static bool all_seen(uint64_t seen)
{
	for (size_t i = 0; i < N_RULES; i++)
		if (rules[i].basic && !(seen >> i & 1))
			return false;
	return true;
}

int proc_status_parse(const char *text, struct proc_status *ret, struct err *err)
{
	struct proc_status st = { .groups = cursor_of("") };
	struct cursor c = cursor_of(text), line;
	uint64_t seen = 0;
	size_t next = 0;

	while (parse_line(&c, &line)) {
		size_t r = rule_of(&line, next);

		if (r == N_RULES)
			continue;
		if (!take_value(&line, &rules[r], &st))
			return err_set(err, ERR_KERNEL, EINVAL,
				"line '%s' of a status file in /proc cannot be understood",
				rules[r].key);
		seen |= 1ull << r;
		next = r + 1;
		if (rules[r].offset == offsetof(struct proc_status, umask))
			st.has_umask = true;
		if (rules[r].offset == offsetof(struct proc_status, seccomp_filters))
			st.has_seccomp_filters = true;
	}
	if (!all_seen(seen))
		return err_set(err, ERR_KERNEL, EINVAL, "a status file in /proc lacks basic lines");
	*ret = st;
	return 0;
}

bool proc_status_group(struct cursor *groups, uint32_t *ret)
{
	parse_blanks(groups);
	return parse_u32(groups, 10, ret);
}
