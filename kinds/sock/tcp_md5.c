// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Keys of TCP-MD5 (RFC 2385, tcp(7) TCP_MD5SIG). No getsockopt(2) tells them, the list of sockets does
 * (INET_DIAG_MD5SIG, since 4.14) to whoever has CAP_NET_ADMIN; of a socket that is neither bound nor
 * connected nobody can know. Each is saved as the value that TCP_MD5SIG_EXT takes. They are set when a
 * connection has its state: what we send to it in its peer's name is not signed.
 */
#include "base/cleanup.h"
#include "kinds/sock/family.h"
#include "kinds/sock/inet.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

enum { LIST = 30, BY_INO = 31 }; /* for sock_key() */

struct keys {
	struct tcp_diag_key *at;
	size_t n;
};

struct reading {
	const struct sock_ns *ns;
	struct arena *arena;
};

static int note_keys(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct reading *r = ctx;
	struct diag_inet d;
	struct keys *k;

	(void)err;
	if (!diag_parse_inet(payload, len, &d) || !d.n_md5 || !d.msg.idiag_inode)
		return 0;
	k = arena_new_of(r->arena, struct keys);
	k->n = d.n_md5;
	k->at = arena_memdup(r->arena, d.md5, d.n_md5 * sizeof(*k->at));
	table_put(r->ns->seen, sock_key(r->ns, BY_INO, d.msg.idiag_inode), k);
	return 0;
}

/* Once per namespace. A kernel which cannot list TCP sockets cannot tell keys either. */
static int list_keys(const struct fd_look *l, const struct sock_ns *ns, struct err *err)
{
	struct reading reading = { ns, l->world->arena };
	auto_close int diag = -1;
	int r;

	if (table_get(l->seen, sock_key(ns, LIST, 0)))
		return 0;
	table_put(l->seen, sock_key(ns, LIST, 0), l->world);
	r = sock_ns_diag(l, &diag, err);
	if (r == 0)
		r = sock_diag_tcp_keys(diag, AF_INET, note_keys, &reading, err);
	if (r == 0)
		r = sock_diag_tcp_keys(diag, AF_INET6, note_keys, &reading, err);
	if (r == -ENOENT) {
		err_clear(err);
		r = 0;
	}
	return r < 0 ? err_while(err, "listing TCP sockets") : 0;
}

static struct tcp_md5sig as_option(const struct tcp_diag_key *k)
{
	struct tcp_md5sig m = { .tcpm_flags = TCP_MD5SIG_FLAG_PREFIX, .tcpm_prefixlen = k->prefix,
		.tcpm_keylen = k->len };
	union inet_name n = { .any.sa_family = k->family };

	if (k->family == AF_INET)
		memcpy(&n.v4.sin_addr, k->address, 4);
	else
		memcpy(&n.v6.sin6_addr, k->address, 16);
	memcpy(&m.tcpm_addr, &n, sizeof(n));
	memcpy(m.tcpm_key, k->key, k->len < sizeof(k->key) ? k->len : sizeof(k->key));
	return m;
}

/* IPv4 addresses of a socket of IPv6 are mapped. */
static void map_address(struct tcp_md5sig *m)
{
	union inet_name n = { .any.sa_family = AF_INET6 };
	const struct sockaddr_in *v4 = (const void *)&m->tcpm_addr;

	n.v6.sin6_addr.s6_addr[10] = n.v6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(n.v6.sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
	memcpy(&m->tcpm_addr, &n, sizeof(n));
}

int tcp_md5_collect(const struct fd_look *l, const struct sock_ns *ns, const InetSkEntry *e,
	struct err *err)
{
	struct arena *arena = l->world->arena;
	const struct keys *k;
	int r = list_keys(l, ns, err);

	if (r < 0)
		return r;
	k = table_get(l->seen, sock_key(ns, BY_INO, (uint32_t)l->st.st_ino));
	for (size_t i = 0; k && i < k->n; i++) {
		TorporFileEntry *extra = world_want_extra(l->world, e->id);
		TorporSkOption *o = arena_msg(arena, TorporSkOption, torpor_sk_option);
		struct tcp_md5sig m = as_option(&k->at[i]);

		if (e->family == AF_INET6 && k->at[i].family == AF_INET)
			map_address(&m);
		o->level = IPPROTO_TCP;
		o->name = TCP_MD5SIG_EXT;
		o->value.data = arena_memdup(arena, &m, sizeof(m));
		o->value.len = sizeof(m);
		arena_push(arena, extra->options, extra->n_options, o);
	}
	return 0;
}

int tcp_md5_restore(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, e->id);

	for (size_t i = 0; extra && i < extra->n_options; i++) {
		const TorporSkOption *o = extra->options[i];

		if (o->level != IPPROTO_TCP || o->name != TCP_MD5SIG_EXT)
			continue;
		if (o->value.len != sizeof(struct tcp_md5sig))
			return err_image(err, "torpor-files: file %u has a TCP-MD5 key of %zu bytes", e->id,
				o->value.len);
		if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, o->value.data, (socklen_t)o->value.len) < 0)
			return errno == ENOPROTOOPT ?
				err_sys(err, "cannot set a TCP-MD5 key: this kernel has no TCP_MD5SIG") :
				err_sys(err, "cannot set a TCP-MD5 key (TCP_MD5SIG_EXT)");
	}
	return 0;
}
