/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Help texts, made from the tables: option on the left, one sentence on the right, wrapped to the
 * width of the terminal. Options that are not there yet are named at the end of a text.
 */
#include "options/table.h"
#include <string.h>
#include <sys/ioctl.h>

enum { LEFT = 30, NARROWEST = 60, USUAL = 90 };

static int width_of(FILE *out)
{
	struct winsize size;

	if (ioctl(fileno(out), TIOCGWINSZ, &size) < 0 || size.ws_col < NARROWEST)
		return USUAL;
	return size.ws_col < 110 ? size.ws_col : 110;
}

/* Prints words from column `at` on; lines that follow begin at column `left`. */
static void print_wrapped(FILE *out, const char *text, int at, int left)
{
	int width = width_of(out);
	const char *blank = "";

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at + 1 + n > width && at > left) {
			fprintf(out, "\n%*s", left, "");
			at = left;
			blank = "";
		}
		at += fprintf(out, "%s%.*s", blank, n, text);
		blank = " ";
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static int print_option_name(FILE *out, const struct option_spec *s)
{
	const char *open = "", *arg = s->arg ? s->arg : "", *close = "", *joint = s->arg ? " " : "";
	char letter[8] = "    ";

	if (s->letter)
		snprintf(letter, sizeof(letter), "-%c, ", s->letter);
	if (s->traits & TRAIT_OPTARG) {
		joint = "";
		open = "[=";
		close = "]";
	}
	return fprintf(out, "  %s--%s%s%s%s%s%s", letter, s->traits & TRAIT_NO ? "[no-]" : "",
		s->name, joint, open, arg, close);
}

static void print_option(FILE *out, const struct option_spec *s)
{
	int at = print_option_name(out, s);
	char text[256];

	if (at < LEFT - 1)
		fprintf(out, "%*s", LEFT - at, "");
	else
		fprintf(out, "\n%*s", LEFT, "");
	if (s->initial && s->type == OPTION_FLAG)
		snprintf(text, sizeof(text), "%s (on unless switched off)", s->help);
	else if (s->initial)
		snprintf(text, sizeof(text), "%s (default: %s)", s->help, s->initial);
	else
		snprintf(text, sizeof(text), "%s", s->help);
	print_wrapped(out, text, LEFT, LEFT);
}

static bool is_shown(const struct option_spec *s, enum command command, enum readiness state)
{
	if (s->type == OPTION_GROUP || s->traits & TRAIT_HIDDEN || s->state != state)
		return false;
	return command == CMD_NONE || s->commands & 1u << command;
}

static void print_options(FILE *out, enum command command)
{
	const struct option_spec *group = NULL;

	for (const struct option_spec *s = option_specs; s->name; s++) {
		if (s->type == OPTION_GROUP)
			group = s;
		if (!is_shown(s, command, STATE_READY))
			continue;
		if (group)
			fprintf(out, "\n%s:\n", group->name);
		group = NULL;
		print_option(out, s);
	}
}

static void print_later(FILE *out, enum command command)
{
	char text[4096] = "";
	size_t n = 0;

	for (const struct option_spec *s = option_specs; s->name; s++)
		if (is_shown(s, command, STATE_LATER) && n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s--%s", n ? " " : "",
				s->name);
	if (!n)
		return;
	fputs("\nKnown, and refused because this version does not have them yet:\n  ", out);
	print_wrapped(out, text, 2, 2);
}

static const char *program_name(bool as_criu)
{
	return as_criu ? "criu" : "torpor";
}

static void print_commands(FILE *out, bool as_criu, enum readiness state)
{
	for (const struct command_spec *c = command_specs; c->name; c++)
		if (c->state == state && (c->as_criu || !as_criu))
			fprintf(out, "  %-15s %s\n", c->name, c->help);
}

void options_print_usage(FILE *out, bool as_criu)
{
	const char *name = program_name(as_criu);

	fprintf(out, "Usage:\n  %s COMMAND [options]\n\nCommands:\n", name);
	print_commands(out, as_criu, STATE_READY);
	fprintf(out, "\nTry '%s COMMAND --help' or '%s --help' for the options.\n", name, name);
}

static void print_all(FILE *out, bool as_criu)
{
	const char *name = program_name(as_criu);

	fprintf(out,
		"%s saves running process trees into image files and brings them back.\n\n"
		"Usage:\n"
		"  %s dump -t PID -D DIR [options]\n"
		"  %s restore -D DIR [options]\n"
		"  %s COMMAND [options]\n\nCommands:\n",
		name, name, name, name);
	print_commands(out, as_criu, STATE_READY);
	fputs("\nKnown, and refused because this version does not have them yet:\n", out);
	print_commands(out, as_criu, STATE_LATER);
}

static void print_command(FILE *out, const struct command_spec *c, bool as_criu)
{
	const char *name = program_name(as_criu);

	fprintf(out, "%s %s: %s\n\nUsage:\n  %s %s%s%s\n", name, c->name, c->help, name, c->name,
		c->words ? " " : "", c->words ? c->words : "");
	if (c->id == CMD_RESTORE)
		fprintf(out, "  %s restore [options] --exec-cmd -- PROGRAM [ARGUMENTS]\n", name);
}

void options_print_help(FILE *out, enum command command, bool as_criu)
{
	const struct command_spec *c = command_of(command);

	if (c)
		print_command(out, c, as_criu);
	else
		print_all(out, as_criu);
	print_options(out, c ? command : CMD_NONE);
	print_later(out, c ? command : CMD_NONE);
	if (!c)
		fprintf(out, "\nThe options of one command: '%s COMMAND --help'.\n",
			program_name(as_criu));
}
