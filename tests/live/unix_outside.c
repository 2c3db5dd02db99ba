/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_outside: a unix socket at descriptor 9 whose peer is not in the tree: argv[2] is "-" (it was
 * given as descriptor 0) or a name to connect to, argv[3] the type. In the end it sends "hello" and
 * wants "world". argv[4] is what it is to do instead: "wait" stay in the listener's queue and send
 * 5 bytes, "listen" bind and listen at argv[2], let a client outside wait.
 */
#include "descriptors.h"
#include "sockets.h"

static int open_it(const char *name, int type, bool listens)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd;

	if (!strcmp(name, "-")) {
		fd = dup(0);
		NEED(fd >= 0);
		return fd;
	}
	fd = socket(AF_UNIX, type, 0);
	strcpy(sa.sun_path, name);
	if (listens)
		NEED(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 3) == 0);
	else
		NEED(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

int main(int argc, char **argv)
{
	const char *what = argc > 4 ? argv[4] : "";
	struct pollfd p = { .fd = 9, .events = POLLIN };
	char text[16] = "";
	int fd, null;

	subject_init(argc, argv);
	fd = open_it(argv[2], !strcmp(argv[3], "dgram") ? SOCK_DGRAM : SOCK_STREAM,
		!strcmp(what, "listen"));
	NEED(dup2(fd, 9) == 9);
	close(fd);
	null = open("/dev/null", O_RDWR);
	NEED(null >= 0);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(null);
	if (!strcmp(what, "wait"))
		NEED(send(9, "early", 5, 0) == 5);
	ready();
	wait_term();
	if (*what) {
		CHECK(fcntl(9, F_GETFD) == 0);
		pass();
	}
	SAME(send(9, "hello", 5, MSG_NOSIGNAL), 5);
	SAME(poll(&p, 1, PATIENCE_MS), 1);
	SAME(recv(9, text, sizeof(text), MSG_DONTWAIT), 5);
	CHECK(!strcmp(text, "world"));
	pass();
}
