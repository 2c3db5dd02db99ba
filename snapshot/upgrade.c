// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Old forms of images: files of each kind in an image of its own, parts of a task in images of
 * their own (docs/FORMAT.md). Everything after loading sees the current form only.
 */
#include "snapshot/load.h"

/* Kinds of files that stood in images of their own, and where they stand in file_entry. */
static const struct {
	enum image_id image;
	FdTypes type;
	size_t member, id; /* offsets in FileEntry and of the id in the message */
} kinds[] = {
#define KIND(img, fd, field, msg) \
	{ IMG_##img, FD_TYPES__##fd, offsetof(FileEntry, field), offsetof(msg, id) }
	KIND(REG_FILES, REG, reg, RegFileEntry),
	KIND(EXT_FILES, EXT, ext, ExtFileEntry),
	KIND(NS_FILES, NS, nsf, NsFileEntry),
	KIND(EVENTFD_FILE, EVENTFD, efd, EventfdFileEntry),
	KIND(EVENTPOLL_FILE, EVENTPOLL, epfd, EventpollFileEntry),
	KIND(SIGNALFD, SIGNALFD, sgfd, SignalfdEntry),
	KIND(INOTIFY_FILE, INOTIFY, ify, InotifyFileEntry),
	KIND(FANOTIFY_FILE, FANOTIFY, ffy, FanotifyFileEntry),
	KIND(TIMERFD, TIMERFD, tfd, TimerfdEntry),
	KIND(PIPES, PIPE, pipe, PipeEntry),
	KIND(FIFO, FIFO, fifo, FifoEntry),
	KIND(UNIXSK, UNIXSK, usk, UnixSkEntry),
	KIND(INETSK, INETSK, isk, InetSkEntry),
	KIND(PACKETSK, PACKETSK, psk, PacketSockEntry),
	KIND(NETLINK_SK, NETLINKSK, nlsk, NetlinkSkEntry),
	KIND(TTY_FILES, TTY, tty, TtyFileEntry),
	KIND(TUNFILE, TUNF, tunf, TunfileEntry),
#undef KIND
};

static int old_files(struct image_set *set, struct world *w, size_t k, struct err *err)
{
	struct image_reader *r;
	char *msg;
	int got = image_open(set, kinds[k].image, 0, &r, err);

	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, w->arena, &msg, err)) > 0) {
		FileEntry *fe = arena_msg(w->arena, FileEntry, file_entry);

		fe->type = kinds[k].type;
		fe->id = *(uint32_t *)(msg + kinds[k].id);
		*(void **)((char *)fe + kinds[k].member) = msg;
		got = world_add_file(w, fe, err);
		if (got < 0)
			break;
	}
	image_reader_close(r);
	return got;
}

/* All messages of an old per-task image. */
struct messages {
	void **at;
	size_t n;
};

static int old_list(struct image_set *set, struct arena *a, enum image_id type, unsigned long id,
	struct messages *ret, struct err *err)
{
	struct image_reader *r;
	void *msg;
	int got = image_open(set, type, id, &r, err);

	*ret = (struct messages){ 0 };
	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, a, &msg, err)) > 0)
		arena_push(a, ret->at, ret->n, msg);
	image_reader_close(r);
	return got;
}

static int old_actions_and_limits(struct image_set *set, struct world *w, struct task *t,
	struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	struct messages m;
	int r = 0;

	if (!tc->n_sigactions) {
		r = old_list(set, w->arena, IMG_SIGACT, (unsigned long)t->pid, &m, err);
		tc->sigactions = (SaEntry **)m.at;
		tc->n_sigactions = m.n;
	}
	if (r == 0 && !tc->rlimits) {
		r = old_list(set, w->arena, IMG_RLIMIT, (unsigned long)t->pid, &m, err);
		if (m.n) {
			tc->rlimits = arena_msg(w->arena, TaskRlimitsEntry, task_rlimits_entry);
			tc->rlimits->rlimits = (RlimitEntry **)m.at;
			tc->rlimits->n_rlimits = m.n;
		}
	}
	return r;
}

static int old_timers(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	struct messages it, posix;
	TaskTimersEntry *timers;
	int r;

	if (tc->timers)
		return 0;
	r = old_list(set, w->arena, IMG_ITIMERS, (unsigned long)t->pid, &it, err);
	if (r == 0)
		r = old_list(set, w->arena, IMG_POSIX_TIMERS, (unsigned long)t->pid, &posix, err);
	if (r < 0 || it.n != 3)
		return r;
	timers = arena_msg(w->arena, TaskTimersEntry, task_timers_entry);
	timers->real = it.at[0];
	timers->virt = it.at[1];
	timers->prof = it.at[2];
	timers->posix = (PosixTimerEntry **)posix.at;
	timers->n_posix = posix.n;
	tc->timers = timers;
	return 0;
}

static int old_queue(struct image_set *set, struct world *w, enum image_id type, pid_t id,
	SignalQueueEntry **queue, struct err *err)
{
	struct messages m;
	int r;

	if (*queue)
		return 0;
	r = old_list(set, w->arena, type, (unsigned long)id, &m, err);
	if (r == 0 && m.n) {
		*queue = arena_msg(w->arena, SignalQueueEntry, signal_queue_entry);
		(*queue)->signals = (SiginfoEntry **)m.at;
		(*queue)->n_signals = m.n;
	}
	return r;
}

static int old_credentials(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	struct messages m;
	int r;

	if (t->threads[0].core->thread_core && t->threads[0].core->thread_core->creds)
		return 0;
	r = old_list(set, w->arena, IMG_CREDS, (unsigned long)t->pid, &m, err);
	if (r < 0 || !m.n)
		return r;
	task_each_thread(th, t)
		if (th->core->thread_core && !th->core->thread_core->creds)
			th->core->thread_core->creds = m.at[0];
	return 0;
}

static int old_task(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	int r = old_actions_and_limits(set, w, t, err);

	if (r == 0)
		r = old_timers(set, w, t, err);
	if (r == 0)
		r = old_credentials(set, w, t, err);
	if (r == 0)
		r = old_queue(set, w, IMG_SIGNAL_SHARED, t->pid, &tc->signals_s, err);
	task_each_thread(th, t)
		if (r == 0 && th->core->thread_core)
			r = old_queue(set, w, IMG_SIGNAL_PRIVATE, th->tid,
				&th->core->thread_core->signals_p, err);
	return r;
}

int load_old_forms(struct image_set *set, struct world *w, struct err *err)
{
	bool merged = w->entries[IMG_FILES].n > 0;
	int r = 0;

	for (size_t k = 0; !merged && r == 0 && k < sizeof(kinds) / sizeof(*kinds); k++)
		r = old_files(set, w, k, err);
	world_each_task(t, w)
		if (task_is_alive(t) && r == 0)
			r = old_task(set, w, t, err);
	return r;
}
