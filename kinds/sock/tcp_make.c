// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restore side of kinds/sock/tcp.h: connections rise without a packet on the wire.
 *
 * connect(2) in repair makes an established connection. What a FIN of the peer, or the
 * acknowledgement of ours, would have done is done by segments which we send to ourselves in the
 * peer's name (kernel/forge.h), in this order:
 *
 *   CLOSE_WAIT  its FIN              FIN_WAIT1  shutdown
 *   LAST_ACK    its FIN, shutdown    FIN_WAIT2  shutdown, its acknowledgement
 *                                    CLOSING    shutdown, its FIN without acknowledgement
 *
 * Bytes that were never sent follow when repair has ended (tcp_wake), and after them our FIN, if
 * it was not sent either: until then such a connection is in the state before it. In CLOSING, which
 * cannot be reached that way, they count as sent: they are sent again when no acknowledgement comes.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kernel/forge.h"
#include "kernel/tcp_repair.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/tcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

enum { STEP = 256 * 1024, WIDE = 65535, SOON_MS = 1000, NEVER_MS = 1000000000 };

/* One saved stream, read from its image. */
struct stream {
	struct arena *arena;
	struct image_reader *reader; /* at the receive queue */
	const TcpStreamEntry *e;
	uint32_t sent; /* bytes of the send queue that count as sent */
	uint32_t state; /* until it is woken */
	uint32_t inq_seq, outq_seq; /* without FINs */
};

static void stream_close(struct stream *s)
{
	image_reader_close(s->reader);
	arena_free(s->arena);
}

/* The state it had before our FIN, if that stands behind bytes which were not sent. */
static uint32_t state_before(uint32_t state, uint32_t unsent)
{
	if (unsent && state == TCP_STATE_FIN_WAIT1)
		return TCP_STATE_ESTABLISHED;
	if (unsent && state == TCP_STATE_LAST_ACK)
		return TCP_STATE_CLOSE_WAIT;
	return state;
}

static int stream_open(struct image_set *images, const InetSkEntry *isk, struct stream *s,
	struct err *err)
{
	TcpStreamEntry *e = NULL;
	int r;

	*s = (struct stream){ .arena = arena_new() };
	r = image_open(images, IMG_TCP_STREAM, isk->ino, &s->reader, err);
	if (r == 0 && !s->reader)
		r = err_image(err, "there is no image of the TCP connection of file %u "
			"(tcp-stream-%x.img)", isk->id, isk->ino);
	if (r == 0)
		r = image_next(s->reader, s->arena, &e, err);
	if (r == 0)
		return err_image(err, "'%s' is empty", image_reader_name(s->reader));
	if (r < 0)
		return r;
	if ((uint64_t)e->inq_len + e->outq_len != image_left(s->reader) || e->unsq_len > e->outq_len)
		return err_image(err, "'%s' has %zu bytes behind its message, not %u and %u (%u)",
			image_reader_name(s->reader), image_left(s->reader), e->inq_len, e->outq_len,
			e->unsq_len);
	s->e = e;
	s->state = state_before(isk->state, e->unsq_len);
	s->sent = tcp_state_sent_fin(s->state) ? e->outq_len : e->outq_len - e->unsq_len;
	s->inq_seq = e->inq_seq - tcp_state_got_fin(isk->state);
	s->outq_seq = e->outq_seq - tcp_state_sent_fin(isk->state);
	return 0;
}

/* ---- the connection ---- */

static int connect_or_clear(struct file_maker *m, int fd, const union inet_name *theirs, struct err *err)
{
	int r = connect(fd, &theirs->any, inet_name_len(theirs)) < 0 ? -errno : 0, cleared;

	/* somebody has these two ends */
	if (r != -EADDRNOTAVAIL)
		return r;
	cleared = inet_clear_way(m, err);
	if (cleared <= 0)
		return cleared < 0 ? cleared : r;
	return connect(fd, &theirs->any, inet_name_len(theirs)) < 0 ? -errno : 0;
}

static int connect_silently(struct file_maker *m, const InetSkEntry *isk, const struct stream *s, int fd,
	struct err *err)
{
	union inet_name ours, theirs;
	char ends[160];
	int r;

