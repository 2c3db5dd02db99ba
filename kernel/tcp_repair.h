/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP_REPAIR: looking into and setting up a connection without its peer noticing (since 3.5;
 * net/ipv4/tcp.c). While a socket is in repair nothing is sent by what is done to it, and closing
 * it is silent. Needs CAP_NET_ADMIN in the socket's network namespace.
 *
 * Entering sets SO_REUSEADDR to a value of its own, leaving sets it to 0: callers put it back.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum tcp_queue { TCP_QUEUE_NONE = 0, TCP_QUEUE_RECV = 1, TCP_QUEUE_SEND = 2 };

/* Bits of tcpi_options (linux/tcp.h) that a connection has agreed on. */
enum { TCP_AGREED_TIMESTAMPS = 1, TCP_AGREED_SACK = 2, TCP_AGREED_WSCALE = 4 };

struct tcp_window {
	uint32_t snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup;
};

struct tcp_agreed {
	uint32_t options; /* TCP_AGREED_* */
	uint32_t mss_clamp, snd_wscale, rcv_wscale;
};

/* What the queues hold, as the kernel counts it: bytes, with a FIN of ours counted as one. */
struct tcp_amounts {
	uint32_t unread, unacked, unsent;
};

/* States of net/tcp_states.h, as images hold them. */
enum tcp_state {
	TCP_STATE_ESTABLISHED = 1, TCP_STATE_SYN_SENT, TCP_STATE_SYN_RECV, TCP_STATE_FIN_WAIT1,
	TCP_STATE_FIN_WAIT2, TCP_STATE_TIME_WAIT, TCP_STATE_CLOSE, TCP_STATE_CLOSE_WAIT,
	TCP_STATE_LAST_ACK, TCP_STATE_LISTEN, TCP_STATE_CLOSING, TCP_STATE_NEW_SYN_RECV,
};

/* "ESTABLISHED" ... */
const char *tcp_state_name(uint32_t state);
/* Which FINs have gone: ours is in the send queue or beyond, the peer's was received. */
bool tcp_state_sent_fin(uint32_t state);
bool tcp_state_got_fin(uint32_t state);
/* A state in which there is a peer and a connection can be saved. */
bool tcp_state_connected(uint32_t state);

int tcp_repair_begin(int fd, struct err *err) must_use;
/* probe: tells the peer our window, which makes it tell its own. */
int tcp_repair_end(int fd, bool probe, struct err *err) must_use;
/* 1, 0 or -errno. */
int tcp_repair_is_on(int fd);
/* Tries at once to send what waits to be sent; what TCP_CORK holds back stays. */
void tcp_push(int fd);

/* All of these need repair, except tcp_get_state() and tcp_wait_state(). */
int tcp_get_state(int fd, uint32_t *ret, struct err *err) must_use;
/* Until it is in that state, at most ten seconds. */
int tcp_wait_state(int fd, uint32_t wanted, struct err *err) must_use;
int tcp_get_agreed(int fd, struct tcp_agreed *ret, struct err *err) must_use;
int tcp_set_agreed(int fd, const struct tcp_agreed *a, struct err *err) must_use;
int tcp_get_amounts(int fd, struct tcp_amounts *ret, struct err *err) must_use;
int tcp_get_window(int fd, struct tcp_window *ret, struct err *err) must_use;
int tcp_set_window(int fd, const struct tcp_window *w, struct err *err) must_use;
int tcp_get_timestamp(int fd, uint32_t *ret, struct err *err) must_use;
int tcp_set_timestamp(int fd, uint32_t value, struct err *err) must_use;
/* Sequence number behind the last byte of a queue; setting: only of a closed socket. */
int tcp_get_seq(int fd, enum tcp_queue q, uint32_t *ret, struct err *err) must_use;
int tcp_set_seq(int fd, enum tcp_queue q, uint32_t seq, struct err *err) must_use;
/* Copies exactly len bytes, which stay in the queue. */
int tcp_peek_queue(int fd, enum tcp_queue q, void *buf, size_t len, struct err *err) must_use;
/* Appends bytes: received ones, or sent ones that were not acknowledged. */
int tcp_fill_queue(int fd, enum tcp_queue q, const void *buf, size_t len, struct err *err) must_use;
/*
 * The longest time until something is sent again (since 6.15; nothing happens before). A repaired
 * connection knows no round-trip time and would wait three seconds. 0: the usual longest time.
 */
void tcp_limit_rto(int fd, uint32_t ms);
/* How long what was sent may stay without an answer (TCP_USER_TIMEOUT); 0: as the system says. */
void tcp_give_up_after(int fd, uint32_t ms);
/* Sends bytes the ordinary way (not in repair), however small the buffer is. */
int tcp_send_on(int fd, const void *buf, size_t len, struct err *err) must_use;
