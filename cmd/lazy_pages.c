/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `lazy-pages`: waits for a restore --lazy-pages in the work directory, then brings memory to its
 * tasks, from the images or from the dump --lazy-pages at --address and --port. Ends when nothing is
 * lacking.
 */
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/daemon.h"
#include "cmd/figures.h"
#include "pages/filter.h"
#include "pages/lazy.h"
#include "pages/wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char socket_name[] = "lazy-pages.socket";

enum { ALL_RUN = 0x52535446, WORKERS_MAX = 4, SERVER_PATIENCE_S = 60 };

/* ---- the socket ---- */

/* Until it listens it has another name: whoever sees it can connect. */
static const char early_name[] = ".lazy-pages.socket.new";

static struct sockaddr_un socket_address(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
	return a;
}

/* A socket nobody listens at is left by a daemon that was killed. */
static int remove_stale(struct err *err)
{
	struct sockaddr_un a = socket_address(socket_name);
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return err_set(err, ERR_RESOURCE, EADDRINUSE, "another lazy-pages daemon listens at '%s' "
			"in the work directory", socket_name);
	if (errno == ECONNREFUSED)
		unlink(socket_name);
	return 0;
}

static int listen_there(int *ret_fd, struct err *err)
{
	struct sockaddr_un a = socket_address(early_name);
	int r = remove_stale(err);

	if (r < 0)
		return r;
	unlink(early_name);
	*ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*ret_fd < 0 || bind(*ret_fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		listen(*ret_fd, 1) < 0 || rename(early_name, socket_name) < 0) {
		r = err_sys(err, "cannot listen at '%s' in the work directory", socket_name);
		unlink(early_name);
	}
	return r;
}

static int take_descriptor(int sock, int *ret_fd, struct err *err)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control) };
	const struct cmsghdr *c;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || !(c = CMSG_FIRSTHDR(&msg)) ||
		c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return err_set(err, ERR_RESOURCE, EPROTO, "the restore does not give a descriptor");
	memcpy(ret_fd, CMSG_DATA(c), sizeof(*ret_fd));
	return 0;
}

/* Tasks as they come, until all run. */
static int take_tasks(int sock, struct lazy *l, struct err *err)
{
	int32_t pid;
	int r = 0, fd = -1;

	while (r == 0) {
		ssize_t n = recv(sock, &pid, sizeof(pid), MSG_WAITALL);

		if (n != sizeof(pid))
			return err_set(err, ERR_RESOURCE, ECONNRESET,
				"the restore has ended before all tasks ran");
		if (pid == ALL_RUN)
			return 0;
		if (pid < 0) /* a zombie needs nothing */
			continue;
		r = take_descriptor(sock, &fd, err);
		if (r == 0)
			r = lazy_add(l, (unsigned long)pid, fd, err);
	}
	return r;
}

/* ---- the work ---- */

static int open_getter(const struct options *o, struct page_getter **ret, struct err *err)
{
	const struct page_client_setup setup = {
		.address = o->address, .port = (uint16_t)o->port, .fd = (int)o->ps_socket,
		.head_size = o->page_header == WIRE_HEAD_OLD ? WIRE_HEAD_OLD : WIRE_HEAD,
		.patience_s = SERVER_PATIENCE_S, .tls = o->tls,
		.tls_files = tls_files_of(o),
		.tls_name = o->tls_no_cn_verify ? NULL : o->address ? o->address : "localhost",
	};

	return o->port || o->ps_socket >= 0 ? page_getter_open(&setup, ret, err) : 0;
}

static unsigned worker_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus < WORKERS_MAX ? (unsigned)cpus : WORKERS_MAX;
}

static void say(const struct options *o, const struct lazy_figures *f)
{
	log_info("faults %lu, pages for them %lu, zeros %lu, pages ahead %lu", (unsigned long)f->faults,
		(unsigned long)f->on_fault, (unsigned long)f->zeros, (unsigned long)f->ahead);
	if (o->json)
		printf("{\"ok\": %s, \"faults\": %lu, \"pages_on_fault\": %lu, \"pages_zero\": %lu, "
		       "\"pages_ahead\": %lu}\n", f->failed ? "false" : "true",
			(unsigned long)f->faults, (unsigned long)f->on_fault, (unsigned long)f->zeros,
			(unsigned long)f->ahead);
}

static int bring(const struct call *call, struct image_set *set, struct page_getter *getter, int sock,
	struct err *err)
{
	const struct lazy_setup setup = { .set = set, .getter = getter, .workers = worker_count() };
	struct lazy_figures f;
	struct lazy *l;
	int r = lazy_start(&setup, &l, err);

	if (r < 0)
		return r;
	r = take_tasks(sock, l, err);
	if (r == 0)
		r = fault_point("lazy-pages:run", err);
	/* after a failure the tasks are gone, and so is the work */
	lazy_all_run(l);
	lazy_finish(l, &f);
	say(call->o, &f);
	if (r == 0 && f.failed)
		r = err_set(err, ERR_RESOURCE, EIO, "some pages could not be brought; the log names them");
	return r;
}

/* One connection, unless we are ended before. */
static int accept_there(int listening, int *ret_sock, struct err *err)
{
	int r = io_await(listening, POLLIN, 0);

	if (r < 0 && interrupt_check(err) < 0)
		return -EINTR;
	*ret_sock = r < 0 ? r : accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	return *ret_sock < 0 ? err_sysn(err, r < 0 ? -r : errno, "cannot accept the restore's connection") :
			       0;
}

/* The socket is there for one restore: its file goes when that has come, or when we are ended. */
static int await_restore(const struct call *call, bool *ret_parent, int *ret_sock, struct err *err)
{
	auto_close int listening = -1;
	int r;

	interrupt_watch();
	r = listen_there(&listening, err);
	if (r == 0)
		r = daemon_ready(call, ret_parent, err);
	if (*ret_parent)
		return r;
	if (r == 0)
		r = accept_there(listening, ret_sock, err);
	if (listening >= 0)
		unlink(socket_name);
	interrupt_unwatch();
	return r;
}

static int serve(const struct call *call, struct image_set *set, struct page_getter *getter,
	struct err *err)
{
	auto_close int sock = -1;
	bool parent = false;
	int r = await_restore(call, &parent, &sock, err);

	return r < 0 || parent ? r : bring(call, set, getter, sock, err);
}

int cmd_lazy_pages(const struct call *call, struct err *err)
{
	struct image_access access = access_open(call->o);
	struct image_set *set = NULL;
	struct page_getter *getter = NULL;
	int r = image_set_open_with(call->images_fd, false, &access, &set, err);

	if (r == 0)
		r = open_getter(call->o, &getter, err);
	if (r == 0)
		r = serve(call, set, getter, err);
	page_getter_close(getter);
	image_set_close(set);
	access_close(&access);
	return r;
}
