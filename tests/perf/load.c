/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What bench.py measures with.
 *
 *   load WHAT N READY      memory: holds N MiB of random memory; threads, tasks, areas, files,
 *                          sockets, connections, unixes, terminals, watches, tables: has N of them
 *                          (connections: ends of them on lo; unixes: half are ends of pairs, half of
 *                          connections by a name; terminals: pseudoterminals, both ends; watches:
 *                          sockets one epoll waits for; tables: files in tables of 10,000); makes
 *                          the file READY when all is there
 *   load writes N READY    N MiB of random memory; SIGUSR1 makes it write to one page of a hundred,
 *                          SIGUSR2 to one of ten; then READY has the microseconds of processor
 *                          time it took
 *   load reads N READY     N MiB of random memory; when a file READY.go appears, it reads one byte of
 *                          every page; READY then has three clock readings (CLOCK_MONOTONIC, us): when
 *                          it saw the file, had read 99 % of the pages, had read all
 *   load copy MIB FILE     the yardstick: writes that much random memory into a new file and
 *                          reads it into new memory; prints microseconds of both
 */
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20, TABLE = 10000 };

static void need(int good, const char *what)
{
	if (!good)
		error(1, errno, "cannot %s", what);
}

static uint8_t *map(size_t len, int prot)
{
	uint8_t *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	need(p != MAP_FAILED, "map memory");
	return p;
}

/* Random enough not to be compressed or found equal (xorshift). */
static uint8_t *random_memory(size_t len)
{
	uint64_t *p = (uint64_t *)map(len, PROT_READ | PROT_WRITE), x = 88172645463325252u;

	for (size_t i = 0; i < len / sizeof(x); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
	return (uint8_t *)p;
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void threads(long n)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	for (long i = 1; i < n; i++)
		need((errno = pthread_create(&thread, &attr, sleeper, NULL)) == 0, "make a thread");
}

static void tasks(long n)
{
	for (long i = 1; i < n; i++) {
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			sleeper(NULL);
		}
	}
}

/* Neighbours differ in protection; every tenth page holds something. */
static void areas(long n)
{
	uint8_t *p = map((size_t)n * PAGE, PROT_READ);

	for (long i = 0; i < n; i += 2) {
		need(mprotect(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0, "split an area");
		if (i % 10 == 0)
			p[i * PAGE] = 1;
	}
}

static void many_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Half of them UDP with a port, half TCP without a connection. */
static void sockets(long n)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };

	many_descriptors();
	for (long i = 0; i < n; i++) {
		int fd = socket(AF_INET, i % 2 ? SOCK_STREAM : SOCK_DGRAM, 0);

		need(fd >= 0, "make a socket");
		if (i % 2 == 0)
			need(bind(fd, (void *)&name, sizeof(name)) == 0, "bind a socket");
	}
}

static void connections(long n)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(name);

	many_descriptors();
	need(bind(listener, (void *)&name, len) == 0 && listen(listener, 16) == 0 &&
		getsockname(listener, (void *)&name, &len) == 0, "listen");
	for (long i = 0; i < n; i += 2) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		need(connect(fd, (void *)&name, len) == 0, "connect");
		need(accept(listener, NULL, NULL) >= 0, "accept");
		need(write(fd, "waits", 5) == 5, "send");
	}
}

/* A byte waits in every second one. */
static void unixes(long n)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), ends[2];

	many_descriptors();
	snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "torpor-load-%d", getpid());
	need(bind(listener, (void *)&name, sizeof(name)) == 0 && listen(listener, 16) == 0, "listen");
	for (long i = 0; i < n; i += 2) {
		if (i % 4) {
			need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "make a pair");
		} else {
			ends[0] = socket(AF_UNIX, SOCK_STREAM, 0);
			need(connect(ends[0], (void *)&name, sizeof(name)) == 0, "connect");
			need(accept(listener, NULL, NULL) >= 0, "accept");
		}
		need(write(ends[0], "w", 1) == 1, "send");
	}
}

static void files(long n)
{
	many_descriptors();
	for (long i = 0; i < n; i++)
		need(open("/etc/passwd", O_RDONLY) >= 0, "open a file");
}

/* In a devpts of its own. Lines, and beginnings of lines, wait in every second one. */
static void terminals(long n)
{
	many_descriptors();
	need(mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666") == 0, "mount");
	for (long i = 0; i < n; i++) {
		int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), slave;

		need(master >= 0 && unlockpt(master) == 0, "make a terminal");
		slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
		need(slave >= 0, "open the slave");
		if (i % 2)
			need(write(master, "ls\nl", 4) == 4 && write(slave, "out", 3) == 3, "write");
	}
}

