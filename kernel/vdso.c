// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading vdso images. The bytes may come from an image file, so nothing in them is believed: every
 * table is checked to lie inside the image before it is touched. Only dynamic information is used
 * (section headers are not part of what is mapped).
 */
#include "kernel/vdso.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <elf.h>
#include <errno.h>
#include <string.h>

/* ------------------------------------------------------------------------------ our own areas */

/* "start-end perms offset dev inode   [name]" */
static bool part_parse(struct cursor line, uint64_t *ret_start, struct vdso_part *ret)
{
	static const char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]" };
	uint64_t end;

	if (!parse_u64(&line, 16, ret_start) || !parse_lit(&line, "-") ||
		!parse_u64(&line, 16, &end))
		return false;
	for (int i = 0; i < 3; i++) {
		size_t n = strlen(names[i]);

		if ((size_t)(line.end - line.at) > n && !memcmp(line.end - n, names[i], n)) {
			*ret = (struct vdso_part){ .len = end - *ret_start, .is_code = i == 0 };
			return true;
		}
	}
	return false;
}

int vdso_look_self(struct vdso_self *ret, struct err *err)
{
	auto_free char *maps = NULL;
	uint64_t start, low = 0;
	struct vdso_part part;
	struct cursor c, line;
	int r = io_slurp("/proc/self/maps", &maps, NULL);

	if (r < 0)
		return err_sysn(err, -r, "cannot read /proc/self/maps");
	*ret = (struct vdso_self){ 0 };
	for (c = cursor_of(maps); parse_line(&c, &line);) {
		if (!part_parse(line, &start, &part))
			continue;
		if (ret->n == VDSO_PARTS_MAX)
			return err_unsupported(err, "this kernel's vdso has an unknown layout");
		low = ret->n ? low : start;
		part.offset = start - low;
		ret->span = part.offset + part.len;
		if (part.is_code) {
			ret->code = (const uint8_t *)(uintptr_t)start;
			ret->code_offset = part.offset;
			ret->code_len = part.len;
		} else {
			ret->data_offset = ret->data_len ? ret->data_offset : part.offset;
			ret->data_len += part.len;
		}
		ret->parts[ret->n++] = part;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------ symbols */

struct image {
	const uint8_t *bytes;
	size_t len;
	uint64_t base; /* address the image was linked at */
};

/* Copies len bytes at the linked address; false if they are not all inside. */
static bool image_get(const struct image *m, uint64_t addr, void *buf, size_t len)
{
	uint64_t off = addr - m->base;

	if (off > m->len || len > m->len - off)
		return false;
	memcpy(buf, m->bytes + off, len);
	return true;
}

struct dynamic {
	uint64_t symtab, strtab, strsz, hash, gnu_hash;
};

static bool image_headers(struct image *m, uint64_t *ret_dyn, uint64_t *ret_dyn_len)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	bool load = false;

	*ret_dyn_len = 0;
	if (!image_get(m, 0, &eh, sizeof(eh)) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
		eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(ph))
		return false;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		if (!image_get(m, eh.e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return false;
		if (ph.p_type == PT_LOAD && !load) {
			m->base = ph.p_vaddr - ph.p_offset;
			load = true;
			/* header addresses below are relative to the file, not to base */
			eh.e_phoff += m->base;
		} else if (ph.p_type == PT_DYNAMIC) {
			*ret_dyn = ph.p_vaddr;
			*ret_dyn_len = ph.p_memsz;
		}
	}
	return load && *ret_dyn_len;
}

static bool image_dynamic(const struct image *m, uint64_t addr, uint64_t len, struct dynamic *ret)
{
	Elf64_Dyn d;

	*ret = (struct dynamic){ 0 };
	for (uint64_t i = 0; i + sizeof(d) <= len; i += sizeof(d)) {
		if (!image_get(m, addr + i, &d, sizeof(d)))
			return false;
		switch (d.d_tag) {
		case DT_NULL:
			return ret->symtab && ret->strtab;
		case DT_SYMTAB:
			ret->symtab = d.d_un.d_ptr;
			break;
		case DT_STRTAB:
			ret->strtab = d.d_un.d_ptr;
			break;
		case DT_STRSZ:
			ret->strsz = d.d_un.d_val;
			break;
		case DT_HASH:
			ret->hash = d.d_un.d_ptr;
			break;
		case DT_GNU_HASH:
			ret->gnu_hash = d.d_un.d_ptr;
			break;
		}
	}
	return false;
}

/* Number of symbols by the GNU hash table: one more than the highest index in any chain. */
static uint64_t count_gnu(const struct image *m, uint64_t hash)
{
	uint32_t head[4], index, word;
	uint64_t buckets, chains, most = 0;

	if (!image_get(m, hash, head, sizeof(head)))
		return 0;
	buckets = hash + sizeof(head) + 8ull * head[2];
	chains = buckets + 4ull * head[0];
	for (uint64_t i = 0; i < head[0]; i++) {
		if (!image_get(m, buckets + 4 * i, &index, 4))
			return 0;
		most = index > most ? index : most;
	}
	if (most < head[1])
		return head[1];
	do {
		if (!image_get(m, chains + 4 * (most - head[1]), &word, 4))
			return 0;
		most++;
	} while (!(word & 1));
	return most;
}

static uint64_t count_symbols(const struct image *m, const struct dynamic *d)
{
	uint32_t head[2];

	if (d->hash && image_get(m, d->hash, head, sizeof(head)))
		return head[1];
	return d->gnu_hash ? count_gnu(m, d->gnu_hash) : 0;
}

static bool symbol_get(const struct image *m, const struct dynamic *d, uint64_t i,
	struct vdso_symbol *ret)
{
	uint64_t name;
	Elf64_Sym sym;

	if (!image_get(m, d->symtab + i * sizeof(sym), &sym, sizeof(sym)) ||
		sym.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(sym.st_info) != STT_FUNC)
		return false;
	ret->offset = sym.st_value - m->base;
	ret->size = sym.st_size;
	if (ret->offset > m->len || ret->size > m->len - ret->offset)
		return false;
	name = d->strtab + sym.st_name;
	for (size_t n = 0; n < VDSO_NAME_MAX && sym.st_name + n < d->strsz; n++) {
		if (!image_get(m, name + n, &ret->name[n], 1))
			return false;
		if (!ret->name[n])
			return n > 0;
	}
	return false;
}

int vdso_symbols(const uint8_t *bytes, size_t len, struct vdso_symbol *ret, size_t max)
{
	struct image m = { .bytes = bytes, .len = len };
	uint64_t dyn = 0, dyn_len, count;
	struct dynamic d;
	size_t n = 0;

	if (!image_headers(&m, &dyn, &dyn_len) || !image_dynamic(&m, dyn, dyn_len, &d))
		return -ENOEXEC;
	count = count_symbols(&m, &d);
	if (count > len / sizeof(Elf64_Sym))
		return -ENOEXEC;
	for (uint64_t i = 0; i < count && n < max; i++)
		n += symbol_get(&m, &d, i, &ret[n]);
	return (int)n;
}
