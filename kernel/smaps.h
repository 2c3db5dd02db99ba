/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/smaps (proc(5), fs/proc/task_mmu.c): every area with its flags. The header lines are
 * those of /proc/PID/maps, so a text of that file parses, too; its areas have no flags.
 *
 * This is the only place where Linux tells of mlock, madvise and the like; it costs 3 us an area.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* VmFlags (show_smap_vma_flags()); unknown ones are ignored. */
enum vm_flag {
	VMF_LOCKED = 1 << 0, /* lo */
	VMF_LOCKONFAULT = 1 << 1, /* lf, since 6.7 */
	VMF_SEQ_READ = 1 << 2, /* sr */
	VMF_RAND_READ = 1 << 3, /* rr */
	VMF_DONTCOPY = 1 << 4, /* dc */
	VMF_NORESERVE = 1 << 5, /* nr */
	VMF_HUGETLB = 1 << 6, /* ht */
	VMF_DONTDUMP = 1 << 7, /* dd */
	VMF_MERGEABLE = 1 << 8, /* mg */
	VMF_HUGEPAGE = 1 << 9, /* hg */
	VMF_NOHUGEPAGE = 1 << 10, /* nh */
	VMF_WIPEONFORK = 1 << 11, /* wf */
	VMF_GROWSDOWN = 1 << 12, /* gd */
	VMF_IO = 1 << 13, /* io */
	VMF_PFNMAP = 1 << 14, /* pf */
	VMF_UFFD_MISSING = 1 << 15, /* um */
	VMF_UFFD_WP = 1 << 16, /* uw */
	VMF_UFFD_MINOR = 1 << 17, /* ui */
	VMF_SHADOW_STACK = 1 << 18, /* ss */
	VMF_SEALED = 1 << 19, /* sl */
	VMF_DROPPABLE = 1 << 20, /* dp */
	VMF_MAYWRITE = 1 << 21, /* mw */
	VMF_MIXEDMAP = 1 << 22, /* mm */
};

struct smaps_area {
	uint64_t start, end;
	uint64_t offset; /* bytes */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint32_t prot; /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;
	bool resident; /* holds pages, in memory or swapped out (false when not told) */
	uint32_t flags; /* VMF_* */
	uint64_t page_size; /* KernelPageSize in bytes, 0 unknown */
	char name[256]; /* as printed, cut to fit; "" for anonymous areas */
};

/* Called for each area in ascending order; a negative result ends the walk and is returned. */
typedef int smaps_each(const struct smaps_area *area, void *data, struct err *err);

/* Walks a text; `what` names it in errors. Malformed or disordered text is an error. */
int smaps_parse(const char *text, size_t len, const char *what, smaps_each *each, void *data,
	struct err *err) must_use;
/* Walks /proc/PID/smaps (as a stream, it may be large). */
int smaps_walk(pid_t pid, smaps_each *each, void *data, struct err *err) must_use;
