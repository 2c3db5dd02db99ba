// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/effects.h: files, mounts, control groups, processes. */
#include "names/effects.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LINK_NAME "link_remap."
#define OUR_PREFIX ".torpor-"
enum { END_MS = 2000 };

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool effect_is_link_name(const char *path)
{
	const char *name = last_part(path);
	size_t n = strlen(LINK_NAME);

	return !strncmp(name, LINK_NAME, n) && name[n] && !name[n + strspn(name + n, "0123456789")];
}

/* ---- files ---- */

static bool has_our_name(const char *path)
{
	return effect_is_link_name(path) ||
		!strncmp(last_part(path), OUR_PREFIX, strlen(OUR_PREFIX));
}

static int look_file(const struct effect *e, bool same_boot, enum effect_state *ret, struct err *err)
{
	struct stat st;

	*ret = EFFECT_ABSENT;
	if (!e->path || e->path[0] != '/')
		return 0;
	if (lstat(e->path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 :
							     err_sys(err, "cannot look at '%s'", e->path);
	if (e->ino && st.st_ino != e->ino)
		return 0;
	/* Device numbers may change with a new start of the host. */
	if (e->ino && same_boot && st.st_dev != e->dev)
		return 0;
	*ret = e->ino && st.st_dev == e->dev && has_our_name(e->path) ? EFFECT_OURS :
									EFFECT_UNPROVEN;
	return 0;
}

static int remove_file(const struct effect *e, struct err *err)
{
	struct stat st;

	if (lstat(e->path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at '%s'", e->path);
	if (e->ino && st.st_ino != e->ino)
		return 0;
	if ((S_ISDIR(st.st_mode) ? rmdir(e->path) : unlink(e->path)) < 0 && errno != ENOENT)
		return err_sys(err, "cannot remove '%s'", e->path);
	return 0;
}

/* ---- mounts ---- */

/* Field 5 of a line of mountinfo, with \040 and the like undone. */
static bool mounted_here(struct cursor line, const char *path)
{
	const char *word = NULL;
	size_t len = 0, n = 0;
	char name[PATH_MAX];

	for (int field = 1; field <= 5; field++) {
		parse_blanks(&line);
		if (!parse_word(&line, &word, &len))
			return false;
	}
	for (size_t i = 0; i < len && n + 1 < sizeof(name); i++) {
		struct cursor code = cursor_of_len(word + i + 1, len - i > 3 ? 3 : 0);
		uint64_t byte;

		if (word[i] == '\\' && parse_u64(&code, 8, &byte) && byte < 256) {
			name[n++] = (char)byte;
			i += 3;
		} else {
			name[n++] = word[i];
		}
	}
	name[n] = '\0';
	return !strcmp(name, path);
}

static int look_mount(const struct effect *e, enum effect_state *ret, struct err *err)
{
	auto_free char *text = NULL;
	struct cursor c, line;
	struct stat st;
	int r;

	*ret = EFFECT_ABSENT;
	if (!e->path || e->path[0] != '/')
		return 0;
	r = io_slurp("/proc/self/mountinfo", &text, NULL);
	if (r < 0)
		return err_sysn(err, -r, "cannot read the list of mounts");
	c = cursor_of(text);
	while (parse_line(&c, &line))
		if (mounted_here(line, e->path))
			*ret = EFFECT_UNPROVEN;
	if (*ret == EFFECT_UNPROVEN && e->dev && lstat(e->path, &st) == 0 && st.st_dev == e->dev)
		*ret = EFFECT_OURS;
	return 0;
}

/* ---- control groups ---- */

static const struct {
	const char *file, *frozen, *thaw;
} freezers[] = {
	{ "cgroup.freeze", "1", "0" }, /* version 2 */
	{ "freezer.state", "FROZEN", "THAWED" },
};

static int freezer_of(const struct effect *e)
{
	for (size_t i = 0; i < sizeof(freezers) / sizeof(*freezers); i++) {
		auto_free char *text = NULL;

		if (io_slurpf(&text, NULL, "%s/%s", e->path, freezers[i].file) == 0 &&
			!strncmp(text, freezers[i].frozen, strlen(freezers[i].frozen)))
			return (int)i;
	}
	return -1;
}

static int look_cgroup(const struct effect *e, enum effect_state *ret)
{
	*ret = e->path && !strncmp(e->path, "/sys/fs/cgroup/", 15) && freezer_of(e) >= 0 ?
		EFFECT_OURS : EFFECT_ABSENT;
	return 0;
}

static int remove_cgroup(const struct effect *e, struct err *err)
{
	char path[PATH_MAX];
	int i = freezer_of(e), r;

	if (i < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", e->path, freezers[i].file);
	r = io_put(path, freezers[i].thaw);
	return r < 0 ? err_sysn(err, -r, "cannot thaw the control group '%s'", e->path) : 0;
}

/* ---- processes ---- */

static int look_process(const struct effect *e, enum effect_state *ret)
{
	*ret = e->pid > 1 && e->since && journal_process_start(e->pid) == e->since ? EFFECT_OURS :
										     EFFECT_ABSENT;
	return 0;
}

static int remove_process(const struct effect *e, struct err *err)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	/* the number may have been given to another one meanwhile */
	if (fd < 0 || journal_process_start(e->pid) != e->since)
		return 0;
	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return err_sys(err, "cannot end process %d", e->pid);
	if (poll(&p, 1, END_MS) == 0)
		(void)!syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	return 0;
}

/* ---- all kinds ---- */

static bool is_of_network(const struct effect *e)
{
	return e->kind == EFFECT_NFT_TABLE || e->kind == EFFECT_IPTABLES || e->kind == EFFECT_REPAIR;
}

static int look_one(struct effect_item *i, struct err *err)
{
	const struct effect *e = i->e;

	i->state = i->silent ? EFFECT_UNKNOWN : EFFECT_ABSENT;
	if (i->silent)
		return 0;
	if (e->kind == EFFECT_LINK || e->kind == EFFECT_FILE)
		return look_file(e, i->same_boot, &i->state, err);
	/* All else ends with the kernel it was made in. */
	if (!i->same_boot)
		return 0;
	switch (e->kind) {
	case EFFECT_MOUNT:
		return look_mount(e, &i->state, err);
	case EFFECT_CGROUP:
		return look_cgroup(e, &i->state);
	case EFFECT_PROCESS:
		return look_process(e, &i->state);
	default:
		return 0;
	}
}

int effects_look(struct effect_item *items, size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = look_one(&items[i], err);
	return r < 0 ? r : effects_look_net(items, n, err);
}

static int remove_one(const struct effect *e, struct err *err)
{
	switch (e->kind) {
	case EFFECT_LINK:
	case EFFECT_FILE:
		return remove_file(e, err);
	case EFFECT_MOUNT:
		if (umount2(e->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
			return err_sys(err, "cannot unmount '%s'", e->path);
		return 0;
	case EFFECT_CGROUP:
		return remove_cgroup(e, err);
	case EFFECT_PROCESS:
		return remove_process(e, err);
	default:
		return err_bug(err, "an effect of the network");
	}
}

int effects_remove(struct effect_item *items, size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		if (!items[i].remove || items[i].silent || items[i].state == EFFECT_ABSENT ||
			is_of_network(items[i].e))
			continue;
		r = remove_one(items[i].e, err);
		if (r == 0)
			items[i].state = EFFECT_ABSENT;
	}
	return r < 0 ? r : effects_remove_net(items, n, err);
}

char *effect_say(const struct effect *e, char *buf, size_t size)
{
	const char *path = e->path ? e->path : "?";

	switch (e->kind) {
	case EFFECT_LINK:
		snprintf(buf, size, "the hard link '%s'", path);
		break;
	case EFFECT_FILE:
		snprintf(buf, size, "the file '%s'", path);
		break;
	case EFFECT_MOUNT:
		snprintf(buf, size, "the mount on '%s'", path);
		break;
	case EFFECT_NFT_TABLE:
		snprintf(buf, size, "the nftables table '%s'", path);
		break;
	case EFFECT_IPTABLES:
		snprintf(buf, size, "the iptables rules for '%s'", path);
		break;
	case EFFECT_CGROUP:
		snprintf(buf, size, "the frozen control group '%s'", path);
		break;
	case EFFECT_PROCESS:
		snprintf(buf, size, "the process %d", e->pid);
		break;
	default:
		snprintf(buf, size, "the repair of socket %lu of process %d",
			(unsigned long)e->ino, e->pid);
		break;
	}
	return buf;
}
