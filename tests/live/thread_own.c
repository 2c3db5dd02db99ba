/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * thread_own: a thread that shares less with its process than threads do (argv[2]): files (a table of
 * descriptors), fs (working directory, umask), net, uts (namespaces). After a dump that refused it it
 * still has what it had.
 */
#include "subject.h"
#include <pthread.h>

static const char *what;
static pthread_barrier_t made, asked;
static int own = -1;
static char before[64];

static void read_name(const char *kind, char *ret)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", kind);
	n = readlink(path, ret, 63);
	CHECK(n > 0);
	ret[n] = '\0';
}

static int flag(void)
{
	return !strcmp(what, "files") ? CLONE_FILES : !strcmp(what, "fs") ? CLONE_FS :
		!strcmp(what, "net") ? CLONE_NEWNET : CLONE_NEWUTS;
}

static void check(void)
{
	char now[64];

	if (!strcmp(what, "files")) {
		CHECK(fcntl(own, F_GETFD) >= 0);
	} else if (!strcmp(what, "fs")) {
		SAME(umask(0), 0123);
	} else {
		read_name(what, now);
		CHECK(!strcmp(now, before));
	}
}

static void *thread(void *arg)
{
	NEED(unshare(flag()) == 0);
	if (!strcmp(what, "files")) {
		own = dup(0);
		NEED(own >= 0);
	} else if (!strcmp(what, "fs")) {
		umask(0123);
	} else {
		read_name(what, before);
	}
	pthread_barrier_wait(&made);
	pthread_barrier_wait(&asked);
	check();
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t;

	subject_init(argc, argv);
	NEED(argc > 2);
	what = argv[2];
	NEED(pthread_barrier_init(&made, NULL, 2) == 0 && pthread_barrier_init(&asked, NULL, 2) == 0);
	NEED(pthread_create(&t, NULL, thread, NULL) == 0);
	pthread_barrier_wait(&made);
	CHECK(own < 0 || fcntl(own, F_GETFD) < 0);
	ready();
	wait_term();
	pthread_barrier_wait(&asked);
	CHECK(pthread_join(t, NULL) == 0);
	pass();
}
