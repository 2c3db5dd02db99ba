/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/sock/family.h. */
#include "base/cleanup.h"
#include "kinds/sock/family.h"
#include <errno.h>
#include <sys/socket.h>

enum { SPACE = 700, FIRST_LIST = 710 }; /* keys beyond those of fd types */

int sock_number(int fd, int option, int other)
{
	int v = other;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? other : v;
}

int sock_family(const struct fd_look *l)
{
	return S_ISSOCK(l->st.st_mode) ? sock_number(l->dup, SO_DOMAIN, -1) : -1;
}

uint64_t sock_key(const struct sock_ns *ns, unsigned what, uint64_t number)
{
	return table_key(table_key(FIRST_LIST + what, ns->ino), number);
}

/* Inode of the namespace of the task that has the socket. */
static int task_netns(const struct fd_look *l, ino_t *ret, struct err *err)
{
	pid_t pid = l->carrier ? l->task->real : l->tid;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	if (stat(path, &st) < 0)
		return err_sys(err, "cannot look at the network namespace of task %d", pid);
	*ret = st.st_ino;
	return 0;
}

int sock_ns_of(const struct fd_look *l, struct sock_ns **ret, struct err *err)
{
	struct sock_ns *ns;
	ino_t own = 0, ino = 0;
	char who[96];
	int r = task_netns(l, &own, err);

	if (r < 0)
		return r;
	r = socket_netns(l->dup, &ino, NULL);
	if (r == -EPERM)
		ino = own;
	else if (r < 0)
		return err_sysn(err, -r, "%s: cannot find the network namespace of the socket (SIOCGSKNS)",
			file_look_who(l, who, sizeof(who)));
	if (ino != own)
		return err_unsupported(err, "%s is a socket of another network namespace (net:[%lu]) than "
			"that of its task (net:[%lu]), which this version cannot save",
			file_look_who(l, who, sizeof(who)), (unsigned long)ino, (unsigned long)own);
	ns = table_get(l->seen, table_key(SPACE, ino));
	if (!ns) {
		ns = arena_new_of(l->world->arena, struct sock_ns);
		*ns = (struct sock_ns){ .ino = ino, .id = l->task->ids->net_ns_id, .seen = l->seen };
		table_put(l->seen, table_key(SPACE, ino), ns);
	}
	*ret = ns;
	return 0;
}

int sock_ns_diag(const struct fd_look *l, int *ret_fd, struct err *err)
{
	auto_close int ns = -1;
	ino_t ino;

	if (socket_netns(l->dup, &ino, &ns) < 0)
		ns = -1;
	return sock_diag_open(ns, ret_fd, err);
}
