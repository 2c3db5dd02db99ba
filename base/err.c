// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void err_begin(
	struct err *err, const char *file, int line, enum err_class class, int number)
{
	*err = (struct err){ .class = class, .number = number, .file = file, .line = line };
}

int err_set_at(struct err *err, const char *file, int line, enum err_class class, int number,
	const char *fmt, ...)
{
	va_list ap;

	if (err && !err_is_set(err)) {
		err_begin(err, file, line, class, number);
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return number ? -number : -EINVAL;
}

static enum err_class class_of_errno(int number)
{
	switch (number) {
	case ENOMEM:
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
		return ERR_RESOURCE;
	default:
		return ERR_KERNEL;
	}
}

int err_sys_at(struct err *err, const char *file, int line, int number, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (err && !err_is_set(err)) {
		err_begin(err, file, line, class_of_errno(number), number);
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		n = strlen(err->text);
		snprintf(err->text + n, sizeof(err->text) - n, ": %s", strerror(number));
	}
	return number ? -number : -EINVAL;
}

int err_while(struct err *err, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (!err)
		return -EINVAL;
	n = strlen(err->trail);
	n += (size_t)snprintf(err->trail + n, sizeof(err->trail) - n, ", while ");
	if (n < sizeof(err->trail)) {
		va_start(ap, fmt);
		vsnprintf(err->trail + n, sizeof(err->trail) - n, fmt, ap);
		va_end(ap);
	}
	return err->number ? -err->number : -EINVAL;
}

void err_clear(struct err *err)
{
	if (err)
		*err = ERR_INIT;
}

const char *err_class_name(enum err_class class)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",
		[ERR_USAGE] = "usage",
		[ERR_UNSUPPORTED] = "unsupported",
		[ERR_KERNEL] = "kernel",
		[ERR_IMAGE] = "image",
		[ERR_TARGET] = "target",
		[ERR_RESOURCE] = "resource",
		[ERR_BUG] = "bug",
	};

	return class <= ERR_BUG ? names[class] : "unknown";
}

const char *err_text(const struct err *err, char *buf, unsigned long size)
{
	snprintf(buf, size, "%s%s", err->text, err->trail);
	return buf;
}
