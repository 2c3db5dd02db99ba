/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all parts of the page server are told. */
#pragma once
#include "pages/conn.h"
#include "pages/tls.h"
#include <stdbool.h>

struct page_server_setup {
	int images_dirfd; /* a parent of it is behind its link "parent" */
	bool auto_dedup; /* frees replaced pages of the parents afterwards */
	int listening; /* for more connections of the same dump, or -1 */
	bool tls;
	struct tls_files tls_files;
};
