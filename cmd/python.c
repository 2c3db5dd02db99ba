/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that only read images or look at this computer are written in Python (python/torpor):
 * they have no need of C, and libraries want them too. The program becomes the interpreter; that
 * costs about 0.1 seconds, so nothing a dump or restore needs may be among them.
 *
 * The package lies beside the program, in the build directory as well as where both are
 * installed. The interpreter is the one the build found: protobuf belongs to it.
 */
#include "cmd/python.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int program_path(char *buf, size_t size, struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", buf, size);

	if (n < 0)
		return err_sys(err, "cannot find out where this program lies");
	if ((size_t)n == size)
		return err_sysn(err, ENAMETOOLONG, "cannot find out where this program lies");
	buf[n] = 0;
	return 0;
}

/* The package's parent directory into buf. */
static int package_dir(const char *program, char *buf, size_t size, struct err *err)
{
	static const char *const places[] = { "python", TORPOR_PYTHON_DIR };
	int here = (int)(strrchr(program, '/') - program);
	char package[PATH_MAX];

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		int n = snprintf(package, sizeof(package), "%.*s/%s/torpor/__init__.py", here, program,
			places[i]);

		if ((size_t)n >= sizeof(package) || access(package, R_OK) < 0)
			continue;
		n = snprintf(buf, size, "%.*s/%s", here, program, places[i]);
		if ((size_t)n < size)
			return 0;
	}
	return err_set(err, ERR_RESOURCE, ENOENT,
		"the Python package 'torpor' is not beside this program (in '%.*s/" TORPOR_PYTHON_DIR
		"'); this command is part of it", here, program);
}

/*
 * Modules come from there and the interpreter's own directories, not from the current one, which
 * may be an images directory of somebody else (PYTHONSAFEPATH, since 3.11). TORPOR_PROGRAM is us, to
 * be asked what the kernel can do.
 */
static int set_environment(const char *dir, const char *program, struct err *err)
{
	const char *old = getenv("PYTHONPATH");
	char path[2 * PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s%s", dir, old ? ":" : "", old ? old : "");

	if ((size_t)n >= sizeof(path))
		return err_usage(err, "PYTHONPATH is too long");
	if (setenv("PYTHONPATH", path, 1) < 0 || setenv("PYTHONSAFEPATH", "1", 1) < 0 ||
		setenv("TORPOR_PROGRAM", program, 1) < 0)
		return err_nomem(err);
	return 0;
}

int python_exec(int argc, char *const *argv, struct err *err)
{
	const char *named = getenv("TORPOR_PYTHON");
	const char *python = named ? named : TORPOR_PYTHON;
	char program[PATH_MAX], dir[PATH_MAX];
	char **words;
	int r = program_path(program, sizeof(program), err);

	if (r == 0)
		r = package_dir(program, dir, sizeof(dir), err);
	if (r == 0)
		r = set_environment(dir, program, err);
	if (r < 0)
		return r;
	words = calloc((size_t)argc + 3, sizeof(*words));
	if (!words)
		return err_nomem(err);
	words[0] = (char *)python;
	words[1] = "-m";
	words[2] = "torpor";
	for (int i = 1; i < argc; i++)
		words[i + 2] = argv[i];
	execvp(python, words);
	r = err_sys(err, "cannot run '%s'; TORPOR_PYTHON can name another Python 3", python);
	free(words);
	return r;
}
