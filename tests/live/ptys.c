/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ptys: pseudoterminals of its own, in two devpts: a session with foreground group and /dev/tty, raw
 * and canonical settings, window sizes, packet mode, locked, exclusive; lines, parts of lines and
 * much data that nobody has read yet, in both directions; slaves that were closed or hung up; high
 * numbers with gaps.
 */
#include "descriptors.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <termios.h>

enum { MUCH = 9600 };

struct pair {
	int master, slave;
	char name[64];
	struct fd_note notes[2];
	struct termios t;
	struct winsize w;
};

enum { SESSION, LINES, END, RAW, PACKET, CLOSED, HUNG, FRESH, ELSEWHERE, N };

static struct pair pairs[N];
static const int far[] = { 39, 22, 27 }; /* numbers beyond those of the pairs */
static int far_masters[3], far_numbers[3];
static volatile sig_atomic_t interrupted;

static void mount_pts(const char *where)
{
	NEED(mount("devpts", where, "devpts", 0, "newinstance,ptmxmode=0666,mode=0620") == 0);
}

static struct pair *make(int which, const char *dir, bool with_slave)
{
	struct pair *p = &pairs[which];
	char ptmx[80];
	int n;

	snprintf(ptmx, sizeof(ptmx), "%s", strcmp(dir, "/dev/pts") ? "pts/ptmx" : "/dev/ptmx");
	p->master = open(ptmx, O_RDWR | O_NOCTTY | O_CLOEXEC);
	NEED(p->master >= 0 && ioctl(p->master, TIOCGPTN, &n) == 0);
	snprintf(p->name, sizeof(p->name), "%s/%d", dir, n);
	p->slave = -1;
	if (!with_slave)
		return p;
	NEED(ioctl(p->master, TIOCSPTLCK, &(int){ 0 }) == 0);
	p->slave = open(p->name, O_RDWR | O_NOCTTY);
	NEED(p->slave >= 0);
	return p;
}

static void set_raw(int fd)
{
	struct termios t;

	NEED(tcgetattr(fd, &t) == 0);
	cfmakeraw(&t);
	t.c_cc[VMIN] = 3;
	t.c_cc[VINTR] = 'q';
	NEED(tcsetattr(fd, TCSANOW, &t) == 0);
}

static void put(int fd, const char *text)
{
	NEED(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* The text must be this one, which may come in parts; "" that nothing is there. */
static void get(int fd, const char *want)
{
	char buf[256] = "";
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t at = 0;
	ssize_t n;

	do {
		n = 0;
		if (poll(&p, 1, *want ? PATIENCE_MS : 0) == 1 && p.revents & POLLIN)
			n = read(fd, buf + at, sizeof(buf) - 1 - at);
		at += n > 0 ? (size_t)n : 0;
	} while (n > 0 && at < strlen(want));
	if (n < 0 || strcmp(buf, want))
		fail("descriptor %d: read %zu bytes '%s', not '%s'", fd, at, buf, want);
}

/* A worker of the kernel carries what was written to the other end. */
static void await_bytes(int fd, int n)
{
	int there = 0;

	for (int i = 0; i < PATIENCE_MS && there < n; i++) {
		NEED(ioctl(fd, FIONREAD, &there) == 0);
		usleep(there < n ? 1000 : 0);
	}
	SAME(there, n);
}

static void put_much(int fd, uint64_t seed)
{
	static char buf[MUCH];
	size_t at = 0;

	fill(buf, MUCH, seed);
	while (at < MUCH) {
		ssize_t n = write(fd, buf + at, MUCH - at);

		NEED(n > 0);
		at += n;
	}
}

static void get_much(int fd, uint64_t seed)
{
	static char buf[MUCH];
	size_t at = 0;

	while (at < MUCH) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) != 1 || (n = read(fd, buf + at, MUCH - at)) <= 0)
			fail("only %zu of %d bytes came", at, MUCH);
		at += n;
	}
	CHECK(holds(buf, MUCH, seed));
}

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted++;
}

/* In the foreground of the session. */
static void worker(void *arg)
{
	(void)arg;
	NEED(setpgid(0, 0) == 0);
	signal(SIGINT, on_interrupt);
	child_up();
	wait_term();
	CHECK(interrupted == 1);
	SAME(tcgetpgrp(pairs[SESSION].slave), getpid());
	put(pairs[SESSION].slave, "front\n");
}

static void leader(void *arg)
{
	int slave = pairs[SESSION].slave, tty;
	struct fd_note notes[2];
	pid_t pid;

	(void)arg;
	NEED(setsid() == getpid());
	NEED(ioctl(slave, TIOCSCTTY, 0) == 0);
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	NEED(tty >= 0);
	signal(SIGINT, on_interrupt);
	signal(SIGTTOU, SIG_IGN);
	pid = child(worker, NULL);
	NEED(tcsetpgrp(slave, pid) == 0);
	fd_note(&notes[0], slave);
	fd_note(&notes[1], tty);
	child_up();
	wait_term();
	fd_check(&notes[0], slave, false);
	fd_check(&notes[1], tty, true);
	SAME(interrupted, 0);
	SAME(tcgetsid(tty), getpid());
	SAME(tcgetpgrp(tty), pid);
	child_end(pid);
	put(tty, "tty\n");
}

