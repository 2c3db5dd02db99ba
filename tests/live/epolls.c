/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epolls: sets with 5,000 entries; entries whose number was closed, reused, added twice under one
 * number, added by a child by its own number; one-shot entries that have shot; a set in a set in a
 * set. The kernel's own lists are compared.
 */
#include "descriptors.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

enum { MANY = 5000, EACH = 50, SETS = 8 };

struct line {
	int tfd;
	unsigned events;
	unsigned long long data;
};

static int big, odd, shot, level[3], kept, reused, idle, events[EACH];
static struct line lines[SETS][MANY + 10];
static int n_lines[SETS];

static void add(int set, int fd, uint32_t what, uint64_t data)
{
	struct epoll_event ev = { .events = what, .data.u64 = data };

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) < 0)
		fail("setup: cannot add %d to %d: %s", fd, set, strerror(errno));
}

static int by_number(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	return x->tfd != y->tfd ? x->tfd - y->tfd : x->data < y->data ? -1 : x->data > y->data;
}

static int note_set(int fd, struct line *ret)
{
	char path[64], text[256];
	struct line *l = ret;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	NEED(f);
	while (fgets(text, sizeof(text), f) && l - ret < MANY + 10)
		if (sscanf(text, "tfd: %d events: %x data: %llx", &l->tfd, &l->events, &l->data) == 3)
			l++;
	fclose(f);
	qsort(ret, l - ret, sizeof(*ret), by_number);
	return l - ret;
}

/*
 * An entry that has shot waits for nothing; where its file was not ready for anything it waits for
 * errors and hang-ups (0x18) afterwards.
 */
static void check_set(int fd, int which)
{
	static struct line now[MANY + 10];
	int n = note_set(fd, now);

	SAME(n, n_lines[which]);
	for (int i = 0; i < n; i++) {
		const struct line *a = &lines[which][i], *b = &now[i];
		bool waits = a->events == EPOLLONESHOT && b->events == (EPOLLONESHOT | 0x18);

		if (a->tfd != b->tfd || a->data != b->data || (a->events != b->events && !waits))
			fail("set %d: %d for 0x%x data %llx, not %d for 0x%x data %llx", which, b->tfd,
				b->events, b->data, a->tfd, a->events, a->data);
	}
}

static void set_up_odd(void)
{
	int other;

	odd = epoll_create1(0);
	kept = eventfd(0, 0);
	other = dup(kept);
	add(odd, other, EPOLLIN, 1); /* its number closes */
	add(odd, kept, EPOLLIN, 2);
	close(other);
	reused = dup(events[0]);
	SAME(reused, other);
	add(odd, reused, EPOLLIN | EPOLLET, 3); /* the same number, two files */
	other = fcntl(events[1], F_DUPFD, 700);
	add(odd, other, EPOLLIN, 4);
	NEED(dup2(events[2], other) == other); /* the number is another file now */
}

static void set_up_shot(void)
{
	struct epoll_event ev[4];

	shot = epoll_create1(0);
	add(shot, events[3], EPOLLOUT | EPOLLONESHOT, 5);
	add(shot, events[4], EPOLLOUT | EPOLLONESHOT, 6);
	SAME(epoll_wait(shot, ev, 4, 0), 2);
	idle = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	add(shot, idle, EPOLLIN | EPOLLONESHOT, 7);
	NEED(timerfd_settime(idle, 0, &(struct itimerspec){ .it_value = { 0, 1 } }, NULL) == 0);
	SAME(epoll_wait(shot, ev, 4, PATIENCE_MS), 1);
	NEED(timerfd_settime(idle, 0, &(struct itimerspec){ .it_value = { 5000, 0 } }, NULL) == 0);
	add(shot, events[5], EPOLLIN | EPOLLONESHOT, 8); /* has not */
}

static void kid(void *arg)
{
	int own = fcntl(events[6], F_DUPFD, 900); /* a number that only this table has */
	int mine = eventfd(0, 0);

	(void)arg;
	add(odd, own, EPOLLIN, 9);
	NEED(dup2(mine, 901) == 901);
	close(mine);
	add(odd, 901, EPOLLIN, 10);
	n_lines[1] = note_set(odd, lines[1]);
	child_up();
	wait_term();
	check_set(odd, 1);
	CHECK(write(901, &(uint64_t){ 1 }, 8) == 8);
	subject_term = 0;
	wait_term(); /* with it goes the file of 901 */
}

static void check_events(pid_t pid)
{
	struct epoll_event ev[16];
	uint64_t one = 1;
	unsigned seen = 0;

	SAME(epoll_wait(shot, ev, 4, 0), 0);
	CHECK(write(events[5], &one, 8) == 8);
	SAME(epoll_wait(shot, ev, 4, 0), 1);
	SAME(ev[0].data.u64, 8);
	ev[0] = (struct epoll_event){ .events = EPOLLOUT, .data.u64 = 11 };
	CHECK(epoll_ctl(shot, EPOLL_CTL_MOD, events[3], ev) == 0); /* armed again */
	SAME(epoll_wait(shot, ev, 4, 0), 1);
	SAME(ev[0].data.u64, 11);
	SAME(epoll_wait(odd, ev, 16, 0), 0);
	CHECK(kill(pid, SIGTERM) == 0);
	SAME(epoll_wait(odd, ev, 16, PATIENCE_MS), 1);
	SAME(ev[0].data.u64, 10);
	child_end(pid);
	CHECK(write(kept, &one, 8) == 8 && write(events[0], &one, 8) == 8 && write(events[1], &one, 8) == 8);
	CHECK(write(events[6], &one, 8) == 8);
	for (int i = epoll_wait(odd, ev, 16, 0); i-- > 0;)
		seen |= 1u << ev[i].data.u64;
	SAME(seen, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9);
	CHECK(write(events[7], &one, 8) == 8);
	SAME(epoll_wait(level[2], ev, 16, 0), 1);
}

int main(int argc, char **argv)
{
	int all[SETS];
	pid_t pid;

	subject_init(argc, argv);
	NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ MANY + 1100, MANY + 1100 }) == 0);
	for (int i = 0; i < EACH; i++)
		events[i] = eventfd(0, EFD_NONBLOCK);
	big = epoll_create1(EPOLL_CLOEXEC);
	set_up_odd();
	set_up_shot();
	for (int i = 0; i < 3; i++) {
		level[i] = epoll_create1(0);
		add(level[i], i ? level[i - 1] : events[7], EPOLLIN, i);
	}
	for (int i = 0; i < MANY; i++) {
		NEED(dup2(events[i % EACH], 1000 + i) == 1000 + i);
		add(big, 1000 + i, EPOLLIN | (i % 3 ? EPOLLET : 0), 0x100000000 + i);
	}
	pid = child(kid, NULL);
	for (int i = 0; i < 6; i++) {
		all[i] = (int[]){ big, odd, shot, level[0], level[1], level[2] }[i];
		n_lines[i] = note_set(all[i], lines[i]);
	}
	SAME(n_lines[0], MANY);
	SAME(n_lines[1], 6);
	ready();
	wait_term();
	for (int i = 0; i < 6; i++)
		check_set(all[i], i);
	check_events(pid);
	pass();
}
