/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer target: parsers of sock_diag answers; everything they point to is read. */
#include "kernel/sock_diag.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned touch(const void *at, size_t len)
{
	const unsigned char *p = at;
	unsigned sum = 0;

	for (size_t i = 0; p && i < len; i++)
		sum += p[i];
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static volatile unsigned sink;
	/* an exact copy, so that a byte too far is seen */
	char *payload = malloc(size ? size : 1);
	struct diag_unix u;
	struct diag_inet i;
	struct diag_netlink n;
	struct diag_packet p;

	if (!payload)
		return 0;
	memcpy(payload, data, size);
	if (diag_parse_unix(payload, size, &u))
		sink = touch(u.name, u.name_len) + touch(u.icons, 4 * u.n_icons);
	if (diag_parse_inet(payload, size, &i))
		sink = i.mark;
	if (diag_parse_netlink(payload, size, &n))
		sink = touch(n.groups, 4 * n.n_groups);
	if (diag_parse_packet(payload, size, &p))
		sink = touch(p.mclist, p.n_mclist * sizeof(*p.mclist));
	free(payload);
	return 0;
}
