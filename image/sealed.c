// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Encrypted sets. Everything is in sealed files (image/seal.h) but the pages, whose filters protect
 * them, and the inventory, which others must be able to read far enough to refuse the set: it has
 * the keys for those who may read, and the real inventory.
 *
 * - The manifest names every file with its size and the salt of its key, so files can neither be
 *   taken away nor be replaced, not even by another writing of the same dump.
 * - The real inventory authenticates the manifest's salt, generation and parent.
 */
#include "image/sealed.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/kdf.h"
#include "image/keys.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { AAD = 8 + IMAGE_DUMP_ID + SEAL_SALT, COPY = 256 * 1024, FILES_MOST = 16 << 20 };

static const char manifest_name[] = "torpor-manifest";

void sealed_free(struct sealed *s)
{
	if (!s)
		return;
	vec_each(f, &s->files)
		free(f->name);
	vec_each(raw, &s->raws) {
		close(raw->fd);
		free(raw->name);
	}
	vec_done(&s->files);
	vec_done(&s->raws);
	table_done(&s->by_name);
	secret_free(s->key.key);
	arena_free(s->arena);
	free(s);
}

static int sealed_new(struct image_set *set, struct sealed **ret, struct err *err)
{
	struct sealed *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		abort();
	s->arena = arena_new();
	memcpy(s->key.dump_id, set->dump_id, sizeof(s->key.dump_id));
	r = secret_new(&s->key.key, err);
	if (r < 0)
		sealed_free(s);
	else
		*ret = s;
	return r;
}

static uint64_t name_key(const char *name)
{
	uint64_t h = 14695981039346656037u;

	while (*name)
		h = (h ^ (uint8_t)*name++) * 1099511628211u;
	return h;
}

const struct sealed_file *sealed_find(const struct sealed *s, const char *name)
{
	size_t i = (uintptr_t)table_get(&s->by_name, name_key(name));

	return i && !strcmp(s->files.at[i - 1].name, name) ? &s->files.at[i - 1] : NULL;
}

/* What the real inventory authenticates beside itself. */
static void make_aad(const struct image_set *set, const uint8_t *manifest_salt, uint8_t *aad)
{
	const uint32_t numbers[2] = { set->needs, set->generation };

	memcpy(aad, numbers, sizeof(numbers));
	memcpy(aad + 8, set->parent_id, IMAGE_DUMP_ID);
	memcpy(aad + 8 + IMAGE_DUMP_ID, manifest_salt, SEAL_SALT);
}

/* ------------------------------------------------------------------------------------- writing */

int image_set_seal(struct image_set *set, unsigned cipher, struct err *err)
{
	struct sealed *s;
	int r;

	if (!set->access->keys)
		return err_usage(err, "encryption needs somebody who can read the images");
	r = sealed_new(set, &s, err);
	if (r < 0)
		return r;
	set->sealed = s;
	set->needs |= IMAGE_NEEDS_KEY;
	s->key.cipher = (enum aead_kind)cipher;
	s->envelope = arena_msg(s->arena, TorporEnvelopeEntry, torpor_envelope_entry);
	s->envelope->cipher = cipher + 1;
	r = random_bytes(s->key.key, KEY_BYTES, err);
	return r < 0 ? r :
		keyring_wrap(set->access->keys, set->dump_id, s->key.key, s->arena, s->envelope, err);
}

size_t sealed_note(struct sealed *s, const char *name, const uint8_t *salt)
{
	struct sealed_file f = { .name = strdup(name), .has_salt = salt };

	if (!f.name)
		abort();
	if (salt)
		memcpy(f.salt, salt, sizeof(f.salt));
	vec_push(&s->files, f);
	table_put(&s->by_name, name_key(name), (void *)(uintptr_t)s->files.n);
	return s->files.n - 1;
}

int sealed_create_memory(struct sealed *s, const char *name, int *ret_fd, struct err *err)
{
	auto_close int fd = memfd_create(name, MFD_CLOEXEC);
	struct sealed_raw raw = { .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0) };

	if (fd < 0 || raw.fd < 0)
		return err_sys(err, "cannot make memory for image '%s'", name);
	raw.name = strdup(name);
	if (!raw.name)
		abort();
	vec_push(&s->raws, raw);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int copy_raw(struct seal_writer *w, const struct sealed_raw *raw, struct err *err)
{
	auto_free uint8_t *buf = malloc(COPY);
	off_t at = 0;
	ssize_t n;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && (n = pread(raw->fd, buf, COPY, at)) != 0) {
		r = n < 0 ? -errno : seal_write(w, buf, (size_t)n);
		at += n;
	}
	if (r == 0)
		r = seal_finish(w);
	return r < 0 ? image_write_failed(err, -r, raw->name) : 0;
}

