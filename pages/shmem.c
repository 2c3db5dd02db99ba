// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Shared objects are filled once, by whoever creates them, through their descriptor: pwrite(2) into
 * tmpfs allocates pages without faults. hugetlbfs knows no write(2); there the file is mapped.
 */
#include "pages/shmem.h"
#include "base/cleanup.h"
#include "base/crew.h"
#include "base/io.h"
#include "kernel/hugetlb.h"
#include "pages/source.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { COPY_PAGES = 64 };

/* Where the pages go. */
struct target {
	int fd;
	uint64_t size;
	uint8_t *map; /* of the whole object if it knows no write(2), else NULL */
};

/* The last page may reach over the end of the file, which must not grow. */
static int put(struct target *t, const uint8_t *bytes, uint64_t len, uint64_t at, struct err *err)
{
	int r = -EINVAL;

	len = len < t->size - at ? len : t->size - at;
	if (!t->map)
		r = io_pwrite_all(t->fd, bytes, len, (off_t)at);
	if (r != -EINVAL)
		return r < 0 ? err_sysn(err, -r, "cannot write shared memory at 0x%lx", at) : 0;
	if (!t->map) {
		void *p = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
		struct stat st;

		if (p == MAP_FAILED && errno == ENOMEM && fstat(t->fd, &st) == 0)
			return hugetlb_too_few((uint64_t)st.st_blksize, err);
		if (p == MAP_FAILED)
			return err_sys(err, "cannot map a shared memory object of %lu bytes", t->size);
		t->map = p;
	}
	memcpy(t->map + at, bytes, len);
	return 0;
}

static int fill_segment(struct page_source *src, const struct page_segment *seg, uint8_t *buf,
	struct target *t, struct err *err)
{
	int r = 0;

	if (segment_end(seg) - PAGE >= t->size)
		return err_image(err, "page 0x%lx lies outside of the object's %lu bytes", seg->vaddr,
			t->size);
	for (uint64_t done = 0, n; done < seg->pages && r == 0; done += n) {
		uint64_t at = seg->vaddr + done * PAGE;
		const uint8_t *bytes;

		n = seg->pages - done < COPY_PAGES ? seg->pages - done : COPY_PAGES;
		r = page_source_view(src, seg, at, n, buf, &bytes, err);
		if (r == 0)
			r = put(t, bytes, n * PAGE, at, err);
	}
	return r;
}

static int fill(struct page_source *src, struct target *t, const cpu_set_t *cpus, struct err *err)
{
	struct crew *crew = page_source_filtered(src) > PAGE_CREW_FROM ? crew_new(cpus) : NULL;
	auto_free uint8_t *buf = malloc(COPY_PAGES * PAGE);
	int r = buf ? 0 : err_nomem(err);

	page_source_use_crew(src, crew);
	vec_each(seg, &src->segments) {
		if (r == 0)
			r = fill_segment(src, seg, buf, t, err);
	}
	page_source_use_crew(src, NULL);
	crew_free(crew);
	return r;
}

int shmem_fill(struct image_set *set, unsigned long shmid, int fd, struct err *err)
{
	struct target t = { .fd = fd };
	struct page_source src;
	struct stat st;
	int r = page_source_open(set, IMG_PAGEMAP_SHMEM, shmid, &src, err);

	if (r < 0)
		return err_while(err, "reading shared memory %lu", shmid);
	if (fstat(fd, &st) < 0)
		r = err_sys(err, "cannot examine a shared memory object");
	else
		t.size = (uint64_t)st.st_size;
	if (r == 0)
		r = page_source_map(&src, err);
	if (r == 0)
		r = fill(&src, &t, image_set_access(set)->cpus, err);
	if (t.map)
		munmap(t.map, t.size);
	page_source_close(&src);
	return r < 0 ? err_while(err, "filling shared memory %lu", shmid) : 0;
}
