/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP connections. At the dump the inet room only notes them, because their network has to be
 * locked before anything is read:
 *
 *   noted (room's collect) --lock--> tcp_save_all --+--> tcp_silence_all (they are going to be
 *                                                   |    killed: closing says nothing to the peer)
 *                                                   +--> nothing more: they run on
 *
 * At the restore the room makes them, still in repair, while the network is locked; then
 * tcp_wake() ends that, and when the network has been unlocked tcp_speak() makes them begin.
 */
#pragma once
#include "image/journal.h"
#include "kernel/flow.h"
#include "kinds/kind.h"

/* One connected TCP socket of the target. */
struct connection {
	InetSkEntry *isk;
	struct flow flow;
	pid_t tid; /* a live thread that has it, as this host calls it */
	int fd; /* its number there */
	bool flying; /* it lies in a queue: tid and fd are torpor's */
	struct table *seen; /* for kinds/sock/guard.h */
	int reuse; /* SO_REUSEADDR, which repair changes */
	uint32_t effect; /* in the journal */
	char who[96];
};

struct connection_list vec_of(struct connection);

/* What the list of sockets says of their queues; zeros at first. */
struct tcp_waiting {
	struct table listed; /* namespaces that were */
	struct table bytes; /* by inode */
};

/* Refuses a connection with urgent data in its `unread` bytes or behind them; the network is locked. */
int tcp_refuse_urgent(struct tcp_waiting *w, int fd, const struct connection *c, uint32_t unread,
	struct err *err) must_use;
void tcp_waiting_done(struct tcp_waiting *w);

/*
 * Notes all of them in the journal, then puts each into repair, reads its state and queues into
 * its entry and image, and takes it out of repair. Should torpor die meanwhile, a guard does that.
 */
int tcp_save_all(const struct connection_list *list, struct world *w, struct image_set *images,
	struct err *err) must_use;
/* Repair again, for good: whoever closes them now does it silently. */
int tcp_silence_all(const struct connection_list *list, struct err *err) must_use;
/* The journal forgets them: they are as they were, or gone. */
void tcp_forget_all(const struct connection_list *list, struct image_set *images);

/*
 * Restore: fd is any descriptor of the connection of entry fe. Ends the repair, sets the options
 * it had changed, and hands over what was never sent.
 */
int tcp_wake(struct world *w, struct image_set *images, const FileEntry *fe, int fd, struct err *err)
	must_use;
/*
 * What could not leave while the network was locked leaves now, with a probe for the peer's window,
 * instead of when the timers expire.
 */
void tcp_speak(const FileEntry *fe, int fd);
/* Whether the entry is a connection that tcp_wake() has to wake. */
bool tcp_sleeps(const struct world *w, const FileEntry *fe);
/* Flows of all saved connections, for the lock; the caller calls vec_done(). */
struct tcp_flows vec_of(struct flow);
void tcp_flows_of(const struct world *w, struct tcp_flows *ret);