static void watches(long n)
{
	int epoll = epoll_create1(0);

	many_descriptors();
	for (long i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u64 = (uint64_t)i };
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

		need(fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0, "wait for a socket");
	}
}

static uint64_t clock_read(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* In tables of at most TABLE, each of a task of its own: the hard limit is often not far above. */
static void tables(long n)
{
	int ready[2];
	char c;

	need(pipe(ready) == 0, "make a pipe");
	for (; n > TABLE; n -= TABLE) {
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			files(TABLE);
			need(write(ready[1], "r", 1) == 1, "say that it is ready");
			close(ready[0]);
			close(ready[1]);
			sleeper(NULL);
		}
		need(read(ready[0], &c, 1) == 1, "hear of a child");
	}
	close(ready[0]);
	close(ready[1]);
	files(n);
}

static uint64_t now_us(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

/* One byte of every `step`th page, a prime number of pages apart so that none follows another. */
static void writes(long mib, const char *ready)
{
	size_t pages = (size_t)mib * MIB / PAGE;
	uint8_t *p = random_memory(pages * PAGE);
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "block signals");
	need(close(open(ready, O_WRONLY | O_CREAT, 0600)) == 0, "say that it is ready");
	while (sigwait(&set, &sig) == 0) {
		size_t n = pages / (sig == SIGUSR1 ? 100 : 10);
		/* processor time: others on the machine do not count */
		uint64_t begin = clock_read(CLOCK_PROCESS_CPUTIME_ID);
		FILE *f;

		for (size_t i = 0; i < n; i++)
			p[i * 7919 % pages * PAGE]++;
		begin = clock_read(CLOCK_PROCESS_CPUTIME_ID) - begin;
		f = fopen(ready, "w");
		need(f && fprintf(f, "%lu", (unsigned long)begin) > 0 && fclose(f) == 0, "tell");
	}
}

/* Pages in an order in which none follows another. */
static void reads(long mib, const char *ready)
{
	size_t pages = (size_t)mib * MIB / PAGE;
	uint8_t *p = random_memory(pages * PAGE);
	volatile uint8_t sum = 0;
	uint64_t at[3] = { 0 };
	char go[4096];
	FILE *f;

	snprintf(go, sizeof(go), "%s.go", ready);
	need(close(open(ready, O_WRONLY | O_CREAT, 0600)) == 0, "say that it is ready");
	for (;;) {
		while (access(go, F_OK) < 0)
			usleep(50);
		at[0] = now_us();
		for (size_t i = 0; i < pages; i++) {
			sum += p[i * 7919 % pages * PAGE];
			if (i == pages / 100 * 99)
				at[1] = now_us();
		}
		at[2] = now_us();
		need(unlink(go) == 0, "take the file away");
		f = fopen(ready, "w");
		need(f && fprintf(f, "%lu %lu %lu\n", at[0], at[1], at[2]) > 0 && fclose(f) == 0,
			"tell");
	}
}

static void copy(long mib, const char *path)
{
	size_t len = (size_t)mib * MIB;
	uint8_t *from = random_memory(len), *to;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t begin = now_us(), written;

	need(fd >= 0, "make the file");
	for (size_t at = 0; at < len; at += MIB)
		need(write(fd, from + at, MIB) == MIB, "write");
	written = now_us();
	munmap(from, len); /* the reading half needs room, too */
	to = map(len, PROT_READ | PROT_WRITE);
	printf("%lu ", (unsigned long)(written - begin));
	begin = now_us();
	for (size_t at = 0; at < len; at += MIB)
		need(pread(fd, to + at, MIB, (off_t)at) == MIB, "read");
	printf("%lu\n", (unsigned long)(now_us() - begin));
	unlink(path);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fill)(long n);
	} loads[] = { { "threads", threads }, { "tasks", tasks }, { "areas", areas },
		{ "files", files }, { "sockets", sockets }, { "connections", connections },
		{ "unixes", unixes }, { "terminals", terminals }, { "watches", watches },
		{ "tables", tables } };
	long n = argc == 4 ? atol(argv[2]) : 0;

	need(n > 0, "understand the arguments: load WHAT N FILE");
	if (!strcmp(argv[1], "copy")) {
		copy(n, argv[3]);
		return 0;
	}
	if (!strcmp(argv[1], "writes"))
		writes(n, argv[3]);
	if (!strcmp(argv[1], "reads"))
		reads(n, argv[3]);
	if (!strcmp(argv[1], "memory"))
		random_memory((size_t)n * MIB);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		if (!strcmp(argv[1], loads[i].name))
			loads[i].fill(n);
	need(close(open(argv[3], O_WRONLY | O_CREAT, 0600)) == 0, "say that it is ready");
	sleeper(NULL);
}
