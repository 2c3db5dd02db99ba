/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_busy: a server and a client that connects again and again and sends its request at once, so
 * that now and then a request lies in a connection nobody has accepted yet. The server takes its
 * time. Every request has its answer.
 */
#include "descriptors.h"
#include "sockets.h"

static int listener;

static void serve(void *arg)
{
	long request;

	(void)arg;
	child_up();
	while (!subject_term) {
		struct pollfd p = { .fd = listener, .events = POLLIN };
		int fd;

		if (poll(&p, 1, 10) <= 0)
			continue;
		usleep(2000); /* now it waits */
		fd = accept(listener, NULL, NULL);
		CHECK(fd >= 0);
		SAME(recv(fd, &request, sizeof(request), 0), sizeof(request));
		request = request * 3 + 1;
		SAME(send(fd, &request, sizeof(request), 0), sizeof(request));
		close(fd);
	}
}

static void ask(long n)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "busy" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	long answer = n;

	CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	SAME(send(fd, &answer, sizeof(answer), 0), sizeof(answer));
	SAME(recv(fd, &answer, sizeof(answer), 0), sizeof(answer));
	SAME(answer, 3 * n + 1);
	close(fd);
}

static void beg(void *arg)
{
	(void)arg;
	child_up();
	for (long n = 0; !subject_term; n++) {
		ask(n);
		usleep(8000);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "busy" };
	struct sigaction act;
	sigset_t set;
	pid_t server, client;

	subject_init(argc, argv);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	NEED(bind(listener, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(listener, 8) == 0);
	/* the children look at subject_term between their steps */
	sigprocmask(SIG_BLOCK, NULL, &set);
	sigdelset(&set, SIGTERM);
	NEED(sigaction(SIGTERM, NULL, &act) == 0);
	act.sa_flags |= SA_RESTART;
	NEED(sigaction(SIGTERM, &act, NULL) == 0);
	sigprocmask(SIG_SETMASK, &set, NULL);
	server = child(serve, NULL);
	client = child(beg, NULL);
	block(SIGTERM);
	ready();
	wait_term();
	usleep(50000);
	ask(1000000);
	child_end(client);
	child_end(server);
	pass();
}
