// SPDX-License-Identifier: GPL-2.0-or-later
/* See kernel/tcp_repair.h. */
#include "kernel/tcp_repair.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* linux/tcp.h, which cannot stand beside netinet/tcp.h */
#ifndef TCP_REPAIR_WINDOW
#define TCP_REPAIR_WINDOW 29
#endif
enum { REPAIR_ON = 1, REPAIR_OFF = 0, REPAIR_OFF_NO_WP = -1 };
/* Kinds of TCP options (RFC 9293, 7323, 2018) as TCP_REPAIR_OPTIONS takes them. */
enum { OPT_MSS = 2, OPT_WINDOW = 3, OPT_SACK_PERMITTED = 4, OPT_TIMESTAMP = 8 };
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* 5.15 */
#endif
#define TCP_RTO_MAX_MS_ 44 /* 6.15 */
enum { FILL_STEP = 256 * 1024, RTO_MAX_MS = 120000, WAIT_STEPS = 20000, WAIT_US = 500 };

static const char *const state_names[] = { "?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1",
	"FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
	"NEW_SYN_RECV" };

const char *tcp_state_name(uint32_t state)
{
	return state < sizeof(state_names) / sizeof(*state_names) ? state_names[state] : "?";
}

bool tcp_state_sent_fin(uint32_t state)
{
	return state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2 ||
		state == TCP_STATE_CLOSING || state == TCP_STATE_LAST_ACK;
}

bool tcp_state_got_fin(uint32_t state)
{
	return state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_CLOSING ||
		state == TCP_STATE_LAST_ACK;
}

bool tcp_state_connected(uint32_t state)
{
	return state == TCP_STATE_ESTABLISHED || tcp_state_sent_fin(state) ||
		tcp_state_got_fin(state);
}

static int set_int(int fd, int option, int value)
{
	return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get_int(int fd, int option, int *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, IPPROTO_TCP, option, ret, &len) < 0 ? -errno : 0;
}

int tcp_repair_begin(int fd, struct err *err)
{
	int r = set_int(fd, TCP_REPAIR, REPAIR_ON);

	if (r == -EPERM)
		return err_sysn(err, -r, "cannot repair a TCP connection (TCP_REPAIR); CAP_NET_ADMIN "
			"would allow it");
	return r < 0 ? err_sysn(err, -r, "cannot repair a TCP connection (TCP_REPAIR)") : 0;
}

int tcp_repair_end(int fd, bool probe, struct err *err)
{
	int r;

	/* the choice would outlast the repair, and show in TCP_QUEUE_SEQ */
	(void)!set_int(fd, TCP_REPAIR_QUEUE, TCP_QUEUE_NONE);
	r = set_int(fd, TCP_REPAIR, probe ? REPAIR_OFF : REPAIR_OFF_NO_WP);

	return r < 0 ? err_sysn(err, -r, "cannot end the repair of a TCP connection") : 0;
}

int tcp_repair_is_on(int fd)
{
	int on = 0, r = get_int(fd, TCP_REPAIR, &on);

	return r < 0 ? r : on == REPAIR_ON;
}

/* Setting TCP_NODELAY sends at once, even what is corked (tcp(7)). */
void tcp_push(int fd)
{
	int corked = 0, was = 0;

	if (get_int(fd, TCP_CORK, &corked) < 0 || corked || get_int(fd, TCP_NODELAY, &was) < 0)
		return;
	(void)!set_int(fd, TCP_NODELAY, 1);
	(void)!set_int(fd, TCP_NODELAY, was);
}

static int get_info(int fd, struct tcp_info *ret, struct err *err)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0)
		return err_sys(err, "cannot read the state of a TCP socket (TCP_INFO)");
	return 0;
}

int tcp_get_state(int fd, uint32_t *ret, struct err *err)
{
	struct tcp_info info;
	int r = get_info(fd, &info, err);

	if (r == 0)
		*ret = info.tcpi_state;
	return r;
}

