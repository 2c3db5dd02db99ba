/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of mm_build(): what its files share. The order of work:
 *
 *   plan    areas are checked, cut into pieces (kept from the parent or to be mapped), the vdso's
 *           fate is decided, the pages are located                         (nothing has happened yet)
 *   tape    take descriptors, unmap what is not kept, set the mm's numbers, map, fill, protect,
 *           place the vdso; one tape unless it would become larger than HUSK_TAPE_MAX; the last
 *           one is played when the queue is settled
 *   after   what only /proc/PID/mem can write, redirection of an old vdso's functions
 */
#pragma once
#include "base/vec.h"
#include "kernel/vdso.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "pages/source.h"
#include <sys/uio.h>

enum { LAYERS_IN_HUSK = 64 }; /* of a longer chain of parent images the rest is read by us */

#define CALL_ROOM 512ul /* tape bytes for the few calls about one piece */
#define USER_END 0x7ffffffff000ul /* TASK_SIZE with four-level page tables */

/* What happens to an area of the image. */
enum area_class {
	AREA_ANON, /* private anonymous memory */
	AREA_FILE, /* a mapping of a descriptor */
	AREA_VDSO, AREA_VVAR, /* the vdso's business */
	AREA_NONE, /* listed, not mapped: vsyscall, guard ranges */
	AREA_REFUSED,
};

enum area_class area_class_of(const VmaEntry *v);

/*
 * A range of one area which is treated alike. Pieces are in ascending order, cover all areas that
 * are mapped by us and never reach over the border of one.
 */
struct piece {
	const VmaEntry *vma;
	uint64_t start, end;
	bool kept; /* it is there already, by the fork */
	bool plain; /* anonymous memory in place of a vdso or vvar */
	bool by_mem; /* its pages are written through /proc/PID/mem */
	bool grows; /* the lower end of a kept stack */
	uint32_t prot_now; /* until the final mprotect */
	uint64_t pages; /* how many the image has */
};

struct pieces vec_of(struct piece);

enum vdso_fate {
	VDSO_GONE, /* the task has none */
	VDSO_SAME, /* this kernel's takes its place */
	VDSO_FOREIGN, /* the saved one stays as plain memory, its functions lead to this kernel's */
};

struct vdso_plan {
	enum vdso_fate fate;
	struct vdso_self self;
	const VmaEntry *code; /* saved areas */
	uint64_t data_start, data_end;
	uint8_t *saved; /* bytes of the saved code, ours to free */
	uint64_t from, to; /* where this kernel's lowest part lies and shall lie */
};

/* Bytes to be written through /proc/PID/mem once the areas exist. */
struct late_write {
	uint64_t vaddr, len;
	uint32_t layer;
	uint64_t offset;
};

/* Part of a reading call, kept to repair a short read. */
struct chunk {
	uint64_t vaddr, len;
	uint32_t layer;
	uint64_t offset;
};

struct reading {
	size_t call, first_chunk, n_chunks;
	uint64_t bytes;
};

/* Which range a call of the tape is about, for messages. */
struct call_note {
	size_t call;
	uint64_t start, end;
	bool may_exist; /* the range may be there already: EEXIST is fine, other failures are not */
	uint64_t huge; /* size of the huge pages it takes, or 0 */
};

enum {
	GATHER_BYTES = 1024 * 1024,
	GATHER_RANGES = 1024, /* UIO_MAXIOV */
};

/* One preadv(2) in the making: memory ranges whose bytes follow each other in a pages file. */
struct gather {
	struct iovec iov[GATHER_RANGES];
	size_t n;
	uint64_t bytes, offset;
	uint32_t layer;
};

struct build {
	struct mm_build *b;
	const struct task *task;
	const MmEntry *mm;
	struct husk *husk;
	struct husk_queue *queue; /* where the last tape goes */
	struct tape *tape;
	struct vec_of(struct call_note) notes;
	struct vec_of(struct reading) readings;
	struct vec_of(struct chunk) chunks;
	struct vec_of(struct late_write) late;
	struct pieces pieces;
	struct page_source pages; /* what the husk is to hold (until mm_finish()) */
	struct page_source *theirs; /* what it holds already, inherited; or NULL */
	struct page_source theirs_own; /* behind theirs if nobody else has it */
	struct vdso_plan vdso;
	struct gather gather;
	struct decoding *decoding; /* mm_decode.c; NULL: nothing was decoded yet */
	size_t n_mapped;	   /* mappings of pages files */
	uint8_t *compared; /* twice COMPARE_PAGES, only if pages are compared */
	bool thp_always; /* the machine's policy gives huge pages to every area */
	/* descriptors in the husk; the first `lasting` stay for the whole work: exe, pages files */
	int fds[HUSK_SEND_MAX], numbers[HUSK_SEND_MAX];
	size_t taken[HUSK_SEND_MAX]; /* 1 + the call that brings it, 0: it is there, numbers[] */
	size_t n_fds, lasting;
	size_t *layer_slot; /* by layer: index into numbers[], SIZE_MAX: the husk does not have it */
	bool has_exe; /* numbers[0] is the program */
};

