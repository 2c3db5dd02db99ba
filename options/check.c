/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold between settings, the command and what this version can do. A setting whose
 * feature is not there yet is refused by name when the command would heed it, never ignored; one
 * which belongs to other commands is left alone, because configuration files serve all of them.
 */
#include "options/outside.h"
#include "options/table.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* Whether the setting asks for something: --no-X and empty lists do not. */
static bool is_wanted(struct options *o, const struct option_spec *spec)
{
	char *at = (char *)o + spec->offset;

	if (!o->given[spec->id])
		return false;
	switch (spec->type) {
	case OPTION_FLAG:
		return *(bool *)at != (spec->initial != NULL);
	case OPTION_LIST:
		return ((struct string_list *)at)->n > 0;
	default:
		return true;
	}
}

/* Said at once, not when half of the work is done. */
static int check_descriptor(struct options *o, const struct option_spec *spec, struct err *err)
{
	int64_t fd = *(int64_t *)((char *)o + spec->offset);

	if (fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
		return err_usage(err, "--%s %ld: torpor has no descriptor %ld", spec->name, (long)fd,
			(long)fd);
	return 0;
}

static int check_option(struct options *o, const struct option_spec *spec, struct err *err)
{
	if (spec->type == OPTION_GROUP || !is_wanted(o, spec) ||
		!(spec->commands & 1u << o->command))
		return 0;
	if (spec->id == OPTION_ms)
		return err_usage(err, "option --ms was removed: 'check' alone does what it did");
	if (spec->state == STATE_LATER)
		return err_unsupported(err,
			"option --%s is not supported by this version of torpor", spec->name);
	return spec->type == OPTION_INT && !strcmp(spec->arg, "FD") ?
		check_descriptor(o, spec, err) : 0;
}

static int check_restore(const struct options *o, struct err *err)
{
	if (o->mmap && (o->lazy_pages || o->auto_dedup))
		return err_usage(err, "--mmap cannot be used with --lazy-pages or --auto-dedup");
	if (o->exec_cmd && o->restore_detached)
		return err_usage(err, "--exec-cmd cannot be used with --restore-detached");
	if (o->exec_cmd && o->n_words == 0)
		return err_usage(err, "--exec-cmd needs a command after '--'");
	if (o->restore_sibling && !o->restore_detached)
		return err_usage(err, "--restore-sibling needs --restore-detached");
	return 0;
}

/* Said without --encrypt they would be ignored, and the images be open to everybody. */
static int check_keys(const struct options *o, struct err *err)
{
	/* the images before may be encrypted even if these shall not be */
	bool named = o->recipient.n || (!o->prev_images_dir &&
		(o->given[OPTION_key_fd] || o->given[OPTION_passphrase_fd]));

	if (named && !o->given[OPTION_encrypt])
		return err_usage(err, "%s needs --encrypt", o->recipient.n ? "--recipient" :
			o->given[OPTION_key_fd] ? "--key-fd" : "--passphrase-fd");
	return 0;
}

/* The same with --tls: pages would go over the connection for everybody to see. */
static int check_tls(const struct options *o, struct err *err)
{
	const char *name = o->tls_cacert ? "--tls-cacert" : o->tls_cacrl ? "--tls-cacrl" :
		o->tls_cert ? "--tls-cert" : o->tls_key ? "--tls-key" : NULL;

	return name && !o->tls && !o->as_criu ? err_usage(err, "%s needs --tls", name) : 0;
}

static int check_server(const struct options *o, struct err *err)
{
	if (o->page_server && o->port == 0 && o->ps_socket < 0)
		return err_usage(err, "--page-server needs --port, or --ps-socket");
	if (o->port > 65535)
		return err_usage(err, "--port %ld: ports are numbers up to 65535", (long)o->port);
	if (o->keep_listening && o->ps_socket >= 0)
		return err_usage(err, "--ps-socket is one connection: --keep-listening needs --address and "
			"--port");
	if (o->connections > 16)
		return err_usage(err, "there cannot be more than 16 --connections");
	if (o->connections > 1 && (!o->page_server || o->ps_socket >= 0))
		return err_usage(err, o->page_server ? "--ps-socket is one connection: --connections "
			"needs --address and --port" : "--connections needs --page-server");
	if (o->page_header != 32 && o->page_header != 24)
		return err_usage(err, "--page-header is 32 or 24");
	return check_tls(o, err);
}

static int check_stream(const struct options *o, struct err *err)
{
	const char *name = o->stream ? "--stream" : "--stream-fd";

	if (!o->stream && !o->given[OPTION_stream_fd])
		return 0;
	if (o->stream && o->given[OPTION_stream_fd])
		return err_usage(err, "--stream cannot be used with --stream-fd");
	if (o->command == CMD_PRE_DUMP)
		return err_usage(err, "%s sends whole sets: a pre-dump is none", name);
	if (o->command == CMD_DUMP && (o->track_mem || o->prev_images_dir || o->auto_dedup))
		return err_usage(err, "%s sends whole sets: it cannot be used with --track-mem, "
			"--prev-images-dir or --auto-dedup", name);
	return 0;
}

static int check_command(const struct options *o, struct err *err)
{
	int r = check_server(o, err);

	if (r < 0)
		return r;
	switch (o->command) {
	case CMD_DUMP:
	case CMD_PRE_DUMP:
		if (o->lazy_pages && (o->leave_running || o->leave_stopped))
			return err_usage(err, "--lazy-pages cannot be used with --leave-running or "
				"--leave-stopped: the tasks go on elsewhere");
		if (o->tree == 0)
			return err_usage(err, "%s needs -t PID, the root task of the tree to save",
				options_command_name(o->command));
		r = check_keys(o, err);
		return r < 0 ? r : check_stream(o, err);
	case CMD_KEYGEN:
		return o->output ? 0 : err_usage(err, "keygen needs --output FILE");
	case CMD_RESTORE:
		r = check_restore(o, err);
		return r < 0 ? r : check_stream(o, err);
	default:
		return 0;
	}
}

int options_check(struct options *o, struct err *err)
{
	const struct command_spec *command = command_of(o->command);
	int r;

	if (o->command == CMD_NONE)
		return err_usage(err, "no command given");
	if (o->command == CMD_EXEC)
		return 0;
	if (command && command->state == STATE_LATER)
		return err_unsupported(err,
			"command '%s' is not supported by this version of torpor", command->name);
	for (const struct option_spec *s = option_specs; s->name; s++) {
		r = check_option(o, s, err);
		if (r < 0)
			return r;
	}
	if (o->command == CMD_DUMP || o->command == CMD_RESTORE) {
		r = outside_check(o, err);
		if (r < 0)
			return r;
	}
	return check_command(o, err);
}