int tcp_wait_state(int fd, uint32_t wanted, struct err *err)
{
	uint32_t state = 0;
	int r = 0;

	for (int i = 0; i < WAIT_STEPS && r == 0; i++) {
		r = tcp_get_state(fd, &state, err);
		if (r < 0 || state == wanted)
			return r;
		usleep(WAIT_US);
	}
	return err_set(err, ERR_KERNEL, EIO, "a TCP connection came to the state %s instead of %s",
		tcp_state_name(state), tcp_state_name(wanted));
}

int tcp_get_agreed(int fd, struct tcp_agreed *ret, struct err *err)
{
	struct tcp_info info;
	int mss, r = get_info(fd, &info, err);

	if (r < 0)
		return r;
	/* In repair this is the clamp, not the current size (net/ipv4/tcp.c). */
	r = get_int(fd, TCP_MAXSEG, &mss);
	if (r < 0)
		return err_sysn(err, -r, "cannot read the segment size of a TCP connection");
	*ret = (struct tcp_agreed){ .mss_clamp = (uint32_t)mss,
		.options = info.tcpi_options &
			(TCP_AGREED_TIMESTAMPS | TCP_AGREED_SACK | TCP_AGREED_WSCALE),
		.snd_wscale = info.tcpi_snd_wscale, .rcv_wscale = info.tcpi_rcv_wscale };
	return 0;
}

int tcp_set_agreed(int fd, const struct tcp_agreed *a, struct err *err)
{
	struct tcp_repair_opt opts[4] = { { OPT_MSS, a->mss_clamp } };
	size_t n = 1;

	if (a->options & TCP_AGREED_WSCALE)
		opts[n++] = (struct tcp_repair_opt){ OPT_WINDOW, a->snd_wscale | a->rcv_wscale << 16 };
	if (a->options & TCP_AGREED_SACK)
		opts[n++] = (struct tcp_repair_opt){ OPT_SACK_PERMITTED, 0 };
	if (a->options & TCP_AGREED_TIMESTAMPS)
		opts[n++] = (struct tcp_repair_opt){ OPT_TIMESTAMP, 0 };
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, opts, (socklen_t)(n * sizeof(*opts))) < 0)
		return err_sys(err, "cannot set what a TCP connection has agreed on "
			"(TCP_REPAIR_OPTIONS)");
	return 0;
}

int tcp_get_amounts(int fd, struct tcp_amounts *ret, struct err *err)
{
	int unread, unacked, unsent;

	if (ioctl(fd, SIOCINQ, &unread) < 0 || ioctl(fd, SIOCOUTQ, &unacked) < 0 ||
		ioctl(fd, SIOCOUTQNSD, &unsent) < 0)
		return err_sys(err, "cannot see how much waits in a TCP connection");
	*ret = (struct tcp_amounts){ (uint32_t)unread, (uint32_t)unacked, (uint32_t)unsent };
	return 0;
}

int tcp_get_window(int fd, struct tcp_window *ret, struct err *err)
{
	socklen_t len = sizeof(*ret);

	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, ret, &len) < 0)
		return err_sys(err, "cannot read the window of a TCP connection");
	return 0;
}

int tcp_set_window(int fd, const struct tcp_window *w, struct err *err)
{
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, w, sizeof(*w)) < 0)
		return err_sys(err, "cannot set the window of a TCP connection (%u %u %u %u %u)",
			w->snd_wl1, w->snd_wnd, w->max_window, w->rcv_wnd, w->rcv_wup);
	return 0;
}

int tcp_get_timestamp(int fd, uint32_t *ret, struct err *err)
{
	int value, r = get_int(fd, TCP_TIMESTAMP, &value);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the time stamp of a TCP connection");
	*ret = (uint32_t)value;
	return 0;
}

int tcp_set_timestamp(int fd, uint32_t value, struct err *err)
{
	int r = set_int(fd, TCP_TIMESTAMP, (int)value);

	return r < 0 ? err_sysn(err, -r, "cannot set the time stamp of a TCP connection") : 0;
}

static int choose_queue(int fd, enum tcp_queue q, struct err *err)
{
	int r = set_int(fd, TCP_REPAIR_QUEUE, q);

	return r < 0 ? err_sysn(err, -r, "cannot choose a queue of a TCP connection") : 0;
}

