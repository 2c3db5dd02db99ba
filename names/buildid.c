/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks for the build id in the notes of an ELF file of either class, little-endian. Any file may
 * come here, so every number in it is doubted: bad ones mean "no build id".
 */
#include "names/buildid.h"
#include "base/cleanup.h"
#include "base/far.h"
#include <elf.h>
#include <string.h>

enum { NOTES_MAX = 64 * 1024, HEADERS_MAX = 512 };

static size_t in_notes(const uint8_t *p, size_t len, uint8_t ret[BUILDID_MAX])
{
	Elf64_Nhdr n; /* the same in both classes */

	while (len >= sizeof(n)) {
		uint64_t name, desc;

		memcpy(&n, p, sizeof(n));
		name = ((uint64_t)n.n_namesz + 3) & ~3ull;
		desc = ((uint64_t)n.n_descsz + 3) & ~3ull;
		if (sizeof(n) + name + desc > len)
			return 0;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 &&
			!memcmp(p + sizeof(n), "GNU", 4) && n.n_descsz && n.n_descsz <= BUILDID_MAX) {
			memcpy(ret, p + sizeof(n) + name, n.n_descsz);
			return n.n_descsz;
		}
		p += sizeof(n) + name + desc;
		len -= sizeof(n) + name + desc;
	}
	return 0;
}

static size_t in_segment(int fd, uint64_t offset, uint64_t size, uint8_t ret[BUILDID_MAX])
{
	auto_free uint8_t *notes = NULL;

	if (!size || size > NOTES_MAX || offset > INT64_MAX - NOTES_MAX)
		return 0;
	notes = malloc(size);
	if (!notes || far_pread_all(fd, notes, size, (off_t)offset) < 0)
		return 0;
	return in_notes(notes, size, ret);
}

static size_t in_elf64(int fd, const Elf64_Ehdr *e, uint8_t ret[BUILDID_MAX])
{
	size_t got = 0;

	if (e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum > HEADERS_MAX)
		return 0;
	for (unsigned i = 0; i < e->e_phnum && !got; i++) {
		Elf64_Phdr p;

		if (far_pread_all(fd, &p, sizeof(p), (off_t)(e->e_phoff + i * sizeof(p))) < 0)
			return 0;
		if (p.p_type == PT_NOTE)
			got = in_segment(fd, p.p_offset, p.p_filesz, ret);
	}
	return got;
}

static size_t in_elf32(int fd, const Elf32_Ehdr *e, uint8_t ret[BUILDID_MAX])
{
	size_t got = 0;

	if (e->e_phentsize != sizeof(Elf32_Phdr) || e->e_phnum > HEADERS_MAX)
		return 0;
	for (unsigned i = 0; i < e->e_phnum && !got; i++) {
		Elf32_Phdr p;

		if (far_pread_all(fd, &p, sizeof(p), (off_t)(e->e_phoff + i * sizeof(p))) < 0)
			return 0;
		if (p.p_type == PT_NOTE)
			got = in_segment(fd, p.p_offset, p.p_filesz, ret);
	}
	return got;
}

size_t buildid_read(int fd, uint8_t ret[BUILDID_MAX])
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
	} h = { 0 };

	if (far_pread(fd, &h, sizeof(h), 0) < (ssize_t)sizeof(h.e32))
		return 0;
	if (memcmp(h.ident, ELFMAG, SELFMAG) || h.ident[EI_DATA] != ELFDATA2LSB)
		return 0;
	if (h.ident[EI_CLASS] == ELFCLASS64)
		return in_elf64(fd, &h.e64, ret);
	return h.ident[EI_CLASS] == ELFCLASS32 ? in_elf32(fd, &h.e32, ret) : 0;
}
