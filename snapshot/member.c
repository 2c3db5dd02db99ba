/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Types of files and the members of file_entry that describe them. A file that gets into the world
 * has the member its type needs, so that rooms and `show` need not ask.
 */
#include "snapshot/load.h"

const struct file_member file_members[] = {
#define MEMBER(fd, img, field, msg) \
	{ FD_TYPES__##fd, IMG_##img, offsetof(FileEntry, field), offsetof(msg, id) }
	MEMBER(REG, REG_FILES, reg, RegFileEntry),
	MEMBER(PIPE, PIPES, pipe, PipeEntry),
	MEMBER(FIFO, FIFO, fifo, FifoEntry),
	MEMBER(INETSK, INETSK, isk, InetSkEntry),
	MEMBER(UNIXSK, UNIXSK, usk, UnixSkEntry),
	MEMBER(EVENTFD, EVENTFD_FILE, efd, EventfdFileEntry),
	MEMBER(EVENTPOLL, EVENTPOLL_FILE, epfd, EventpollFileEntry),
	MEMBER(INOTIFY, INOTIFY_FILE, ify, InotifyFileEntry),
	MEMBER(SIGNALFD, SIGNALFD, sgfd, SignalfdEntry),
	MEMBER(PACKETSK, PACKETSK, psk, PacketSockEntry),
	MEMBER(TTY, TTY_FILES, tty, TtyFileEntry),
	MEMBER(FANOTIFY, FANOTIFY_FILE, ffy, FanotifyFileEntry),
	MEMBER(NETLINKSK, NETLINK_SK, nlsk, NetlinkSkEntry),
	MEMBER(NS, NS_FILES, nsf, NsFileEntry),
	MEMBER(TUNF, TUNFILE, tunf, TunfileEntry),
	MEMBER(EXT, EXT_FILES, ext, ExtFileEntry),
	MEMBER(TIMERFD, TIMERFD, tfd, TimerfdEntry),
	MEMBER(MEMFD, COUNT, memfd, MemfdFileEntry),
	MEMBER(BPFMAP, BPFMAP_FILE, bpf, BpfmapFileEntry),
	MEMBER(PIDFD, PIDFD, pidfd, PidfdEntry),
#undef MEMBER
	{ 0 },
};

/* Types which only torpor knows are described in torpor-files; their rooms check that. */
static bool is_own(const FileEntry *fe)
{
	return fe->type == FD_TYPES__TORPOR_URING || fe->type == FD_TYPES__TORPOR_MQUEUE;
}

int load_file(struct world *w, FileEntry *fe, struct err *err)
{
	const struct file_member *m = file_members;
	const char *details;

	if (is_own(fe))
		return world_add_file(w, fe, err);
	while (m->type && m->type != fe->type)
		m++;
	if (!m->type)
		return err_image(err, "files.img: file %u has the unknown type %d", fe->id,
			fe->type);
	details = *(char *const *)((const char *)fe + m->at);
	if (!details)
		return err_image(err, "files.img: file %u of type %d lacks its details", fe->id,
			fe->type);
	if (*(const uint32_t *)(details + m->id) != fe->id)
		return err_image(err, "files.img: file %u has the details of file %u", fe->id,
			*(const uint32_t *)(details + m->id));
	return world_add_file(w, fe, err);
}
