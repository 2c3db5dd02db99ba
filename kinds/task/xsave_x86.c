// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The extended registers of x86 between ptrace's area (kernel/xstate.h) and the image message.
 * The message holds each component the saving processor has, whole, also when it is in its
 * initial state; xstate_bv says which are in use. All initial states but those of x87 and SSE are
 * zeros, so a component full of zeros may be left out on a processor that lacks it.
 */
#include "base/log.h"
#include "kernel/xstate.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <string.h>

enum {
	FX_CWD = 0,
	FX_SWD = 2,
	FX_TWD = 4,
	FX_FOP = 6,
	FX_RIP = 8,
	FX_RDP = 16,
	FX_MXCSR = 24,
	FX_MXCSR_MASK = 28,
	FX_ST = 32,
	FX_XMM = 160,
	ST_WORDS = 32,
	XMM_WORDS = 64,
	MXCSR_INIT = 0x1f80,
	MXCSR_MASK_DEFAULT = 0xffbf, /* where the processor says 0 */
};

/* One array of UserX86XsaveEntry. */
struct part {
	unsigned component;
	unsigned words, word; /* number and size in bytes */
	size_t n_at, at;      /* offsets of the members */
};

#define PART(component, words, word, name)                                                         \
	{                                                                                          \
		component, words, word, offsetof(UserX86XsaveEntry, n_##name),                     \
			offsetof(UserX86XsaveEntry, name)                                          \
	}

static const struct part parts[] = {
	PART(XSTATE_AVX, 64, 4, ymmh_space),
	PART(XSTATE_BNDREGS, 8, 8, bndreg_state),
	PART(XSTATE_BNDCSR, 8, 8, bndcsr_state),
	PART(XSTATE_OPMASK, 8, 8, opmask_reg),
	PART(XSTATE_ZMM_UPPER, 64, 8, zmm_upper),
	PART(XSTATE_HI16_ZMM, 128, 8, hi16_zmm),
	PART(XSTATE_PKRU, 2, 4, pkru),
};

enum { N_PARTS = sizeof(parts) / sizeof(*parts) };

/* Components that ptrace can hand out but the message cannot hold: AMX, APX. */
static const uint64_t homeless = 1ull << 17 | 1ull << 18 | 1ull << 19;

static uint64_t get(const uint8_t *area, size_t at, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, area + at, len);
	return v;
}

static void put(uint8_t *area, size_t at, uint64_t v, size_t len)
{
	memcpy(area + at, &v, len);
}

/* Components this kernel hands out in an area of this length. */
static uint64_t offered(const uint8_t *area, size_t len)
{
	return len < XSTATE_MIN ? 3 : get(area, XSTATE_SOFTWARE, 8);
}

static bool part_place(const struct part *p, uint64_t have, size_t area_len, size_t *ret_at)
{
	size_t at, len;

	if (!(have >> p->component & 1) || !xstate_place(p->component, &at, &len))
		return false;
	if (len < (size_t)p->words * p->word || at + len > area_len)
		return false;
	*ret_at = at;
	return true;
}

static int refuse_homeless(uint64_t bv, struct err *err)
{
	for (unsigned i = 0; i < XSTATE_COUNT; i++)
		if (bv & homeless & 1ull << i)
			return err_unsupported(
				err, "its %s are in use, which images cannot hold", xstate_name(i));
	return 0;
}

static void legacy_to_msg(struct arena *arena, const uint8_t *area, UserX86FpregsEntry *fp)
{
	fp->cwd = (uint32_t)get(area, FX_CWD, 2);
	fp->swd = (uint32_t)get(area, FX_SWD, 2);
	fp->twd = (uint32_t)get(area, FX_TWD, 2);
	fp->fop = (uint32_t)get(area, FX_FOP, 2);
	fp->rip = get(area, FX_RIP, 8);
	fp->rdp = get(area, FX_RDP, 8);
	fp->mxcsr = (uint32_t)get(area, FX_MXCSR, 4);
	fp->mxcsr_mask = (uint32_t)get(area, FX_MXCSR_MASK, 4);
	fp->n_st_space = ST_WORDS;
	fp->st_space = arena_memdup(arena, area + FX_ST, ST_WORDS * 4);
	fp->n_xmm_space = XMM_WORDS;
	fp->xmm_space = arena_memdup(arena, area + FX_XMM, XMM_WORDS * 4);
}

int xsave_to_msg(struct arena *arena, const uint8_t *area, size_t len, UserX86FpregsEntry *fp,
	struct err *err)
{
	UserX86XsaveEntry *x;
	uint64_t have = offered(area, len), bv;
	int r;

