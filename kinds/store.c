/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See kinds/store.h.
 *
 * A slot stands for one description. users counts the tables that still want it; at 0 ours is
 * closed. Descriptors without users (and those for mmap) lie in a ring of the last STORE_RECENT
 * ones, so their number is bounded however many files are mapped.
 */
#include "kinds/store.h"
#include "base/cleanup.h"
#include "kinds/store_priv.h"
#include "names/handle.h"
#include "names/reach.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>

static struct slot *slot_new(struct file_store *s, const FileEntry *entry)
{
	struct slot *slot = arena_new_of(s->maker.arena, struct slot);

	slot->fd = -1;
	slot->entry = entry;
	return slot;
}

/* Counts the users of all descriptions and the live tasks of all tables. */
static void count_users(struct file_store *s)
{
	world_each_task(t, s->maker.world) {
		struct store_table *table;

		if (!task_is_alive(t) || !t->fds)
			continue;
		table = table_get(&s->tables, (uintptr_t)t->fds);
		if (table) {
			table->tasks++;
			table->shared = true;
			continue;
		}
		table = arena_new_of(s->maker.arena, struct store_table);
		table->tasks = 1;
		table->lender_fd = -1;
		table_put(&s->tables, (uintptr_t)t->fds, table);
		for (size_t i = 0; i < t->fds->n_fds; i++) {
			struct slot *slot = table_get(&s->slots, t->fds->fds[i]->id);

			if (slot && slot->counted != table) {
				slot->users++;
				slot->counted = table;
			}
		}
	}
}

/* What lies in queues is made for them, if for no table. */
static void mark_flying(struct file_store *s)
{
	const struct entry_list *list = &s->maker.world->entries[IMG_SK_QUEUES];

	for (size_t i = 0; i < list->n; i++) {
		const SkPacketEntry *p = list->at[i]->msg;

		for (size_t k = 0; k < p->n_scm; k++)
			for (size_t j = 0; j < p->scm[k]->n_rights; j++) {
				struct slot *slot = table_get(&s->slots, p->scm[k]->rights[j]);

				if (slot)
					slot->flying = true;
			}
	}
}

struct file_store *file_store_new(struct world *w, struct image_set *images, const struct options *o)
{
	struct file_store *s = calloc(1, sizeof(*s));
	const struct entry_list *list = &w->entries[IMG_FILES];
	struct rlimit most;

	if (!s)
		abort();
	s->maker = (struct file_maker){ .world = w, .images = images, .options = o,
		.arena = w->arena, .reach = reach_new(w, images, o) };
	/* Husks inherit it and need numbers as high as their tasks had. */
	if (getrlimit(RLIMIT_NOFILE, &s->old_limit) == 0) {
		most = s->old_limit;
		most.rlim_cur = most.rlim_max;
		(void)!setrlimit(RLIMIT_NOFILE, &most);
	}
	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;

		/* A tunnel shares its id with its device node. */
		table_put(&s->slots, fe->id, slot_new(s, world_file(s->maker.world, fe->id)));
	}
	count_users(s);
	for (size_t i = 0; file_kinds[i]; i++)
		if (file_kinds[i]->prepare)
			file_kinds[i]->prepare(&s->maker);
	mark_flying(s);
	return s;
}

static void slot_close(struct slot *slot)
{
	if (slot->fd >= 0)
		close(take_fd(&slot->fd));
}

void file_store_free(struct file_store *s)
{
	const struct entry_list *list;

	if (!s)
		return;
	list = &s->maker.world->entries[IMG_FILES];
	for (size_t i = 0; i < list->n; i++)
		slot_close(table_get(&s->slots, ((FileEntry *)list->at[i]->msg)->id));
	for (size_t i = 0; i < STORE_RECENT; i++)
		if (s->recent[i].slot)
			slot_close(s->recent[i].slot);
	for (size_t i = 0; file_kinds[i]; i++)
		if (file_kinds[i]->clean)
			file_kinds[i]->clean(&s->maker);
	reach_free(s->maker.reach);
	handle_space_free(s->maker.handles);
	table_done(&s->maker.made);
	table_done(&s->maker.kept);
	table_done(&s->slots);
	table_done(&s->maps);
	table_done(&s->tables);
	if (s->old_limit.rlim_max)
		(void)!setrlimit(RLIMIT_NOFILE, &s->old_limit);
	free(s);
}

