// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Parsers of status, stat, timers, limits and cgroup: recorded texts, this process's own files, and many
 * mutated copies, which must be refused or understood without leaving their bounds.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/freezer.h"
#include "kernel/proc_limits.h"
#include "kernel/proc_stat.h"
#include "kernel/proc_status.h"
#include "kernel/proc_timers.h"
#include "tests/unit/tap.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char status_text[] =
	"Name:\tTgid:\\n7\nUmask:\t0027\nState:\tt (tracing stop)\nTgid:\t4242\nNgid:\t0\n"
	"Pid:\t4243\nPPid:\t17\nTracerPid:\t99\nUid:\t1\t2\t3\t4294967294\nGid:\t5\t6\t7\t8\n"
	"FDSize:\t64\nGroups:\t10 20 70000 \nNStgid:\t4242\t2\nNSpid:\t4243\t3\nNSpgid:\t17\t0\n"
	"NSsid:\t17\t0\nThreads:\t3\nSigQ:\t1/96365\nSigPnd:\t0000000000000200\n"
	"ShdPnd:\t8000000000000000\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\n"
	"SigCgt:\t0000000000000004\nCapInh:\t0000000000000008\nCapPrm:\t000001ffffffffff\n"
	"CapEff:\t0000000000000010\nCapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000000\n"
	"NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t5\nx86_Thread_features:\tshstk wrss \n"
	"x86_Thread_features_locked:\t\n";

static const char stat_text[] =
	"42 (a) b\n(c) S 1 42 42 34816 -1 4194560 123 0 0 0 7 8 0 0 20 -5 3 0 5001 6156288 301 "
	"18446744073709551615 94001 94002 140001 0 0 0 0 0 65536 1 0 0 17 1 0 0 0 0 0 95001 95002 "
	"96001 140011 140012 140013 140014 -11\n";

static const char timers_text[] =
	"ID: 0\nsignal: 10/00007fffdeadbeef\nnotify: signal/pid.42\nClockID: 1\n"
	"ID: 4242\nsignal: 34/0000000000000001\nnotify: signal/tid.43\nClockID: -6\n"
	"ID: 7\nsignal: 0/0000000000000000\nnotify: none/pid.42\nClockID: 7\n";

static const char cgroup_text[] = "9:name=systemd:/a\n8:cpu,cpuacct:/b\n7:devices,freezer:/c/d:e\n"
				  "5:freezers:/f\n0::/user.slice\n";

static bool groups_are(struct cursor c, const uint32_t *want, size_t n)
{
	uint32_t gid;
	size_t i = 0;

	while (proc_status_group(&c, &gid))
		if (i == n || gid != want[i++])
			return false;
	return i == n;
}

static void test_status(struct tap *t)
{
	static const uint32_t groups[] = { 10, 20, 70000 };
	struct proc_status s;
	struct err err = ERR_INIT;
	bool good = proc_status_parse(status_text, &s, &err) == 0;

	tap_ok(t, good, "a recorded status is understood", &err);
	if (!good)
		return;
	tap_ok(t, s.state == 't' && s.tgid == 4242 && s.pid == 4243 && s.ppid == 17 &&
		s.tracer == 99 && s.threads == 3 && s.has_umask && s.umask == 027,
		"status: ids, state, umask", NULL);
	tap_ok(t, s.uids[0] == 1 && s.uids[3] == 4294967294u && s.gids[2] == 7 &&
		groups_are(s.groups, groups, 3), "status: uids, gids, groups", NULL);
	tap_ok(t, s.nspid.n == 2 && s.nspid.at[1] == 3 && s.nssid.at[0] == 17 &&
		s.nstgid.at[1] == 2 && s.nspgid.at[1] == 0, "status: ids by namespace", NULL);
	tap_ok(t, s.sigpnd == 0x200 && s.shdpnd == 1ull << 63 && s.sigblk == 1 && s.sigign == 2 &&
		s.sigcgt == 4, "status: signals", NULL);
	tap_ok(t, s.cap_inh == 8 && s.cap_prm == 0x1ffffffffff && s.cap_eff == 16 &&
		s.cap_bnd == 0x1fffeffffff && s.no_new_privs == 1, "status: capabilities", NULL);
	tap_ok(t, s.seccomp == 2 && s.seccomp_filters == 5 && s.has_seccomp_filters &&
		s.shadow_stack, "status: seccomp, shadow stack", NULL);
}

static void test_stat(struct tap *t)
{
	struct proc_stat s;
	struct err err = ERR_INIT;
	bool good = proc_stat_parse(stat_text, &s, &err) == 0;

	tap_ok(t, good, "a recorded stat is understood", &err);
	if (!good)
		return;
	tap_ok(t, !strcmp(s.comm, "a) b\n(c") && s.state == 'S' && s.pid == 42,
		"stat: a name with parentheses and newline", NULL);
	tap_ok(t, s.ppid == 1 && s.tty_nr == 34816 && s.tpgid == -1 && s.flags == 4194560 &&
		s.nice == -5 && s.num_threads == 3 && s.starttime == 5001, "stat: small fields",
		NULL);
	tap_ok(t, s.start_code == 94001 && s.end_code == 94002 && s.start_stack == 140001 &&
		s.start_data == 95001 && s.start_brk == 96001 && s.arg_start == 140011 &&
		s.env_end == 140014 && s.exit_code == -11 && s.exit_signal == 17,
		"stat: addresses and exit code", NULL);
}

