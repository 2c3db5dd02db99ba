/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of kernel features is whole, and probing leaves this process as it was. */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/features.h"
#include "tap.h"
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool is_alone(enum feature_id id)
{
	for (int i = 0; i < FEATURE_COUNT; i++)
		if (i != (int)id && !strcmp(features[i].name, features[id].name))
			return false;
	return true;
}

/* What a probe could change: status (seccomp, no_new_privs, signals), mounts, namespaces. */
static char *own_state(void)
{
	char *status = NULL, *mounts = NULL, *both = NULL;
	size_t n = 0;

	if (io_slurp("/proc/self/mountinfo", &mounts, &n) < 0)
		return NULL;
	if (io_slurp("/proc/self/status", &status, NULL) < 0)
		return NULL;
	/* from the signals on: memory sizes come before */
	if (asprintf(&both, "%s%.*s", mounts, (int)strcspn(strstr(status, "SigPnd"), "C"),
		    strstr(status, "SigPnd")) < 0)
		both = NULL;
	free(status);
	free(mounts);
	return both;
}

/* Where nobody else mounts anything; without the right to it, here. */
static void own_mounts(void)
{
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		printf("# the mounts of others show here, too: %m\n");
}

int main(void)
{
	struct tap t = { 0 };
	auto_free char *before = NULL, *after = NULL;
	bool whole = true;
	int had = 0;

	own_mounts();
	before = own_state();
	for (int i = 0; i < FEATURE_COUNT; i++) {
		const struct feature *f = &features[i];

		whole &= f->name && f->lost && f->probe && is_alone((enum feature_id)i);
		whole &= feature_find(f->name) == (enum feature_id)i;
		had += feature_probe((enum feature_id)i) == 0;
	}
	after = own_state();
	tap_ok(&t, whole, "every feature has a name of its own, a probe and a reason", NULL);
	tap_ok(&t, feature_find("list") == FEATURE_COUNT, "an unknown feature", NULL);
	tap_ok(&t, had > 10, "some features are there", NULL);
	tap_ok(&t, before && after && !strcmp(before, after), "probing changed nothing here", NULL);
	tap_ok(&t, waitpid(-1, NULL, WNOHANG) < 0, "no child is left", NULL);
	return tap_done(&t);
}
