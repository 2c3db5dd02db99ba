// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Leaving memory to the lazy-pages daemon: every address space gets a userfaultfd over the areas that
 * lack saved pages, before anything can touch them; the daemon gets it over a socket in the work
 * directory. From then on whoever touches such a page, the kernel for us included, waits for it.
 *
 * What is said there: for each task its pid (32 bits), then a byte with the descriptor; for a zombie
 * its negative pid; at last, when all run, a number that is no pid.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/userfault.h"
#include "kinds/mem/vma.h"
#include "pages/source.h"
#include "restore/ctx.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char socket_name[] = "lazy-pages.socket";

enum { ALL_RUN = 0x52535446 };

bool restore_is_lazy(const void *ctx)
{
	const struct restore *rs = ctx;

	return rs->o->lazy_pages;
}

/* ---- the socket ---- */

int restore_find_daemon(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, socket_name, sizeof(socket_name));
	rs->lazy_sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (rs->lazy_sock < 0 || connect(rs->lazy_sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_sys(err, "cannot reach the lazy-pages daemon by '%s' in the work directory; "
			"start 'lazy-pages' with the same -D and -W before", socket_name);
	return 0;
}

void restore_forget_daemon(void *ctx)
{
	struct restore *rs = ctx;

	if (rs->lazy_sock >= 0)
		close(rs->lazy_sock);
	rs->lazy_sock = -1;
}

static int tell_number(struct restore *rs, int32_t number, struct err *err)
{
	int r = io_write_all(rs->lazy_sock, &number, sizeof(number));

	return r < 0 ? err_sysn(err, -r, "the lazy-pages daemon has gone") : 0;
}

static int tell_descriptor(struct restore *rs, int fd, struct err *err)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			      .cmsg_len = CMSG_LEN(sizeof(int)) } };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	if (sendmsg(rs->lazy_sock, &msg, MSG_NOSIGNAL) != 1)
		return err_sys(err, "the lazy-pages daemon has gone");
	return 0;
}

/* ---- one task ---- */

static int husk_call(struct husk *h, long nr, int64_t arg, int64_t *ret, struct err *err)
{
	struct tape *tape = tape_new();
	size_t call = tape_call(tape, "lazy pages", TAPE_MUST, nr, T(arg));
	int r = husk_play(h, 0, tape, err);

	*ret = r < 0 ? -ECANCELED : tape_result(tape, call);
	tape_free(tape);
	return r;
}

/* A userfaultfd of the husk's address space, in our hands only. */
static int make_userfault(struct husk *h, int *ret_fd, struct err *err)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	int64_t number, ignored;
	int fd, r;

	if (pidfd < 0)
		return err_sys(err, "cannot get hold of task %d", h->pid);
	r = husk_call(h, SYS_userfaultfd, USERFAULT_LAZY_FLAGS, &number, err);
	if (r < 0)
		return r;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)number, 0);
	if (fd < 0)
		return err_sys(err, "cannot take a userfaultfd of task %d", h->pid);
	r = husk_call(h, SYS_close, number, &ignored, err);
	if (r == 0)
		r = userfault_begin_bringing(fd, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* The areas that lack pages, once each. */
static int watch_areas(const struct task *t, const struct page_source *lacking, int fd,
	struct err *err)
{
	size_t seg = 0;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];
		int r;

		while (seg < lacking->segments.n && segment_end(&lacking->segments.at[seg]) <= v->start)
			seg++;
		if (seg == lacking->segments.n || lacking->segments.at[seg].vaddr >= v->end ||
			v->status & (VMA_GUARD | VMA_VSYSCALL))
			continue;
		if (!vma_can_be_lazy(v))
			return err_image(err, "page 0x%lx is said to be brought later, but the area "
				"0x%lx-0x%lx (%s) is not of that kind", lacking->segments.at[seg].vaddr,
				v->start, v->end, vma_what(v));
		r = userfault_watch(fd, v->start, v->end);
		if (r < 0)
			return err_sysn(err, -r, "the area 0x%lx-0x%lx cannot wait for its pages",
				v->start, v->end);
	}
	return 0;
}

static int hand_over(struct restore *rs, const struct task *t, struct err *err)
{
	struct page_source lacking;
	int fd = -1, r;

	r = page_source_open_some(rs->images, IMG_PAGEMAP, (unsigned long)t->pid, PAGES_LAZY, &lacking,
		err);
	if (r < 0)
		return r;
	r = make_userfault(husk_of(rs, t), &fd, err);
	if (r == 0)
		r = watch_areas(t, &lacking, fd, err);
	if (r == 0)
		r = tell_number(rs, t->pid, err);
	if (r == 0)
		r = tell_descriptor(rs, fd, err);
	if (fd >= 0)
		close(fd);
	page_source_close(&lacking);
	return r;
}

int restore_hand_over(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = 0;

	world_each_task(t, rs->world) {
		r = task_is_alive(t) ? hand_over(rs, t, err) : tell_number(rs, -t->pid, err);
		if (r < 0)
			return err_while(err, "leaving the memory of task %d (%s) to the lazy-pages "
				"daemon", t->pid, task_comm(t));
	}
	return r;
}

int restore_tell_all_run(struct restore *rs, struct err *err)
{
	return tell_number(rs, ALL_RUN, err);
}
