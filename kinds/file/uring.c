/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dump of io_uring. Through a duplicate of the descriptor the ring's memory can be mapped and read,
 * and most of what else it has be found out by questions that change nothing (or that would take
 * it, and are taken back at once). What cannot be told changes only how fast the ring is:
 * IORING_SETUP_COOP_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL, IOPOLL, the idle time of the SQ thread.
 */
#include "kinds/file/uring.h"
#include "base/cleanup.h"
#include "kernel/uring.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/eventfd.h>

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) /* 6.6 */
#endif

enum {
	SEEN_RINGS = 740,
	SEEN_LINKS = 741,
	GROUPS_MAX = 4096,
	REGISTER_IOWQ_MAX_WORKERS = 19,
	REGISTER_PBUF_STATUS = 26, /* 5.15, 6.8 */
};

/* A registered file, which the kernel names by its path only; found when all tables are known. */
struct named_file {
	struct named_file *next;
	const char *name, *who;
	TorporUringFile *file;
};

static bool uring_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[io_uring]");
}

static int refuse(const struct fd_look *l, const char *what, struct err *err)
{
	char who[96];

	return err_unsupported(err, "%s is an io_uring %s; it cannot be saved",
		file_look_who(l, who, sizeof(who)), what);
}

/*
 * Requests are only known to be done by the number of completions, and some have more than one: while
 * they go on, these are marked. A mark may also be of one that is long done; which cannot be told.
 */
static int refuse_several(const struct fd_look *l, uint32_t taken, uint32_t posted, struct err *err)
{
	char what[192];

	snprintf(what, sizeof(what), "with requests that complete more than once (multishot ones, "
		"zero-copy sends), so nobody can tell whether one is in flight (%u requests, %u "
		"completions)", taken, posted);
	return refuse(l, what, err);
}

static int check_idle(const struct fd_look *l, const struct uring_info *i, struct err *err)
{
	char what[128];

	if (!i->polls && (int32_t)(i->posted - i->taken) > 0)
		return refuse_several(l, i->taken, i->posted, err);
	if (!i->polls && !i->overflow && i->taken == i->posted)
		return 0;
	snprintf(what, sizeof(what), "that is still busy after --timeout: of %u requests %u have "
		"completed%s", i->taken, i->posted, i->polls ? ", some wait for files" : "");
	return refuse(l, what, err);
}

/* Questions to the ring itself. */
static int check_owner(const struct fd_look *l, struct err *err)
{
	uint32_t query[2] = { 0 };
	auto_close int event = eventfd(0, EFD_CLOEXEC);
	int r;

	if (uring_register(l->dup, REGISTER_IOWQ_MAX_WORKERS, query, 2) == -EEXIST)
		return refuse(l, "that only one thread may use (IORING_SETUP_SINGLE_ISSUER)", err);
	r = uring_register(l->dup, IORING_REGISTER_EVENTFD, &event, 1);
	if (r == -EBUSY)
		return refuse(l, "with a registered eventfd", err);
	if (r == 0)
		(void)!uring_register(l->dup, IORING_UNREGISTER_EVENTFD, NULL, 0);
	return 0;
}

/* Groups of provided buffers have small numbers. */
static int check_buffers(const struct fd_look *l, struct err *err)
{
	struct {
		uint32_t group, head, resv[8];
	} status = { 0 };

	for (; status.group < GROUPS_MAX; status.group++) {
		int r = uring_register(l->dup, REGISTER_PBUF_STATUS, &status, 1);

		if (r == 0)
			return refuse(l, "with provided buffers", err);
		if (r != -ENOENT)
			break;
	}
	return 0;
}

/* ---- memory ---- */

static ProtobufCBinaryData copy(struct arena *arena, const void *p, size_t len)
{
	return (ProtobufCBinaryData){ .data = arena_memdup(arena, p, len), .len = len };
}

