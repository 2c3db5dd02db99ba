/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the numbers of a vma_entry mean (docs/FORMAT.md, areas), for both directions: `status` says
 * what an area is, `flags` are those of mmap(2), `madv` has bit n for madvise(2) advice n.
 */
#pragma once
#include "proto/messages.h"
#include <stdbool.h>
#include <stdint.h>

enum vma_status {
	VMA_REGULAR = 0x1, /* saved and restored */
	VMA_VSYSCALL = 0x4, /* listed, the kernel makes it */
	VMA_VDSO = 0x8,
	VMA_HEAP = 0x20, /* informational */
	VMA_FILE_PRIVATE = 0x40,
	VMA_FILE_SHARED = 0x80,
	VMA_ANON_SHARED = 0x100,
	VMA_ANON_PRIVATE = 0x200,
	VMA_SYSVIPC = 0x400,
	VMA_SOCKET = 0x800,
	VMA_VVAR = 0x1000,
	VMA_AIORING = 0x2000,
	VMA_MEMFD = 0x4000, /* memfd or shared anonymous memory; shmid is a file id */
	VMA_SHSTK = 0x8000,
	VMA_GUARD = 0x10000, /* pseudo entry: a guard region inside other areas */
	VMA_UPROBES = 0x20000,
	VMA_EXT_PLUGIN = 0x8000000,
};

/* Flags of mmap(2) as images have them. */
enum vma_flags {
	VMA_MAP_SHARED = 0x1,
	VMA_MAP_PRIVATE = 0x2,
	VMA_MAP_DROPPABLE = 0x8, /* instead of private */
	VMA_MAP_ANONYMOUS = 0x20,
	VMA_MAP_GROWSDOWN = 0x100,
	VMA_MAP_LOCKED = 0x2000,
	VMA_MAP_NORESERVE = 0x4000,
	VMA_MAP_HUGETLB = 0x40000,
	VMA_MAP_HUGE_SHIFT = 26, /* log2 of the huge page size from this bit on */
};

/* The VDSO's own pages; the vvar pages in front of it are VMA_VVAR. */
static inline bool vma_is_vdso(const VmaEntry *v)
{
	return v->status & VMA_VDSO;
}

/* Has a file entry: shmid is its id in files.img. */
static inline bool vma_has_file(const VmaEntry *v)
{
	return v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED | VMA_SOCKET);
}

/* Its pages stand in the pagemap of the task (shared ones in that of the object, or in a file). */
static inline bool vma_has_pages(const VmaEntry *v)
{
	const uint32_t none = VMA_VVAR | VMA_VSYSCALL | VMA_GUARD | VMA_UPROBES | VMA_EXT_PLUGIN;

	if (v->status & none || v->flags & VMA_MAP_DROPPABLE)
		return false;
	return v->status & (VMA_AIORING | VMA_SHSTK) ||
		(v->status & VMA_REGULAR && v->status & (VMA_ANON_PRIVATE | VMA_FILE_PRIVATE));
}

/* An all-zero page of it needs no bytes: that is what a new mapping gives. */
static inline bool vma_is_anon_private(const VmaEntry *v)
{
	return v->status & VMA_ANON_PRIVATE && !(v->status & (VMA_VDSO | VMA_VVAR | VMA_VSYSCALL));
}

/* Larger pages are never brought later: they would have to come in one piece. */
enum { VMA_LAZY_PAGE_MAX = 4 << 20 };

static inline bool vma_is_hugetlb(const VmaEntry *v)
{
	return v->flags & VMA_MAP_HUGETLB;
}

/* Size of its pages as the kernel allocates them, in bytes. */
uint64_t vma_page_size(const VmaEntry *v);
/* Its pages may be brought after the task runs again (lazy restore). */
bool vma_can_be_lazy(const VmaEntry *v);
/* One word for messages: "heap", "private anonymous", "shared file" ... */
const char *vma_what(const VmaEntry *v);