static void test_timers(struct tap *t)
{
	struct cursor c = cursor_of(timers_text);
	struct proc_timer pt[3];
	struct err err = ERR_INIT;
	int n = 0, r;

	while (n < 3 && (r = proc_timers_next(&c, &pt[n], &err)) > 0)
		n++;
	tap_ok(t, n == 3 && proc_timers_next(&c, &pt[0], &err) == 0, "recorded timers", &err);
	c = cursor_of(timers_text);
	r = proc_timers_next(&c, &pt[0], &err);
	tap_ok(t, r == 1 && pt[0].signo == 10 && pt[0].sival == 0x7fffdeadbeef &&
		pt[0].notify == 0 && pt[0].target == 42 && pt[0].clock == 1, "timers: the first",
		NULL);
	tap_ok(t, pt[1].id == 4242 && pt[1].notify == 4 && pt[1].target == 43 &&
		pt[1].clock == -6 && pt[2].notify == 1, "timers: the others", NULL);
}

static void test_freezer(struct tap *t)
{
	struct cursor path;

	tap_ok(t, freezer_path(cgroup_text, &path) && path.end - path.at == 6 &&
		!memcmp(path.at, "/c/d:e", 6), "the freezer's group", NULL);
	tap_ok(t, freezer_path("2:freezer:/", &path) && path.end - path.at == 1, "alone, at the root",
		NULL);
	tap_ok(t, !freezer_path("", &path) && !freezer_path("0::/a\n", &path) &&
		!freezer_path("freezer\n:freezer\n3:freezers:/\n3:xfreezer:/\n", &path),
		"no freezer", NULL);
}

static void test_own(struct tap *t)
{
	auto_free char *status = NULL, *stat = NULL, *limits = NULL;
	struct proc_status st;
	struct proc_stat s;
	struct proc_limits l;
	struct err err = ERR_INIT;
	bool good = io_slurp("/proc/self/status", &status, NULL) == 0 &&
		io_slurp("/proc/self/stat", &stat, NULL) == 0 &&
		io_slurp("/proc/self/limits", &limits, NULL) == 0 &&
		proc_status_parse(status, &st, &err) == 0 && proc_stat_parse(stat, &s, &err) == 0 &&
		proc_limits_parse(limits, &l, &err) == 0;
	struct rlimit r = { 0 };

	tap_ok(t, good, "own files are understood", &err);
	if (!good)
		return;
	tap_ok(t, st.tgid == getpid() && s.pid == getpid() && s.ppid == getppid() &&
		st.uids[1] == geteuid() && s.session == getsid(0), "own files: ids", NULL);
	good = true;
	for (int i = 0; i < PROC_N_LIMITS; i++)
		good = good && getrlimit((__rlimit_resource_t)i, &r) == 0 &&
			l.at[i].cur == r.rlim_cur && l.at[i].max == r.rlim_max;
	tap_ok(t, good, "own limits are those of getrlimit", NULL);
}

/* ---- mutations ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void parse_all(const char *text)
{
	struct cursor c = cursor_of(text);
	struct proc_status st;
	struct proc_stat s;
	struct proc_limits l;
	struct proc_timer pt;
	struct cursor path;
	uint32_t gid;

	if (proc_status_parse(text, &st, NULL) == 0)
		while (proc_status_group(&st.groups, &gid))
			;
	(void)!proc_stat_parse(text, &s, NULL);
	(void)!proc_limits_parse(text, &l, NULL);
	(void)freezer_path(text, &path);
	while (proc_timers_next(&c, &pt, NULL) > 0)
		;
}

/* A copy in memory of exactly its size, so that a sanitizer notices a step beyond it. */
static void mutate(const char *text, uint64_t *state)
{
	static const char odd[] = "\0\n\t :()-09fF/.u\x80\xff";
	size_t len = strlen(text);
	size_t cut = next_random(state) % 4 ? len : next_random(state) % (len + 1);
	char *copy = malloc(cut + 1);

	memcpy(copy, text, cut);
	copy[cut] = 0;
	for (unsigned n = (unsigned)(next_random(state) % 4); n && cut; n--)
		copy[next_random(state) % cut] = odd[next_random(state) % (sizeof(odd) - 1)];
	parse_all(copy);
	free(copy);
}

int main(void)
{
	struct tap t = { 0 };
	uint64_t state = 88172645463325252ull;
	auto_free char *limits = NULL;
	struct proc_status st;
	struct proc_stat s;

	test_status(&t);
	test_stat(&t);
	test_timers(&t);
	test_freezer(&t);
	test_own(&t);
	tap_ok(&t, proc_status_parse("", &st, NULL) < 0 && proc_stat_parse("", &s, NULL) < 0 &&
		proc_stat_parse("1 (", &s, NULL) < 0 && proc_stat_parse("1 )(", &s, NULL) < 0 &&
		proc_stat_parse("1 (a) ", &s, NULL) < 0, "what is no such file is refused", NULL);
	if (io_slurp("/proc/self/limits", &limits, NULL) < 0)
		return 1;
	for (int i = 0; i < 50000; i++) {
		mutate(status_text, &state);
		mutate(stat_text, &state);
		mutate(timers_text, &state);
		mutate(limits, &state);
		mutate(cgroup_text, &state);
	}
	tap_ok(&t, true, "250,000 mutated texts", NULL);
	return tap_done(&t);
}
