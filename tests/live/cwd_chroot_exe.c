/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cwd_chroot_exe: working directories, one in a chroot, the link to the program, and open files
 * below the changed root.
 */
#include "subject.h"

struct place {
	char cwd[512], root[512], exe[512];
};

static void place_note(struct place *p, const char *proc)
{
	char path[128];

	memset(p, 0, sizeof(*p));
	snprintf(path, sizeof(path), "%s/cwd", proc);
	NEED(readlink(path, p->cwd, sizeof(p->cwd) - 1) > 0);
	snprintf(path, sizeof(path), "%s/root", proc);
	NEED(readlink(path, p->root, sizeof(p->root) - 1) > 0);
	snprintf(path, sizeof(path), "%s/exe", proc);
	NEED(readlink(path, p->exe, sizeof(p->exe) - 1) > 0);
}

static void place_check(const struct place *p, const char *proc)
{
	struct place n;

	place_note(&n, proc);
	if (strcmp(n.cwd, p->cwd) || strcmp(n.root, p->root) || strcmp(n.exe, p->exe))
		fail("cwd %s root %s exe %s, not %s, %s, %s", n.cwd, n.root, n.exe, p->cwd, p->root,
			p->exe);
}

static void in_dir(void *arg)
{
	struct place p;

	(void)arg;
	NEED(mkdir("deep", 0755) == 0 || errno == EEXIST);
	NEED(mkdir("deep/er", 0755) == 0 || errno == EEXIST);
	NEED(chdir("deep/er") == 0);
	place_note(&p, "/proc/self");
	child_up();
	wait_term();
	place_check(&p, "/proc/self");
}

/* Has no /proc: tells by what it can open. Its parent compares the links. */
static void in_chroot(void *arg)
{
	char cwd[64];
	int fd;

	(void)arg;
	NEED(mkdir("jail", 0755) == 0 && mkdir("jail/in", 0755) == 0);
	fd = open("jail/in/file", O_RDWR | O_CREAT, 0644);
	NEED(fd >= 0 && write(fd, "inside", 6) == 6);
	close(fd);
	NEED(chroot("jail") == 0 && chdir("/in") == 0);
	NEED(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, "/in"));
	fd = open("/in/file", O_RDONLY);
	NEED(fd >= 0);
	child_up();
	wait_term();
	if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, "/in"))
		_exit(3);
	if (read(fd, cwd, 6) != 6 || memcmp(cwd, "inside", 6))
		_exit(4);
	if (access("/in/file", R_OK) || !access("/proc/self", F_OK))
		_exit(5);
}

int main(int argc, char **argv)
{
	struct place p, jail;
	char proc[64];
	pid_t a, b;

	subject_init(argc, argv);
	a = child(in_dir, NULL);
	b = child(in_chroot, NULL);
	place_note(&p, "/proc/self");
	snprintf(proc, sizeof(proc), "/proc/%d", b);
	place_note(&jail, proc);
	ready();
	wait_term();
	place_check(&p, "/proc/self");
	place_check(&jail, proc);
	child_end(a);
	child_end(b);
	pass();
}