	if (!inet_name_of(isk, false, &ours) || !inet_name_of(isk, true, &theirs))
		return err_bug(err, "a connection without addresses");
	inet_flow_say(isk, ends, sizeof(ends));
	if (bind(fd, &ours.any, inet_name_len(&ours)) < 0)
		return errno == EADDRNOTAVAIL ?
			err_sys(err, "the connection between %s cannot live here: its first address is "
				"not one of this host", ends) :
			err_sys(err, "cannot bind the connection between %s", ends);
	r = tcp_set_seq(fd, TCP_QUEUE_SEND, s->outq_seq - s->e->outq_len, err);
	if (r == 0)
		r = tcp_set_seq(fd, TCP_QUEUE_RECV, s->inq_seq - s->e->inq_len, err);
	if (r < 0)
		return r;
	r = connect_or_clear(m, fd, &theirs, err);
	if (r == 0 || err_is_set(err))
		return r;
	if (r == -EADDRNOTAVAIL)
		return err_sysn(err, -r, "cannot set up the connection between %s: there is such a "
			"connection; end the process that has it", ends);
	return err_sysn(err, -r, "cannot set up the connection between %s", ends);
}

static int agree(const struct stream *s, int fd, struct err *err)
{
	const TcpStreamEntry *e = s->e;
	const struct tcp_agreed a = { .options = e->opt_mask, .mss_clamp = e->mss_clamp,
		.snd_wscale = e->snd_wscale, .rcv_wscale = e->rcv_wscale };
	int r = tcp_set_agreed(fd, &a, err);

	if (r == 0 && e->opt_mask & TCP_AGREED_TIMESTAMPS && e->has_timestamp)
		r = tcp_set_timestamp(fd, e->timestamp, err);
	return r;
}

static int fill(struct stream *s, int fd, enum tcp_queue q, uint32_t len, struct err *err)
{
	auto_free char *buf = len ? malloc(len < STEP ? len : STEP) : NULL;
	int r = 0;

	if (len && !buf)
		return err_nomem(err);
	while (len && r == 0) {
		uint32_t n = len < STEP ? len : STEP;

		r = image_payload(s->reader, buf, n, err);
		if (r == 0)
			r = tcp_fill_queue(fd, q, buf, n, err);
		len -= n;
	}
	return r;
}

static int set_window(const struct stream *s, int fd, struct err *err)
{
	const TcpStreamEntry *e = s->e;
	const struct tcp_window w = { e->snd_wl1, e->snd_wnd, e->max_window, e->rcv_wnd, e->rcv_wup };

	if (!e->has_snd_wl1)
		return 0;
	return tcp_set_window(fd, &w, err);
}

/* ---- half-closed states ---- */

/* The queue may have used up the window: a FIN of the peer has to fit in. */
static int widen_window(const struct stream *s, int fd, struct err *err)
{
	uint32_t wnd = s->e->snd_wnd ? s->e->snd_wnd : WIDE;
	const struct tcp_window w = { s->inq_seq, wnd,
		s->e->max_window > wnd ? s->e->max_window : wnd, WIDE, s->inq_seq };

	return tcp_set_window(fd, &w, err);
}

static int hear(const InetSkEntry *isk, const struct stream *s, bool fin, bool acked,
	struct err *err)
{
	uint32_t wnd = s->e->snd_wnd >> (s->e->opt_mask & TCP_AGREED_WSCALE ? s->e->snd_wscale : 0);
	struct forged_segment g = { .seq = s->inq_seq, .fin = fin,
		.ack = acked ? s->outq_seq + 1 : s->outq_seq - s->e->outq_len,
		.window = wnd > UINT16_MAX ? UINT16_MAX : (uint16_t)wnd };
	struct flow f;

	inet_flow_of(isk, &f);
	return forge_segment(&f, &g, err);
}

/* With the send queue chosen the FIN counts as sent and stays here. */
static int close_ours(int fd, struct err *err)
{
	int r = tcp_fill_queue(fd, TCP_QUEUE_SEND, "", 0, err);

	if (r == 0 && shutdown(fd, SHUT_WR) < 0)
		return err_sys(err, "cannot close our half of a TCP connection");
	return r;
}

static int close_halves(const InetSkEntry *isk, const struct stream *s, int fd, struct err *err)
{
	uint32_t state = s->state;
	int r = widen_window(s, fd, err);

	if (r == 0 && (state == TCP_STATE_CLOSE_WAIT || state == TCP_STATE_LAST_ACK)) {
		r = hear(isk, s, true, false, err);
		if (r == 0)
			r = tcp_wait_state(fd, TCP_STATE_CLOSE_WAIT, err);
	}
	if (r == 0 && tcp_state_sent_fin(state))
		r = close_ours(fd, err);
	if (r == 0 && (state == TCP_STATE_FIN_WAIT2 || state == TCP_STATE_CLOSING))
		r = hear(isk, s, state == TCP_STATE_CLOSING, state == TCP_STATE_FIN_WAIT2, err);
	return r < 0 ? r : tcp_wait_state(fd, state, err);
}