/* Closes the oldest of the ring, unless it was made anew since. */
static void remember(struct file_store *s, struct slot *slot)
{
	struct recent *at = &s->recent[s->recent_calls % STORE_RECENT];

	if (at->slot && at->slot->remembered == at->call)
		slot_close(at->slot);
	slot->remembered = ++s->recent_calls;
	*at = (struct recent){ .slot = slot, .call = slot->remembered };
}

static int slot_find(struct file_store *s, uint32_t id, struct slot **ret,
	const struct file_kind **ret_kind, struct err *err)
{
	struct slot *slot = table_get(&s->slots, id);

	if (!slot)
		return err_image(err, "there is no file entry %u", id);
	*ret_kind = file_kind_of(slot->entry->type);
	if (!*ret_kind)
		return err_unsupported(err, "file entry %u is of type %d, which this version cannot "
			"restore", id, slot->entry->type);
	*ret = slot;
	return 0;
}

int file_store_get(struct file_store *s, uint32_t id, int *ret_fd, struct err *err)
{
	const struct file_kind *kind;
	struct slot *slot;
	int r = slot_find(s, id, &slot, &kind, err);

	if (r < 0)
		return r;
	if (slot->fd < 0) {
		r = kind->create(&s->maker, slot->entry, &slot->fd, err);
		if (r < 0)
			return err_while(err, "restoring file entry %u (%s)", id, kind->name);
		if (!slot->users && !slot->flying)
			remember(s, slot);
	}
	*ret_fd = slot->fd;
	return 0;
}

int file_store_get_for_map(struct file_store *s, uint32_t id, int flags, int *ret_fd,
	struct err *err)
{
	uint64_t key = table_key((unsigned)(flags & O_ACCMODE), id);
	struct slot *slot = table_get(&s->maps, key), *own;
	const struct file_kind *kind;
	int r;

	if (!slot || slot->fd < 0) {
		r = slot_find(s, id, &own, &kind, err);
		if (r < 0)
			return r;
		if (!kind->open_map)
			return file_store_get(s, id, ret_fd, err);
		if (!slot) {
			slot = slot_new(s, own->entry);
			table_put(&s->maps, key, slot);
		}
		r = kind->open_map(&s->maker, own->entry, flags, &slot->fd, err);
		if (r < 0)
			return err_while(err, "opening file entry %u (%s) for a mapping", id, kind->name);
		remember(s, slot);
	}
	*ret_fd = slot->fd;
	return 0;
}

void store_served(struct file_store *s, struct slot *slot, pid_t holder, int number)
{
	const struct file_kind *kind = file_kind_of(slot->entry->type);

	slot->holder = holder;
	slot->number = number;
	if (--slot->users == 0 && !slot->flying && !kind->keep &&
		!table_get(&s->maker.kept, 1 + slot->entry->id))
		slot_close(slot);
}

void file_keep(struct file_maker *m, uint32_t id)
{
	table_put(&m->kept, 1 + (uint64_t)id, m);
}

static struct file_store *store_of(struct file_maker *m)
{
	return (struct file_store *)((char *)m - offsetof(struct file_store, maker));
}

int file_store_lender(struct file_maker *m, const struct task *t)
{
	const struct store_table *table = table_get(&store_of(m)->tables, (uintptr_t)t->fds);

	return table ? table->lender_fd : -1;
}

int file_store_lead(struct file_store *s, const struct task *t, struct err *err)
{
	for (size_t i = 0; file_kinds[i]; i++) {
		int r = file_kinds[i]->lead ? file_kinds[i]->lead(&s->maker, t, err) : 0;

		if (r < 0)
			return err_while(err, "making task %d (%s) a session leader", t->pid, task_comm(t));
	}
	return 0;
}

int file_made(struct file_maker *m, uint32_t id, int *ret_fd, struct err *err)
{
	return file_store_get(store_of(m), id, ret_fd, err);
}

