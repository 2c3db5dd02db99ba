/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wakeups: threads inside of calls which a handler's signal ends with EINTR, or which go on after a
 * handler with SA_RESTART. The signals come while the process is stopped: each thread has one to
 * handle before its call goes on, which must end as it does after SIGSTOP and SIGCONT. A thread that
 * only waits (in pause) must still wait.
 */
#include "subject.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

enum how {
	PAUSE, SUSPEND, SUSPEND_BLOCKED, READ, SELECT, PPOLL, ACCEPT, WAIT, FUTEX, RECEIVE, AGAIN, UNTOUCHED,
	N_THREADS
};

struct waiter {
	enum how how;
	pthread_t thread;
	atomic_int tid, handled, over; /* 1: its call is over */
	int error;
	long result;
};
static struct waiter *waiters; /* shared with the sender */
static _Thread_local struct waiter *me;
static pid_t sender;
static int quiet[2], again[2], listener, queue, word;

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	(void)sig, (void)info, (void)ctx;
	me->handled++;
}

static int signal_of(enum how how)
{
	return SIGRTMIN + (int)how;
}

/* The idiom: blocked but for the call. */
static long suspend_blocked(struct waiter *w)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, signal_of(w->how));
	pthread_sigmask(SIG_BLOCK, &set, &old);
	while (!w->handled)
		sigsuspend(&old);
	errno = EINTR;
	return -1;
}

static long call(struct waiter *w)
{
	struct { long type; char text[8]; } m;
	struct pollfd p = { .fd = quiet[0], .events = POLLIN };
	sigset_t mask;
	fd_set set;
	char c;

	FD_ZERO(&set);
	FD_SET(quiet[0], &set);
	switch (w->how) {
	case PAUSE:
	case UNTOUCHED:
		return pause();
	case SUSPEND:
		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		return sigsuspend(&mask);
	case SUSPEND_BLOCKED:
		return suspend_blocked(w);
	case READ:
		return read(quiet[0], &c, 1);
	case SELECT:
		return select(quiet[0] + 1, &set, NULL, NULL, NULL);
	case PPOLL:
		return ppoll(&p, 1, NULL, NULL);
	case ACCEPT:
		return accept(listener, NULL, NULL);
	case WAIT:
		return waitpid(sender, NULL, 0);
	case FUTEX:
		return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	case RECEIVE:
		return msgrcv(queue, &m, sizeof(m.text), 0, 0);
	case AGAIN:
		return read(again[0], &c, 1);
	default:
		return 0;
	}
}

static void *waiter(void *arg)
{
	struct waiter *w = me = arg;

	w->tid = (int)syscall(SYS_gettid);
	w->result = call(w);
	w->error = errno;
	w->over = 1;
	return NULL;
}

static bool sleeps(pid_t pid, pid_t tid)
{
	char path[64], buf[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	p = strrchr(buf, ')');
	return p && p[1] && p[2] == 'S';
}

/* Stops its parent and sends each thread its signal. */
static void send_all(void *arg)
{
	pid_t parent = getppid();

	(void)arg;
	child_up();
	for (int i = 0; i < N_THREADS; i++) {
		while (!waiters[i].tid || !sleeps(parent, waiters[i].tid))
			usleep(1000);
	}
	usleep(50000); /* and sleeps in its call, not on the way there */
	NEED(kill(parent, SIGSTOP) == 0);
	NEED(process_reaches(parent, 'T'));
	for (int i = 0; i < UNTOUCHED; i++)
		NEED(syscall(SYS_tgkill, parent, (pid_t)waiters[i].tid, signal_of(i)) == 0);
	ready();
	wait_term();
}

static void check_waiter(const struct waiter *w)
{
	if (w->how == AGAIN)
		return;
	for (int i = 0; i < PATIENCE_MS / 10 && !w->over && w->how != UNTOUCHED; i++)
		usleep(10000);
	if (w->how == UNTOUCHED) {
		SAME(w->handled, 0);
		SAME(w->over, 0);
		return;
	}
	if (w->handled != 1 || !w->over || w->error != EINTR || w->result != -1)
		fail("call %d: handled %d, over %d, result %ld, errno %d", (int)w->how, (int)w->handled,
			(int)w->over, w->result, w->error);
}

static void prepare(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	waiters = mmap(NULL, N_THREADS * sizeof(*waiters), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(waiters != MAP_FAILED);
	NEED(pipe(quiet) == 0 && pipe(again) == 0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	NEED(bind(listener, (void *)&name, sizeof(name.sun_family)) == 0 && listen(listener, 1) == 0);
	queue = msgget(IPC_PRIVATE, 0600);
	NEED(queue >= 0);
	for (int i = 0; i < N_THREADS; i++)
		handle(signal_of(i), on_signal, i == AGAIN ? SA_RESTART : 0);
}

int main(int argc, char **argv)
{
	struct waiter *w;

	subject_init(argc, argv);
	prepare();
	sender = child(send_all, NULL);
	for (int i = 0; i < N_THREADS; i++) {
		waiters[i].how = i;
		NEED(pthread_create(&waiters[i].thread, NULL, waiter, &waiters[i]) == 0);
	}
	wait_term();
	for (int i = 0; i < N_THREADS; i++)
		check_waiter(&waiters[i]);
	w = &waiters[AGAIN];
	for (int i = 0; i < PATIENCE_MS / 10 && !w->handled; i++)
		usleep(10000);
	SAME(w->handled, 1);
	SAME(w->over, 0);
	CHECK(write(again[1], "a", 1) == 1);
	CHECK(pthread_join(w->thread, NULL) == 0);
	SAME(w->result, 1);
	NEED(msgctl(queue, IPC_RMID, NULL) == 0);
	child_end(sender);
	pass();
}
