/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `check`: the table of kernel features, tried one by one. Called as criu it says what CRIU says
 * and nothing else, because programs parse that; people get what is missing and what is lost with
 * it. Without an option only what every dump and restore needs is looked at.
 */
#include "base/text.h"
#include "cmd/command.h"
#include "kernel/features.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct outcome {
	int results[FEATURE_COUNT]; /* 0 or -errno */
	bool asked[FEATURE_COUNT];
	size_t n_asked, missing[FEATURE_EXPERIMENTAL + 1];
};

static bool is_asked(const struct options *o, enum feature_category category)
{
	switch (category) {
	case FEATURE_NEEDED:
		return true;
	case FEATURE_EXTRA:
		return o->extra || o->all;
	case FEATURE_EXPERIMENTAL:
		return o->experimental || o->all;
	}
	return false;
}

static struct outcome probe_all(const struct options *o)
{
	struct outcome out = { 0 };

	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		out.asked[i] = is_asked(o, features[i].category);
		if (!out.asked[i])
			continue;
		out.n_asked++;
		out.results[i] = feature_probe((enum feature_id)i);
		out.missing[features[i].category] += out.results[i] < 0;
	}
	return out;
}

static const char *reason(int result)
{
	switch (-result) {
	case ENOTSUP:
		return "it does not work";
	case ENOSYS:
	case EINVAL:
	case ENOTTY:
	case ENOPROTOOPT:
		return "this kernel does not know it";
	case EPERM:
	case EACCES:
		return "not permitted";
	case ETIME:
		return "no answer";
	case ENOENT:
		return "it is not there";
	default:
		return strerror(-result);
	}
}

static const char *category_name(enum feature_category category)
{
	static const char *const names[] = { [FEATURE_NEEDED] = "needed", [FEATURE_EXTRA] = "extra",
		[FEATURE_EXPERIMENTAL] = "experimental" };

	return names[category];
}

static void print_missing(const struct outcome *out)
{
	int left = 0;

	for (size_t i = 0; i < FEATURE_COUNT; i++)
		if (out->results[i] < 0 && (int)strlen(features[i].name) > left)
			left = (int)strlen(features[i].name);
	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		const struct feature *f = &features[i];

		if (out->results[i] == 0)
			continue;
		printf("  %-*s  %s\n  %*s  (%s; %s", left, f->name, f->lost, left, "",
			category_name(f->category), reason(out->results[i]));
		if (f->since)
			printf("; in Linux since %s", f->since);
		puts(")");
	}
}

static size_t count_missing(const struct outcome *out)
{
	return out->missing[FEATURE_NEEDED] + out->missing[FEATURE_EXTRA] +
		out->missing[FEATURE_EXPERIMENTAL];
}

static void print_people(const struct options *o, const struct outcome *out)
{
	size_t missing = count_missing(out);
	struct utsname u;

	if (missing) {
		puts("Missing, and what is lost without it:");
		print_missing(out);
	}
	if (uname(&u) == 0)
		printf("Linux %s has %zu of the %zu features looked at.\n", u.release,
			out->n_asked - missing, out->n_asked);
	if (out->missing[FEATURE_NEEDED] && geteuid() != 0)
		puts("You are not root: a privileged user may see more.");
	if (out->missing[FEATURE_NEEDED])
		puts("torpor cannot work here.");
	else
		puts("torpor can save and restore programs here.");
	if (!o->all && !(o->extra && o->experimental))
		puts("('torpor check --all' looks at what only some programs need, too.)");
}

static void print_criu(const struct outcome *out)
{
	if (out->missing[FEATURE_NEEDED])
		puts("Does not look good.");
	else if (count_missing(out))
		puts("Looks good but some kernel features are missing\n"
		     "which, depending on your process tree, may cause\n"
		     "dump or restore failure.");
	else
		puts("Looks good.");
}

static void print_json(const struct outcome *out)
{
	const char *joint = "";

	printf("{\"ok\": %s, \"features\": [", out->missing[FEATURE_NEEDED] ? "false" : "true");
	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		const struct feature *f = &features[i];

		if (!out->asked[i])
			continue;
		printf("%s\n  {\"name\": ", joint);
		json_string(stdout, f->name);
		printf(", \"category\": \"%s\", \"has\": %s, \"since\": ",
			category_name(f->category), out->results[i] ? "false" : "true");
		if (f->since)
			json_string(stdout, f->since);
		else
			fputs("null", stdout);
		fputs(", \"without\": ", stdout);
		json_string(stdout, f->lost);
		if (out->results[i]) {
			fputs(", \"reason\": ", stdout);
			json_string(stdout, reason(out->results[i]));
		}
		putchar('}');
		joint = ",";
	}
	puts("\n]}");
}

static int check_one(const struct options *o, struct err *err)
{
	enum feature_id id = feature_find(o->feature);
	int r;

	if (id == FEATURE_COUNT && o->as_criu)
		return err_set(err, ERR_TARGET, EINVAL, "Unknown feature %s", o->feature);
	if (id == FEATURE_COUNT)
		return err_set(err, ERR_TARGET, EINVAL,
			"unknown feature '%s'; 'torpor check --all --json' lists them",
			o->feature);
	r = feature_probe(id);
	if (o->json) {
		fputs("{\"ok\": true, \"features\": [{\"name\": ", stdout);
		json_string(stdout, features[id].name);
		printf(", \"has\": %s}]}\n", r < 0 ? "false" : "true");
		return r < 0;
	}
	if (r == 0)
		printf("%s is supported\n", features[id].name);
	else if (o->as_criu)
		return err_set(err, ERR_KERNEL, -r, "%s is not supported: %s", features[id].name,
			reason(r));
	else
		printf("%s is not supported (%s): %s\n", features[id].name, reason(r),
			features[id].lost);
	return r < 0;
}

int cmd_check(const struct call *call, struct err *err)
{
	const struct options *o = call->o;
	struct outcome out;

	if (o->feature)
		return check_one(o, err);
	out = probe_all(o);
	if (o->json)
		print_json(&out);
	else if (o->as_criu)
		print_criu(&out);
	else
		print_people(o, &out);
	if (out.missing[FEATURE_NEEDED])
		return 1;
	return count_missing(&out) ? 1 : 0;
}