int file_maker_fd(struct file_maker *m, uint32_t id, int *ret_fd, struct err *err)
{
	struct file_store *s = (struct file_store *)((char *)m - offsetof(struct file_store, maker));
	struct slot *slot = table_get(&s->slots, id);
	auto_close int pidfd = -1;
	int fd = -1, r;

	if (slot && slot->fd < 0 && slot->holder) {
		pidfd = (int)syscall(SYS_pidfd_open, slot->holder, 0);
		fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, slot->number, 0);
		if (fd < 0)
			return err_sys(err, "cannot get descriptor %d back from task %d", slot->number,
				slot->holder);
		*ret_fd = fd;
		return 0;
	}
	r = file_store_get(s, id, &fd, err);
	if (r < 0)
		return r;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	*ret_fd = fd;
	return 0;
}

void file_store_set_husks(struct file_store *s, struct husk *(*husk_of)(void *, const struct task *),
	void *ctx)
{
	s->maker.husk_of = husk_of;
	s->maker.husk_ctx = ctx;
}

int file_store_join(struct file_store *s, struct err *err)
{
	int r = 0;

	for (size_t i = 0; file_kinds[i] && r == 0; i++) {
		if (file_kinds[i]->join)
			r = file_kinds[i]->join(&s->maker, err);
		if (r < 0)
			return err_while(err, "joining every %s", file_kinds[i]->name);
	}
	return r;
}

void file_store_complete(struct file_store *s)
{
	s->maker.complete = true;
	reach_complete(s->maker.reach);
}

static int connect_one(struct file_store *s, const FileEntry *fe, const struct file_kind *kind,
	struct err *err)
{
	const struct slot *slot = table_get(&s->slots, fe->id);

	return kind->connect ? kind->connect(&s->maker, fe, slot->fd, err) : 0;
}

static uint32_t flags_of(const ProtobufCMessage *msg)
{
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, "flags");

	return f && f->type == PROTOBUF_C_TYPE_UINT32 && f->label == PROTOBUF_C_LABEL_REQUIRED ?
		*(const uint32_t *)((const char *)msg + f->offset) : 0;
}

/* The member messages of an entry, of which one is there. */
static uint32_t flags_within(const ProtobufCMessage *msg)
{
	const ProtobufCMessageDescriptor *d = msg->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const ProtobufCMessage *member;

		if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label == PROTOBUF_C_LABEL_REPEATED)
			continue;
		member = *(ProtobufCMessage *const *)((const char *)msg + f->offset);
		if (member)
			return flags_of(member);
	}
	return 0;
}

static bool is_given(const struct world *w, const FileEntry *fe)
{
	const struct entry *tty = fe->tty ? world_entry(w, IMG_TTY_INFO, fe->tty->tty_info_id) : NULL;

	return (fe->reg && fe->reg->ext) ||
		(tty && ((const TtyInfoEntry *)tty->msg)->type == TTY_TYPE__EXT_TTY);
}

int store_async_flags(const struct world *w, const FileEntry *fe)
{
	const TorporFileEntry *extra = world_extra(w, fe->id);
	const FileEntry *name = fe->fifo && fe->fifo->has_regf_id ?
		world_file(w, fe->fifo->regf_id) : NULL;
	uint32_t flags = flags_within(name ? &name->base : &fe->base);

	if (!flags && extra)
		flags = flags_within(&extra->base);
	if (!(flags & O_ASYNC) || flags & O_PATH || is_given(w, fe))
		return 0;
	return (int)(flags & (O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK));
}

static int set_async(const struct file_store *s, const struct slot *slot, struct err *err)
{
	int flags = slot->async || slot->fd < 0 ? 0 :
		store_async_flags(s->maker.world, slot->entry);

	return flags && fcntl(slot->fd, F_SETFL, flags) < 0 ? err_sys(err, "cannot set O_ASYNC") : 0;
}

static int arm_one(struct file_store *s, const FileEntry *fe, const struct file_kind *kind,
	struct err *err)
{
	const struct slot *slot = table_get(&s->slots, fe->id);
	int r;

