/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resources that are not saved but given at the restore: `--external KIND[KEY]` at the dump,
 * `--inherit-fd fd[N]:KEY` at the restore. Kinds this version cannot leave outside are refused
 * when the options are checked, so rooms only ask for what is theirs.
 */
#pragma once
#include "options/options.h"

/* Whether the user said --external with exactly this text ("unix[1234]"). */
bool outside_is_external(const struct options *o, const char *resource);
/*
 * The descriptor of torpor's own that stands for the key ("socket[1234]", "pipe[1234]", a path), or
 * -1. A leading slash does not matter, nor a colon in front of a bracket.
 */
int outside_inherited(const struct options *o, const char *key);
/* Whether a list like `-x` was given, and has the number or no numbers at all. */
bool outside_lists(const struct string_list *list, bool given, uint64_t number);
/* Form and kinds of all --external, --inherit-fd and --ext-unix-sk. */
int outside_check(const struct options *o, struct err *err) must_use;