static bool is_zero(const uint32_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* IORING_CQE_F_MORE in what was posted last, as far as it was not overwritten. */
static bool any_goes_on(const struct uring_map *m, const TorporUringEntry *e)
{
	const struct io_uring_cqe *c = (const void *)(m->rings + m->cq.cqes);
	uint32_t n = e->cq_tail < e->cq_entries ? e->cq_tail : e->cq_entries;

	for (uint32_t i = 0; i < n; i++)
		if (c[i].flags & IORING_CQE_F_MORE)
			return true;
	return false;
}

static void save_memory(struct arena *arena, const struct uring_map *m, TorporUringEntry *e)
{
	const uint32_t *array = uring_word(m, m->sq.array);

	e->sq_tail = *uring_word(m, m->sq.tail);
	e->cq_head = *uring_word(m, m->cq.head);
	e->sq_dropped = *uring_word(m, m->sq.dropped);
	e->cq_overflow = *uring_word(m, m->cq.overflow);
	e->cq_flags = *uring_word(m, m->cq.flags);
	/* Where an array would be in the last page anyway, one that was never used is none. */
	if (!m->has_array || (e->sq_entries > 1 && e->sq_head && is_zero(array, e->sq_entries)))
		e->setup |= IORING_SETUP_NO_SQARRAY;
	else
		e->sq_array = copy(arena, array, e->sq_entries * sizeof(uint32_t));
	e->sqes = copy(arena, m->sqes, e->sq_entries * sizeof(struct io_uring_sqe));
	e->cqes = copy(arena, m->rings + m->cq.cqes, e->cq_entries * sizeof(struct io_uring_cqe));
}

static int read_memory(const struct fd_look *l, TorporUringEntry *e, struct err *err)
{
	struct uring_map m;
	int r = uring_map(l->dup, e->sq_entries, e->cq_entries, &m);
	char who[96];

	if (r == -EINVAL)
		return refuse(l,
			"with memory of its own or entries of another size "
			"(IORING_SETUP_NO_MMAP, SQE128, CQE32)",
			err);
	if (r < 0)
		return err_sysn(err, -r, "%s: cannot look into an io_uring",
			file_look_who(l, who, sizeof(who)));
	save_memory(l->world->arena, &m, e);
	r = any_goes_on(&m, e) ? refuse_several(l, e->sq_head, e->cq_tail, err) : 0;
	uring_unmap(&m);
	return r;
}

/* ---- registered ---- */

static void note_files(const struct fd_look *l, TorporUringEntry *e)
{
	struct arena *arena = l->world->arena;
	uint64_t key = table_key(SEEN_LINKS, 0);
	char who[96];
	const char *name;
	uint32_t slot;
	size_t len;
	struct cursor c = uring_files(l->fdinfo);

	file_look_who(l, who, sizeof(who));
	while (uring_next_file(&c, &slot, &name, &len)) {
		struct named_file *n = arena_new_of(arena, struct named_file);

		n->file = arena_msg(arena, TorporUringFile, torpor_uring_file);
		n->file->slot = slot;
		n->name = arena_printf(arena, "%.*s", (int)len, name);
		n->who = arena_strdup(arena, who);
		n->next = table_get(l->seen, key);
		table_put(l->seen, key, n);
		arena_push(arena, e->files, e->n_files, n->file);
	}
}

static void note_buffers(const struct fd_look *l, TorporUringEntry *e)
{
	struct arena *arena = l->world->arena;
	uint64_t addr, len;
	uint32_t slot;
	struct cursor c = uring_buffers(l->fdinfo);

	while (uring_next_buffer(&c, &slot, &addr, &len)) {
		TorporUringBuffer *b = arena_msg(arena, TorporUringBuffer, torpor_uring_buffer);

		b->slot = slot;
		b->addr = addr;
		b->len = len;
		arena_push(arena, e->buffers, e->n_buffers, b);
	}
}

static int uring_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TorporUringEntry *e = arena_msg(l->world->arena, TorporUringEntry, torpor_uring_entry);
	struct uring_info i;
	int r;

	if (!uring_parse(l->fdinfo, &i))
		return refuse(l, "of which this kernel does not tell enough", err);
	if (i.personalities)
		return refuse(l, "with registered personalities", err);
	r = check_idle(l, &i, err);
	if (r == 0)
		r = check_owner(l, err);
	if (r == 0)
		r = check_buffers(l, err);
	if (r < 0)
		return r;
	e->sq_entries = i.sq_entries;
	e->cq_entries = i.cq_entries;
	e->setup = i.sq_thread >= 0 ? IORING_SETUP_SQPOLL : 0;
	e->flags = flags_collect(l);
	e->sq_head = i.taken;
	e->cq_tail = i.posted;
	e->has_file_slots = i.file_slots > 0;
	e->file_slots = i.file_slots;
	e->has_buffer_slots = i.buffer_slots > 0;
	e->buffer_slots = i.buffer_slots;
	r = read_memory(l, e, err);
	note_files(l, e);
	note_buffers(l, e);
	table_put(l->seen, table_key(SEEN_RINGS, l->st.st_ino), fe);
	world_want_extra(l->world, fe->id)->uring = e;
	return r;
}

/* ---- when all tables are known ---- */

/* Link texts of all descriptors that lead to one description only, and to which. */
struct links {
	struct table by_text; /* hash -> struct link */
};

struct link {
	const char *text;
	uint32_t id;
	bool several;
};

static uint64_t hash(const char *s)
{
	uint64_t h = 14695981039346656037u;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 1099511628211u;
	return h;
}

