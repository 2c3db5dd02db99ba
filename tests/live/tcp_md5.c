// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP-MD5 (RFC 2385): keys of a listener, for one address and for a prefix, of both ends of connections,
 * of IPv4 and IPv6, and of one whose peer has closed its half. Afterwards the connections go on, who
 * knows the key can connect, and who does not cannot.
 */
#include "net.h"

enum { CHUNK = 800 };

static const char key[] = "a key that is shared", *const addresses[2] = { "127.0.0.1", "::1" };
static int listeners[2];
static struct wire wires[2], half[2];

/* prefix 0: one address */
static void add_key(int fd, const char *address, int prefix)
{
	struct tcp_md5sig m = { .tcpm_keylen = sizeof(key) - 1, .tcpm_prefixlen = prefix,
		.tcpm_flags = prefix ? TCP_MD5SIG_FLAG_PREFIX : 0 };
	union name n = name_make(address, 0);

	memcpy(&m.tcpm_addr, &n, name_len(&n));
	memcpy(m.tcpm_key, key, sizeof(key) - 1);
	if (setsockopt(fd, IPPROTO_TCP, prefix ? TCP_MD5SIG_EXT : TCP_MD5SIG, &m, sizeof(m)) < 0)
		skip("no TCP-MD5 in this kernel: %s", strerror(errno));
}

static struct wire make(int listener, const char *address)
{
	union name n = name_make(address, port_of(listener));
	struct wire w = { .a = socket(n.any.sa_family, SOCK_STREAM, 0) };

	add_key(w.a, address, 0);
	NEED(connect(w.a, &n.any, name_len(&n)) == 0);
	w.b = accept(listener, NULL, NULL);
	NEED(w.b >= 0);
	return w;
}

static void check(int i)
{
	union name n = name_make(addresses[i], port_of(listeners[i]));
	int stranger = socket(n.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = { .fd = stranger, .events = POLLOUT };
	char bytes[CHUNK], in[CHUNK];

	wire_works(wires[i], 5);
	fill(bytes, CHUNK, 7);
	recv_all(half[i].a, in, CHUNK);
	CHECK(holds(in, CHUNK, 7));
	recv_end(half[i].a);
	send_all(half[i].a, bytes, CHUNK);
	recv_all(half[i].b, in, CHUNK);
	CHECK(holds(in, CHUNK, 7));
	wire_works(make(listeners[i], addresses[i]), 6);
	CHECK(connect(stranger, &n.any, name_len(&n)) < 0 && errno == EINPROGRESS);
	SAME(poll(&p, 1, 200), 0);
}

int main(int argc, char **argv)
{
	char bytes[CHUNK];

	subject_init(argc, argv);
	fill(bytes, CHUNK, 7);
	for (int i = 0; i < 2; i++) {
		listeners[i] = listen_on(addresses[i], 0, 5);
		add_key(listeners[i], addresses[i], 0);
		add_key(listeners[i], i ? "fe80::" : "10.0.0.0", i ? 64 : 8);
		wires[i] = make(listeners[i], addresses[i]);
		half[i] = make(listeners[i], addresses[i]);
		send_all(half[i].b, bytes, CHUNK);
		NEED(shutdown(half[i].b, SHUT_WR) == 0 && reaches_state(half[i].a, TCP_CLOSE_WAIT));
	}
	ready();
	wait_term();
	for (int i = 0; i < 2; i++)
		check(i);
	pass();
}
