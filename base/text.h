/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings of foreign origin (names of files and tasks) in what is printed. */
#pragma once
#include <stdio.h>

/* In quotes; bytes that are no valid text become \u00XX. */
void json_string(FILE *out, const char *s);
/* For a terminal: control bytes become \xXX, so a file name cannot drive it. */
void plain_string(FILE *out, const char *s);
