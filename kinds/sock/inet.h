/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the inet room: inet.c, inet_opts.c, tcp_save.c, tcp_make.c, udp_queue.c. */
#pragma once
#include "kernel/flow.h"
#include "kinds/kind.h"
#include <net/if.h>
#include <netinet/in.h>

/* An address as messages hold it: 1 or 4 words, bytes in network order. */
union inet_name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Length of the used part. */
socklen_t inet_name_len(const union inet_name *n);
/* Source (or destination) of an entry; false if it has none that fits its family. */
bool inet_name_of(const InetSkEntry *e, bool destination, union inet_name *ret);
/* Source and destination as packets on the wire have them: mapped addresses become IPv4. */
void inet_flow_of(const InetSkEntry *e, struct flow *ret);
/* The same between two names. */
void inet_flow_between(const union inet_name *ours, const union inet_name *theirs, struct flow *ret);
/* Neither source nor destination: what has lost its connection. */
void inet_forget_names(InetSkEntry *e);
/* "10.0.0.1:80 and 10.0.0.2:4711" */
char *inet_flow_say(const InetSkEntry *e, char *buf, size_t size);
/*
 * While a socket hears what we send to it in its peer's name (by lo) it must not be bound to another
 * device; "": it was bound to none.
 */
int inet_leave_device(int fd, char device[IF_NAMESIZE], struct err *err) must_use;
int inet_enter_device(int fd, const char *device, struct err *err) must_use;
/* A TCP socket with a peer, whose stream is saved and restored. */
bool inet_is_connection(const InetSkEntry *e);
/* Its connection gets lost as --tcp-close asks for. */
bool inet_is_dropped(const struct world *w, const InetSkEntry *e);

/* ---- options of the levels IP, IPv6, TCP and UDP (inet_opts.c) ---- */
/* dead: what is left of a TCP connection. */
int inet_opts_collect(const struct fd_look *l, InetSkEntry *e, bool dead, struct err *err) must_use;
/* Before the socket is bound. */
int inet_opts_early(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;
/* When it is bound and connected and its queues are filled. */
int inet_opts_late(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;

/* ---- multicast groups, of datagram and raw sockets (inet_groups.c) ---- */
void inet_groups_collect(const struct fd_look *l, const InetSkEntry *e);
int inet_groups_restore(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;

/* TCP_RTO_MAX_MS and TCP_USER_TIMEOUT as they were set, 0 if they were not. */
uint32_t inet_rto_max(const struct world *w, const InetSkEntry *e);
uint32_t inet_user_timeout(const struct world *w, const InetSkEntry *e);

/* ---- datagrams that wait (udp_queue.c) ---- */
int udp_queue_collect(const struct fd_look *l, const InetSkEntry *e, struct err *err) must_use;
/* Before the socket is connected: what others than its peer have sent; after that: the rest. */
int udp_queue_fill(struct file_maker *m, const InetSkEntry *e, int fd, bool connected, struct err *err)
	must_use;
/* Of raw and ping sockets, whose queues are not kept: says so in the log. */
void inet_queue_report(const struct fd_look *l, const InetSkEntry *e);

/* ---- keys of TCP-MD5 (tcp_md5.c) ---- */

struct sock_ns;

/* To the options of the entry in torpor-files. */
int tcp_md5_collect(const struct fd_look *l, const struct sock_ns *ns, const InetSkEntry *e,
	struct err *err) must_use;
/* When a connection has its state, or a listener listens. */
int tcp_md5_restore(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;

/* ---- what an earlier life has left (inet_clear.c) ---- */

/*
 * When a name or a connection of the images is taken: takes away those closing connections which have
 * the ends of saved ones, or the port of a saved listener. 1: there were some (try again), 0: none,
 * or that was done before in this restore.
 */
int inet_clear_way(struct file_maker *m, struct err *err) must_use;

/* ---- connections, restore side (tcp_make.c) ---- */
/*
 * Makes the connection on a new socket with its early options: the descriptor is left in repair
 * until tcp_wake() (kinds/sock/tcp.h), when the network is open again.
 */
int tcp_make(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;

/* ---- connections that are over (tcp_end.c) ---- */

/* came_about: it was one, and is no refused attempt. Notes how it ended, and what nobody has read. */
int tcp_end_collect(int fd, struct world *w, const InetSkEntry *e, bool came_about, struct err *err)
	must_use;
bool tcp_end_wanted(const struct world *w, const InetSkEntry *e);
/* Instead of tcp_make(); the descriptor is not left in repair. */
int tcp_end_make(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err) must_use;