	if (len < XSTATE_LEGACY)
		return err_set(
			err, ERR_KERNEL, EIO, "the kernel gave only %zu bytes of registers", len);
	legacy_to_msg(arena, area, fp);
	if (len < XSTATE_MIN)
		return 0;
	bv = get(area, XSTATE_BV, 8);
	r = refuse_homeless(bv, err);
	if (r < 0)
		return r;
	x = fp->xsave = arena_msg(arena, UserX86XsaveEntry, user_x86_xsave_entry);
	x->xstate_bv = bv;
	for (size_t i = 0; i < N_PARTS; i++) {
		const struct part *p = &parts[i];
		size_t at;

		if (!part_place(p, have, len, &at))
			continue;
		*(size_t *)((char *)x + p->n_at) = p->words;
		*(void **)((char *)x + p->at) =
			arena_memdup(arena, area + at, (size_t)p->words * p->word);
	}
	return 0;
}

static int legacy_from_msg(const UserX86FpregsEntry *fp, uint8_t *area, struct err *err)
{
	uint32_t mask = (uint32_t)get(area, FX_MXCSR_MASK, 4);

	if (fp->n_st_space != ST_WORDS || fp->n_xmm_space != XMM_WORDS)
		return err_image(err, "x87 or SSE registers have a wrong length");
	if (!mask)
		mask = MXCSR_MASK_DEFAULT;
	if (fp->mxcsr & ~mask)
		log_warn("bits 0x%x of mxcsr do not exist on this processor, they are cleared",
			fp->mxcsr & ~mask);
	put(area, FX_CWD, fp->cwd, 2);
	put(area, FX_SWD, fp->swd, 2);
	put(area, FX_TWD, fp->twd, 2);
	put(area, FX_FOP, fp->fop, 2);
	put(area, FX_RIP, fp->rip, 8);
	put(area, FX_RDP, fp->rdp, 8);
	put(area, FX_MXCSR, fp->mxcsr & mask, 4);
	memcpy(area + FX_ST, fp->st_space, ST_WORDS * 4);
	memcpy(area + FX_XMM, fp->xmm_space, XMM_WORDS * 4);
	return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* One component into the area; *bv loses its bit where it is in the initial state anyway. */
static int part_from_msg(const struct part *p, const UserX86XsaveEntry *x, uint64_t have,
	uint8_t *area, size_t len, uint64_t *bv, struct err *err)
{
	uint64_t bit = 1ull << p->component;
	size_t n = *(const size_t *)((const char *)x + p->n_at), at;
	const void *words = *(void *const *)((const char *)x + p->at);

	if (!(*bv & bit))
		return 0;
	if (n < p->words)
		return err_image(err, "%s are in use, but the image does not hold them",
			xstate_name(p->component));
	if (part_place(p, have, len, &at)) {
		memcpy(area + at, words, (size_t)p->words * p->word);
		return 0;
	}
	if (!all_zero(words, (size_t)p->words * p->word))
		return err_unsupported(err, "its %s are in use, which this processor lacks",
			xstate_name(p->component));
	*bv &= ~bit;
	return 0;
}

/* An image without a protection keys register: the thread keeps what it was born with. */
static uint64_t keep_pkru(const UserX86XsaveEntry *x, uint64_t old_bv)
{
	return x && x->n_pkru ? 0 : old_bv & 1ull << XSTATE_PKRU;
}

int xsave_from_msg(const UserX86FpregsEntry *fp, uint8_t *area, size_t len, struct err *err)
{
	const UserX86XsaveEntry *x = fp->xsave;
	uint64_t have = offered(area, len), bv = x ? x->xstate_bv : 3, kept;
	int r;

	if (len < XSTATE_LEGACY)
		return err_set(
			err, ERR_KERNEL, EIO, "the kernel gave only %zu bytes of registers", len);
	r = refuse_homeless(bv, err);
	if (r == 0)
		r = legacy_from_msg(fp, area, err);
	if (r < 0 || len < XSTATE_MIN)
		return r;
	if (x && x->cet && x->cet->cet)
		return err_unsupported(err, "it uses a shadow stack, which cannot be restored yet");
	if (fp->mxcsr != MXCSR_INIT)
		bv |= 1ull << XSTATE_SSE;
	for (size_t i = 0; x && i < N_PARTS; i++) {
		r = part_from_msg(&parts[i], x, have, area, len, &bv, err);
		if (r < 0)
			return r;
	}
	kept = keep_pkru(x, get(area, XSTATE_BV, 8));
	memset(area + XSTATE_BV, 0, XSTATE_MIN - XSTATE_LEGACY);
	put(area, XSTATE_BV, (bv & have) | kept, 8);
	return 0;
}
