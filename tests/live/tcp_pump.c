// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One end of a connection that is busy all the time: `tcp_pump RESULT server PORT BEATS` or
 * `tcp_pump RESULT client PORT BEATS ADDRESS`. Both send an endless pattern and compare what comes
 * in with the other one's. BEATS is a shared file with two counters: bytes sent, bytes received.
 *
 * SIGTERM makes an end close its half; each end says PASS when it has seen the end of the other's
 * stream, so not a single byte may be missing.
 */
#include "net.h"

enum { STEP = 16384 };

static volatile uint64_t *beats;
static uint64_t out_state, in_state;

static void next_bytes(uint64_t *state, void *buf)
{
	uint64_t *p = buf, x = *state;

	for (int i = 0; i < STEP / 8; i++)
		p[i] = x = pattern_next(x);
	*state = x;
}

static void pump_out(int fd, char *buf, size_t *left)
{
	ssize_t n;

	if (!*left) {
		next_bytes(&out_state, buf);
		*left = STEP;
	}
	n = send(fd, buf + STEP - *left, *left, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		fail("send after %lu bytes: %s", (unsigned long)beats[0], strerror(errno));
	if (n > 0) {
		*left -= n;
		beats[0] += n;
	}
}

/* False at the end of the other's stream. */
static bool pump_in(int fd, char *expect, size_t *left)
{
	char buf[STEP];
	ssize_t n;

	if (!*left) {
		next_bytes(&in_state, expect);
		*left = STEP;
	}
	n = recv(fd, buf, *left, MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		fail("recv after %lu bytes: %s", (unsigned long)beats[1], strerror(errno));
	if (n < 0)
		return true;
	if (n == 0)
		return false;
	if (memcmp(buf, expect + STEP - *left, n))
		fail("wrong bytes behind %lu", (unsigned long)beats[1]);
	*left -= n;
	beats[1] += n;
	return true;
}

static void pump(int fd)
{
	static char out[STEP], expect[STEP];
	size_t out_left = 0, in_left = 0;
	bool closed = false, open = true;
	sigset_t waiting;

	sigprocmask(SIG_BLOCK, NULL, &waiting);
	sigdelset(&waiting, SIGTERM);
	while (open || !closed) {
		struct pollfd p = { .fd = fd, .events = closed ? POLLIN : POLLIN | POLLOUT };

		if (!open)
			p.events = 0;
		if (ppoll(&p, 1, NULL, &waiting) < 0 && errno != EINTR)
			fail("poll: %s", strerror(errno));
		if (open && p.revents & (POLLIN | POLLERR | POLLHUP))
			open = pump_in(fd, expect, &in_left);
		if (!closed && p.revents & POLLOUT)
			pump_out(fd, out, &out_left);
		if (!closed && (subject_term || !open)) {
			CHECK(shutdown(fd, SHUT_WR) == 0);
			closed = true;
		}
	}
}

int main(int argc, char **argv)
{
	bool server;
	int fd, file;

	subject_init(argc, argv);
	NEED(argc >= 5);
	server = !strcmp(argv[2], "server");
	file = open(argv[4], O_RDWR | O_CREAT, 0666);
	NEED(file >= 0 && ftruncate(file, 4096) == 0);
	beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	NEED(beats != MAP_FAILED && close(file) == 0);
	out_state = server ? 1111 : 2222;
	in_state = server ? 2222 : 1111;
	if (server) {
		int listener = listen_on("0.0.0.0", atoi(argv[3]), 1);

		say("listening");
		fd = accept(listener, NULL, NULL);
		NEED(fd >= 0 && close(listener) == 0);
	} else {
		fd = connect_to(argv[5], atoi(argv[3]));
	}
	ready();
	pump(fd);
	pass();
}