static int write_raw(struct image_set *set, const struct sealed_raw *raw, struct err *err)
{
	struct seal_writer *w;
	uint8_t salt[SEAL_SALT];
	auto_close int fd = -1;
	size_t index;
	int r = image_create_fd(set, raw->name, &fd, err);

	if (r == 0)
		r = seal_writer_new(&set->sealed->key, raw->name, fd, image_set_patience(set), salt,
			&w, err);
	if (r < 0)
		return r;
	index = sealed_note(set->sealed, raw->name, salt);
	r = copy_raw(w, raw, err);
	set->sealed->files.at[index].size = seal_size(w);
	set->streamed += seal_size(w);
	seal_writer_free(w);
	return r;
}

static int put_files(struct image_set *set, struct image_writer *w, size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct sealed_file *f = &set->sealed->files.at[i];
		TorporManifestEntry e = TORPOR_MANIFEST_ENTRY__INIT;

		e.name = f->name;
		e.size = f->size;
		e.has_salt = f->has_salt;
		e.salt = (ProtobufCBinaryData){ sizeof(f->salt), (uint8_t *)f->salt };
		r = image_put(w, &e, err);
	}
	return r;
}

int sealed_write_manifest(struct image_set *set, struct err *err)
{
	struct image_writer *w;
	int r = 0, q;
	size_t n;

	vec_each(raw, &set->sealed->raws)
		if (r == 0)
			r = write_raw(set, raw, err);
	n = set->sealed->files.n;
	if (r == 0)
		r = image_create(set, IMG_TORPOR_MANIFEST, 0, &w, err);
	if (r < 0)
		return r;
	r = put_files(set, w, n, err);
	q = image_finish(w, r < 0 ? NULL : err);
	return r < 0 ? r : q;
}

int sealed_put_inventory(struct image_set *set, const InventoryEntry *inv, TorporSetEntry *t,
	struct err *err)
{
	struct sealed *s = set->sealed;
	/* the manifest is what was written last */
	const struct sealed_file *manifest = &s->files.at[s->files.n - 1];
	size_t len = inventory_entry__get_packed_size(inv);
	uint8_t aad[AAD], *plain = arena_alloc(s->arena, len);

	inventory_entry__pack(inv, plain);
	make_aad(set, manifest->salt, aad);
	s->envelope->inventory.len = len + AEAD_TAG;
	s->envelope->inventory.data = arena_alloc(s->arena, len + AEAD_TAG);
	t->envelope = s->envelope;
	return seal_bytes(&s->key, "inventory", aad, sizeof(aad), plain, len,
		s->envelope->inventory.data, err);
}

/* ------------------------------------------------------------------------------------- reading */

