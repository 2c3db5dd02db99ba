/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all parts of the page server are told. */
#pragma once
#include "pages/lobby.h"
#include "pages/tls.h"
#include <stdbool.h>

struct page_server_setup {
	int images_dirfd; /* a parent of it is behind its link "parent" */
	bool auto_dedup; /* frees replaced pages of the parents afterwards */
	struct lobby *lobby; /* where more connections of the same dump come, or NULL */
	bool tls;
	struct tls_files tls_files;
};
