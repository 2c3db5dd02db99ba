// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/userfault.h"
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Older headers lack them. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFDIO_POISON
struct poison_arg {
	struct uffdio_range range;
	uint64_t mode;
	int64_t done;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct poison_arg)
#else
#define poison_arg uffdio_poison
#endif

int userfault_begin_tracking(int fd, struct err *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_sys(err, "this kernel cannot track writes by userfaultfd");
	return 0;
}

int userfault_track(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { .start = start, .len = end - start },
		.mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* Nothing is ever mapped at this address, so there is nothing to change. */
bool userfault_lives(int fd)
{
	struct uffdio_writeprotect wp = { .range = { .start = 4096, .len = 4096 } };

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) == 0 || errno != ESRCH;
}

/* ---- bringing pages ---- */

int userfault_begin_bringing(int fd, struct err *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK |
		UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP };

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_sys(err, "memory cannot be brought later (userfaultfd with events)");
	return 0;
}

int userfault_watch(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { .start = start, .len = end - start },
		.mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

static struct userfault_event event_of(const struct uffd_msg *m)
{
	struct userfault_event e = { .kind = (enum userfault_event_kind)m->event, .fd = -1 };

	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		e.start = m->arg.pagefault.address;
		break;
	case UFFD_EVENT_FORK:
		e.fd = (int)m->arg.fork.ufd;
		break;
	case UFFD_EVENT_REMAP:
		e.start = m->arg.remap.from;
		e.to = m->arg.remap.to;
		e.len = m->arg.remap.len;
		break;
	default:
		e.start = m->arg.remove.start;
		e.end = m->arg.remove.end;
	}
	return e;
}

int userfault_events(int fd, struct userfault_event *ret, size_t n)
{
	struct uffd_msg msgs[16];
	ssize_t len;

	if (n > sizeof(msgs) / sizeof(*msgs))
		n = sizeof(msgs) / sizeof(*msgs);
	len = read(fd, msgs, n * sizeof(*msgs));
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)len / sizeof(*msgs); i++)
		ret[i] = event_of(&msgs[i]);
	return (int)((size_t)len / sizeof(*msgs));
}

/* One call; bytes that it placed, or -errno if none. */
static int64_t bring_once(int fd, uint64_t to, const void *from, uint64_t len)
{
	struct uffdio_copy copy = { .dst = to, .src = (uintptr_t)from, .len = len };
	struct uffdio_zeropage zero = { .range = { .start = to, .len = len } };
	int r = from ? ioctl(fd, UFFDIO_COPY, &copy) : ioctl(fd, UFFDIO_ZEROPAGE, &zero);
	int64_t placed = from ? copy.copy : zero.zeropage;

	if (r == 0)
		return (int64_t)len;
	return placed > 0 ? placed : -errno;
}

static void wake(int fd, uint64_t start, uint64_t len)
{
	struct uffdio_range range = { .start = start, .len = len };

	(void)ioctl(fd, UFFDIO_WAKE, &range);
}

int userfault_bring(int fd, uint64_t to, const void *from, uint64_t len, uint64_t page,
	uint64_t *ret_done)
{
	*ret_done = 0;
	while (*ret_done < len) {
		const char *src = from ? (const char *)from + *ret_done : NULL;
		int64_t n = bring_once(fd, to + *ret_done, src, len - *ret_done);

		if (n == -EEXIST) { /* somebody may wait although the page is there */
			wake(fd, to + *ret_done, page);
			n = (int64_t)page;
		}
		if (n < 0)
			return (int)n;
		*ret_done += (uint64_t)n;
	}
	return 0;
}

int userfault_poison(int fd, uint64_t start, uint64_t len)
{
	struct poison_arg arg = { .range = { .start = start, .len = len } };

	return ioctl(fd, UFFDIO_POISON, &arg) < 0 ? -errno : 0;
}
