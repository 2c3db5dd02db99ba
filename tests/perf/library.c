/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the libraries behind page filters can do alone, on all processors, with nothing else to do:
 *
 *   library FILE FILTER[:OPTIONS]...
 *
 * The file is read into memory and cut into extents, which as many threads as there are processors
 * encode and decode. Prints a line for each filter: its name, MiB/s of encoding, MiB of it for each
 * second of processor time, the same two of decoding. The filter "copy" is process_vm_readv(2) of the
 * same bytes in another process, and process_vm_writev(2) of them; "store" is writing them to a new
 * file beside FILE, and reading them from there.
 */
#include "base/cleanup.h"
#include "base/crew.h"
#include "base/io.h"
#include "pages/builtin.h"
#include "pages/filter.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct work {
	const struct torpor_page_filter *filter;
	void *state, *workers[CREW_MOST + 1];
	const uint8_t *plain;
	uint8_t *stored; /* for each extent its room */
	int64_t *lengths;
	size_t n, room;
	bool back;
	pid_t other; /* of "copy" */
	int file; /* of "store" */
	void (*run)(struct job *job, unsigned worker);
};

struct part {
	struct job job;
	struct work *work;
	size_t first, end;
};

static struct torpor_extent identity(size_t i)
{
	return (struct torpor_extent){ .dump = "bench", .object = 1, .address = i * EXTENT_BYTES,
		.serial = i, .kind = TORPOR_OBJECT_TASK, .length = EXTENT_BYTES };
}

/* Between this process and `other`, which is a fork of it and has all of it at the same place. */
static void part_copy(struct job *job, unsigned worker)
{
	static _Thread_local uint8_t here[EXTENT_BYTES];
	struct part *p = (struct part *)job;

	for (size_t i = p->first; i < p->end; i++) {
		struct iovec local = { here, sizeof(here) };
		struct iovec remote = { (void *)(uintptr_t)(p->work->plain + i * EXTENT_BYTES),
			sizeof(here) };
		ssize_t n = p->work->back ?
			process_vm_writev(p->work->other, &local, 1, &remote, 1, 0) :
			process_vm_readv(p->work->other, &local, 1, &remote, 1, 0);

		if (n != (ssize_t)sizeof(here))
			abort();
	}
}

static void part_store(struct job *job, unsigned worker)
{
	static _Thread_local uint8_t here[EXTENT_BYTES];
	struct part *p = (struct part *)job;

	for (size_t i = p->first; i < p->end; i++) {
		off_t at = (off_t)(i * EXTENT_BYTES);
		ssize_t n = p->work->back ? pread(p->work->file, here, sizeof(here), at) :
			pwrite(p->work->file, p->work->plain + at, sizeof(here), at);

		if (n != (ssize_t)sizeof(here))
			abort();
	}
}

static void part_run(struct job *job, unsigned worker)
{
	static _Thread_local uint8_t plain[EXTENT_BYTES];
	struct part *p = (struct part *)job;
	struct work *w = p->work;
	const struct torpor_page_filter *f = w->filter;
	size_t room = f->caps & TORPOR_FILTER_ALWAYS ? w->room : EXTENT_BYTES - 1;

	for (size_t i = p->first; i < p->end; i++) {
		const struct torpor_extent x = identity(i);
		uint8_t *stored = w->stored + i * w->room;

		if (!w->back)
			w->lengths[i] = f->encode(w->workers[worker], &x,
				w->plain + i * EXTENT_BYTES, EXTENT_BYTES, stored, room);
		else if (w->lengths[i] > 0 && f->decode(w->workers[worker], &x, stored,
			(size_t)w->lengths[i], plain, EXTENT_BYTES) != EXTENT_BYTES)
			abort();
	}
}

