/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer target: every parser of fdinfo texts. */
#include "kernel/fdinfo.h"
#include "kernel/uring.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct fdinfo f;
	struct fdinfo_eventfd e;
	struct fdinfo_timerfd t;
	struct fdinfo_epoll p;
	struct fdinfo_lock l;
	struct fdinfo_watch w;
	struct fdinfo_mark m;
	uint32_t flags[2];
	int64_t pid;
	uint64_t mask;
	struct cursor c;
	struct uring_info ring;
	const char *name;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	fdinfo_parse(text, &f);
	fdinfo_parse_bpfmap(text, &mask);
	fdinfo_parse_eventfd(text, &e);
	fdinfo_parse_timerfd(text, &t);
	fdinfo_parse_signalfd(text, &mask);
	fdinfo_parse_pidfd(text, &pid);
	fdinfo_parse_fanotify(text, &flags[0], &flags[1]);
	for (c = cursor_of(text); fdinfo_next_inotify(&c, &w);)
		;
	for (c = cursor_of(text); fdinfo_next_mark(&c, &m);)
		;
	for (c = cursor_of(text); fdinfo_next_epoll(&c, &p);)
		;
	for (c = cursor_of(text); fdinfo_next_lock(&c, &l);)
		;
	uring_parse(text, &ring);
	for (c = uring_files(text); uring_next_file(&c, &flags[0], &name, &size);)
		;
	for (c = uring_buffers(text); uring_next_buffer(&c, &flags[0], &mask, &mask);)
		;
	free(text);
	return 0;
}
