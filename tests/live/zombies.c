/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * zombies: dead children with their exit codes and signals, name, group and session, one below
 * another child, and one that leads a group in which somebody lives.
 */
#include "subject.h"

static const struct {
	int code, sig;
	bool session;
} deaths[] = { { 0, 0, false }, { 7, 0, false }, { 255, 0, true }, { 0, SIGKILL, false },
	{ 0, SIGUSR1, false }, { 0, 40, false } };

#define N (int)(sizeof(deaths) / sizeof(deaths[0]))

static void die(int i)
{
	char name[16];
	struct rlimit no_core = { 0, 0 };

	snprintf(name, sizeof(name), "dead-%d", i);
	prctl(PR_SET_NAME, name);
	setrlimit(RLIMIT_CORE, &no_core);
	if (deaths[i].session)
		setsid();
	if (deaths[i].sig) {
		kill(getpid(), deaths[i].sig);
		pause();
	}
	_exit(deaths[i].code);
}

static pid_t zombie(int i)
{
	siginfo_t si;
	pid_t pid = fork();

	NEED(pid >= 0);
	if (pid == 0)
		die(i);
	NEED(waitid(P_PID, pid, &si, WEXITED | WNOWAIT) == 0);
	return pid;
}

static void verify(pid_t pid, int i, pid_t group)
{
	char path[64], comm[32], want[32];
	int status;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	slurp(path, comm, sizeof(comm));
	snprintf(want, sizeof(want), "dead-%d\n", i);
	if (strcmp(comm, want))
		fail("name of zombie %d is '%s', not '%s'", pid, comm, want);
	SAME(process_state(pid), 'Z');
	SAME(getpgid(pid), group);
	SAME(getsid(pid), deaths[i].session ? pid : getsid(0));
	status = child_reap(pid);
	if (deaths[i].sig)
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == deaths[i].sig);
	else
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == deaths[i].code);
}

static void below(void *arg)
{
	pid_t z = zombie(1);

	(void)arg;
	child_up();
	wait_term();
	verify(z, 1, getpgid(0));
}

static void in_group(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
}

int main(int argc, char **argv)
{
	pid_t z[N], live, member, leader;
	siginfo_t si;

	subject_init(argc, argv);
	for (int i = 0; i < N; i++)
		z[i] = zombie(i);
	live = child(below, NULL);
	leader = fork();
	NEED(leader >= 0);
	if (leader == 0) {
		prctl(PR_SET_NAME, "dead-0");
		setpgid(0, 0);
		pause();
	}
	while (getpgid(leader) != leader)
		usleep(1000);
	member = child(in_group, NULL);
	NEED(setpgid(member, leader) == 0);
	NEED(kill(leader, SIGTERM) == 0 || errno == ESRCH);
	NEED(kill(leader, SIGKILL) == 0);
	NEED(waitid(P_PID, leader, &si, WEXITED | WNOWAIT) == 0);
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		verify(z[i], i, deaths[i].session ? z[i] : getpgid(0));
	SAME(process_state(leader), 'Z');
	SAME(getpgid(member), leader);
	child_end(member);
	SAME(WTERMSIG(child_reap(leader)), SIGKILL);
	child_end(live);
	pass();
}
