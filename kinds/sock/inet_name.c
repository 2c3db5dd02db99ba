// SPDX-License-Identifier: GPL-2.0-or-later
/* Addresses and ends of internet sockets: what messages hold, as the kernel and people want it. */
#include "kernel/tcp_repair.h"
#include "kinds/sock/inet.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

socklen_t inet_name_len(const union inet_name *n)
{
	return n->any.sa_family == AF_INET ? sizeof(n->v4) : sizeof(n->v6);
}

bool inet_name_of(const InetSkEntry *e, bool destination, union inet_name *ret)
{
	const uint32_t *words = destination ? e->dst_addr : e->src_addr;
	size_t n = destination ? e->n_dst_addr : e->n_src_addr;
	uint16_t port = htons((uint16_t)(destination ? e->dst_port : e->src_port));

	memset(ret, 0, sizeof(*ret));
	if (n != (e->family == AF_INET ? 1 : 4))
		return false;
	ret->any.sa_family = (sa_family_t)e->family;
	if (e->family == AF_INET) {
		memcpy(&ret->v4.sin_addr, words, 4);
		ret->v4.sin_port = port;
		return true;
	}
	memcpy(&ret->v6.sin6_addr, words, 16);
	ret->v6.sin6_port = port;
	if (e->ifname && IN6_IS_ADDR_LINKLOCAL(&ret->v6.sin6_addr))
		ret->v6.sin6_scope_id = if_nametoindex(e->ifname);
	return true;
}

void inet_flow_between(const union inet_name *ours, const union inet_name *theirs, struct flow *ret)
{
	if (ours->any.sa_family == AF_INET) {
		*ret = (struct flow){ .family = AF_INET, .our_port = ntohs(ours->v4.sin_port),
			.their_port = ntohs(theirs->v4.sin_port) };
		memcpy(ret->ours, &ours->v4.sin_addr, 4);
		memcpy(ret->theirs, &theirs->v4.sin_addr, 4);
		return;
	}
	*ret = (struct flow){ .family = AF_INET6, .our_port = ntohs(ours->v6.sin6_port),
		.their_port = ntohs(theirs->v6.sin6_port) };
	if (IN6_IS_ADDR_V4MAPPED(&theirs->v6.sin6_addr)) {
		ret->family = AF_INET;
		memcpy(ret->ours, ours->v6.sin6_addr.s6_addr + 12, 4);
		memcpy(ret->theirs, theirs->v6.sin6_addr.s6_addr + 12, 4);
	} else {
		memcpy(ret->ours, &ours->v6.sin6_addr, 16);
		memcpy(ret->theirs, &theirs->v6.sin6_addr, 16);
	}
}

void inet_flow_of(const InetSkEntry *e, struct flow *ret)
{
	union inet_name ours, theirs;

	*ret = (struct flow){ .family = (int)e->family, .our_port = (uint16_t)e->src_port,
		.their_port = (uint16_t)e->dst_port };
	if (inet_name_of(e, false, &ours) && inet_name_of(e, true, &theirs))
		inet_flow_between(&ours, &theirs, ret);
}

int inet_leave_device(int fd, char device[IF_NAMESIZE], struct err *err)
{
	socklen_t len = IF_NAMESIZE;

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) < 0 || !len)
		*device = 0;
	else if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0)
		return err_sys(err, "cannot unbind a socket from its device");
	return 0;
}

int inet_enter_device(int fd, const char *device, struct err *err)
{
	if (*device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, IF_NAMESIZE) < 0)
		return err_sys(err, "cannot bind a socket to '%s'", device);
	return 0;
}

static void say_end(int family, const uint8_t *address, uint16_t port, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(family, address, text, sizeof(text));
	snprintf(buf, size, family == AF_INET ? "%s:%u" : "[%s]:%u", text, port);
}

char *inet_flow_say(const InetSkEntry *e, char *buf, size_t size)
{
	char ours[64], theirs[64];
	struct flow f;

	inet_flow_of(e, &f);
	say_end(f.family, f.ours, f.our_port, ours, sizeof(ours));
	say_end(f.family, f.theirs, f.their_port, theirs, sizeof(theirs));
	snprintf(buf, size, "%s and %s", ours, theirs);
	return buf;
}

bool inet_is_connection(const InetSkEntry *e)
{
	return e->type == SOCK_STREAM && e->dst_port && tcp_state_connected(e->state);
}

bool inet_is_dropped(const struct world *w, const InetSkEntry *e)
{
	return inet_is_connection(e) && w->inventory && w->inventory->tcp_close;
}

void inet_forget_names(InetSkEntry *e)
{
	e->src_port = e->dst_port = 0;
	memset(e->src_addr, 0, 4 * e->n_src_addr);
	memset(e->dst_addr, 0, 4 * e->n_dst_addr);
}
