/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_files: mapped files: private with and without own changes, shared, read-only, through a
 * descriptor that is closed, at an offset, beyond the end, of a deleted file, of one truncated since.
 */
#include "subject.h"

#define PAGE 4096ul
enum { PAGES = 16 };

static int make(const char *name, uint64_t seed)
{
	uint8_t buf[PAGE];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	NEED(fd >= 0);
	for (int i = 0; i < PAGES; i++) {
		fill(buf, PAGE, seed + i);
		NEED(write(fd, buf, PAGE) == (ssize_t)PAGE);
	}
	return fd;
}

static uint8_t *map_file(int fd, int prot, int flags, int first, int pages)
{
	uint8_t *p = mmap(NULL, pages * PAGE, prot, flags, fd, first * PAGE);

	NEED(p != MAP_FAILED);
	close(fd);
	return p;
}

static void expect(const uint8_t *p, int first, int pages, uint64_t seed, int line)
{
	for (int i = first; i < first + pages; i++)
		if (!holds(p + (i - first) * PAGE, PAGE, seed + i))
			fail("line %d: page %d of the file with seed %d is wrong", line, i, (int)seed);
}

#define EXPECT(p, first, pages, seed) expect(p, first, pages, seed, __LINE__)

static void on_bus(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	pass(); /* the last check provokes it */
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE;
	uint8_t *private, *changed, *shared, *ro, *exec, *deleted, *deleted_shared, *cut, *wo, buf[PAGE];
	int fd;

	subject_init(argc, argv);
	handle(SIGBUS, on_bus, 0);
	private = map_file(make("private", 100), rw, MAP_PRIVATE, 3, 8);
	changed = map_file(make("changed", 200), rw, MAP_PRIVATE, 0, PAGES);
	for (int i = 0; i < PAGES; i += 3)
		fill(changed + i * PAGE, PAGE, 5000 + i);
	NEED(mprotect(changed, 8 * PAGE, PROT_READ) == 0);
	shared = map_file(make("shared", 300), rw, MAP_SHARED, 2, 4);
	fill(shared, PAGE, 7000);
	ro = map_file(make("ro", 400), PROT_READ, MAP_SHARED, 0, PAGES);
	close(make("exec", 500));
	fd = open("exec", O_RDONLY);
	NEED(fd >= 0);
	exec = map_file(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0, PAGES);
	deleted = map_file(make("deleted", 600), rw, MAP_PRIVATE, 0, PAGES);
	fill(deleted + PAGE, PAGE, 8000);
	NEED(unlink("deleted") == 0);
	deleted_shared = map_file(make("deleted_shared", 700), rw, MAP_SHARED, 0, PAGES);
	NEED(unlink("deleted_shared") == 0);
	fd = make("cut", 800);
	cut = mmap(NULL, PAGES * PAGE, rw, MAP_PRIVATE, fd, 0);
	NEED(cut != MAP_FAILED);
	fill(cut + 2 * PAGE, PAGE, 9000);
	NEED(ftruncate(fd, 6 * PAGE) == 0);
	close(fd);
	wo = map_file(make("wo", 900), PROT_NONE, MAP_SHARED, 0, PAGES);
	ready();
	wait_term();
	EXPECT(private, 3, 8, 100);
	for (int i = 0; i < PAGES; i++)
		CHECK(holds(changed + i * PAGE, PAGE, i % 3 ? 200 + i : 5000 + i));
	CHECK(holds(shared, PAGE, 7000));
	EXPECT(shared + PAGE, 3, 3, 300);
	fill(shared + 2 * PAGE, PAGE, 7001);
	fd = open("shared", O_RDONLY);
	CHECK(fd >= 0 && pread(fd, buf, PAGE, 4 * PAGE) == (ssize_t)PAGE && holds(buf, PAGE, 7001));
	close(fd);
	EXPECT(ro, 0, PAGES, 400);
	CHECK(mprotect(ro, PAGE, rw) == 0); /* was opened read-write */
	EXPECT(exec, 0, PAGES, 500);
	EXPECT(deleted, 0, 1, 600);
	CHECK(holds(deleted + PAGE, PAGE, 8000));
	EXPECT(deleted + 2 * PAGE, 2, PAGES - 2, 600);
	EXPECT(deleted_shared, 0, PAGES, 700);
	EXPECT(cut, 0, 2, 800);
	CHECK(holds(cut + 2 * PAGE, PAGE, 9000));
	EXPECT(cut + 3 * PAGE, 3, 3, 800);
	CHECK(mprotect(wo, PAGES * PAGE, PROT_READ) == 0);
	EXPECT(wo, 0, PAGES, 900);
	cut[10 * PAGE] = 1; /* beyond the end: SIGBUS */
	fail("no SIGBUS beyond the end of a truncated file");
}
