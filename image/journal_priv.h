/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the writing and the reading half of the journal. */
#pragma once
#include "image/journal.h"

#define JOURNAL_HEAD "torpor-journal 1\n"

/* Ends every record: without it the line was torn by a sudden death. */
#define JOURNAL_END " ."

/* Names of the fields; the order of writing. */
#define FIELD_KIND "kind"
#define FIELD_PATH "path"
#define FIELD_DEV "dev"
#define FIELD_INO "ino"
#define FIELD_PID "pid"
#define FIELD_SINCE "since"
#define FIELD_WHY "why"
#define FIELD_COMMAND "command"
#define FIELD_ID "id"
#define FIELD_BOOT "boot"
