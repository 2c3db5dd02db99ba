/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filters that are always there, one file each. */
#pragma once
#include <torpor/page_filter.h>

extern const struct torpor_page_filter page_filter_zero, page_filter_lz4, page_filter_zstd,
	page_filter_digest, page_filter_aes_gcm, page_filter_chacha;
