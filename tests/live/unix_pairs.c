/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_pairs: socketpairs of every type: queues with boundaries, descriptors and credentials in
 * them, sockets in their own queues, halves shut down, ends whose peer is gone, ends in two tasks,
 * who made them (SO_PEERCRED, SO_PEERGROUPS, SO_PEERPIDFD), options.
 */
#include "descriptors.h"
#include "sockets.h"

enum { STREAM, DGRAM, SEQ, HALF, GONE, RESET, OFF, FULL, OWNED, KID, LOOP, FAR, N };

static int p[N][2], held[2], pipe_ends[2];
static struct maker_note makers[N][2];
static struct fd_note notes[N][2];
static pid_t kid_pid, dead_pid;

static const int types[N] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOCK_STREAM,
	SOCK_STREAM, SOCK_STREAM, SOCK_STREAM, SOCK_STREAM, SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM };

/* ---- queues ---- */

static void set_up_streams(void)
{
	uint8_t *big = malloc(150000);
	int on = 1;

	put(p[STREAM][0], "no descriptors, ", 16, NULL, 0);
	put(p[STREAM][0], "two descriptors", 15, pipe_ends, 2);
	put(p[STREAM][0], " and one", 8, &held[0], 1);
	put(p[STREAM][0], "end", 3, NULL, 0);
	fill(big, 150000, 7);
	NEED(send(p[FULL][0], big, 150000, MSG_DONTWAIT) == 150000);
	free(big);
	NEED(setsockopt(p[STREAM][1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0);
	put(p[STREAM][0], "with credentials", 16, NULL, 0);
	put_as(p[STREAM][0], "of another", 10, getpid(), 12, 13);
}

static void check_streams(void)
{
	uint8_t *big = malloc(150000);
	struct got g;

	/* credentials end a read; the first three pieces have none */
	get(&g, p[STREAM][1], 8);
	text_is(&g, "no descr");
	SAME(g.n_fds, 0);
	get(&g, p[STREAM][1], 8);
	text_is(&g, "iptors, ");
	SAME(g.n_fds, 0);
	get(&g, p[STREAM][1], 3);
	text_is(&g, "two");
	SAME(g.n_fds, 2);
	CHECK(fd_is_same(getpid(), g.fds[0], getpid(), pipe_ends[0]));
	CHECK(fd_is_same(getpid(), g.fds[1], getpid(), pipe_ends[1]));
	get(&g, p[STREAM][1], 12);
	text_is(&g, " descriptors");
	SAME(g.n_fds, 0);
	get(&g, p[STREAM][1], 100);
	text_is(&g, " and one");
	SAME(g.n_fds, 1);
	SAME(write(g.fds[0], "x", 1), 1);
	get(&g, p[STREAM][1], 100);
	text_is(&g, "end");
	get(&g, p[STREAM][1], 100);
	text_is(&g, "with credentials");
	SAME(g.creds.pid, getpid());
	SAME(g.creds.uid, 0);
	get(&g, p[STREAM][1], 100);
	text_is(&g, "of another");
	SAME(g.creds.uid, 12);
	SAME(g.creds.gid, 13);
	for (size_t n = 0; n < 150000; n += (size_t)recv(p[FULL][1], big + n, 150000 - n, MSG_WAITALL))
		;
	CHECK(holds(big, 150000, 7));
	CHECK(recv(p[FULL][1], big, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	free(big);
}

static void set_up_packets(void)
{
	for (int i = 0; i < 30; i++) { /* more than max_dgram_qlen: they are each other's peer */
		char text[16];

		snprintf(text, sizeof(text), "packet %d", i);
		put(p[DGRAM][0], text, strlen(text), i == 5 ? &held[0] : NULL, i == 5);
	}
	put(p[DGRAM][1], "back", 4, NULL, 0);
	put(p[SEQ][0], "seq one", 7, NULL, 0);
	put(p[SEQ][0], "", 0, NULL, 0);
	put(p[SEQ][0], "seq three", 9, pipe_ends, 1);
}

static void check_packets(void)
{
	struct got g;

	for (int i = 0; i < 30; i++) {
		char text[16];

		snprintf(text, sizeof(text), "packet %d", i);
		get(&g, p[DGRAM][1], 100);
		text_is(&g, text);
		SAME(g.n_fds, i == 5);
	}
	CHECK(recv(p[DGRAM][1], &g, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	get(&g, p[DGRAM][0], 100);
	text_is(&g, "back");
	get(&g, p[SEQ][1], 3); /* the rest of a packet is lost */
	text_is(&g, "seq");
	get(&g, p[SEQ][1], 100);
	SAME(g.len, 0);
	get(&g, p[SEQ][1], 100);
	text_is(&g, "seq three");
	CHECK(g.n_fds == 1 && fd_is_same(getpid(), g.fds[0], getpid(), pipe_ends[0]));
}

/* Both ends of LOOP lie in each other's queue and nowhere else; a pair in a pair in a pair. */
static void set_up_loops(void)
{
	put(p[LOOP][0], "self", 4, &p[LOOP][1], 1);
	put(p[LOOP][1], "other", 5, &p[LOOP][0], 1);
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, held) == 0);
	put(held[0], "deep", 4, NULL, 0);
}

static void check_loops(void)
{
	struct got g;
	int inner;

	get(&g, p[LOOP][1], 100);
	text_is(&g, "self");
	CHECK(g.n_fds == 1 && fd_is_same(getpid(), g.fds[0], getpid(), p[LOOP][1]));
	get(&g, p[LOOP][0], 100);
	text_is(&g, "other");
	CHECK(g.n_fds == 1 && fd_is_same(getpid(), g.fds[0], getpid(), p[LOOP][0]));
	/* FAR: a datagram with a socket, in whose queue lies another one with a byte in its queue */
	get(&g, p[FAR][1], 100);
	text_is(&g, "outer");
	SAME(g.n_fds, 1);
	inner = g.fds[0];
	get(&g, inner, 100);
	text_is(&g, "inner");
	SAME(g.n_fds, 1);
	get(&g, g.fds[0], 100);
	text_is(&g, "innermost");
}

static void set_up_far(void)
{
	int a[2], b[2];

	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, b) == 0);
	put(b[0], "innermost", 9, NULL, 0);
	put(a[0], "inner", 5, &b[1], 1);
	put(p[FAR][0], "outer", 5, &a[1], 1);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* ---- ends ---- */

static void set_up_ends(void)
{
	int off = 3, small = 20000;
	struct timeval tv = { 7, 250000 };

	NEED(shutdown(p[HALF][0], SHUT_WR) == 0);
	put(p[HALF][1], "still open", 10, NULL, 0);
	put(p[GONE][1], "last words", 10, NULL, 0);
	close(p[GONE][1]);
	put(p[RESET][1], "last", 4, NULL, 0);
	put(p[RESET][0], "unread", 6, NULL, 0);
	close(p[RESET][1]);
	put(p[OFF][0], "0123456789", 10, NULL, 0);
	NEED(setsockopt(p[OFF][1], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0);
	NEED(setsockopt(p[OFF][1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	NEED(setsockopt(p[OFF][1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	NEED(fcntl(p[OFF][1], F_SETOWN, getpid()) == 0 && fcntl(p[OFF][1], F_SETSIG, SIGUSR2) == 0);
}

static void check_ends(void)
{
	struct timeval tv = { 0 };
	socklen_t len = sizeof(tv);
	struct got g;
	char c;

	SAME(recv(p[HALF][1], &c, 1, 0), 0);
	CHECK(send(p[HALF][0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	get(&g, p[HALF][0], 100);
	text_is(&g, "still open");
	SAME(send(p[HALF][1], "more", 4, 0), 4);
	get(&g, p[HALF][0], 100);
	text_is(&g, "more");
	get(&g, p[GONE][0], 100);
	text_is(&g, "last words");
	SAME(recv(p[GONE][0], &c, 1, 0), 0);
	CHECK(send(p[GONE][0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	get(&g, p[RESET][0], 100);
	text_is(&g, "last");
	CHECK(recv(p[RESET][0], &c, 1, 0) < 0 && errno == ECONNRESET);
	SAME(sock_int(p[OFF][1], SO_PEEK_OFF), 3);
	for (int i = 0; i < N; i++) {
		if (i != GONE && i != RESET && i != KID)
			SAME(sock_int(p[i][1], SO_PASSCRED), i == STREAM);
		if (i != GONE && i != RESET && i != OFF && i != KID)
			SAME(sock_int(p[i][1], SO_PEEK_OFF), -1);
	}
	SAME(sock_int(p[OFF][1], SO_SNDBUF), 40000);
	SAME(sock_int(p[OFF][0], SO_SNDBUF), sock_int(p[STREAM][0], SO_SNDBUF));
	CHECK(getsockopt(p[OFF][1], SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0);
	CHECK(tv.tv_sec == 7 && tv.tv_usec >= 250000 && tv.tv_usec < 260000); /* in ticks */
	SAME(recv(p[OFF][1], g.text, 2, MSG_PEEK), 2);
	CHECK(!memcmp(g.text, "34", 2));
	SAME(sock_int(p[OFF][1], SO_PEEK_OFF), 5);
	SAME(recv(p[OFF][1], g.text, 10, 0), 10);
	CHECK(!memcmp(g.text, "0123456789", 10));
}

/* ---- makers ---- */

/* A pair made by a process with other ids, which is no more. */
static void make_owned(void)
{
	gid_t groups[] = { 7, 8, 9 };
	int carry[2];
	struct got g;
	pid_t pid;

	NEED(socketpair(AF_UNIX, SOCK_DGRAM, 0, carry) == 0);
	pid = fork();
	NEED(pid >= 0);
	if (pid == 0) {
		int made[2];

		if (setgroups(3, groups) < 0 || setresgid(-1, 77, -1) < 0 || setresuid(-1, 66, -1) < 0 ||
			socketpair(AF_UNIX, SOCK_STREAM, 0, made) < 0)
			_exit(1);
		put(carry[0], "made", 4, made, 2);
		_exit(0);
	}
	SAME(child_reap(pid), 0);
	get(&g, carry[1], 100);
	SAME(g.n_fds, 2);
	p[OWNED][0] = g.fds[0];
	p[OWNED][1] = g.fds[1];
	dead_pid = pid;
	close(carry[0]);
	close(carry[1]);
}

static void check_makers(void)
{
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			if (fcntl(p[i][k], F_GETFD) >= 0)
				maker_check(&makers[i][k], p[i][k]);
	SAME(makers[OWNED][0].creds.pid, dead_pid);
	SAME(makers[OWNED][0].creds.uid, 66);
	SAME(makers[OWNED][0].n_groups, 3);
	SAME(makers[KID][0].creds.pid, getpid());
}

static void kid(void *arg)
{
	struct got g;

	(void)arg;
	close(p[KID][0]);
	maker_note(&makers[KID][1], p[KID][1]);
	child_up();
	wait_term();
	maker_check(&makers[KID][1], p[KID][1]);
	get(&g, p[KID][1], 100);
	text_is(&g, "to the child");
	SAME(send(p[KID][1], "to the parent", 13, 0), 13);
}

int main(int argc, char **argv)
{
	struct got g;

	subject_init(argc, argv);
	signal(SIGUSR2, SIG_IGN);
	for (int i = 0; i < N; i++)
		if (i != OWNED)
			NEED(socketpair(AF_UNIX, types[i] | (i == SEQ ? SOCK_NONBLOCK | SOCK_CLOEXEC : 0), 0,
				p[i]) == 0);
	NEED(pipe(pipe_ends) == 0);
	make_owned();
	set_up_loops();
	set_up_far();
	set_up_streams();
	set_up_packets();
	set_up_ends();
	kid_pid = child(kid, NULL);
	close(p[KID][1]);
	put(p[KID][0], "to the child", 12, NULL, 0);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			if (fcntl(p[i][k], F_GETFD) >= 0) {
				maker_note(&makers[i][k], p[i][k]);
				fd_note(&notes[i][k], p[i][k]);
			}
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			if (fcntl(p[i][k], F_GETFD) >= 0)
				fd_check(&notes[i][k], p[i][k], false);
	check_makers();
	check_loops();
	check_streams();
	check_packets();
	check_ends();
	get(&g, held[1], 100);
	text_is(&g, "deepx");
	child_end(kid_pid);
	get(&g, p[KID][0], 100);
	text_is(&g, "to the parent");
	SAME(recv(p[KID][0], &g, 1, 0), 0);
	pass();
}
