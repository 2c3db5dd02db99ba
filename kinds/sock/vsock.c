/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Vsock sockets (vsock(7)) that are not connected: fresh, bound, listening. The other side of a
 * connection is in another machine, so connected ones are refused, as are clients that wait to be
 * accepted.
 *
 * Other tools have no type for them: the file entry is of type EXT and says nothing, everything
 * stands in torpor-files. The backlog of a listener cannot be read (vsock_diag does not tell it);
 * the largest one is restored.
 */
#include "base/cleanup.h"
#include "kinds/sock/family.h"
#include "kinds/sock/rooms.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define VSOCK_OPTION(option, size) { AF_VSOCK, option, #option, size, SOCKOPT_EARLY, 0 }

/* The largest and smallest first, so that the size in use fits in between. */
static const struct sockopt options[] = {
	VSOCK_OPTION(SO_VM_SOCKETS_BUFFER_MAX_SIZE, 8),
	VSOCK_OPTION(SO_VM_SOCKETS_BUFFER_MIN_SIZE, 8),
	VSOCK_OPTION(SO_VM_SOCKETS_BUFFER_SIZE, 8),
};
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

static bool vsock_match(const struct fd_look *l)
{
	return sock_family(l) == AF_VSOCK;
}

static int refuse_busy(const struct fd_look *l, bool listening, struct err *err)
{
	struct pollfd p = { .fd = l->dup, .events = POLLIN };
	struct sockaddr_vm peer;
	socklen_t len = sizeof(peer);
	char who[96];

	file_look_who(l, who, sizeof(who));
	if (getpeername(l->dup, (struct sockaddr *)&peer, &len) == 0)
		return err_unsupported(err, "%s is a vsock socket (socket:[%lu]) connected to port %u of "
			"machine %u, which this version cannot save", who, (unsigned long)l->st.st_ino,
			peer.svm_port, peer.svm_cid);
	if (listening && poll(&p, 1, 0) > 0)
		return err_busy(err, "%s is a vsock socket (socket:[%lu]) in which a client waits to "
			"be accepted, which this version cannot save; try again when it is accepted", who,
			(unsigned long)l->st.st_ino);
	return 0;
}

static int vsock_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct arena *a = l->world->arena;
	TorporVsockEntry *e = arena_msg(a, TorporVsockEntry, torpor_vsock_entry);
	ExtFileEntry *ext = arena_msg(a, ExtFileEntry, ext_file_entry);
	struct sockaddr_vm name = { 0 };
	socklen_t len = sizeof(name);
	char who[96];
	int r;

	e->type = (uint32_t)sock_number(l->dup, SO_TYPE, SOCK_STREAM);
	e->flags = flags_collect(l);
	e->listening = sock_number(l->dup, SO_ACCEPTCONN, 0) == 1;
	r = refuse_busy(l, e->listening, err);
	if (r < 0)
		return r;
	if (getsockname(l->dup, (struct sockaddr *)&name, &len) < 0)
		return err_sys(err, "%s: cannot read the name of the vsock socket",
			file_look_who(l, who, sizeof(who)));
	e->cid = name.svm_cid;
	e->port = name.svm_port;
	ext->id = fe->id;
	ext->fown = fown_collect(l);
	fe->ext = ext;
	world_want_extra(l->world, fe->id)->vsock = e;
	r = sockopts_collect(l, fe->id, &e->opts, err);
	return r < 0 ? r : sockopts_collect_more(l, fe->id, options, N_OPTIONS, err);
}

static const TorporVsockEntry *entry_of(const struct world *w, const FileEntry *fe)
{
	const TorporFileEntry *x = world_extra(w, fe->id);

	return x ? x->vsock : NULL;
}

static void vsock_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TorporVsockEntry *e = entry_of(w, fe);
	char what[64];

	if (!e || !fe->ext) {
		finding_add(f, "ext-file", SEV_ERROR, 0,
			"file %u was kept by a plugin, which this version cannot restore", fe->id);
		return;
	}
	snprintf(what, sizeof(what), "the vsock socket of file %u", fe->id);
	if (e->type != SOCK_STREAM && e->type != SOCK_SEQPACKET && e->type != SOCK_DGRAM)
		finding_add(f, "vsock-type", SEV_ERROR, 0, "%s has type %u", what, e->type);
	if (e->listening && e->port == VMADDR_PORT_ANY)
		finding_add(f, "vsock-listener", SEV_ERROR, 0, "%s listens but has no port", what);
	sockopts_check(e->opts, what, f);
}

static int start(const TorporVsockEntry *e, int fd, struct err *err)
{
	struct sockaddr_vm name = { .svm_family = AF_VSOCK, .svm_cid = e->cid, .svm_port = e->port };

	if (e->port != VMADDR_PORT_ANY && bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0) {
		if (errno == EADDRINUSE)
			return err_target(err, EADDRINUSE, "vsock port %u is in use by another process", e->port);
		return err_sys(err, "cannot bind a vsock socket to port %u of machine %u", e->port, e->cid);
	}
	if (e->listening && listen(fd, SOMAXCONN) < 0)
		return err_sys(err, "cannot listen at vsock port %u", e->port);
	return 0;
}

static int vsock_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const TorporVsockEntry *e = entry_of(m->world, fe);
	auto_close int fd = -1;
	int r;

	if (!e)
		return err_unsupported(err, "file %u was kept by a plugin", fe->id);
	fd = socket(AF_VSOCK, (int)e->type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot make a vsock socket");
	r = sockopts_early(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = sockopts_restore_more(m, fe->id, fd, options, N_OPTIONS, SOCKOPT_EARLY, err);
	if (r == 0)
		r = start(e, fd, err);
	if (r == 0)
		r = sockopts_late(m, fe->id, fd, e->opts, err);
	if (r == 0)
		r = fown_restore(fd, fe->ext->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

const struct file_kind file_kind_vsock = {
	.name = "vsock socket",
	.type = FD_TYPES__EXT,
	.match = vsock_match,
	.collect = vsock_collect,
	.check = vsock_check,
	.create = vsock_create,
};