/* Our segments come in by lo: one who listens to another device would not hear them. */
static int close_halves_anywhere(const InetSkEntry *isk, const struct stream *s, int fd,
	struct err *err)
{
	char device[IF_NAMESIZE] = "";
	int r;

	if (s->state == TCP_STATE_ESTABLISHED)
		return 0;
	r = inet_leave_device(fd, device, err);
	if (r == 0)
		r = close_halves(isk, s, fd, err);
	return r < 0 ? r : inet_enter_device(fd, device, err);
}

int tcp_make(struct file_maker *m, const InetSkEntry *isk, int fd, struct err *err)
{
	struct stream s;
	char ends[160];
	int r;

	if (!m->options->tcp_established)
		return err_usage(err, "the images hold TCP connections (the one between %s); restoring "
			"them needs --tcp-established", inet_flow_say(isk, ends, sizeof(ends)));
	r = stream_open(m->images, isk, &s, err);
	if (r == 0)
		r = tcp_repair_begin(fd, err);
	if (r == 0)
		r = connect_silently(m, isk, &s, fd, err);
	if (r == 0)
		r = agree(&s, fd, err);
	if (r == 0)
		r = fill(&s, fd, TCP_QUEUE_RECV, s.e->inq_len, err);
	/*
	 * The timer starts with the first byte that counts as sent; so often as it expires until the
	 * network is open, the kernel would give the connection up after a quarter of a minute.
	 */
	tcp_limit_rto(fd, SOON_MS);
	tcp_give_up_after(fd, NEVER_MS);
	if (r == 0)
		r = fill(&s, fd, TCP_QUEUE_SEND, s.sent, err);
	if (r == 0)
		r = close_halves_anywhere(isk, &s, fd, err);
	if (r == 0)
		r = set_window(&s, fd, err);
	stream_close(&s);
	return r;
}

/* ---- waking ---- */

bool tcp_sleeps(const struct world *w, const FileEntry *fe)
{
	return fe->isk && inet_is_connection(fe->isk) && !inet_is_dropped(w, fe->isk);
}

void tcp_flows_of(const struct world *w, struct tcp_flows *ret)
{
	const struct entry_list *list = &w->entries[IMG_FILES];

	*ret = (struct tcp_flows){ 0 };
	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		struct flow f;

		if (!tcp_sleeps(w, fe))
			continue;
		inet_flow_of(fe->isk, &f);
		vec_push(ret, f);
	}
}

/* What was never sent goes the ordinary way now. */
static int send_rest(struct image_set *images, const InetSkEntry *isk, int fd, struct err *err)
{
	struct stream s;
	auto_free char *buf = NULL;
	uint32_t rest = 0;
	int r = stream_open(images, isk, &s, err);

	if (r == 0) {
		rest = s.e->outq_len - s.sent;
		r = image_skip(s.reader, s.e->inq_len + (size_t)s.sent, err);
	}
	buf = rest ? malloc(rest) : NULL;
	if (r == 0 && rest && !buf)
		r = err_nomem(err);
	if (r == 0 && rest)
		r = image_payload(s.reader, buf, rest, err);
	if (r == 0 && rest)
		r = tcp_send_on(fd, buf, rest, err);
	if (r == 0 && s.state != isk->state && shutdown(fd, SHUT_WR) < 0)
		r = err_sys(err, "cannot close our half of a TCP connection");
	stream_close(&s);
	return r;
}

static int end_repair(const InetSkEntry *isk, bool probe, int fd, struct err *err)
{
	int reuse = isk->opts->reuseaddr, r = tcp_repair_end(fd, probe, err);

	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) < 0)
		r = err_sys(err, "cannot set SO_REUSEADDR");
	return r;
}

int tcp_wake(struct world *w, struct image_set *images, const FileEntry *fe, int fd, struct err *err)
{
	const InetSkEntry *isk = fe->isk;
	int r = end_repair(isk, false, fd, err);

	tcp_limit_rto(fd, inet_rto_max(w, isk));
	if (r == 0 && isk->shutdown & SK_SHUTDOWN__READ && !tcp_state_got_fin(isk->state))
		(void)!shutdown(fd, SHUT_RD);
	if (r == 0)
		r = send_rest(images, isk, fd, err);
	tcp_give_up_after(fd, inet_user_timeout(w, isk));
	return r < 0 ? err_while(err, "waking the connection of file entry %u", fe->id) : 0;
}

void tcp_speak(const FileEntry *fe, int fd)
{
	struct err err = ERR_INIT;

	if (tcp_repair_begin(fd, &err) == 0 && end_repair(fe->isk, true, fd, &err) < 0)
		log_warn("file entry %u: %s", fe->id, err.text);
	tcp_push(fd);
}
