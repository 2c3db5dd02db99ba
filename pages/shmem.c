// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Shared objects are filled once, by whoever creates them, through their descriptor: pwrite(2) into
 * tmpfs allocates pages without faults. hugetlbfs knows no write(2); there the file is mapped.
 */
#include "pages/shmem.h"
#include "base/io.h"
#include "pages/source.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int fill_mapped(const struct page_source *src, const struct page_segment *seg, int fd,
	uint64_t size, struct err *err)
{
	const struct page_layer *layer = &src->layers.at[seg->layer];
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int r;

	if (p == MAP_FAILED)
		return err_sys(err, "cannot map a shared memory object of %lu bytes", size);
	r = io_pread_all(layer->fd, p + seg->vaddr, seg->pages * PAGE, (off_t)seg->offset);
	munmap(p, size);
	return r < 0 ? err_sysn(err, -r, "cannot read %lu pages into shared memory", seg->pages) : 0;
}

/* The last page may reach over the end of the file, which must not grow. */
static int fill_segment(const struct page_source *src, const struct page_segment *seg, int fd,
	uint64_t size, struct err *err)
{
	uint64_t end = segment_end(seg) < size ? segment_end(seg) : size;
	int r = io_pwrite_all(fd, page_source_bytes(src, seg, seg->vaddr), end - seg->vaddr,
		(off_t)seg->vaddr);

	if (r == -EINVAL)
		return fill_mapped(src, seg, fd, size, err);
	return r < 0 ? err_sysn(err, -r, "cannot write %lu pages of shared memory", seg->pages) : 0;
}

int shmem_fill(struct image_set *set, unsigned long shmid, int fd, struct err *err)
{
	struct page_source src;
	struct stat st;
	int r = page_source_open(set, IMG_PAGEMAP_SHMEM, shmid, &src, err);

	if (r < 0)
		return err_while(err, "reading shared memory %lu", shmid);
	if (fstat(fd, &st) < 0)
		r = err_sys(err, "cannot examine a shared memory object");
	if (r == 0)
		r = page_source_map(&src, err);
	vec_each(seg, &src.segments) {
		if (r < 0)
			break;
		if (segment_end(seg) - PAGE >= (uint64_t)st.st_size)
			r = err_image(err, "page 0x%lx lies outside of the object's %ld bytes",
				seg->vaddr, (long)st.st_size);
		else
			r = fill_segment(&src, seg, fd, (uint64_t)st.st_size, err);
	}
	page_source_close(&src);
	return r < 0 ? err_while(err, "filling shared memory %lu", shmid) : 0;
}
