/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines and configuration files: what they mean, and what is refused. */
#include "options/options.h"
#include "options/table.h"
#include "tap.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct said {
	struct options o;
	struct err err;
	int r;
};

/* Parses "dump -t 3 ..." as if typed; `name` is argv[0]. Configuration files only by --config. */
static struct said say_as(const char *name, const char *line)
{
	enum { most = 32 };
	struct said s = { .err = ERR_INIT };
	char *copy = strdup(line), *argv[most + 2], *save = NULL;
	int argc = 0;

	argv[argc++] = (char *)name;
	argv[argc++] = (char *)"--no-default-config";
	for (char *w = strtok_r(copy, " ", &save); w && argc < most; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	s.r = options_parse(&s.o, argc, argv, &s.err);
	free(copy);
	return s;
}

static struct said say(const char *line)
{
	return say_as("/usr/sbin/torpor", line);
}

static void expect_error(struct tap *t, const char *line, enum err_class class, const char *part)
{
	struct said s = say(line);
	char what[256];

	snprintf(what, sizeof(what), "'%s' is refused: %.120s", line, s.err.text);
	tap_ok(t, s.r < 0 && s.err.class == class && strstr(s.err.text, part), what, NULL);
	options_done(&s.o);
}

static void expect(struct tap *t, struct said *s, bool good, const char *what)
{
	tap_ok(t, s->r == 0 && good, what, &s->err);
	options_done(&s->o);
}

static void test_forms(struct tap *t)
{
	struct said s = say("-vvjRt12 dump --images-dir=x -o log");

	expect(t, &s, s.o.command == CMD_DUMP && s.o.verbosity == 4 && s.o.shell_job &&
		s.o.leave_running && s.o.tree == 12 && !strcmp(s.o.images_dir, "x") &&
		!strcmp(s.o.log_file, "log"), "letters in one word, options before the command");
	s = say("dump -t 3");
	expect(t, &s, s.o.verbosity == 2 && s.o.ghost_limit == 1 << 20 && s.o.ghost_fiemap &&
		s.o.timeout == 10 && !strcmp(s.o.images_dir, ".") && !s.o.work_dir &&
		!s.o.given[OPTION_timeout], "defaults");
	s = say("dump -t 3 -v4 -v --verbosity=1 -v");
	expect(t, &s, s.o.verbosity == 2, "a number sets the verbosity, -v adds one");
	s = say("dump -t 3 --ghost-limit 3G --no-ghost-fiemap --shell-job --no-shell-job");
	expect(t, &s, s.o.ghost_limit == 3ull << 30 && !s.o.ghost_fiemap && !s.o.shell_job,
		"sizes, and --no- forms of which the last counts");
	s = say("dump -t 3 --time 4 --image=y");
	expect(t, &s, s.o.timeout == 4 && !strcmp(s.o.images_dir, "y"), "clear abbreviations");
	s = say("dump -t 3 --cpu-cap");
	expect(t, &s, !strcmp(s.o.cpu_cap, "all"), "an argument that may be missing");
	s = say("dump -t 3 -R -s");
	expect(t, &s, s.o.leave_stopped && !s.o.leave_running, "-s after -R counts");
	s = say("dump -t 3 --address a --port 5");
	expect(t, &s, s.o.notes.n == 1, "an address that nothing goes to is told");
	s = say("dump -t 3 --page-server --address a --port 5");
	expect(t, &s, s.o.notes.n == 0, "the address of a page server");
	s = say("restore --exec-cmd -v0 -- ls -l");
	expect(t, &s, s.o.n_words == 2 && !strcmp(s.o.words[1], "-l") && !s.o.words[2] &&
		s.o.verbosity == 0, "a program behind --exec-cmd --");
	s = say("show dir");
	expect(t, &s, !strcmp(s.o.images_dir, "dir"), "show DIR");
	s = say("dump -t 3 --no-lazy-pagesx");
	tap_ok(t, s.r < 0, "an unknown --no- form", NULL);
	options_done(&s.o);
	s = say("dump -t 3 --no-track-mem");
	expect(t, &s, true, "switching off what is not there yet");
}

static void test_errors(struct tap *t)
{
	expect_error(t, "dump", ERR_USAGE, "-t PID");
	expect_error(t, "dump -t 0", ERR_USAGE, "above 0");
	expect_error(t, "dump -t 3x", ERR_USAGE, "'3x'");
	expect_error(t, "dump -t 99999999999", ERR_USAGE, "99999999999");
	expect_error(t, "dump -t", ERR_USAGE, "needs an argument");
	expect_error(t, "dump -t 3 -q", ERR_USAGE, "-q");
	expect_error(t, "dump -t 3 --imagesdir x", ERR_USAGE, "--images-dir");
	expect_error(t, "dump -t 3 --leave", ERR_USAGE, "could be");
	expect_error(t, "dump -t 3 --shell-job=1", ERR_USAGE, "no argument");
	expect_error(t, "dump -t 3 --ghost-limit 1T", ERR_USAGE, "1T");
	expect_error(t, "dump -t 3 --ghost-limit 99999999999999G", ERR_USAGE, "large");
	expect_error(t, "dump -t 3 --timeout -1", ERR_USAGE, "negative");
	expect_error(t, "dump -t 3 --file-validation sum", ERR_USAGE, "'sum'");
	expect_error(t, "dump -t 3 --cpu-cap=fpu,^x", ERR_USAGE, "'x'");
	expect_error(t, "dump -t 3 more", ERR_USAGE, "more");
	expect_error(t, "dump 3", ERR_USAGE, "by -t 3");
	expect_error(t, "dump -t 3 --compress zstd", ERR_USAGE, "--compress=zstd");
	expect_error(t, "dump -t 3 -R zstd", ERR_USAGE, "does not take 'zstd'");
	expect_error(t, "restore dir", ERR_USAGE, "by -D dir");
	expect_error(t, "restore -D dir more", ERR_USAGE, "does not take 'more'");
	expect_error(t, "dump -t 3 --page-server --port 70000", ERR_USAGE, "--port 70000");
	expect_error(t, "dumb", ERR_USAGE, "did you mean 'dump'");
	expect_error(t, "frobnicate", ERR_USAGE, "unknown command 'frobnicate'");
	expect_error(t, "dump -t 3 --status-fd 999", ERR_USAGE, "--status-fd 999");
	expect_error(t, "dump -t 3 --stream-fd 77777", ERR_USAGE, "no descriptor 77777");
	expect_error(t, "", ERR_USAGE, "no command");
	expect_error(t, "restore -S", ERR_USAGE, "--restore-detached");
	expect_error(t, "restore --exec-cmd", ERR_USAGE, "--exec-cmd");
	expect_error(t, "restore -d --exec-cmd -- ls", ERR_USAGE, "--exec-cmd");
	expect_error(t, "dump -t 3 --external x", ERR_UNSUPPORTED, "unix[INODE]");
	expect_error(t, "restore --inherit-fd 3:x", ERR_USAGE, "--inherit-fd 3:x");
	expect_error(t, "restore --inherit-fd fd[999]:x", ERR_USAGE, "descriptor 999");
	expect_error(t, "check --ms", ERR_USAGE, "--ms");
	expect_error(t, "show a -D b", ERR_USAGE, "two image directories");
}

/* Whatever the table calls a thing of later is refused by its name. */
static void test_later(struct tap *t)
{
	char line[128], part[128];

	for (const struct option_spec *s = option_specs; s->name; s++) {
		if (s->state != STATE_LATER || !(s->commands & 1u << CMD_DUMP) || s->id == OPTION_ms ||
			(s->type != OPTION_FLAG && s->type != OPTION_STR && s->type != OPTION_LIST) ||
			s->values || s->traits & TRAIT_OPTARG)
			continue;
		snprintf(line, sizeof(line), "dump -t 3 --%s%s", s->name,
			s->type == OPTION_FLAG ? "" : " x");
		snprintf(part, sizeof(part), "option --%s is not supported", s->name);
		expect_error(t, line, ERR_UNSUPPORTED, part);
	}
	for (const struct command_spec *c = command_specs; c->name; c++) {
		if (c->state != STATE_LATER || c->id == CMD_EXEC)
			continue;
		expect_error(t, c->name, ERR_UNSUPPORTED, c->name);
	}
}

static void test_criu(struct tap *t)
{
	struct said s = say_as("criu", "show");

	expect(t, &s, s.o.as_criu && s.o.command == CMD_EXEC, "criu show is deprecated");
	s = say_as("criu", "plan");
	tap_ok(t, s.r < 0, "criu has no plan", NULL);
	options_done(&s.o);
}

static struct said say_file(const char *text, const char *more)
{
	char path[] = "/tmp/torpor-options-XXXXXX", line[128];
	int fd = mkstemp(path);
	struct said s;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	snprintf(line, sizeof(line), "dump -t 3 --config %s %s", path, more);
	s = say(line);
	close(fd);
	unlink(path);
	return s;
}

static void expect_bad_file(struct tap *t, const char *text, const char *part)
{
	struct said s = say_file(text, "");
	char what[256];

	snprintf(what, sizeof(what), "a file is refused: %.120s%.60s", s.err.text, s.err.trail);
	tap_ok(t, s.r < 0 && strstr(s.err.text, part) && strstr(s.err.trail, "line 2"), what, NULL);
	options_done(&s.o);
}

static void test_files(struct tap *t)
{
	struct said s = say_file("# all of it\n  images-dir \"/a b\\\"c\\n\" # here\nno-ghost-fiemap\n"
		"shell-job\nverbosity=4\n\ntimeout\t7#x\nghost-limit 2K", "");

	expect(t, &s, !strcmp(s.o.images_dir, "/a b\"c\\n") && !s.o.ghost_fiemap && s.o.shell_job &&
		s.o.verbosity == 4 && s.o.timeout == 7 && s.o.ghost_limit == 2048,
		"quotes, comments, flags, numbers");
	s = say_file("timeout 7\nverbosity 1", "--timeout 8");
	expect(t, &s, s.o.timeout == 8 && s.o.verbosity == 1, "the command line counts more");
	s = say_file("action-script x\n", "--no-track-mem");
	tap_ok(t, s.r < 0 && s.err.class == ERR_UNSUPPORTED, "a file cannot ask for more", NULL);
	options_done(&s.o);
	setenv("CRIU_CONFIG_FILE", "/nonexistent", 1);
	s = say("dump -t 3 --config /nonexistent/too");
	expect(t, &s, s.o.notes.n == 1, "files that are not there");
	unsetenv("CRIU_CONFIG_FILE");
	expect_bad_file(t, "\nimages-dir \"/a\n", "not closed");
	expect_bad_file(t, "\nimages-dir \"/a\"b\n", "closing quote");
	expect_bad_file(t, "\nimages-dir a b\n", "double quotes");
	expect_bad_file(t, "\n--shell-job\n", "without dashes");
	expect_bad_file(t, "\nbogus\n", "bogus");
	expect_bad_file(t, "\nshell-job yes\n", "no argument");
	expect_bad_file(t, "\nconfig x\n", "command line");
	expect_bad_file(t, "\ntree\n", "needs an argument");
}

int main(void)
{
	struct tap t = { 0 };

	unsetenv("CRIU_CONFIG_FILE");
	test_forms(&t);
	test_errors(&t);
	test_later(&t);
	test_criu(&t);
	test_files(&t);
	return tap_done(&t);
}
