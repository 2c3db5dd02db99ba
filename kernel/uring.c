/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/uring.h. */
#include "kernel/uring.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- fdinfo ---- */

static bool field_u32(const char *text, const char *key, int base, uint32_t *ret)
{
	uint64_t v;

	if (!parse_field_u64(text, key, base, &v) || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* "0x7f" */
static bool field_hex(const char *text, const char *key, uint32_t *ret)
{
	struct cursor c;

	return parse_field(text, key, &c) && parse_lit(&c, "0x") && parse_u32(&c, 16, ret);
}

static int field_int(const char *text, const char *key)
{
	struct cursor c;
	int64_t v;

	return parse_field(text, key, &c) && parse_i64(&c, &v) && v >= 0 && v <= INT32_MAX ? (int)v : -1;
}

/* Lines that begin with blanks follow the key's. */
static bool has_items(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	line = line ? strchr(line, '\n') : NULL;
	return line && line[1] == ' ';
}

bool uring_parse(const char *text, struct uring_info *ret)
{
	struct uring_info i = { 0 };
	uint32_t sq_mask, cq_mask;

	if (!field_hex(text, "SqMask:", &sq_mask) || !field_hex(text, "CqMask:", &cq_mask) ||
		!field_u32(text, "CachedSqHead:", 10, &i.taken) ||
		!field_u32(text, "CachedCqTail:", 10, &i.posted))
		return false;
	i.sq_entries = sq_mask + 1;
	i.cq_entries = cq_mask + 1;
	i.sq_thread = field_int(text, "SqThread:");
	i.sq_cpu = field_int(text, "SqThreadCpu:");
	(void)!field_u32(text, "UserFiles:", 10, &i.file_slots);
	(void)!field_u32(text, "UserBufs:", 10, &i.buffer_slots);
	i.polls = has_items(text, "PollList:");
	i.overflow = has_items(text, "CqOverflowList:");
	i.personalities = has_items(text, "Personalities:");
	*ret = i;
	return true;
}

/* The lines below that of the key; none if there is no such line. */
static struct cursor list_of(const char *text, const char *key)
{
	const char *start = strstr(text, key);

	start = start ? strchr(start, '\n') : NULL;
	return cursor_of(start ? start + 1 : "");
}

struct cursor uring_files(const char *text)
{
	return list_of(text, "UserFiles:");
}

struct cursor uring_buffers(const char *text)
{
	return list_of(text, "UserBufs:");
}

/* The next item that is not empty: "    2: REST". */
static bool next_item(struct cursor *c, uint32_t *ret_slot, struct cursor *ret_rest)
{
	struct cursor line;

	do {
		if (!parse_line(c, &line) || line.at == line.end || *line.at != ' ')
			return false;
		parse_blanks(&line);
		if (!parse_u32(&line, 10, ret_slot) || !parse_lit(&line, ":"))
			return false;
		parse_blanks(&line);
	} while (parse_lit(&line, "<none>"));
	*ret_rest = line;
	return true;
}

bool uring_next_file(struct cursor *c, uint32_t *ret_slot, const char **ret_name, size_t *ret_len)
{
	struct cursor rest;

	if (!next_item(c, ret_slot, &rest))
		return false;
	*ret_name = rest.at;
	*ret_len = (size_t)(rest.end - rest.at);
	return true;
}

bool uring_next_buffer(struct cursor *c, uint32_t *ret_slot, uint64_t *ret_addr, uint64_t *ret_len)
{
	struct cursor rest;

	return next_item(c, ret_slot, &rest) && parse_lit(&rest, "0x") &&
		parse_u64(&rest, 16, ret_addr) && parse_lit(&rest, "/") &&
		parse_u64(&rest, 10, ret_len);
}

/* ---- calls ---- */

int uring_setup(uint32_t entries, struct io_uring_params *p)
{
	int fd = (int)syscall(SYS_io_uring_setup, entries, p);

	return fd < 0 ? -errno : fd;
}

int uring_enter(int fd, uint32_t submit, uint32_t flags)
{
	int n = (int)syscall(SYS_io_uring_enter, fd, submit, 0, flags, NULL, 0);

	return n < 0 ? -errno : n;
}

int uring_register(int fd, unsigned op, const void *arg, uint32_t n)
{
	int r = (int)syscall(SYS_io_uring_register, fd, op, arg, n);

	return r < 0 ? -errno : r;
}

/* ---- memory ---- */

/* A ring of ours of the same size has the same layout. */
static int look_up_layout(uint32_t sq_entries, uint32_t cq_entries, struct uring_map *m)
{
	struct io_uring_params p = { .flags = IORING_SETUP_CQSIZE, .cq_entries = cq_entries };
	int fd = uring_setup(sq_entries, &p);

	if (fd < 0)
		return fd;
	close(fd);
	if (p.sq_entries != sq_entries || p.cq_entries != cq_entries)
		return -EINVAL;
	m->sq = p.sq_off;
	m->cq = p.cq_off;
	return 0;
}

static size_t pages(size_t len)
{
	return (len + 4095) & ~(size_t)4095;
}

static char *map(int fd, size_t len, uint64_t offset)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

	return p == MAP_FAILED ? NULL : p;
}

int uring_map(int fd, uint32_t sq_entries, uint32_t cq_entries, struct uring_map *ret)
{
	struct uring_map m = { 0 };
	size_t cqes, all;
	int r = look_up_layout(sq_entries, cq_entries, &m);

	if (r < 0)
		return r;
	cqes = pages(m.cq.cqes + cq_entries * sizeof(struct io_uring_cqe));
	all = pages(m.sq.array + sq_entries * sizeof(uint32_t));
	m.sqes_len = pages(sq_entries * sizeof(struct io_uring_sqe));
	m.rings_len = all > cqes ? all : cqes;
	m.has_array = true;
	m.rings = map(fd, m.rings_len, IORING_OFF_SQ_RING);
	if (!m.rings && all > cqes) {
		/* IORING_SETUP_NO_SQARRAY (6.6): nothing stands behind the completions */
		m.rings_len = cqes;
		m.has_array = false;
		m.rings = map(fd, m.rings_len, IORING_OFF_SQ_RING);
	}
	/* IORING_SETUP_SQE128 has twice as much there, and not less can be mapped. */
	m.sqes = map(fd, m.sqes_len, IORING_OFF_SQES);
	if (!m.rings || !m.sqes) {
		uring_unmap(&m);
		return -EINVAL;
	}
	*ret = m;
	return 0;
}

void uring_unmap(struct uring_map *m)
{
	if (m->rings)
		munmap(m->rings, m->rings_len);
	if (m->sqes)
		munmap(m->sqes, m->sqes_len);
	*m = (struct uring_map){ 0 };
}
