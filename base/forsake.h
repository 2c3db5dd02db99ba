/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of files on a file system that hangs: to close one may be a question, too (FUSE and
 * network file systems flush), and so may be the end of a process that has it.
 */
#pragma once

/*
 * From now on all descriptors are those of a child, too, which ends right behind us: it is the child
 * that closes what we do not close, and hangs in our place. The standard ones come first.
 */
void forsake_descriptors(void);
