/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_busy: a server and a client that connects again and again and sends its request at once, so
 * that now and then a request lies in a connection nobody has accepted yet. The server takes its
 * time. Every request has its answer.
 *
 * unix_busy RESULT steered: a test says when. As long as the file "hold" exists in the working
 * directory nothing is accepted; the client makes the file "asked" when its first request lies there,
 * and "answered" when it has the answer, and asks again when there is a file "more".
 */
#include "descriptors.h"
#include "sockets.h"

static int listener;
static bool steered;

static bool file_exists(const char *name)
{
	return access(name, F_OK) == 0;
}

static void make_file(const char *name)
{
	if (steered)
		close(open(name, O_WRONLY | O_CREAT, 0600));
}

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
		if (steered && file_exists("hold"))
			continue;
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
	make_file("asked");
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
		make_file("answered");
		do
			usleep(8000);
		while (steered && !file_exists("more") && !subject_term);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "busy" };
	struct sigaction act;
	sigset_t set;
	pid_t server, client;

	subject_init(argc, argv);
	steered = argc > 2;
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
