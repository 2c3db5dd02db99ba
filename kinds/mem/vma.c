// SPDX-License-Identifier: GPL-2.0-or-later
#include "kinds/mem/vma.h"

uint64_t vma_page_size(const VmaEntry *v)
{
	unsigned shift = v->flags >> VMA_MAP_HUGE_SHIFT & 63;

	if (!vma_is_hugetlb(v))
		return 4096;
	return 1ull << (shift ? shift : 21);
}

bool vma_can_be_lazy(const VmaEntry *v)
{
	const uint32_t never = VMA_VDSO | VMA_VVAR | VMA_VSYSCALL | VMA_AIORING | VMA_SHSTK;

	return v->status & VMA_REGULAR && v->status & VMA_ANON_PRIVATE && !(v->status & never) &&
		!(v->flags & (VMA_MAP_LOCKED | VMA_MAP_DROPPABLE)) &&
		vma_page_size(v) <= VMA_LAZY_PAGE_MAX;
}

const char *vma_what(const VmaEntry *v)
{
	static const struct {
		uint32_t status;
		const char *what;
	} names[] = {
		{ VMA_VSYSCALL, "vsyscall" },
		{ VMA_VDSO, "vdso" },
		{ VMA_VVAR, "vvar" },
		{ VMA_GUARD, "guard" },
		{ VMA_UPROBES, "uprobes" },
		{ VMA_AIORING, "aio ring" },
		{ VMA_SHSTK, "shadow stack" },
		{ VMA_SOCKET, "packet ring" },
		{ VMA_SYSVIPC, "SysV shared memory" },
		{ VMA_EXT_PLUGIN, "device" },
		{ VMA_HEAP, "heap" },
		{ VMA_MEMFD | VMA_FILE_SHARED, "shared memory" },
		{ VMA_FILE_SHARED, "shared file" },
		{ VMA_FILE_PRIVATE, "private file" },
		{ VMA_ANON_SHARED, "shared anonymous" },
		{ VMA_ANON_PRIVATE, "private anonymous" },
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if ((v->status & names[i].status) == names[i].status)
			return names[i].what;
	return "unknown";
}