static double processor_seconds(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
		(double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void measure(struct work *w, struct crew *crew)
{
	enum { AT_ONCE = 8 };
	size_t n = (w->n + AT_ONCE - 1) / AT_ONCE;
	struct part *parts = calloc(n, sizeof(*parts));
	double cpu = processor_seconds(), mib = (double)w->n * EXTENT_BYTES / (1 << 20);
	uint64_t start = clock_us();

	for (size_t i = 0; i < n; i++) {
		parts[i] = (struct part){ { .run = w->run }, w, i * AT_ONCE,
			(i + 1) * AT_ONCE < w->n ? (i + 1) * AT_ONCE : w->n };
		crew_give(crew, &parts[i].job);
		if (w->run == part_store) /* one at a time has the file: others would spin */
			crew_wait(crew, &parts[i].job);
	}
	for (size_t i = 0; i < n && w->run != part_store; i++)
		crew_wait(crew, &parts[i].job);
	printf(" %.0f %.0f", mib / ((double)(clock_us() - start) / 1e6),
		mib / (processor_seconds() - cpu));
	free(parts);
}

static const struct torpor_page_filter *find(const char *name, size_t len)
{
	for (size_t i = 0; page_filters[i]; i++)
		if (strlen(page_filters[i]->name) == len && !strncmp(page_filters[i]->name, name, len))
			return page_filters[i];
	fprintf(stderr, "there is no filter '%s'\n", name);
	exit(1);
}

static void both_ways(struct work *w, const char *text)
{
	struct crew *crew = crew_new(NULL);

	printf("%s", text);
	for (int back = 0; back < 2; back++) {
		w->back = back;
		measure(w, crew);
	}
	putchar('\n');
	crew_free(crew);
}

/* The other process has pages of its own, as a target has. */
static void copy(struct work *w, uint8_t *plain)
{
	int ready[2];
	char byte;

	fflush(stdout);
	if (pipe(ready) < 0 || (w->other = fork()) < 0)
		exit(1);
	if (w->other == 0) {
		for (size_t i = 0; i < w->n * EXTENT_BYTES; i += PAGE)
			((volatile uint8_t *)plain)[i] = plain[i];
		(void)!write(ready[1], "r", 1);
		pause();
		_exit(0);
	}
	w->run = part_copy;
	if (read(ready[0], &byte, 1) == 1)
		both_ways(w, "copy");
	kill(w->other, SIGKILL);
	waitpid(w->other, NULL, 0);
}

/* A file that nobody else sees, on the file system of the images. */
static void store(struct work *w, const char *beside)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s.XXXXXX", beside);
	w->file = mkostemp(name, O_CLOEXEC);
	if (w->file < 0 || unlink(name) < 0)
		exit(1);
	w->run = part_store;
	both_ways(w, "store");
	close(w->file);
}

static void one(struct work *w, const char *text)
{
	static const uint8_t key[TORPOR_FILTER_KEY] = { 1 };
	const char *colon = strchr(text, ':');
	struct torpor_filter_setup setup = { .options = colon ? colon + 1 : NULL, .key = key };

	w->run = part_run;
	w->filter = find(text, strcspn(text, ":"));
	if (w->filter->open(&setup, &w->state) < 0)
		exit(1);
	for (size_t i = 0; i <= CREW_MOST; i++) {
		w->workers[i] = w->state;
		if (w->filter->worker_open && w->filter->worker_open(w->state, &w->workers[i]) < 0)
			exit(1);
	}
	both_ways(w, text);
	for (size_t i = 0; i <= CREW_MOST && w->filter->worker_close; i++)
		w->filter->worker_close(w->workers[i]);
	w->filter->close(w->state);
}

int main(int argc, char **argv)
{
	struct work w = { .room = EXTENT_BYTES + TORPOR_FILTER_EXPANSION_MAX };
	auto_close int fd = argc > 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	uint8_t *plain;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < EXTENT_BYTES) {
		fprintf(stderr, "usage: library FILE FILTER[:OPTIONS]...\n");
		return 1;
	}
	w.n = (size_t)st.st_size / EXTENT_BYTES;
	w.plain = plain = malloc(w.n * EXTENT_BYTES);
	w.stored = malloc(w.n * w.room);
	w.lengths = calloc(w.n, sizeof(*w.lengths));
	if (!plain || !w.stored || !w.lengths || io_read_all(fd, plain, w.n * EXTENT_BYTES) < 0)
		return 1;
	memset(w.stored, 1, w.n * w.room);
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "copy"))
			copy(&w, plain);
		else if (!strcmp(argv[i], "store"))
			store(&w, argv[1]);
		else
			one(&w, argv[i]);
	}
	free(plain);
	free(w.stored);
	free(w.lengths);
	return 0;
}
