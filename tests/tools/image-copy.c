/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies an image set by taking it apart and putting it together again, for tests/golden.
 *
 *   image-copy each SRC DST   every image by itself: message by message, payload after payload
 *   image-copy world SRC DST  through the world, as a dump would write it; what the world does not
 *                             hold (pages, ghosts, statistics) by itself
 *   image-copy cuts SRC DST NAME...
 *                             each of these images of SRC is cut shorter and shorter, and what can
 *                             be read of the set is written and taken back: a line "NAME, length,
 *                             sentence or nothing" for each cut. Nothing may stay in DST
 *
 * A field that no message has is an error: it would not survive a change of the message.
 */
#include "base/cleanup.h"
#include "image/image.h"
#include "snapshot/snapshot.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Both sets and what was copied so far. */
struct job {
	struct image_set *from, *to;
	int dst; /* directory of `to` */
};

static int refuse_unknown(const ProtobufCMessage *m, const char *where, struct err *err);

static int refuse_in_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
	const char *where, struct err *err)
{
	const char *at = (const char *)m + f->offset;
	ProtobufCMessage *const *one;
	size_t n = 1;
	int r = 0;

	if (f->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	one = (ProtobufCMessage *const *)at;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		n = *(const size_t *)((const char *)m + f->quantifier_offset);
		one = *(ProtobufCMessage *const *const *)at;
	}
	for (size_t i = 0; i < n && r == 0; i++)
		if (one[i])
			r = refuse_unknown(one[i], where, err);
	return r;
}

static int refuse_unknown(const ProtobufCMessage *m, const char *where, struct err *err)
{
	int r = 0;

	if (m->n_unknown_fields)
		return err_image(err, "image '%s': %s has the unknown field %u", where,
			m->descriptor->name, m->unknown_fields[0].tag);
	for (unsigned i = 0; i < m->descriptor->n_fields && r == 0; i++)
		r = refuse_in_field(m, &m->descriptor->fields[i], where, err);
	return r;
}

static int copy_bytes(struct image_reader *r, struct image_writer *w, size_t len, struct err *err)
{
	char buf[4096];
	int e = 0;

	while (len && e == 0) {
		size_t n = len < sizeof(buf) ? len : sizeof(buf);

		e = image_payload(r, buf, n, err);
		if (e == 0)
			e = image_put_payload(w, buf, n, err);
		len -= n;
	}
	return e;
}

static const ProtobufCMessageDescriptor *message_of(enum image_id type, bool first)
{
	bool pagemap = type == IMG_PAGEMAP || type == IMG_PAGEMAP_SHMEM;

	return first && pagemap ? &pagemap_head__descriptor : image_types[type].desc;
}

static int copy_messages(struct image_reader *r, struct image_writer *w, enum image_id type,
	struct arena *a, struct err *err)
{
	ProtobufCMessage *m;
	bool first = true;
	int got;

	while ((got = image_next_as(r, message_of(type, first), a, &m, err)) > 0) {
		size_t rest = image_types[type].flags & IMGF_STREAM ? image_left(r) :
			snapshot_payload_len(type, m);

		first = false;
		got = refuse_unknown(m, image_reader_name(r), err);
		if (got == 0)
			got = image_put(w, m, err);
		if (got == 0)
			got = copy_bytes(r, w, rest, err);
		if (got < 0)
			return got;
	}
	return got;
}

static int copy_image(struct job *j, enum image_id type, unsigned long id, struct err *err)
{
	struct arena *a = arena_new();
	struct image_reader *r = NULL;
	struct image_writer *w = NULL;
	int e = image_open(j->from, type, id, &r, err), q;

	if (e == 0)
		e = image_create(j->to, type, id, &w, err);
	if (e == 0 && image_types[type].flags & IMGF_RAW)
		e = copy_bytes(r, w, image_left(r), err);
	else if (e == 0)
		e = copy_messages(r, w, type, a, err);
	q = image_finish(w, e < 0 ? NULL : err);
	image_reader_close(r);
	arena_free(a);
	return e < 0 ? e : q;
}

/* Whatever is not there yet. */
static int copy_rest(struct job *j, struct err *err)
{
	struct image_list found;
	char name[64];
	int e = image_set_scan(j->from, &found, err);

	vec_each(f, &found) {
		image_name(f->type, f->id, name, sizeof(name));
		if (e == 0 && f->type != IMG_INVENTORY && faccessat(j->dst, name, F_OK, 0) < 0)
			e = copy_image(j, f->type, f->id, err);
	}
	vec_done(&found);
	return e;
}

