/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System V message queues (msgget(2)). MSG_COPY looks at messages without taking them (since 3.8);
 * behind each queue in the image stand its messages: size, ipc_msg, text padded to 8 bytes.
 */
#include "base/cleanup.h"
#include "base/vec.h"
#include "kinds/ipc/family.h"
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct text {
	long type;
	char bytes[];
};

struct bytes vec_of(uint8_t);

static void append(struct bytes *to, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		vec_push(to, ((const uint8_t *)p)[i]);
}

static void append_message(struct bytes *to, const struct text *m, size_t len)
{
	static const uint8_t zeros[8];
	IpcMsg head = IPC_MSG__INIT;
	uint8_t packed[32];
	uint32_t size;

	head.mtype = (uint64_t)m->type;
	head.msize = (uint32_t)len;
	size = (uint32_t)ipc_msg__pack(&head, packed);
	append(to, &size, sizeof(size));
	append(to, packed, size);
	append(to, m->bytes, len);
	append(to, zeros, -len & 7);
}

static int save(struct world *w, const struct sysv_msg *q, struct err *err)
{
	IpcMsgEntry *e = arena_msg(w->arena, IpcMsgEntry, ipc_msg_entry);
	auto_free struct text *m = malloc(sizeof(*m) + q->bytes + 1);
	struct bytes all = { 0 };
	struct msqid_ds ds;
	struct entry *entry;
	int r = 0;

	if (!m)
		return err_nomem(err);
	if (msgctl(q->perm.id, IPC_STAT, &ds) < 0)
		return err_sys(err, "cannot look at the System V message queue %d", q->perm.id);
	e->desc = sysv_desc(w->arena, &q->perm);
	e->qbytes = (uint32_t)ds.msg_qbytes;
	for (long i = 0; r == 0; i++) {
		ssize_t n = msgrcv(q->perm.id, m, q->bytes, i, MSG_COPY | IPC_NOWAIT);

		if (n < 0 && errno == ENOMSG)
			break;
		if (n < 0)
			r = err_sys(err, "cannot look at the messages of the System V message queue %d",
				q->perm.id);
		else
			append_message(&all, m, (size_t)n);
		e->qnum += n >= 0;
	}
	entry = world_add(w, IMG_IPCNS_MSG, sysv_space(w), e);
	entry->payload = arena_memdup(w->arena, all.at, all.n);
	entry->payload_len = all.n;
	vec_done(&all);
	return r;
}

int sysv_collect_msg(struct world *w, struct err *err)
{
	struct sysv_msgs list = { 0 };
	int r = sysv_list_msg(&list, err);

	vec_each(q, &list)
		if (r == 0 && (sysv_is_ours(w, q->sender) || sysv_is_ours(w, q->receiver)))
			r = save(w, q, err);
	vec_done(&list);
	return r;
}

/* One message of the payload; *at moves behind it. */
static int send_one(int id, const struct entry *entry, size_t *at, struct err *err)
{
	const uint8_t *p = (const uint8_t *)entry->payload;
	size_t left = entry->payload_len - *at;
	auto_free struct text *m = NULL;
	IpcMsg *head;
	uint32_t size;
	uint64_t len;
	long type;

	if (left < sizeof(size))
		return err_image(err, "a System V message queue lacks messages");
	memcpy(&size, p + *at, sizeof(size));
	left -= sizeof(size);
	head = size <= left ? ipc_msg__unpack(NULL, size, p + *at + sizeof(size)) : NULL;
	if (!head)
		return err_image(err, "a message of a System V queue is damaged");
	len = head->msize;
	type = (long)head->mtype;
	ipc_msg__free_unpacked(head, NULL);
	left -= size;
	if (len > left)
		return err_image(err, "a message of a System V queue is cut off");
	m = malloc(sizeof(*m) + len + 1);
	if (!m)
		return err_nomem(err);
	m->type = type;
	memcpy(m->bytes, p + *at + sizeof(size) + size, len);
	*at += sizeof(size) + size + ((len + 7) & ~7ull);
	if (msgsnd(id, m, len, IPC_NOWAIT) < 0)
		return err_sys(err, "cannot put a message into the System V message queue %d", id);
	return 0;
}

static int fill(int id, const struct entry *entry, struct err *err)
{
	const IpcMsgEntry *e = entry->msg;
	struct msqid_ds ds = { .msg_qbytes = e->qbytes, .msg_perm = { .uid = e->desc->uid,
		.gid = e->desc->gid, .mode = (unsigned short)(e->desc->mode & 0777) } };
	size_t at = 0;
	int r = 0;

	if (msgctl(id, IPC_SET, &ds) < 0)
		return err_sys(err, "cannot set owner and limit (%u bytes) of the System V message queue "
			"%d", e->qbytes, id);
	for (uint32_t i = 0; i < e->qnum && r == 0; i++)
		r = send_one(id, entry, &at, err);
	return r;
}

int sysv_make_msg(struct sysv_made *m, const struct entry *entry, struct err *err)
{
	const IpcMsgEntry *e = entry->msg;
	struct msqid_ds ds;
	char name[96];
	int id, r;

	sysv_name(SYSV_MSG, e->desc, name, sizeof(name));
	if (msgctl((int)e->desc->id, IPC_STAT, &ds) == 0) {
		if (ds.msg_perm.__key == (key_t)e->desc->key)
			return 0;
		return err_target(err, EEXIST, "%s: another queue has that number", name);
	}
	r = sysv_next(SYSV_MSG, e->desc, err);
	if (r < 0)
		return r;
	id = msgget((key_t)e->desc->key, IPC_CREAT | IPC_EXCL | (int)(e->desc->mode & 0777));
	if (id < 0)
		return err_sys(err, "cannot make %s", name);
	r = sysv_got(m, SYSV_MSG, id, e->desc, err);
	return r < 0 ? r : fill(id, entry, err);
}
