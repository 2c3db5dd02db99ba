/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load_set DIR SECONDS: loads the image set in DIR again and again with one image damaged: truncated
 * at every length and with every bit of every byte flipped, the small images first, until the time
 * is over (0: to the end). Loading, checking and planning must end with success or with an error
 * that has a text; the sanitizers see to the rest. Prints how many damages were tried and accepted.
 * The images are changed in place; each is put back before the next one is damaged.
 */
#include "base/cleanup.h"
#include "base/vec.h"
#include "image/image.h"
#include "model/findings.h"
#include "model/world.h"
#include "options/options.h"
#include "restore/plan.h"
#include "snapshot/check.h"
#include "snapshot/snapshot.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FILES = 4096, EDGE = 4096 };

struct image_file {
	char name[256];
	unsigned char *bytes;
	size_t len;
};

struct run {
	int dirfd;
	double end; /* 0: no limit */
	unsigned long tried, accepted;
	struct options options;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static bool over(const struct run *r)
{
	return r->end > 0 && now() > r->end;
}

static void put(struct run *r, const struct image_file *f, const void *bytes, size_t len)
{
	int fd = openat(r->dirfd, f->name, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len) {
		perror(f->name);
		exit(2);
	}
	close(fd);
}

/* 1 accepted, 0 refused. */
static int load_once(struct run *r, struct err *err)
{
	struct world *w = world_new();
	struct image_set *set = NULL;
	struct findings found = { 0 };
	struct plan plan = { 0 };
	int e;

	e = image_set_open(r->dirfd, false, &set, err);
	if (!e)
		e = snapshot_load(set, w, err);
	if (!e) {
		snapshot_check(w, &found);
		if (!findings_error(&found))
			e = plan_make(w, &r->options, &plan, err);
	}
	image_set_close(set);
	vec_done(&found);
	world_free(w);
	return e ? e : 1;
}

static void try_damage(struct run *r, const struct image_file *f, const void *bytes, size_t len,
	const char *what, size_t at)
{
	struct err err = ERR_INIT;
	char text[1400];
	int e;

	put(r, f, bytes, len);
	e = load_once(r, &err);
	r->tried++;
	r->accepted += e > 0;
	if (e < 0 && (!err_is_set(&err) || strlen(err_text(&err, text, sizeof(text))) < 10)) {
		fprintf(stderr, "%s %s at %zu: failed (%d) without an error\n", f->name, what, at, e);
		exit(2);
	}
}

/* One damage at a time, spread over the file: index n of a sequence. False when all are done. */
static bool damage(struct run *r, struct image_file *f, size_t n)
{
	size_t len = f->len < EDGE ? f->len : EDGE;
	size_t at = n / 9, kind = n % 9;

	if (at >= len)
		return false;
	if (kind == 8) {
		try_damage(r, f, f->bytes, at, "truncated", at);
	} else {
		f->bytes[at] ^= 1 << kind;
		try_damage(r, f, f->bytes, f->len, "flipped", at);
		f->bytes[at] ^= 1 << kind;
	}
	return true;
}

static int by_size(const void *a, const void *b)
{
	const struct image_file *x = a, *y = b;

	return x->len < y->len ? -1 : x->len > y->len;
}

static size_t read_files(struct run *r, struct image_file *files)
{
	DIR *d = fdopendir(dup(r->dirfd));
	struct dirent *e;
	struct stat st;
	size_t n = 0;

	while (d && (e = readdir(d)) && n < MAX_FILES) {
		size_t l = strlen(e->d_name);
		int fd;

		if ((l < 5 || strcmp(e->d_name + l - 4, ".img")) && strncmp(e->d_name, "torpor-", 7))
			continue;
		fd = openat(r->dirfd, e->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > 1 << 20) {
			close(fd);
			continue;
		}
		strcpy(files[n].name, e->d_name);
		files[n].len = st.st_size;
		files[n].bytes = malloc(st.st_size + 1);
		if (read(fd, files[n].bytes, st.st_size) == st.st_size)
			n++;
		close(fd);
	}
	closedir(d);
	qsort(files, n, sizeof(*files), by_size);
	return n;
}

int main(int argc, char **argv)
{
	struct image_file *files = calloc(MAX_FILES, sizeof(*files));
	struct run r = { 0 };
	struct err err = ERR_INIT;
	size_t n, left, at = 0;
	char text[1400];

	if (argc != 3 || !files)
		return 2;
	options_init(&r.options);
	r.dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = read_files(&r, files);
	if (load_once(&r, &err) < 0) {
		fprintf(stderr, "the undamaged set: %s\n", err_text(&err, text, sizeof(text)));
		return 2;
	}
	if (atof(argv[2]) > 0)
		r.end = now() + atof(argv[2]);
	/* byte after byte of all files, so that the head of each is tried when time is short */
	for (left = n; left && !over(&r); at++) {
		left = 0;
		for (size_t i = 0; i < n && !over(&r); i++) {
			for (size_t k = 0; k < 9; k++)
				left += damage(&r, &files[i], at * 9 + k);
			put(&r, &files[i], files[i].bytes, files[i].len);
		}
	}
	printf("%zu images, %lu damages, %lu accepted%s\n", n, r.tried, r.accepted,
		left ? ", time is over" : "");
	options_done(&r.options);
	for (size_t i = 0; i < n; i++)
		free(files[i].bytes);
	free(files);
	return 0;
}