/* Descriptors in another order than the numbers, which have gaps. */
static void make_far(void)
{
	int all[40];

	for (int i = 0; i < 40; i++)
		NEED((all[i] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0);
	for (int i = 0; i < 3; i++) {
		NEED((far_masters[i] = fcntl(all[far[i]], F_DUPFD, 200 + 10 * i)) >= 0);
		NEED(ioctl(far_masters[i], TIOCGPTN, &far_numbers[i]) == 0);
	}
	for (int i = 0; i < 40; i++)
		close(all[i]);
}

static void check_far(void)
{
	for (int i = 0; i < 3; i++) {
		int n = -1;

		CHECK(ioctl(far_masters[i], TIOCGPTN, &n) == 0);
		SAME(n, far_numbers[i]);
	}
}

static void set_up(void)
{
	struct pair *p;

	NEED(mkdir("pts", 0755) == 0);
	mount_pts("/dev/pts");
	mount_pts("pts");
	p = make(SESSION, "/dev/pts", true);
	NEED(fchown(p->slave, 7, 8) == 0 && fchmod(p->slave, 0612) == 0);
	p = make(LINES, "/dev/pts", true);
	put(p->master, "one\ntwo\npar");
	await_bytes(p->master, 13); /* the echo comes first */
	put(p->slave, "out\n");
	p = make(END, "/dev/pts", true);
	put(p->master, "abc\004\004def\004");
	p = make(RAW, "/dev/pts", true);
	set_raw(p->slave);
	put_much(p->slave, 3);
	put_much(p->master, 4);
	NEED(ioctl(p->slave, TIOCEXCL) == 0);
	p = make(PACKET, "/dev/pts", true);
	NEED(ioctl(p->master, TIOCPKT, &(int){ 1 }) == 0);
	put(p->slave, "x");
	p = make(CLOSED, "/dev/pts", true);
	put(p->slave, "bye\n");
	close(p->slave);
	p->slave = -1;
	p = make(HUNG, "/dev/pts", true);
	close(p->master);
	p->master = -1;
	make(FRESH, "/dev/pts", false);
	make_far();
	p = make(ELSEWHERE, "pts", true);
	put(p->slave, "there\n");
	for (int i = 0; i < N; i++)
		if (pairs[i].master >= 0) {
			struct winsize w = { 20 + i, 100 + i, 0, i };

			NEED(ioctl(pairs[i].master, TIOCSWINSZ, &w) == 0);
		}
}

static void note(struct pair *p)
{
	if (p->master >= 0) {
		fd_note(&p->notes[0], p->master);
		NEED(tcgetattr(p->master, &p->t) == 0);
		NEED(ioctl(p->master, TIOCGWINSZ, &p->w) == 0);
	}
	if (p->slave >= 0)
		fd_note(&p->notes[1], p->slave);
}

static void check(struct pair *p)
{
	struct termios t;
	struct winsize w;
	int n;

	if (p->master >= 0) {
		fd_check(&p->notes[0], p->master, true);
		CHECK(ioctl(p->master, TIOCGPTN, &n) == 0);
		CHECK(atoi(strrchr(p->name, '/') + 1) == n);
		CHECK(tcgetattr(p->master, &t) == 0 && !memcmp(&t, &p->t, sizeof(t)));
		CHECK(ioctl(p->master, TIOCGWINSZ, &w) == 0 && !memcmp(&w, &p->w, sizeof(w)));
	}
	if (p->slave >= 0) {
		struct stat st;

		fd_check(&p->notes[1], p->slave, false);
		if (p->master >= 0)
			CHECK(stat(p->name, &st) == 0 && st.st_rdev == p->notes[1].st.st_rdev);
	}
}

static void check_data(void)
{
	struct pollfd closed = { .fd = pairs[CLOSED].master }, fresh = { .fd = pairs[FRESH].master };
	char c;
	int on = 0;

	get(pairs[LINES].slave, "one\n");
	get(pairs[LINES].slave, "two\n");
	get(pairs[LINES].slave, "");
	get(pairs[LINES].master, "one\r\ntwo\r\nparout\r\n");
	put(pairs[LINES].master, "tial\n");
	get(pairs[LINES].slave, "partial\n");
	get(pairs[END].slave, "abc");
	get(pairs[END].slave, "");
	get(pairs[END].slave, "def");
	CHECK(ioctl(pairs[RAW].slave, TIOCGEXCL, &on) == 0 && on);
	get_much(pairs[RAW].master, 3);
	get_much(pairs[RAW].slave, 4);
	CHECK(ioctl(pairs[PACKET].master, TIOCGPKT, &on) == 0 && on);
	CHECK(read(pairs[PACKET].master, &c, 1) == 1 && c == 0);
	CHECK(read(pairs[PACKET].master, (char[2]){ 0 }, 2) == 2);
	CHECK(poll(&closed, 1, 0) == 1 && closed.revents & POLLHUP);
	get(pairs[CLOSED].master, "bye\r\n");
	CHECK(read(pairs[CLOSED].master, &c, 1) < 0 && errno == EIO);
	CHECK(read(pairs[HUNG].slave, &c, 1) == 0);
	CHECK(write(pairs[HUNG].slave, &c, 1) < 0 && errno == EIO);
	CHECK(poll(&fresh, 1, 0) == 0);
	CHECK(ioctl(pairs[FRESH].master, TIOCGPTLCK, &on) == 0 && on);
	get(pairs[ELSEWHERE].master, "there\r\n");
}

int main(int argc, char **argv)
{
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(leader, NULL);
	for (int i = 0; i < N; i++)
		note(&pairs[i]);
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		check(&pairs[i]);
	check_data();
	check_far();
	put(pairs[SESSION].master, "\003");
	get(pairs[SESSION].master, "^C"); /* the signal was sent before */
	child_end(pid);
	get(pairs[SESSION].master, "front\r\ntty\r\n");
	pass();
}
