/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors: one fixed-size object, always the last parameter, filled where the failure is seen and
 * carried up unchanged.
 *
 * Invariants:
 * - a function either returns an error or handles it; it never logs it. Only main(), the service
 *   and the RPC reply print;
 * - the first failure wins: err_set() on an error that is already set keeps the old one;
 * - `int` results are 0 or a negative errno; err_set() returns that negative errno;
 * - absence of a thing is not an error.
 */
#pragma once
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

enum err_class {
	ERR_NONE = 0,
	ERR_USAGE, /* the command line or request is wrong */
	ERR_UNSUPPORTED, /* the target has something that cannot be saved or restored */
	ERR_KERNEL, /* a system call failed */
	ERR_IMAGE, /* an image is damaged, missing or contradicts another */
	ERR_TARGET, /* the target is not what was asked for, vanished, or its pid is taken */
	ERR_RESOURCE, /* no memory, disk space, descriptors */
	ERR_BUG, /* cannot happen */
};

struct err {
	enum err_class class;
	int number; /* positive errno, 0 if there is none */
	const char *file; /* where it was set */
	int line;
	char text[640]; /* the sentence, no period */
	char trail[640]; /* ", while A, while B", innermost first */
};

#define ERR_INIT ((struct err){ .class = ERR_NONE })
#define must_use __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

/* Records a failure and returns -number (or -EINVAL when number is 0). err may be NULL. */
int err_set_at(struct err *err, const char *file, int line, enum err_class class, int number,
	const char *fmt, ...) printf_like(6, 7);
#define err_set(err, class, number, ...) err_set_at(err, __FILE__, __LINE__, class, number, __VA_ARGS__)

/* A system call failed: appends ": strerror(errno)" to the sentence, returns -errno. */
int err_sys_at(struct err *err, const char *file, int line, int number, const char *fmt, ...)
	printf_like(5, 6);
#define err_sys(err, ...) err_sys_at(err, __FILE__, __LINE__, errno, __VA_ARGS__)
#define err_sysn(err, number, ...) err_sys_at(err, __FILE__, __LINE__, number, __VA_ARGS__)

#define err_usage(err, ...) err_set(err, ERR_USAGE, 22, __VA_ARGS__)
#define err_unsupported(err, ...) err_set(err, ERR_UNSUPPORTED, 95, __VA_ARGS__)
/* Something cannot be saved as it is now, but may be in a moment: a dump waits a little and repeats. */
#define err_busy(err, ...) err_set(err, ERR_UNSUPPORTED, 11, __VA_ARGS__)
#define err_image(err, ...) err_set(err, ERR_IMAGE, 74, __VA_ARGS__)
#define err_target(err, number, ...) err_set(err, ERR_TARGET, number, __VA_ARGS__)
#define err_nomem(err) err_set(err, ERR_RESOURCE, 12, "out of memory")
#define err_bug(err, ...) err_set(err, ERR_BUG, 22, __VA_ARGS__)

/* Adds ", while DOING" and returns -number again: `return err_while(err, "restoring fd %d", fd);` */
int err_while(struct err *err, const char *fmt, ...) printf_like(2, 3);

/* 1 if a failure is recorded, else 0. */
static inline bool err_is_set(const struct err *err)
{
	return err && err->class != ERR_NONE;
}

/* Whether it was recorded by err_busy(). */
static inline bool err_is_busy(const struct err *err)
{
	return err && err->class == ERR_UNSUPPORTED && err->number == EAGAIN;
}

/* Forgets a failure that was handled. */
void err_clear(struct err *err);
/* Short name of a class: "usage", "unsupported" ... */
const char *err_class_name(enum err_class class);
/* Writes sentence and trail into buf (always terminated) and returns buf. */
const char *err_text(const struct err *err, char *buf, unsigned long size);
