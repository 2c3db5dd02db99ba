// SPDX-License-Identifier: GPL-2.0-or-later
/* Waiting for a held thread with an end: see inject/tick.h. */
#include "base/interrupt.h"
#include "base/io.h"
#include "inject/explain.h"
#include "inject/hold_priv.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

enum { INTERRUPTED_US = 2000000 };

static int err_late(struct err *err, pid_t tid, unsigned waited_s)
{
	char frozen[400], place[128];

	if (explain_frozen(tid, frozen, sizeof(frozen)))
		return err_target(
			err, ETIMEDOUT, "task %d cannot be asked about itself: %s", tid, frozen);
	explain_place(tid, place, sizeof(place));
	return err_target(err, ETIMEDOUT, "task %d does not run to be asked about itself for %u s: it %s%s%s "
		"(--timeout waits longer)", tid, waited_s, *place ? "waits in " :
		"gets no time on a processor, or is busy inside the kernel", place,
		*place ? " (perhaps for a disk or server that hangs)" : "");
}

int hold_wait(struct hold *h, pid_t tid, int *ret_status, struct err *err)
{
	uint64_t begin = clock_us(), patience = 1000000ull * h->patience_s;
	siginfo_t news;

	while (waitid(P_PID, (id_t)tid, &news, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0 &&
		errno == EINTR) {
		/* who is interrupted has less, but enough for one who can run */
		if (interrupt_came())
			patience = INTERRUPTED_US;
		if (!patience || clock_us() - begin < patience)
			continue;
		h->adrift = true;
		return interrupt_check(err) < 0 ? -EINTR : err_late(err, tid, h->patience_s);
	}
	return tracee_wait(tid, ret_status, err);
}