static void add_link(struct world *w, struct links *all, const char *text, uint32_t id)
{
	struct link *x = table_get(&all->by_text, hash(text));

	if (x) {
		x->several |= x->id != id || strcmp(x->text, text) != 0;
		return;
	}
	x = arena_new_of(w->arena, struct link);
	*x = (struct link){ .text = arena_strdup(w->arena, text), .id = id };
	table_put(&all->by_text, hash(text), x);
}

static void read_links(struct world *w, struct links *all)
{
	world_each_task (t, w) {
		if (!task_is_alive(t) || t->fds->owner != t)
			continue;
		for (size_t i = 0; i < t->fds->n_fds; i++) {
			char path[64], text[PATH_MAX];
			ssize_t n;

			snprintf(path, sizeof(path), "/proc/%d/fd/%u", task_live_thread(t)->real,
				t->fds->fds[i]->fd);
			n = readlink(path, text, sizeof(text) - 1);
			text[n < 0 ? 0 : n] = '\0';
			add_link(w, all, text, t->fds->fds[i]->id);
		}
	}
}

static int find_files(const struct settle *s, struct named_file *n, struct err *err)
{
	struct links all = { 0 };
	int r = 0;

	if (n)
		read_links(s->world, &all);
	for (; n && r == 0; n = n->next) {
		const struct link *x = table_get(&all.by_text, hash(n->name));

		if (!x || x->several || strcmp(x->text, n->name) != 0)
			r = err_unsupported(err,
				"%s is an io_uring whose registered file %u, '%s', %s; it "
				"cannot be saved",
				n->who, n->file->slot, n->name,
				x ? "is one of several" : "no task has open");
		else
			n->file->file = x->id;
	}
	table_done(&all.by_text);
	return r;
}

/* Areas know the inode; from now on the file. */
static int name_areas(const struct settle *s, struct err *err)
{
	world_each_task (t, s->world) {
		if (!task_is_alive(t) || !t->mm)
			continue;
		for (size_t i = 0; i < t->mm->n_vmas; i++) {
			VmaEntry *v = t->mm->vmas[i];
			const FileEntry *fe =
				v->status & AREA_URING
					? table_get(s->seen, table_key(SEEN_RINGS, v->shmid))
					: NULL;

			if (!(v->status & AREA_URING))
				continue;
			if (!fe)
				return err_unsupported(err,
					"task %d (%s): the area 0x%lx-0x%lx is memory of an "
					"io_uring whose descriptor no task has; it cannot be saved",
					t->pid, task_comm(t), v->start, v->end);
			v->shmid = fe->id;
		}
	}
	return 0;
}

static int uring_settle(const struct settle *s, struct err *err)
{
	int r = find_files(s, table_get(s->seen, table_key(SEEN_LINKS, 0)), err);

	return r < 0 ? r : name_areas(s, err);
}

/* ---- checks ---- */

static bool is_power(uint32_t n)
{
	return n && !(n & (n - 1)) && n <= 1u << 17;
}

static bool is_sound(const struct world *w, const TorporUringEntry *e)
{
	bool array = !(e->setup & IORING_SETUP_NO_SQARRAY);

	if (!is_power(e->sq_entries) || !is_power(e->cq_entries) || e->sq_head != e->cq_tail ||
		e->setup & ~(IORING_SETUP_SQPOLL | IORING_SETUP_NO_SQARRAY) ||
		e->sq_array.len != (array ? e->sq_entries * sizeof(uint32_t) : 0) ||
		e->sqes.len != e->sq_entries * sizeof(struct io_uring_sqe) ||
		e->cqes.len != e->cq_entries * sizeof(struct io_uring_cqe) ||
		e->file_slots > 1 << 20 || e->buffer_slots > 1 << 14)
		return false;
	for (size_t i = 0; i < e->n_files; i++)
		if (e->files[i]->slot >= e->file_slots || !world_file(w, e->files[i]->file))
			return false;
	for (size_t i = 0; i < e->n_buffers; i++)
		if (e->buffers[i]->slot >= e->buffer_slots)
			return false;
	return true;
}

static void uring_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TorporFileEntry *x = world_extra(w, fe->id);

	if (!x || !x->uring || !is_sound(w, x->uring))
		finding_add(f, "uring-state", SEV_ERROR, 0, "io_uring (file %u) is not described soundly",
			fe->id);
}

static void uring_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "io_uring %u", fe->id);
}

const struct file_kind file_kind_uring = {
	.name = "io_uring",
	.type = FD_TYPES__TORPOR_URING,
	.match = uring_match,
	.collect = uring_collect,
	.settle = uring_settle,
	.check = uring_check,
	.prepare = uring_prepare,
	.create = uring_create,
	.join = uring_join,
	.describe = uring_describe,
};
