/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole reads and writes, small /proc files, clocks. */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Reads exactly len bytes (0), or -EIO at an early end, or -errno; sets no error object. */
int io_read_all(int fd, void *buf, size_t len) must_use;
int io_pread_all(int fd, void *buf, size_t len, off_t at) must_use;
int io_write_all(int fd, const void *buf, size_t len) must_use;
/* For a descriptor that does not block by itself: waits by io_await(). */
int io_write_patient(int fd, const void *buf, size_t len, unsigned patience_s) must_use;
int io_pwrite_all(int fd, const void *buf, size_t len, off_t at) must_use;
/* As io_write_patient(); iov is changed. */
int io_writev_all(int fd, struct iovec *iov, int n, unsigned patience_s) must_use;
/*
 * Until poll(2) has any of the events: 0. -ETIMEDOUT after patience_s seconds (0: never), -EINTR
 * when torpor is interrupted (base/interrupt.h).
 */
int io_await(int fd, short events, unsigned patience_s) must_use;
/*
 * Reads a whole small file (a /proc file) relative to dirfd; *ret_text is malloc'ed and
 * NUL-terminated, *ret_len its length without the NUL (may be NULL). -errno on failure.
 */
int io_slurp_at(int dirfd, const char *path, char **ret_text, size_t *ret_len) must_use;
int io_slurp(const char *path, char **ret_text, size_t *ret_len) must_use;
/* printf a path, then slurp it. */
int io_slurpf(char **ret_text, size_t *ret_len, const char *fmt, ...) must_use printf_like(3, 4);
/* Writes a text to an existing file in one write(2); -errno. */
int io_put(const char *path, const char *text) must_use;

/* CLOCK_MONOTONIC in microseconds. */
uint64_t clock_us(void);
