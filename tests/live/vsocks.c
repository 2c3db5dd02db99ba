/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vsocks: vsock sockets that are not connected: fresh, bound, listening; options. */
#include "descriptors.h"
#include "sockets.h"
#include <linux/vm_sockets.h>

enum { FRESH, BOUND, LISTENING, SIZED, N };

static int s[N];
static struct fd_note notes[N];
static struct sockaddr_vm names[N];
static uint64_t sizes[N][3];

static void bind_any(int fd)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
		.svm_port = VMADDR_PORT_ANY };

	NEED(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
}

static void look(int i, struct sockaddr_vm *name, uint64_t *size)
{
	socklen_t len = sizeof(*name);

	memset(name, 0, sizeof(*name));
	NEED(getsockname(s[i], (struct sockaddr *)name, &len) == 0);
	for (int k = 0; k < 3; k++) {
		len = sizeof(size[k]);
		size[k] = 0;
		if (i != FRESH && getsockopt(s[i], AF_VSOCK, k, &size[k], &len) < 0)
			size[k] = 1;
	}
}

int main(int argc, char **argv)
{
	uint64_t small = 64 * 1024, large = 512 * 1024;
	struct timeval tv = { 3, 0 };

	subject_init(argc, argv);
	for (int i = 0; i < N; i++) {
		s[i] = socket(AF_VSOCK, SOCK_STREAM | (i == BOUND ? SOCK_NONBLOCK : 0), 0);
		if (s[i] < 0)
			skip("no vsock sockets: %s", strerror(errno));
	}
	bind_any(s[BOUND]);
	bind_any(s[LISTENING]);
	NEED(listen(s[LISTENING], 5) == 0);
	NEED(setsockopt(s[SIZED], AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &large, 8) == 0);
	NEED(setsockopt(s[SIZED], AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &small, 8) == 0);
	NEED(setsockopt(s[SIZED], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	for (int i = 0; i < N; i++) {
		fd_note(&notes[i], s[i]);
		look(i, &names[i], sizes[i]);
	}
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		struct sockaddr_vm name;
		uint64_t size[3];

		fd_check(&notes[i], s[i], false);
		look(i, &name, size);
		if (memcmp(&name, &names[i], sizeof(name)) || memcmp(size, sizes[i], sizeof(size)))
			fail("socket %d has port %u, sizes %lu %lu %lu", i, name.svm_port, (long)size[0],
				(long)size[1], (long)size[2]);
		SAME(sock_int(s[i], SO_ACCEPTCONN), i == LISTENING);
	}
	SAME(sizes[SIZED][0], small);
	pass();
}
