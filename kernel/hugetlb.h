/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Huge pages that are reserved for hugetlbfs (Documentation/admin-guide/mm/hugetlbpage.rst). */
#pragma once
#include "base/err.h"
#include <stdint.h>

/* Always fails with -ENOMEM: those of `size` bytes are too few; with what can be done. */
int hugetlb_too_few(uint64_t size, struct err *err) must_use;
