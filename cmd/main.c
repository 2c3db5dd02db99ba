/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torpor's command line: understand it, open the directories and the log, run one sub-command,
 * and report how it ended. This is the only place that prints an error.
 *
 * The log file exists after every call in which its directory could be opened, also when the
 * command line was refused; it then holds the refusal.
 */
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/command.h"
#include "cmd/python.h"
#include "names/answer.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { EXIT_DEPRECATED = 255 };

struct entry {
	enum command id;
	command_run *run;
	bool uses_images;
	bool takes_paths; /* words: they mean what they meant where torpor was called */
};

static const struct entry entries[] = {
	{ CMD_DUMP, cmd_dump, true, false },
	{ CMD_PRE_DUMP, cmd_pre_dump, true, false },
	{ CMD_RESTORE, cmd_restore, true, false },
	{ CMD_DEDUP, cmd_dedup, true, false },
	{ CMD_PAGE_SERVER, cmd_page_server, true, false },
	{ CMD_LAZY_PAGES, cmd_lazy_pages, true, false },
	{ CMD_CHECK, cmd_check, false, false },
	{ CMD_SHOW, cmd_show, true, false },
	{ CMD_PLAN, cmd_plan, true, false },
	{ CMD_LEFTOVERS, cmd_leftovers, true, true },
	{ CMD_KEYGEN, cmd_keygen, false, false },
	{ CMD_VERSION, cmd_version, false, false },
	{ CMD_HELP, cmd_help, false, false },
};

static const struct entry *entry_of(enum command id)
{
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (entries[i].id == id)
			return &entries[i];
	return NULL;
}

/* Where an error was set, without the way from the build directory to the source. */
static const char *source_name(const char *file)
{
	size_t skip = strlen(__FILE__) - strlen("cmd/main.c");

	if (strncmp(file, __FILE__, skip) != 0)
		return file;
	return file + skip;
}

static void print_json_error(const struct err *err)
{
	const char *trail = err->trail + (strncmp(err->trail, ", ", 2) ? 0 : 2);

	fputs("{\"ok\": false, \"error\": {\"class\": ", stdout);
	json_string(stdout, err_class_name(err->class));
	printf(", \"errno\": %d, \"text\": ", err->number);
	json_string(stdout, err->text);
	fputs(", \"trail\": ", stdout);
	json_string(stdout, trail);
	fputs("}}\n", stdout);
}

