/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hugetlb: private and shared huge pages; memory files of them, mapped and not, shared with a child. */
#include "subject.h"

#define HUGE (2ul << 20)

static int mapped, unmapped;
static uint8_t *file;

static int make_file(const char *name, unsigned flags)
{
	int fd = memfd_create(name, MFD_HUGETLB | 21u << MAP_HUGE_SHIFT | flags);

	if (fd < 0)
		skip("no memory files of huge pages: %s", strerror(errno));
	NEED(ftruncate(fd, HUGE) == 0);
	return fd;
}

static uint8_t *map_file(int fd)
{
	uint8_t *p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		skip("not enough huge pages: %s (sysctl vm.nr_hugepages)", strerror(errno));
	return p;
}

static void set_up_files(void)
{
	uint8_t *p;

	mapped = make_file("mapped", MFD_ALLOW_SEALING);
	unmapped = make_file("unmapped", MFD_CLOEXEC);
	file = map_file(mapped);
	fill(file, HUGE, 4);
	NEED(fcntl(mapped, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	p = map_file(unmapped);
	fill(p, HUGE, 5);
	NEED(munmap(p, HUGE) == 0);
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	CHECK(holds(file, HUGE, 4));
	fill(file, HUGE, 6);
}

static void check_files(pid_t child)
{
	struct stat st;
	char path[64], link[64] = "";
	uint8_t *p = map_file(unmapped);

	CHECK(holds(p, HUGE, 5));
	CHECK(fstat(unmapped, &st) == 0 && (unsigned long)st.st_size == HUGE);
	SAME(st.st_blksize, HUGE);
	SAME(fcntl(unmapped, F_GETFD), FD_CLOEXEC);
	SAME(fcntl(mapped, F_GET_SEALS), F_SEAL_SHRINK);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mapped);
	CHECK(readlink(path, link, sizeof(link) - 1) > 0 && !strcmp(link, "/memfd:mapped (deleted)"));
	child_end(child);
	CHECK(holds(file, HUGE, 6));
	CHECK(munmap(file, HUGE) == 0);
	file = map_file(mapped);
	CHECK(holds(file, HUGE, 6));
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE;
	const int kind = MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	uint8_t *private, *shared;
	char line[128];
	pid_t pid;

	subject_init(argc, argv);
	private = mmap(NULL, 3 * HUGE, rw, MAP_PRIVATE | kind, -1, 0);
	if (private == MAP_FAILED)
		skip("no huge pages: %s (sysctl vm.nr_hugepages)", strerror(errno));
	shared = mmap(NULL, 2 * HUGE, rw, MAP_SHARED | kind, -1, 0);
	if (shared == MAP_FAILED)
		skip("not enough huge pages: %s (sysctl vm.nr_hugepages)", strerror(errno));
	fill(private, HUGE, 1);
	fill(private + 2 * HUGE, HUGE, 2);
	fill(shared, HUGE, 3);
	set_up_files();
	pid = child(kid, NULL);
	ready();
	wait_term();
	CHECK(holds(private, HUGE, 1));
	CHECK(all_zero(private + HUGE, HUGE));
	CHECK(holds(private + 2 * HUGE, HUGE, 2));
	CHECK(holds(shared, HUGE, 3));
	CHECK(smaps_line(getpid(), private, "VmFlags", line, sizeof(line)) && strstr(line, " ht"));
	CHECK(smaps_line(getpid(), shared, "VmFlags", line, sizeof(line)) && strstr(line, " ht"));
	check_files(pid);
	pass();
}