static int open_sealed(struct image_set *set, const char *name, const uint8_t *salt, int *ret_fd,
	struct seal_reader **ret, struct err *err)
{
	auto_close int fd = openat(set->dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ENOENT ? err_image(err, "image '%s' is missing", name) :
					 err_sys(err, "cannot open image '%s'", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_image(err, "image '%s' is no regular file", name);
	r = seal_reader_new(&set->sealed->key, name, fd, (uint64_t)st.st_size, salt, ret, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

int sealed_open_memory(struct image_set *set, const char *name, int *ret_fd, struct err *err)
{
	const struct sealed_file *f = sealed_find(set->sealed, name);
	auto_close int from = -1;
	auto_close int fd = -1;
	auto_free uint8_t *buf = malloc(SEAL_PIECE);
	struct seal_reader *r;
	int e = f ? open_sealed(set, name, f->salt, &from, &r, err) :
		    err_set(err, ERR_IMAGE, ENOENT, "image '%s' is missing", name);

	if (e < 0)
		return e;
	fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0 || !buf)
		e = err_sys(err, "cannot make memory for image '%s'", name);
	for (uint64_t at = 0, n; e == 0 && (at < seal_length(r) || at == 0); at += n) {
		n = seal_length(r) - at < SEAL_PIECE ? seal_length(r) - at : SEAL_PIECE;
		if (seal_read(r, buf, n, at) < 0)
			e = err_image(err, "image '%s' was changed at byte %lu", name, at);
		else
			e = io_write_all(fd, buf, n);
		if (!n)
			break;
	}
	seal_reader_free(r);
	if (e < 0)
		return err_sysn(err, -e, "cannot decrypt image '%s'", name);
	lseek(fd, 0, SEEK_SET);
	*ret_fd = take_fd(&fd);
	return 0;
}

int sealed_open_inventory(const struct sealed *s, int *ret_fd, struct err *err)
{
	auto_close int fd = memfd_create("inventory.img", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : io_write_all(fd, s->inventory, s->inventory_len);

	if (r < 0)
		return err_sysn(err, -r, "cannot make memory for inventory.img");
	*ret_fd = take_fd(&fd);
	return 0;
}

static int take_entry(struct image_set *set, const TorporManifestEntry *e, struct err *err)
{
	struct sealed *s = set->sealed;
	off_t size = (off_t)e->size;
	struct stat st;

	if ((e->has_salt && e->salt.len != SEAL_SALT) || strchr(e->name, '/') ||
		s->files.n == FILES_MOST)
		return err_image(err, "%s has an impossible entry '%s'", manifest_name, e->name);
	if (fstatat(set->dirfd, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		size = st.st_size;
	else if (errno != ENOENT || e->has_salt || !set->access->pages_elsewhere)
		return errno == ENOENT ?
			err_image(err, "image '%s' is missing, though it belongs to the set", e->name) :
			err_sys(err, "cannot look at image '%s'", e->name);
	if ((uint64_t)size != e->size)
		return err_image(err, "image '%s' has %ld bytes instead of %lu", e->name,
			(long)size, e->size);
	sealed_note(s, e->name, e->has_salt ? e->salt.data : NULL);
	s->files.at[s->files.n - 1].size = e->size;
	return 0;
}

/* The manifest itself is in no list; its salt is the one which the inventory authenticates. */
static int read_manifest(struct image_set *set, const uint8_t *salt, struct err *err)
{
	struct sealed *s = set->sealed;
	struct arena *a = arena_new();
	struct image_reader *r = NULL;
	TorporManifestEntry *e;
	int got;

	sealed_note(s, manifest_name, salt);
	table_put(&s->by_name, name_key(manifest_name), (void *)(uintptr_t)s->files.n);
	got = image_open(set, IMG_TORPOR_MANIFEST, 0, &r, err);
	while (got >= 0 && (got = image_next(r, a, &e, err)) > 0) {
		got = take_entry(set, e, err);
		if (got < 0)
			break;
	}
	image_reader_close(r);
	arena_free(a);
	return got;
}

/* The real inventory gets the form of an image file: magic, size, message. */
static int open_inventory(struct image_set *set, const TorporSetEntry *t, const uint8_t *salt,
	struct err *err)
{
	const ProtobufCBinaryData *sealed = &t->envelope->inventory;
	struct sealed *s = set->sealed;
	uint32_t head[2] = { image_types[IMG_INVENTORY].magic, 0 };
	uint8_t aad[AAD];
	int r;

	if (sealed->len < AEAD_TAG)
		return err_image(err, "inventory.img is too short");
	head[1] = (uint32_t)(sealed->len - AEAD_TAG);
	s->inventory_len = sizeof(head) + head[1];
	s->inventory = arena_alloc(s->arena, s->inventory_len);
	memcpy(s->inventory, head, sizeof(head));
	make_aad(set, salt, aad);
	r = unseal_bytes(&s->key, "inventory", aad, sizeof(aad), sealed->data, sealed->len,
		s->inventory + sizeof(head), err);
	return r < 0 ? err_image(err, "inventory.img and %s were changed or do not belong together",
			       manifest_name) : 0;
}

static int manifest_salt(struct image_set *set, uint8_t *salt, struct err *err)
{
	auto_close int fd = openat(set->dirfd, manifest_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = fd < 0 ? -errno : io_pread_all(fd, salt, SEAL_SALT, SEAL_HEADER - SEAL_SALT);

	return r < 0 ? err_image(err, "image '%s' is missing or too short", manifest_name) : 0;
}

int sealed_learn(struct image_set *set, const TorporSetEntry *t, struct err *err)
{
	const TorporEnvelopeEntry *e = t->envelope;
	uint8_t salt[SEAL_SALT];
	struct sealed *s;
	int r;

	if (!e || e->cipher < 1 || e->cipher > 2)
		return err_image(err, "inventory.img does not say how the set is encrypted");
	r = sealed_new(set, &s, err);
	if (r < 0)
		return r;
	set->sealed = s;
	s->key.cipher = (enum aead_kind)(e->cipher - 1);
	if (!set->access->keys)
		return err_set(err, ERR_IMAGE, ENOKEY, "the images are encrypted, and there is no key");
	r = keyring_unwrap(set->access->keys, set->dump_id, e, s->key.key, err);
	if (r == 0)
		r = manifest_salt(set, salt, err);
	if (r == 0)
		r = open_inventory(set, t, salt, err);
	return r < 0 ? r : read_manifest(set, salt, err);
}
