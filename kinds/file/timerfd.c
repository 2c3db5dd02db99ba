/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * timerfd_create(2). The image holds the remaining time, also of absolute timers: these are set
 * again to the present time of their clock plus what remained.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t) /* uapi/linux/timerfd.h */
#endif

enum { NS = 1000000000 };

static bool timerfd_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[timerfd]");
}

/*
 * A periodic timer that has expired stands still in the kernel until somebody asks: the
 * expirations since then are counted only at the next read(2) or timerfd_gettime(2), and fdinfo
 * shows a remaining time of 0 (fs/timerfd.c). Asking changes nothing a reader could notice.
 */
static bool look_closer(int dup, struct fdinfo_timerfd *info)
{
	auto_free char *text = NULL;
	struct itimerspec now;
	char path[64];

	if (timerfd_gettime(dup, &now) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", dup);
	return io_slurp(path, &text, NULL) == 0 && fdinfo_parse_timerfd(text, info);
}

static int timerfd_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TimerfdEntry *e = arena_msg(l->world->arena, TimerfdEntry, timerfd_entry);
	struct fdinfo_timerfd info;
	bool known = fdinfo_parse_timerfd(l->fdinfo, &info);
	char who[96];

	if (known && info.ticks && (info.interval_s || info.interval_ns))
		known = look_closer(l->dup, &info);
	if (!known)
		return err_set(err, ERR_KERNEL, 71, "%s: the kernel does not tell the state of a timerfd",
			file_look_who(l, who, sizeof(who)));
	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	e->clockid = info.clockid;
	e->ticks = info.ticks;
	e->settime_flags = info.settime_flags;
	e->vsec = info.value_s;
	e->vnsec = info.value_ns;
	e->isec = info.interval_s;
	e->insec = info.interval_ns;
	fe->tfd = e;
	return 0;
}

static void timerfd_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TimerfdEntry *e = fe->tfd;

	if (e && (e->vnsec >= NS || e->insec >= NS || e->vsec > INT64_MAX || e->isec > INT64_MAX))
		finding_add(f, "timerfd-time", SEV_ERROR, 0, "timerfd (file %u) has no valid times",
			fe->id);
}

/* That of an alarm clock can be read only where something can wake the machine. */
static clockid_t readable_clock(uint32_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME_ALARM:
		return CLOCK_REALTIME;
	case CLOCK_BOOTTIME_ALARM:
		return CLOCK_BOOTTIME;
	default:
		return (clockid_t)clock;
	}
}

static int arm(int fd, const TimerfdEntry *e, struct err *err)
{
	struct itimerspec its = { .it_interval = { (time_t)e->isec, (long)e->insec },
		.it_value = { (time_t)e->vsec, (long)e->vnsec } };
	struct timespec now;

	/* CRIU's images have no remaining time for a periodic timer that had expired */
	if (e->ticks && !e->vsec && !e->vnsec)
		its.it_value = its.it_interval;
	if ((e->settime_flags & TFD_TIMER_ABSTIME) && (its.it_value.tv_sec || its.it_value.tv_nsec)) {
		if (clock_gettime(readable_clock(e->clockid), &now) < 0)
			return err_sys(err, "cannot read clock %u of a timerfd", e->clockid);
		its.it_value.tv_sec += now.tv_sec;
		its.it_value.tv_nsec += now.tv_nsec;
		if (its.it_value.tv_nsec >= NS) {
			its.it_value.tv_nsec -= NS;
			its.it_value.tv_sec++;
		}
	}
	if (timerfd_settime(fd, (int)e->settime_flags, &its, NULL) < 0)
		return err_sys(err, "cannot set a timerfd");
	/* Setting the time forgets expirations, so they come after it. */
	if (e->ticks && ioctl(fd, TFD_IOC_SET_TICKS, &e->ticks) < 0)
		return err_sys(err, "cannot set the expirations of a timerfd");
	return 0;
}

static int timerfd_make(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const TimerfdEntry *e = fe->tfd;
	auto_close int fd = timerfd_create((int)e->clockid, TFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make a timerfd of clock %u", e->clockid);
	r = arm(fd, e, err);
	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void timerfd_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "timerfd clock %u, %llu.%09llu s left, every %llu.%09llu s",
		fe->tfd->clockid, (unsigned long long)fe->tfd->vsec,
		(unsigned long long)fe->tfd->vnsec, (unsigned long long)fe->tfd->isec,
		(unsigned long long)fe->tfd->insec);
}

const struct file_kind file_kind_timerfd = {
	.name = "timerfd",
	.type = FD_TYPES__TIMERFD,
	.match = timerfd_match,
	.collect = timerfd_collect,
	.check = timerfd_check,
	.create = timerfd_make,
	.describe = timerfd_describe,
};