/* ---- mm_build.c ---- */
/* Makes room for `bytes` more on the tape, by playing what is there if need be. */
int build_room(struct build *b, size_t bytes, struct err *err) must_use;
int build_play(struct build *b, struct err *err) must_use;
/*
 * The mm's numbers and its program, by prctl(2) PR_SET_MM_MAP. Comes before anything is mapped: the
 * kernel replaces the program only while no area maps the old one, which the husk may have from its
 * creator, and the task may map that file, too (replace_mm_exe_file(): EBUSY).
 */
int build_numbers(struct build *b, struct err *err) must_use;
/* Ties the call to a range for messages. */
void build_note(struct build *b, size_t call, uint64_t start, uint64_t end);
/* Whether the husk can read the layer itself; else its pages are written from outside. */
static inline bool build_layer_is_there(const struct build *b, uint32_t layer)
{
	return b->layer_slot[layer] != SIZE_MAX;
}

/* Number, in the husk, of descriptor i, as an argument of calls. */
static inline struct tape_arg build_fd(const struct build *b, size_t i)
{
	return b->taken[i] ? T_RESULT(b->taken[i] - 1) : T(b->numbers[i]);
}

/* That of the pages file of a layer which is there. */
static inline struct tape_arg build_layer_fd(const struct build *b, uint32_t layer)
{
	return build_fd(b, b->layer_slot[layer]);
}

/* ---- mm_plan.c ---- */
/* Refuses areas in disorder and those that cannot be restored. */
int areas_check(const struct task *t, struct err *err) must_use;
/* Fills b->pieces; b->vdso must be planned. */
int pieces_plan(struct build *b, struct err *err) must_use;
/* Counts the pages of each piece, decides how they get in. A page outside of all is an error. */
int pieces_count(struct build *b, struct err *err) must_use;

/* ---- mm_map.c ---- */
/* Unmaps what is not kept, maps what is missing. */
int map_pieces(struct build *b, struct err *err) must_use;
int map_protect(struct build *b, struct err *err) must_use;
/* Right after the range was mapped, before pages come: huge ones are had at the first touch only. */
void map_huge_advice(struct build *b, const VmaEntry *v, uint64_t start, uint64_t end);

/* ---- mm_cow.c ---- */
/* Appends the piece(s) of area v, given a cursor into the inherited task's areas. */
void cow_cut(struct pieces *out, const VmaEntry *v, const MmEntry *theirs, size_t *cursor);
/* Calls for pages that the parent has and this task has not. */
int cow_forget(struct build *b, struct err *err) must_use;
/* A range of one segment and one piece. */
struct overlap {
	const struct piece *piece;
	const struct page_segment *seg;
	uint64_t start, end;
};

/*
 * Compares the range with the parent's pages and hands what differs to emit. Called with ascending
 * addresses; *cursor starts at 0.
 */
typedef int cow_emit(struct build *b, const struct overlap *o, struct err *err);
int cow_compare(struct build *b, const struct overlap *o, size_t *cursor, cow_emit *emit,
	struct err *err) must_use;

/* ---- mm_legacy.c ---- */
/* What the husk inherited if that is not simply its parent's images; or NULL. */
struct page_source *legacy_find(const struct mm_build *mb);
/* Decides what the husk holds while children are forked from it; may change b->pages. */
int legacy_plan(struct build *b, struct err *err) must_use;
/* After the work: takes b->pages if it is needed further. */
void legacy_keep(struct build *b);
/* After all forks: the pages that are the task's own. */
int legacy_settle(struct mm_build *b, struct err *err) must_use;

/* ---- mm_fill.c ---- */
int fill_pieces(struct build *b, struct err *err) must_use;
/* After a play: short readings are noted as late writes. */
int fill_learn(struct build *b, struct err *err) must_use;
/* Late writes. */
int fill_late(struct build *b, struct err *err) must_use;

/* ---- mm_decode.c ---- */
/* From begin to end threads may exist. */
void decode_begin(struct build *b);
void decode_end(struct build *b);
/* Writes the pages of b->gather, which the husk cannot read itself, into it, now or soon. */
int decode_gather(struct build *b, struct err *err) must_use;
/* All of them are there, or one of them failed. */
int decode_settle(struct build *b, struct err *err) must_use;

/* ---- vdso.c ---- */
int vdso_plan(struct build *b, struct err *err) must_use;
/* Before anything is unmapped or mapped: out of the way of the task's areas. */
int vdso_park(struct build *b, struct err *err) must_use;
/* After all areas are mapped. */
int vdso_place(struct build *b, struct err *err) must_use;
/* After the tape: redirects an old vdso's functions. */
int vdso_redirect(struct build *b, struct err *err) must_use;

/* ---- mm_hole.c ---- */
/* A free place of len bytes for one task, as close to `near` as possible. */
int hole_near(const struct task *t, const struct husk_layout *layout, uint64_t len, uint64_t near,
	uint64_t *ret, struct err *err) must_use;
/* Whether [start, start + len) is outside every area of the task and clear of what may grow. */
bool hole_is_free(const struct task *t, uint64_t start, uint64_t len);