/* Root of a container has not all of them. */
static void say_missing_rights(void)
{
	static const struct {
		cap_value_t number;
		const char *name;
	} needed[] = { { CAP_SYS_PTRACE, "CAP_SYS_PTRACE" }, { CAP_SYS_ADMIN, "CAP_SYS_ADMIN" },
		{ CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE" },
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" } };
	cap_t ours = cap_get_proc();
	const char *before = "You are root, but without ";
	cap_flag_value_t has;

	for (size_t i = 0; ours && i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (cap_get_flag(ours, needed[i].number, CAP_EFFECTIVE, &has) < 0 || has == CAP_SET)
			continue;
		fprintf(stderr, "%s%s", before, needed[i].name);
		before = ", ";
	}
	if (!strcmp(before, ", "))
		fputs(".\n", stderr);
	cap_free(ours);
}

/* A second line, which says what to do next. */
static void advise(const struct options *o, const struct err *err)
{
	const char *command = options_command_name(o->command);

	if (err->class == ERR_USAGE && o->as_criu)
		options_print_usage(stdout, true);
	else if (err->class == ERR_USAGE)
		fprintf(stderr, "Try 'torpor%s%s --help'.\n", command ? " " : "",
			command ? command : "");
	else if (err->number != EPERM && err->number != EACCES)
		return;
	else if (geteuid() != 0)
		fprintf(stderr, "You are user %u; for most of what torpor does it must run as root.\n",
			geteuid());
	else
		say_missing_rights();
}

static void report(const struct options *o, const struct err *err)
{
	const char *command = options_command_name(o->command);
	const char *file = err->file ? source_name(err->file) : "?";
	char text[sizeof(err->text) + sizeof(err->trail) + 1];

	err_text(err, text, sizeof(text));
	/* without a log file the log is standard error: said once is enough */
	if (o->as_criu || log_fd() != STDERR_FILENO)
		log_failure(file, err->line, text);
	if (!o->as_criu || log_fd() != STDERR_FILENO) {
		if (o->as_criu)
			fprintf(stderr, "Error (%s:%d): ", file, err->line);
		else
			fprintf(stderr, "torpor%s%s: ", command ? " " : "", command ? command : "");
		plain_string(stderr, text);
		fputc('\n', stderr);
	}
	if (o->json)
		print_json_error(err);
	advise(o, err);
}

/* The images and the work directory; NULL: not used. */
struct dirs {
	const char *paths[2];
};

static void ask_dirs(struct asking *a, const void *ctx)
{
	const struct dirs *d = ctx;

	for (size_t i = 0; i < 2; i++)
		if (d->paths[i])
			answer_ask(a, d->paths[i], (int64_t)i);
}

/* They lie where somebody wants; whoever opens one on a file system that hangs, hangs. */
static int dirs_answer(const struct options *o, bool uses_images, struct err *err)
{
	static const char *const what[] = { "the images directory", "the work directory" };
	const struct dirs dirs = { { uses_images ? o->images_dir : NULL,
		o->work_dir ? o->work_dir : o->images_dir } };
	struct arena *a = arena_new();
	struct mount_lines mounts;
	struct unanswered u;
	int r = mountinfo_read("self", a, &mounts, err);

	if (r == 0 && answer_is_doubtful(&mounts))
		r = answer_await(ask_dirs, &dirs, (unsigned)o->timeout, &u, err);
	if (r > 0)
		r = answer_refuse(&u, &mounts, what[u.who], u.path, err);
	arena_free(a);
	return r;
}

static int open_dir(const char *path, const char *what, int *ret_fd, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(err, "cannot open the %s directory '%s'", what, path);
	*ret_fd = fd;
	return 0;
}

/* Both directories are tried, so that a work directory alone can still take the log. */
static int open_dirs(const struct options *o, bool uses_images, int *ret_images, int *ret_work,
	struct err *err)
{
	struct err ignored = ERR_INIT;
	int r = dirs_answer(o, uses_images, err);

	if (r < 0)
		return r;
	if (uses_images)
		r = open_dir(o->images_dir, "images", ret_images, err);
	if (o->work_dir || r == 0) {
		int q = open_dir(o->work_dir ? o->work_dir : o->images_dir, "work", ret_work,
			r < 0 ? &ignored : err);

		if (q == 0 && fchdir(*ret_work) < 0)
			q = err_sys(err, "cannot change to the work directory");
		if (r == 0)
			r = q;
	}
	return r;
}

/* LOG_WARN and what main prints itself go to standard error when there is no log file. */
static int open_log(const struct options *o, struct err *err)
{
	int64_t level = o->verbosity > LOG_DEBUG ? LOG_DEBUG : o->verbosity;
	int fd = STDERR_FILENO;

	if (o->log_file && !strcmp(o->log_file, "-"))
		fd = STDOUT_FILENO;
	else if (o->log_file)
		fd = open(o->log_file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot create the log file '%s'", o->log_file);
	log_open(fd, (enum log_level)level);
	return 0;
}

static void log_beginning(const struct options *o)
{
	struct utsname u;

	if (uname(&u) < 0)
		return;
	log_info(o->as_criu ? "Version: 4.2 (torpor %s)" : "torpor %s", TORPOR_VERSION);
	log_info("running on %s %s %s %s %s", u.nodename, u.sysname, u.release, u.version,
		u.machine);
	vec_each(note, &o->notes)
		log_warn("%s", *note);
}

/* A stream on standard output has it to itself: what is printed goes to standard error. */
static int give_way_to_stream(struct options *o, struct err *err)
{
	int fd;

	if (o->command != CMD_DUMP || !o->given[OPTION_stream_fd] || o->stream_fd != STDOUT_FILENO)
		return 0;
	fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return err_sys(err, "cannot keep standard output for --stream-fd 1");
	o->stream_fd = fd;
	return 0;
}

static int go_back(int here, struct err *err)
{
	return here >= 0 && fchdir(here) < 0 ?
		err_sys(err, "cannot change back to where torpor was called") : 0;
}

static int run(struct options *o, int parsed, struct err *err)
{
	const struct entry *entry = entry_of(o->command);
	auto_close int here = entry && entry->takes_paths ?
		open(".", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	auto_close int images_fd = -1;
	auto_close int work_fd = -1;
	struct err later = ERR_INIT;
	int r = parsed < 0 ? 0 : give_way_to_stream(o, err);

	if (r < 0)
		return r;
	/* a refused command line still gets its log file, if it named one */
	r = open_dirs(o, entry && entry->uses_images, &images_fd, &work_fd,
		parsed < 0 ? &later : err);
	if (work_fd >= 0 && open_log(o, parsed < 0 || r < 0 ? &later : err) < 0)
		return parsed < 0 ? parsed : -err->number;
	log_beginning(o);
	if (parsed < 0)
		return parsed;
	if (r == 0)
		r = go_back(here, err);
	if (r < 0)
		return r;
	return entry->run(&(struct call){ .o = o, .images_fd = images_fd, .work_fd = work_fd }, err);
}

/* What needs neither directories nor a log; -1 when there is nothing of the kind to do. */
static int run_simple(const struct options *o, int argc, int parsed)
{
	if (argc <= 1) {
		options_print_usage(stdout, o->as_criu);
		return EXIT_FAILURE;
	}
	if (o->help && parsed == 0) {
		options_print_help(stdout, o->command, o->as_criu);
		return EXIT_SUCCESS;
	}
	if (o->version && parsed == 0) {
		version_print(stdout, o->as_criu);
		return EXIT_SUCCESS;
	}
	if (o->command == CMD_EXEC) {
		fprintf(stderr, "%s: this command was removed; 'crit' shows images\n",
			o->as_criu ? "criu" : "torpor");
		return EXIT_DEPRECATED;
	}
	return -1;
}

/* They read their command line themselves. */
static bool is_python(const char *word)
{
	return word && options_command_of_name(word, false) == CMD_PYTHON;
}

static int run_python(int argc, char **argv)
{
	struct err err = ERR_INIT;
	char text[sizeof(err.text) + sizeof(err.trail) + 1];

	if (python_exec(argc, argv, &err) < 0)
		fprintf(stderr, "torpor %s: %s\n", argv[1], err_text(&err, text, sizeof(text)));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct options o;
	int r, parsed;

	if (argc > 1 && !options_is_criu(argv[0])) {
		if (is_python(argv[1]))
			return run_python(argc, argv);
		if (argc == 3 && !strcmp(argv[1], "help") && is_python(argv[2]))
			return run_python(3, (char *[]){ argv[0], argv[2], "--help", NULL });
	}
	parsed = options_parse(&o, argc, argv, &err);
	r = run_simple(&o, argc, parsed);
	if (r < 0) {
		r = run(&o, parsed, &err);
		if (r < 0) {
			report(&o, &err);
			fflush(stdout);
			if (err.number == EINTR)
				interrupt_pass_on();
			r = EXIT_FAILURE;
		}
	}
	options_done(&o);
	if (fflush(stdout) != 0 && r == 0)
		r = EXIT_FAILURE;
	return r;
}