static int copy_set(struct job *j, bool through_world, struct err *err)
{
	struct world *w = world_new();
	int e = snapshot_load(j->from, w, err);

	if (e == 0 && through_world)
		e = snapshot_save(w, j->to, err);
	if (e == 0)
		e = copy_rest(j, err);
	if (e == 0)
		e = refuse_unknown(&w->inventory->base, "inventory.img", err);
	if (e == 0)
		e = image_set_commit(j->to, w->inventory, err);
	if (e < 0)
		image_set_discard(j->to);
	world_free(w);
	return e;
}

/* ---- cuts ---- */

enum { EVERY_BYTE = 24, STEPS = 60 }; /* each length up to the first, and so many longer ones */

/* As copy_set() does, but of the rest only the image `name`, and all of it is taken back. */
static int write_and_discard(struct job *j, const char *name, struct err *err)
{
	struct world *w = world_new();
	struct image_list found = { 0 };
	char other[64];
	int e = snapshot_load(j->from, w, err);

	if (e == 0)
		e = snapshot_save(w, j->to, err);
	if (e == 0)
		e = image_set_scan(j->from, &found, err);
	vec_each(f, &found) {
		image_name(f->type, f->id, other, sizeof(other));
		if (e == 0 && f->type != IMG_INVENTORY && !strcmp(name, other) &&
			faccessat(j->dst, name, F_OK, 0) < 0)
			e = copy_image(j, f->type, f->id, err);
	}
	vec_done(&found);
	if (e == 0)
		e = refuse_unknown(&w->inventory->base, "inventory.img", err);
	image_set_discard(j->to);
	world_free(w);
	return e;
}

static int try_cut(int src, int dst, const char *name, struct err *err)
{
	struct job j = { .dst = dst };
	int e = image_set_open(src, false, &j.from, err);

	if (e == 0)
		e = image_set_open(dst, true, &j.to, err);
	if (e == 0)
		e = write_and_discard(&j, name, err);
	image_set_close(j.from);
	image_set_close(j.to);
	return e;
}

/* Names what is in a directory in which nothing should be: 1 if there is anything. */
static int is_left(int dst, struct err *err)
{
	int fd = openat(dst, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		return err_sys(err, "cannot read the directory of copies");
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			fprintf(stderr, "'%s' is left\n", e->d_name);
			n = 1;
		}
	closedir(d);
	return n;
}

static int say_cut(int src, int dst, const char *name, off_t length, struct err *err)
{
	struct err why = ERR_INIT;
	char text[1400];
	int e;

	printf("%s\t%lld\t", name, (long long)length);
	fflush(stdout); /* what is being tried, should this be the end of us */
	e = try_cut(src, dst, name, &why);
	printf("%s\n", e < 0 ? err_text(&why, text, sizeof(text)) : "");
	e = is_left(dst, err);
	return e > 0 ? err_bug(err, "a set that was discarded leaves files") : e;
}

static int cut_image(int src, int dst, const char *name, struct err *err)
{
	auto_close int fd = openat(src, name, O_RDWR | O_CLOEXEC);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END), step = size / STEPS;
	auto_free char *whole = size < 0 ? NULL : malloc((size_t)size + 1);
	int e = 0;

	if (!whole || pread(fd, whole, (size_t)size, 0) != size)
		return err_sys(err, "cannot read '%s'", name);
	for (off_t at = size; at-- && e == 0;)
		if (at < EVERY_BYTE || step < 2 || (at - EVERY_BYTE) % step == 0)
			e = ftruncate(fd, at) < 0 ? err_sys(err, "cannot cut '%s'", name) :
				say_cut(src, dst, name, at, err);
	if (e == 0 && pwrite(fd, whole, (size_t)size, 0) != size)
		e = err_sys(err, "cannot write '%s'", name);
	return e;
}

static int run(char **argv, struct err *err)
{
	auto_close int src = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_close int dst = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct job j = { .dst = dst };
	char **names = argv + 4;
	int e;

	if (src < 0 || dst < 0)
		return err_sys(err, "cannot open '%s' or '%s'", argv[2], argv[3]);
	if (!strcmp(argv[1], "cuts")) {
		for (e = 0; *names && e == 0; names++)
			e = cut_image(src, dst, *names, err);
		return e;
	}
	e = image_set_open(src, false, &j.from, err);
	if (e == 0)
		e = image_set_open(dst, true, &j.to, err);
	if (e == 0)
		e = copy_set(&j, !strcmp(argv[1], "world"), err);
	image_set_close(j.from);
	image_set_close(j.to);
	return e;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	char text[1400];

	bool cuts = argc > 4 && !strcmp(argv[1], "cuts");

	if (!cuts && (argc != 4 || (strcmp(argv[1], "each") && strcmp(argv[1], "world")))) {
		fprintf(stderr, "usage: image-copy each|world SRC DST, image-copy cuts SRC DST NAME...\n");
		return 2;
	}
	if (run(argv, &err) == 0)
		return 0;
	fprintf(stderr, "%s\n", err_text(&err, text, sizeof(text)));
	return 1;
}
