/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of kernel features, and how one probe is run: in a child, with a time limit. */
#include "kernel/features.h"
#include "kernel/features_priv.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * For the kernel's answer. Where many network namespaces begin and end, making another one was seen
 * to take seconds: it waits for those that go.
 */
enum { LIMIT_SECONDS = 60, STATUS_OTHER = 255 };

const struct feature features[FEATURE_COUNT] = {
#define FEATURE(id, name_, since_, category_, probe_, lost_)                              \
	[HAS_##id] = { .name = name_, .since = since_, .lost = lost_, .probe = probe_, \
		.category = FEATURE_##category_ },
#include "kernel/features.def"
};

enum feature_id feature_find(const char *name)
{
	int id;

	for (id = 0; id < FEATURE_COUNT; id++)
		if (!strcmp(features[id].name, name))
			break;
	return (enum feature_id)id;
}

/* The exit status carries the errno. */
static void probe_and_exit(const struct feature *f)
{
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, SIG_DFL);
	alarm(LIMIT_SECONDS);
	r = f->probe();
	_exit(r >= 0 ? 0 : -r < STATUS_OTHER ? -r : STATUS_OTHER);
}

int feature_probe(enum feature_id id)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		probe_and_exit(&features[id]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status))
		return -ETIME;
	return -WEXITSTATUS(status);
}

int probe_in_tracee(int (*prepare)(void), int (*look)(pid_t pid))
{
	int ready[2], status, r = -EIO;
	pid_t pid;
	char byte;

	if (pipe(ready) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = prepare ? (char)-prepare() : 0;
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1)
		r = -byte;
	if (r == 0)
		r = look(pid);
	kill(pid, SIGKILL);
	waitpid(pid, &status, __WALL);
	return r;
}
