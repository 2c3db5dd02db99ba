/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * refused: has something that cannot be saved (argv[2]: unix, inet, netlink, fsopen, pidfd,
 * bpf) at descriptor 9, a child, a thread and memory; must run on after a dump that refused it.
 */
#include "descriptors.h"
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

static volatile unsigned long beats;

/* A connection which its other end has closed. */
static int connected(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(name);

	NEED(bind(listener, (void *)&name, len) == 0 && listen(listener, 1) == 0);
	NEED(getsockname(listener, (void *)&name, &len) == 0);
	NEED(connect(fd, (void *)&name, len) == 0);
	NEED(close(accept(listener, NULL, NULL)) == 0 && close(listener) == 0);
	return fd;
}

static int make(const char *what)
{
	int sv[2];

	if (!strcmp(what, "unix")) {
		NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0);
		close(sv[1]);
		return sv[0];
	}
	if (!strcmp(what, "inet"))
		return connected();
	if (!strcmp(what, "netlink")) {
		/* an answer of the kernel waits */
		struct {
			struct nlmsghdr h;
			struct ifinfomsg i;
		} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 1, 0 }, { .ifi_index = 1 } };

		sv[0] = socket(AF_NETLINK, SOCK_RAW, 0);
		NEED(send(sv[0], &q, sizeof(q), 0) == sizeof(q));
		return sv[0];
	}
	if (!strcmp(what, "bpf")) {
		union bpf_attr map = { .map_type = BPF_MAP_TYPE_LRU_HASH, .key_size = 4,
			.value_size = 4, .max_entries = 10 };

		return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map));
	}
	if (!strcmp(what, "fsopen"))
		return syscall(SYS_fsopen, "tmpfs", 0);
	return syscall(SYS_pidfd_open, getppid(), 0);
}

static void kid(void *arg)
{
	struct self s;

	(void)arg;
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
}

static void *beat(void *arg)
{
	while (!subject_term) {
		beats++;
		usleep(500);
	}
	return arg;
}

int main(int argc, char **argv)
{
	unsigned long seen;
	struct self s;
	uint8_t *mem;
	pthread_t t;
	pid_t pid;
	int fd;

	subject_init(argc, argv);
	fd = make(argc > 2 ? argv[2] : "unix");
	NEED(fd >= 0 && dup2(fd, 9) == 9);
	close(fd);
	mem = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	fill(mem, 1 << 20, 5);
	pid = child(kid, NULL);
	NEED(pthread_create(&t, NULL, beat, NULL) == 0);
	self_note(&s, false);
	ready();
	seen = beats;
	while (beats < seen + 10)
		usleep(1000);
	wait_term();
	self_check(&s);
	CHECK(holds(mem, 1 << 20, 5));
	CHECK(fcntl(9, F_GETFD) == 0);
	CHECK(key_value("/proc/self/status", "TracerPid") == 0);
	CHECK(pthread_join(t, NULL) == 0);
	child_end(pid);
	pass();
}
