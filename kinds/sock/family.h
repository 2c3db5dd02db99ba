/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rooms of sockets have in common: network namespaces, lists of sockets, wrong numbers. */
#pragma once
#include "kernel/sock_diag.h"
#include "kinds/kind.h"
#include "kinds/owner.h"
#include "kinds/sock/sockopts.h"

/* A network namespace as a dump sees it; one exists per namespace in which sockets were met. */
struct sock_ns {
	ino_t ino;
	uint32_t id; /* as the images call it */
	struct table *seen; /* of the dump: lists of sockets are put there, see sock_key() */
};

/*
 * Namespace of the socket l->dup. Refuses one in another namespace than its task. -EPERM of the
 * kernel (no CAP_NET_ADMIN) counts as "the task's own".
 */
int sock_ns_of(const struct fd_look *l, struct sock_ns **ret, struct err *err) must_use;
/* A diag socket (kernel/sock_diag.h) in the namespace of l->dup; the caller's. */
int sock_ns_diag(const struct fd_look *l, int *ret_fd, struct err *err) must_use;
/* Key in a dump's `seen` for what a room knows of a socket (or other number) of a namespace. */
uint64_t sock_key(const struct sock_ns *ns, unsigned what, uint64_t number);

/* An int option of any socket, or `other` where it cannot be read. */
int sock_number(int fd, int option, int other);
/* SO_DOMAIN of a descriptor that is a socket, or -1. */
int sock_family(const struct fd_look *l);
