/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System V shared memory comes into a task by shmat(2), after all forks. */
#include "kinds/ipc/family.h"
#include "pages/pages.h"
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

void sysv_index_segments(const struct world *w, struct table *ret)
{
	const struct entry_list *list = &w->entries[IMG_IPCNS_SHM];

	for (size_t i = 0; i < list->n; i++) {
		IpcShmEntry *e = list->at[i]->msg;

		table_put(ret, e->desc->id, e);
	}
}

/* In whole pages; 0: there is no such segment. */
static uint64_t size_of(const struct table *segments, uint64_t id)
{
	const IpcShmEntry *e = table_get(segments, id);

	return e ? (e->size + PAGE - 1) & ~(uint64_t)(PAGE - 1) : 0;
}

static int flags_of(const VmaEntry *v)
{
	return (v->prot & PROT_WRITE ? 0 : SHM_RDONLY) | (v->prot & PROT_EXEC ? SHM_EXEC : 0);
}

/* A part of a segment: attached elsewhere, the part moves, the rest goes. */
static int attach_part(struct husk *h, const VmaEntry *v, uint64_t size, struct tape *tape,
	struct err *err)
{
	uint64_t len = v->end - v->start, at;
	size_t call = tape_call(tape, "shm", TAPE_MUST, SYS_shmat, T(v->shmid), T(0), T(flags_of(v)));
	int r = husk_play(h, 0, tape, err);

	if (r < 0)
		return r;
	at = (uint64_t)tape_result(tape, call);
	tape_reset(tape);
	tape_call(tape, "shm", TAPE_MUST, SYS_mremap, T(at + v->pgoff), T(len), T(len),
		T(MREMAP_MAYMOVE | MREMAP_FIXED), T(v->start));
	if (v->pgoff)
		tape_call(tape, "shm", TAPE_MUST, SYS_munmap, T(at), T(v->pgoff));
	if (v->pgoff + len < size)
		tape_call(tape, "shm", TAPE_MUST, SYS_munmap, T(at + v->pgoff + len),
			T(size - v->pgoff - len));
	return 0;
}

static int attach(struct husk *h, const VmaEntry *v, uint64_t size, struct tape *tape,
	struct err *err)
{
	uint64_t len = v->end - v->start;
	int r = 0;

	if (!size || v->pgoff > size || len > size - v->pgoff || v->pgoff % PAGE)
		return err_image(err, "area 0x%lx-0x%lx is not part of the shared memory %lu", v->start,
			v->end, (unsigned long)v->shmid);
	if (len == size)
		tape_call(tape, "shm", TAPE_MUST, SYS_shmat, T(v->shmid), T(v->start), T(flags_of(v)));
	else
		r = attach_part(h, v, size, tape, err);
	if (r == 0 && !(v->prot & PROT_READ))
		tape_call(tape, "shm", TAPE_MUST, SYS_mprotect, T(v->start), T(len), T(v->prot));
	if (r == 0)
		r = husk_play(h, 0, tape, err);
	tape_reset(tape);
	return r;
}

int sysv_attach(const struct table *segments, struct husk *h, const VmaEntry *v, struct err *err)
{
	struct tape *tape = tape_new();
	int r = attach(h, v, size_of(segments, v->shmid), tape, err);

	tape_free(tape);
	return r < 0 ? err_while(err, "attaching the shared memory %lu at 0x%lx",
			       (unsigned long)v->shmid, v->start) : 0;
}