int tcp_get_seq(int fd, enum tcp_queue q, uint32_t *ret, struct err *err)
{
	int seq, r = choose_queue(fd, q, err);

	if (r < 0)
		return r;
	r = get_int(fd, TCP_QUEUE_SEQ, &seq);
	if (r < 0)
		return err_sysn(err, -r, "cannot read a sequence number of a TCP connection");
	*ret = (uint32_t)seq;
	return 0;
}

int tcp_set_seq(int fd, enum tcp_queue q, uint32_t seq, struct err *err)
{
	int r = choose_queue(fd, q, err);

	if (r < 0)
		return r;
	r = set_int(fd, TCP_QUEUE_SEQ, (int)seq);
	return r < 0 ? err_sysn(err, -r, "cannot set a sequence number of a TCP connection") : 0;
}

int tcp_peek_queue(int fd, enum tcp_queue q, void *buf, size_t len, struct err *err)
{
	int r = choose_queue(fd, q, err);
	ssize_t n;

	if (r < 0 || !len)
		return r;
	n = recv(fd, buf, len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return err_sys(err, "cannot copy the %s queue of a TCP connection",
			q == TCP_QUEUE_SEND ? "send" : "receive");
	if ((size_t)n != len)
		return err_set(err, ERR_KERNEL, EIO, "only %zd of %zu bytes in the %s queue of a TCP "
			"connection can be read (urgent data among them?)", n, len,
			q == TCP_QUEUE_SEND ? "send" : "receive");
	return 0;
}

/* The buffer may have been larger than it was allowed to be, or its pieces denser. */
static int make_room(int fd, enum tcp_queue q)
{
	int option = q == TCP_QUEUE_SEND ? SO_SNDBUF : SO_RCVBUF, now;
	socklen_t len = sizeof(now);

	if (getsockopt(fd, SOL_SOCKET, option, &now, &len) < 0 || now > 1 << 30)
		return -ENOBUFS;
	/* It is doubled by the kernel. */
	return setsockopt(fd, SOL_SOCKET, q == TCP_QUEUE_SEND ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &now,
		       sizeof(now)) < 0 ? -errno : 0;
}

static int put_all(int fd, enum tcp_queue q, const char *at, size_t len, struct err *err)
{
	const char *name = q == TCP_QUEUE_SEND ? "send" : "receive";

	while (len) {
		ssize_t n = send(fd, at, len < FILL_STEP ? len : FILL_STEP, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != ENOMEM)
			return err_sys(err, "cannot put %zu bytes into the %s queue of a TCP connection",
				len, name);
		r = make_room(fd, q);
		if (r < 0)
			return err_sysn(err, -r, "no room for %zu bytes in the %s queue of a TCP "
				"connection", len, name);
	}
	return 0;
}

int tcp_fill_queue(int fd, enum tcp_queue q, const void *buf, size_t len, struct err *err)
{
	int r = choose_queue(fd, q, err);

	return r < 0 ? r : put_all(fd, q, buf, len, err);
}

void tcp_limit_rto(int fd, uint32_t ms)
{
	uint64_t usual = RTO_MAX_MS;
	auto_free char *text = NULL;

	if (!ms && io_slurp("/proc/sys/net/ipv4/tcp_rto_max_ms", &text, NULL) == 0) {
		struct cursor c = cursor_of(text);

		(void)!parse_u64(&c, 10, &usual);
	}
	(void)!set_int(fd, TCP_RTO_MAX_MS_, ms ? (int)ms : (int)usual);
}

void tcp_give_up_after(int fd, uint32_t ms)
{
	(void)!set_int(fd, TCP_USER_TIMEOUT, (int)ms);
}

int tcp_send_on(int fd, const void *buf, size_t len, struct err *err)
{
	int size, lock, r;
	socklen_t n = sizeof(size), m = sizeof(lock);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &n) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, &m) < 0)
		return err_sys(err, "cannot read the buffer size of a TCP connection");
	r = put_all(fd, TCP_QUEUE_SEND, buf, len, err);
	if (r < 0)
		return r;
	/* It is doubled by the kernel, and setting it locks it. */
	size /= 2;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &lock, sizeof(lock)) < 0)
		return err_sys(err, "cannot set the buffer size of a TCP connection");
	return 0;
}
