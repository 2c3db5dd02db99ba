/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry of what a descriptor can refer to. */
#include "kinds/file/rooms.h"
#include "kinds/sock/rooms.h"
#include <stdio.h>

/* Special names before the files opened by name. */
const struct file_kind *const file_kinds[] = {
	&file_kind_memfd,
	&file_kind_mqueue,
	&file_kind_reg,
	&file_kind_pipe,
	&file_kind_fifo,
	&file_kind_tty,
	&file_kind_eventfd,
	&file_kind_signalfd,
	&file_kind_timerfd,
	&file_kind_epoll,
	&file_kind_pidfd,
	&file_kind_nsfile,
	&file_kind_inotify,
	&file_kind_fanotify,
	&file_kind_uring,
	&file_kind_tun,
	&file_kind_bpfmap,
	&file_kind_inet,
	&file_kind_unix,
	&file_kind_netlink,
	&file_kind_packet,
	&file_kind_vsock,
	NULL,
};

const struct file_kind *file_kind_of(FdTypes type)
{
	for (const struct file_kind *const *k = file_kinds; *k; k++)
		if ((*k)->type == type)
			return *k;
	return NULL;
}

const char *file_look_who(const struct fd_look *l, char *buf, size_t size)
{
	const struct fd_look *table = l;

	while (table->carrier)
		table = table->carrier;
	if (table != l)
		snprintf(buf, size, "task %d (%s), a file in the queue of descriptor %d", l->task->pid,
			task_comm(l->task), table->fd);
	else if (l->fd >= 0)
		snprintf(buf, size, "task %d (%s), descriptor %d", l->task->pid, task_comm(l->task), l->fd);
	else
		snprintf(buf, size, "task %d (%s), a file or folder it uses", l->task->pid,
			task_comm(l->task));
	return buf;
}
