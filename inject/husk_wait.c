// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Waiting for a husk that plays a tape, with an end: see inject/tick.h. A tape may take long (it
 * reads gigabytes, its memory is brought over a network), so what counts is that the thread does not
 * run at all meanwhile, wherever it is: a look at where it waits tells nothing, since the kernel does
 * not say it of one that is still in a processor's queue (kernel/sched/core.c get_wchan()), and
 * between two waits in the same place it may have got on.
 */
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/parse.h"
#include "inject/explain.h"
#include "inject/husk_priv.h"
#include "inject/tracee.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

/* Nanoseconds on a processor (Documentation/scheduler/sched-stats.rst), 0 where nobody counts them. */
static uint64_t ran_ns(pid_t tid)
{
	auto_free char *text = NULL;
	uint64_t ns = 0;
	struct cursor c;

	if (io_slurpf(&text, NULL, "/proc/%d/schedstat", tid) < 0)
		return 0;
	c = cursor_of(text);
	(void)parse_u64(&c, 10, &ns);
	return ns;
}

static int err_late(const struct husk *h, pid_t tid, struct err *err)
{
	char place[128], frozen[400];
	unsigned s = h->layout->patience_s;

	explain_place(tid, place, sizeof(place));
	if (strstr(place, "handle_userfault"))
		return err_target(err, ETIMEDOUT, "task %d waits for memory that the lazy-pages daemon "
			"does not bring for %u s: is that stopped, or its page server? (--timeout waits "
			"longer)", tid, s);
	if (explain_frozen(tid, frozen, sizeof(frozen)))
		return err_target(err, ETIMEDOUT, "task %d cannot be filled: %s", tid, frozen);
	return err_target(err, ETIMEDOUT, "task %d does not get on for %u s: it %s%s%s (--timeout waits "
		"longer)", tid, s, *place ? "waits in " : "gets no time on a processor", place,
		*place ? " (perhaps for a disk or server that hangs)" : "");
}

int husk_wait(const struct husk *h, pid_t tid, int *ret_status, struct err *err)
{
	uint64_t since = clock_us(), patience = 1000000ull * h->layout->patience_s, seen = 0, now;
	siginfo_t news;

	while (patience &&
		waitid(P_PID, (id_t)tid, &news, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0 &&
		errno == EINTR) {
		if (interrupt_check(err) < 0)
			return -EINTR;
		now = ran_ns(tid);
		if (now != seen)
			since = clock_us();
		seen = now;
		if (clock_us() - since > patience)
			return err_late(h, tid, err);
	}
	return tracee_wait(tid, ret_status, err);
}