	if (kind->tell && slot->counted && !slot->told)
		return err_image(err, "no task has all that file entry %u (%s) refers to", fe->id,
			kind->name);
	r = set_async(s, slot, err);
	if (r < 0)
		return r;
	return kind->arm ? kind->arm(&s->maker, fe, slot->fd, err) : 0;
}

typedef int one_file(struct file_store *s, const FileEntry *fe, const struct file_kind *kind,
	struct err *err);

static int each_file(struct file_store *s, one_file *fn, const char *doing, struct err *err)
{
	const struct entry_list *list = &s->maker.world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		const struct file_kind *kind = file_kind_of(fe->type);
		int r = kind ? fn(s, fe, kind, err) : 0;

		if (r < 0)
			return err_while(err, "%s file entry %u (%s)", doing, fe->id, kind->name);
	}
	return 0;
}

int file_store_connect(struct file_store *s, struct err *err)
{
	return each_file(s, connect_one, "connecting", err);
}

int file_store_arm(struct file_store *s, struct err *err)
{
	return each_file(s, arm_one, "arming", err);
}

/* ---- folders ---- */

static int same_as_ours(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat("/", &b) == 0 && a.st_dev == b.st_dev &&
		a.st_ino == b.st_ino;
}

/* *ret_chroot: what the calls do must not mix with those of a task that shares the folders. */
static int tell_fs(struct file_store *s, struct husk *h, const FsEntry *fs, struct tape *tape,
	bool *ret_chroot, struct err *err)
{
	size_t root, cwd, dot;
	int fds[2], r = file_store_get(s, fs->root_id, &fds[0], err);

	if (r == 0)
		r = file_store_get(s, fs->cwd_id, &fds[1], err);
	if (r < 0)
		return r;
	root = tape_take(tape, h->lender_fd, fds[0]);
	cwd = tape_take(tape, h->lender_fd, fds[1]);
	*ret_chroot = !same_as_ours(fds[0]);
	if (*ret_chroot) {
		dot = tape_data(tape, ".", 2);
		tape_call(tape, "fs", TAPE_MUST, SYS_fchdir, T_RESULT(root));
		tape_call(tape, "fs", TAPE_MUST, SYS_chroot, T_DATA(dot));
	}
	tape_call(tape, "fs", TAPE_MUST, SYS_fchdir, T_RESULT(cwd));
	tape_call(tape, "fs", 0, SYS_close, T_RESULT(root));
	tape_call(tape, "fs", 0, SYS_close, T_RESULT(cwd));
	if (fs->has_umask)
		tape_call(tape, "fs", 0, SYS_umask, T(fs->umask));
	return 0;
}

static int fs_failed(const struct task *t, struct err *err)
{
	return err_while(err, "setting root and working directory of task %d (%s)", t->pid,
		task_comm(t));
}

static int fs_after(void *ctx, const struct tape *tape, int played, struct err *err)
{
	return played < 0 ? fs_failed(ctx, err) : 0;
}

int file_store_set_fs(struct file_store *s, struct husk_queue *q, struct husk *h,
	const struct task *t, struct err *err)
{
	struct store_table *table = table_get(&s->tables, (uintptr_t)t->fds);
	bool last = table && table->tasks > 0 && --table->tasks == 0, alone = false;
	/* those that share the table still need the lender which the last one closes */
	int r = last && table->shared ? husk_settle(q, err) : 0;
	struct tape *tape;

	if (r < 0)
		return r;
	tape = tape_new();
	/* The owner of a shared table may have moved the lender. */
	if (table && table->lender_fd >= 0)
		h->lender_fd = table->lender_fd;
	if (t->fs)
		r = tell_fs(s, h, t->fs, tape, &alone, err);
	if (r == 0 && last) {
		tape_call(tape, "fs", 0, SYS_close, T(h->lender_fd));
		h->lender_fd = -1;
	}
	if (r < 0) {
		tape_free(tape);
		return fs_failed(t, err);
	}
	if (alone)
		r = husk_settle(q, err);
	husk_later(q, h, 0, tape, fs_after, (void *)(uintptr_t)t);
	return r == 0 && alone ? husk_settle(q, err) : r;
}
