/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which images are there: file names against the patterns of the table. */
#include "base/cleanup.h"
#include "base/parse.h"
#include "image/sealed.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Only the one spelling image_name() makes counts: no sign, no leading zeros. */
static bool name_fits(const char *name, enum image_id type, unsigned long *ret_id)
{
	const char *pattern = image_types[type].pattern, *number = strchr(pattern, '%');
	struct cursor c = cursor_of(name);
	char again[IMAGE_NAME];
	uint64_t id;

	*ret_id = 0;
	if (!number)
		return !strcmp(name, pattern);
	if (strncmp(name, pattern, (size_t)(number - pattern)))
		return false;
	c.at += number - pattern;
	/* the conversions are %lu and %lx */
	if (!parse_u64(&c, number[2] == 'x' ? 16 : 10, &id))
		return false;
	*ret_id = id;
	return !strcmp(name, image_name(type, id, again, sizeof(again)));
}

int image_name_parse(const char *name, struct image_found *ret)
{
	for (int type = 0; type < IMG_COUNT; type++) {
		unsigned long id;

		if (!name_fits(name, (enum image_id)type, &id))
			continue;
		*ret = (struct image_found){ (enum image_id)type, id };
		return 1;
	}
	return 0;
}

static int by_type_and_id(const void *a, const void *b)
{
	const struct image_found *x = a, *y = b;

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* An encrypted set has what its manifest names; the directory may hold anything. */
static void scan_manifest(const struct sealed *s, struct image_list *ret)
{
	struct image_found found;

	vec_each(f, &s->files)
		if (image_name_parse(f->name, &found))
			vec_push(ret, found);
}

static int scan_directory(const struct image_set *set, struct image_list *ret, struct err *err)
{
	auto_close int fd = openat(set->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct image_found found;

	if (!dir)
		return err_sys(err, "cannot list the images directory");
	take_fd(&fd);
	for (;;) {
		struct dirent *d;

		errno = 0;
		d = readdir(dir);
		if (!d)
			break;
		if (image_name_parse(d->d_name, &found))
			vec_push(ret, found);
	}
	if (errno) {
		vec_done(ret);
		return err_sys(err, "cannot list the images directory");
	}
	return 0;
}

int image_set_scan(const struct image_set *set, struct image_list *ret, struct err *err)
{
	int r = 0;

	*ret = (struct image_list){ 0 };
	if (set->sealed && !set->write)
		scan_manifest(set->sealed, ret);
	else
		r = scan_directory(set, ret, err);
	if (r == 0 && ret->n)
		qsort(ret->at, ret->n, sizeof(*ret->at), by_type_and_id);
	return r;
}
