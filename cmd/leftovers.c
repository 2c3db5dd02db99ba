/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `leftovers`: lists what dumps and restores have left outside of their image directories and, with
 * --clean, removes it. What cannot be proven to be of a dump, and what complete images still need,
 * is asked for; where nobody can be asked it stays, and the exit status is 1. So does what lies on a
 * file system that does not answer.
 */
#include "names/leftovers.h"
#include "base/text.h"
#include "cmd/command.h"
#include "cmd/leftovers.h"
#include <string.h>
#include <unistd.h>

enum { WHAT = 4400 };

/* ---- what a dump leaves ---- */

static const struct {
	const char *one, *many;
} words[EFFECT_COUNT] = {
	[EFFECT_LINK] = { "hard link", "hard links" },
	[EFFECT_FILE] = { "file", "files" },
	[EFFECT_MOUNT] = { "mount", "mounts" },
	[EFFECT_NFT_TABLE] = { "nftables table", "nftables tables" },
	[EFFECT_IPTABLES] = { "pair of iptables rules", "pairs of iptables rules" },
	[EFFECT_CGROUP] = { "frozen control group", "frozen control groups" },
	[EFFECT_PROCESS] = { "process", "processes" },
	[EFFECT_REPAIR] = { "connection in repair", "connections in repair" },
};

/* "1 table (keeps 3 connections quiet until the restore)" */
static void say_kind(FILE *out, const struct journal_view *v, enum effect_kind kind, size_t n,
	const char *separator)
{
	const char *why = NULL;

	vec_each(e, &v->effects)
		if (!why && e->effect.kind == kind && !e->gone && e->run->number == v->last_run)
			why = e->effect.why;
	fprintf(out, "%s%zu %s", separator, n, n == 1 ? words[kind].one : words[kind].many);
	if (why) {
		fputs(" (", out);
		plain_string(out, why);
		fputc(')', out);
	}
}

static void say_left(FILE *out, const struct journal_view *v, const size_t counts[EFFECT_COUNT])
{
	const char *separator = "left behind: ";

	for (int k = 0; k < EFFECT_COUNT; k++) {
		if (!counts[k])
			continue;
		say_kind(out, v, (enum effect_kind)k, counts[k], separator);
		separator = ", ";
	}
	fputs("; 'torpor leftovers' lists what is there\n", out);
}

static void json_effect(FILE *out, const struct effect *e)
{
	fputs("{\"kind\": ", out);
	json_string(out, effect_kind_name(e->kind));
	fputs(", \"what\": ", out);
	json_string(out, e->path ? e->path : "");
	if (e->pid)
		fprintf(out, ", \"pid\": %d", e->pid);
	fputs(", \"why\": ", out);
	json_string(out, e->why ? e->why : "");
}

void print_left(FILE *out, int images_fd, bool json)
{
	struct arena *arena = arena_new();
	struct journal_view v = { 0 };
	struct err ignored = ERR_INIT;
	size_t counts[EFFECT_COUNT] = { 0 }, n = 0;

	(void)!journal_read(images_fd, arena, &v, &ignored);
	if (json)
		fputc('[', out);
	vec_each(e, &v.effects) {
		if (e->gone || e->run->number != v.last_run)
			continue;
		counts[e->effect.kind]++;
		if (json) {
			fputs(n ? ", " : "", out);
			json_effect(out, &e->effect);
			fputc('}', out);
		}
		n++;
	}
	if (json)
		fputc(']', out);
	else if (n)
		say_left(out, &v, counts);
	vec_done(&v.effects);
	arena_free(arena);
}

/* ---- the command ---- */

static const char *standing_of(const struct leftover *o)
{
	if (o->state == EFFECT_UNKNOWN)
		return "may be gone: the file system there does not answer";
	if (o->busy)
		return "in use by a torpor at work";
	if (o->needed)
		return "needed by complete images";
	return o->state == EFFECT_OURS ? "not needed" : "may be somebody else's";
}

static void print_people(const struct leftover *o, bool removed)
{
	char what[WHAT];

	if (removed)
		fputs("removed ", stdout);
	plain_string(stdout, effect_say(&o->effect, what, sizeof(what)));
	if (!removed && o->effect.why) {
		fputs(": ", stdout);
		plain_string(stdout, o->effect.why);
	}
	if (o->directory) {
		fputs(" (images in '", stdout);
		plain_string(stdout, o->directory);
		fputs("')", stdout);
	}
	printf("%s%s\n", removed ? "" : ", ", removed ? "" : standing_of(o));
}

static void print_json(const struct leftover *o, bool first)
{
	fputs(first ? "" : ", ", stdout);
	json_effect(stdout, &o->effect);
	fputs(", \"directory\": ", stdout);
	if (o->directory)
		json_string(stdout, o->directory);
	else
		fputs("null", stdout);
	printf(", \"proven\": %s, \"needed\": %s, \"busy\": %s, \"answers\": %s, \"removed\": %s}",
		o->state == EFFECT_OURS ? "true" : "false", o->needed ? "true" : "false",
		o->busy ? "true" : "false", o->state != EFFECT_UNKNOWN ? "true" : "false",
		o->remove ? "true" : "false");
}

/* A "y" at a terminal. */
static bool asked(const struct leftover *o)
{
	char what[WHAT], answer[16];

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return false;
	fputs("remove ", stderr);
	plain_string(stderr, effect_say(&o->effect, what, sizeof(what)));
	fprintf(stderr, " (%s)? [y/N] ", standing_of(o));
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* A directory that was named is meant, complete or not. */
static void choose(struct leftovers *l, const struct options *o)
{
	bool named = o->given[OPTION_images_dir];

	vec_each(x, &l->list) {
		if (x->busy || x->state == EFFECT_UNKNOWN)
			continue;
		x->remove = x->state == EFFECT_OURS && (named || !x->needed);
		if (!x->remove && !o->json)
			x->remove = asked(x);
	}
}

/* Directories whose journals nobody can read; people are told of them by warnings. */
static void json_unanswered(const struct leftovers *l)
{
	fputs("], \"unanswered\": [", stdout);
	vec_each(path, &l->unanswered) {
		fputs(path == l->unanswered.at ? "" : ", ", stdout);
		json_string(stdout, *path);
	}
	puts("]}");
}

/* How much there is still, as far as is known. */
static size_t print_all(const struct leftovers *l, const struct options *o)
{
	size_t left = l->unanswered.n;

	if (o->json)
		fputs("{\"ok\": true, \"leftovers\": [", stdout);
	vec_each(x, &l->list) {
		left += !x->remove;
		if (o->json)
			print_json(x, x == l->list.at);
		else
			print_people(x, x->remove);
	}
	if (o->json)
		json_unanswered(l);
	else if (!l->list.n && !l->unanswered.n)
		puts("nothing is left behind");
	return left;
}

int cmd_leftovers(const struct call *call, struct err *err)
{
	const struct options *o = call->o;
	struct leftovers l;
	size_t left = 0;
	int r = leftovers_find(o->given[OPTION_images_dir] ? o->images_dir : NULL, o->words,
		(size_t)o->n_words, (unsigned)o->timeout, &l, err);

	if (r == 0 && o->clean) {
		choose(&l, o);
		r = leftovers_remove(&l, err);
	}
	if (r == 0)
		left = print_all(&l, o);
	if (o->clean && left && !o->json)
		fprintf(stderr, "%zu not removed: --clean asks on a terminal; what complete images need it "
			"removes unasked only if -D names them\n", left);
	leftovers_done(&l);
	return r < 0 ? r : o->clean && left ? EXIT_FAILURE : EXIT_SUCCESS;
}
