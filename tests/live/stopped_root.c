/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stopped_root: the root itself is stopped when it is dumped; the harness sends SIGCONT together
 * with SIGTERM.
 */
#include "subject.h"

int main(int argc, char **argv)
{
	struct self s;

	subject_init(argc, argv);
	self_note(&s, false);
	ready();
	NEED(raise(SIGSTOP) == 0);
	wait_term();
	self_check(&s);
	pass();
}
