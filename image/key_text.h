/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys as text: a prefix, 64 hex digits of the key and 8 of a check sum, so that a typing error is
 * found before something is encrypted for nobody.
 */
#pragma once
#include "base/secret.h"
#include <stdio.h>

#define KEY_PUBLIC "torpor-public-1:"
#define KEY_SECRET "torpor-secret-1:"

enum { KEY_TEXT = 96 };

/* buf has room for KEY_TEXT bytes. */
int key_format(const char *prefix, const uint8_t *key, char *buf, struct err *err) must_use;
/* 1: a key with this prefix; 0: something else; an error if only the digits are wrong. */
int key_parse(const char *prefix, const char *text, uint8_t *ret, struct err *err) must_use;
/* The first key with this prefix in a small text file. */
int key_read_file(const char *prefix, const char *path, uint8_t *ret, struct err *err) must_use;
/* A new pair: the secret key goes to a new file (0600), the public one there and to out. */
int key_generate(const char *path, FILE *out, struct err *err) must_use;
