// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: what a stranger may send over a connection that carries pages. The first byte chooses
 * who gets it: the page server, who answers questions for pages, or who has asked one.
 */
#include "pages/lazy_get.h"
#include "pages/pages.h"
#include "pages/server.h"
#include "pages/wire.h"
#include "tests/fuzz/folder.h"
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE_MOST = 64 * 1024, GIVEN_MOST = 64 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	folder_make();
	return 0;
}

/* A socket from which the bytes come, and then the end. */
static int socket_with(const uint8_t *data, size_t size, int *ret_other)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
		write(pair[1], data, size) != (ssize_t)size || shutdown(pair[1], SHUT_WR) < 0)
		abort();
	*ret_other = pair[1];
	return pair[0];
}

/* Takes the answers until the other end is closed. */
static void *take_answers(void *fd)
{
	char bytes[16384];

	while (read(*(const int *)fd, bytes, sizeof(bytes)) > 0)
		;
	return NULL;
}

static void serve(int take_fd)
{
	const struct page_server_setup setup = { .images_dirfd = dirfd };
	struct page_server_figures figures;
	struct err err = ERR_INIT;
	struct conn conn;

	conn_of_fd(CONN_SENDER, take_fd, &conn);
	if (page_server_receive(&conn, &setup, &figures, &err) < 0 && !err_is_set(&err))
		abort();
	conn_close(&conn);
	folder_empty();
}

struct zeros {
	struct page_giver base;
	int given;
};

/* A few times: answers are much longer than questions. */
static int give_zeros(struct page_giver *g, unsigned long pid, uint64_t vaddr, uint64_t pages,
	void *buf, struct err *err)
{
	if (((struct zeros *)g)->given++ == GIVEN_MOST)
		return err_set(err, ERR_RESOURCE, ENOSPC, "there are no more");
	memset(buf, 0, pages * PAGE);
	return 0;
}

static void give(int take_fd)
{
	const struct page_giver_place place = { .listening = -1 };
	struct zeros giver = { { give_zeros }, 0 };
	struct err err = ERR_INIT;
	struct conn conn;

	conn_of_fd(CONN_ASKER, take_fd, &conn);
	if (page_giver_serve(&giver.base, &place, &conn, &err) < 0 && !err_is_set(&err))
		abort();
}

/* The buffer is exactly as large as what is asked for. */
static void get(int take_fd)
{
	const struct page_client_setup setup = { .fd = take_fd, .head_size = WIRE_HEAD };
	struct page_getter *g;
	struct err err = ERR_INIT;
	uint8_t *buf = malloc(2 * PAGE);

	if (page_getter_open(&setup, &g, &err) < 0)
		abort();
	if (page_getter_get(g, 7, 0x10000, 2, buf, &err) < 0 && !err_is_set(&err))
		abort();
	page_getter_close(g);
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const roles[])(int take_fd) = { serve, give, get };
	pthread_t taker;
	int fd, other;

	if (!size || size > SIZE_MOST)
		return 0;
	fd = socket_with(data + 1, size - 1, &other);
	if (pthread_create(&taker, NULL, take_answers, &other) != 0)
		abort();
	roles[data[0] % 3](fd);
	pthread_join(taker, NULL);
	close(other);
	return 0;
}
