// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The network lock by iptables, for kernels without nftables. The rules are given to the tool,
 * because the interface below it replaces the whole table of a family at once, whoever else works
 * with it; the tool has a lock for that.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/table.h"
#include "names/netlock.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DELETE_TRIES = 5 };

/* ---- flows as text ---- */

char *flow_text(const struct flow *f, char *buf, size_t size)
{
	char ours[INET6_ADDRSTRLEN] = "", theirs[INET6_ADDRSTRLEN] = "";

	inet_ntop(f->family, f->ours, ours, sizeof(ours));
	inet_ntop(f->family, f->theirs, theirs, sizeof(theirs));
	snprintf(buf, size, "%s %u %s %u", ours, f->our_port, theirs, f->their_port);
	return buf;
}

/* An address (with an optional /32, /128) at the cursor. */
static bool parse_address(struct cursor *c, int *family, uint8_t ret[16])
{
	char text[64];
	const char *word;
	size_t len;

	if (!parse_word(c, &word, &len) || len >= sizeof(text))
		return false;
	memcpy(text, word, len);
	text[len] = '\0';
	text[strcspn(text, "/")] = '\0';
	*family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(*family, text, ret) == 1;
}

static bool parse_port(struct cursor *c, uint16_t *ret)
{
	uint32_t n;

	parse_blanks(c);
	if (!parse_u32(c, 10, &n) || n > UINT16_MAX)
		return false;
	*ret = (uint16_t)n;
	parse_blanks(c);
	return true;
}

bool flow_parse(const char *text, struct flow *ret)
{
	struct cursor c = cursor_of(text);
	struct flow f = { 0 };
	int other;

	if (!parse_address(&c, &f.family, f.ours) || !parse_port(&c, &f.our_port) ||
		!parse_address(&c, &other, f.theirs) || !parse_port(&c, &f.their_port) ||
		other != f.family || !cursor_done(&c))
		return false;
	*ret = f;
	return true;
}

/* ---- the tools ---- */

/* In the child. Without torpor nobody would know what it changes, nor when: it ends with torpor. */
static _Noreturn void become_tool(char *const *argv, int fd, bool reading, pid_t parent, int report)
{
	int number = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	if (dup2(fd, reading ? STDOUT_FILENO : STDIN_FILENO) >= 0)
		execvp(argv[0], argv);
	number = errno;
	(void)!write(report, &number, sizeof(number));
	_exit(EXIT_FAILURE);
}

/* Runs argv with fd as its input (reading: its output); its exit status, or -errno. */
static int run_tool(char *const *argv, int fd, bool reading)
{
	pid_t parent = getpid(), pid;
	int ends[2], status, number = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become_tool(argv, fd, reading, parent, ends[1]);
	if (pid < 0)
		number = errno;
	close(ends[1]);
	/* nothing comes when the tool has begun */
	while (pid > 0 && read(ends[0], &number, sizeof(number)) < 0 && errno == EINTR)
		;
	close(ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (number)
		return -number;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

static void put_rule(FILE *f, bool add, const char *chain, const struct flow *w, bool incoming)
{
	char ours[INET6_ADDRSTRLEN] = "", theirs[INET6_ADDRSTRLEN] = "";

	inet_ntop(w->family, w->ours, ours, sizeof(ours));
	inet_ntop(w->family, w->theirs, theirs, sizeof(theirs));
	fprintf(f, "-%c %s -s %s -d %s -p tcp -m mark ! --mark 0x%x -m tcp --sport %u --dport %u "
		"-j DROP\n", add ? 'A' : 'D', chain, incoming ? theirs : ours,
		incoming ? ours : theirs, NETWORK_LOCK_MARK, incoming ? w->their_port : w->our_port,
		incoming ? w->our_port : w->their_port);
}

static int change_family(bool add, int family, const struct flow *flows, size_t n, struct err *err)
{
	char *argv[] = { family == AF_INET ? "iptables-restore" : "ip6tables-restore", "-w", "10",
		"--noflush", NULL };
	auto_file FILE *f = tmpfile();
	bool any = false;
	int r;

	if (!f)
		return err_sys(err, "cannot make a temporary file");
	fputs("*filter\n", f);
	for (size_t i = 0; i < n; i++) {
		if (flows[i].family != family)
			continue;
		put_rule(f, add, "INPUT", &flows[i], true);
		put_rule(f, add, "OUTPUT", &flows[i], false);
		any = true;
	}
	fputs("COMMIT\n", f);
	if (!any)
		return 0;
	if (fflush(f) != 0 || lseek(fileno(f), 0, SEEK_SET) < 0)
		return err_sys(err, "cannot write a temporary file");
	r = run_tool(argv, fileno(f), false);
	if (r == -ENOENT)
		return err_unsupported(err, "the network cannot be locked: there is no '%s'; install "
			"iptables or use --network-lock nftables", argv[0]);
	if (r)
		return err_set(err, ERR_KERNEL, EIO, "'%s' failed (%d): its rules are not %s", argv[0], r,
			add ? "made" : "deleted");
	return 0;
}

static int change(bool add, const struct flow *flows, size_t n, struct err *err)
{
	int r = change_family(add, AF_INET, flows, n, err);

	return r < 0 ? r : change_family(add, AF_INET6, flows, n, err);
}

int iptables_add(const struct flow *flows, size_t n, struct err *err)
{
	return change(true, flows, n, err);
}

/* ---- what there is ---- */

/* "-A OUTPUT -s A -d B -p tcp -m mark ! --mark 0xc114 -m tcp --sport P --dport Q -j DROP" */
static bool parse_rule(struct cursor line, struct flow *ret)
{
	struct flow f = { 0 };
	int other;

	if (!parse_lit(&line, "-A OUTPUT -s ") || !parse_address(&line, &f.family, f.ours) ||
		!parse_lit(&line, " -d ") || !parse_address(&line, &other, f.theirs) ||
		other != f.family ||
		!parse_lit(&line, " -p tcp -m mark ! --mark 0xc114 -m tcp --sport ") ||
		!parse_port(&line, &f.our_port) || !parse_lit(&line, "--dport ") ||
		!parse_port(&line, &f.their_port) || !parse_lit(&line, "-j DROP"))
		return false;
	*ret = f;
	return true;
}

static int list_family(int family, struct flow_list *ret, struct err *err)
{
	char *argv[] = { family == AF_INET ? "iptables-save" : "ip6tables-save", "-t", "filter", NULL };
	auto_file FILE *f = tmpfile();
	auto_free char *text = NULL;
	struct cursor c, line;
	struct flow w;
	char self[64];
	int r;

	if (!f)
		return err_sys(err, "cannot make a temporary file");
	r = run_tool(argv, fileno(f), true);
	if (r == -ENOENT)
		return 0;
	if (r)
		return err_set(err, ERR_KERNEL, EIO, "'%s' failed (%d)", argv[0], r);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(f));
	r = io_slurp(self, &text, NULL);
	if (r < 0)
		return err_sysn(err, -r, "cannot read what '%s' says", argv[0]);
	c = cursor_of(text);
	while (parse_line(&c, &line))
		if (parse_rule(line, &w))
			vec_push(ret, w);
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct flow));
}

int iptables_list(struct flow_list *ret, struct err *err)
{
	int r = list_family(AF_INET, ret, err);

	if (r == 0)
		r = list_family(AF_INET6, ret, err);
	if (r == 0 && ret->n)
		qsort(ret->at, ret->n, sizeof(*ret->at), by_bytes);
	return r;
}

bool iptables_has(const struct flow_list *list, const struct flow *f)
{
	return list->n && bsearch(f, list->at, list->n, sizeof(*f), by_bytes);
}

/* Rules of these flows which there are now; of one that was made twice both. */
static int still_there(const struct flow_list *flows, struct flow_list *ret, struct err *err)
{
	struct flow_list list = { 0 };
	int r = iptables_list(&list, err);

	ret->n = 0;
	vec_each(f, &list)
		if (r == 0 && iptables_has(flows, f))
			vec_push(ret, *f);
	vec_done(&list);
	return r;
}

/* A rule that is not there fails the whole change; somebody else may just take it away, too. */
int iptables_delete(const struct flow *flows, size_t n, struct err *err)
{
	struct flow_list wanted = { 0 }, there = { 0 };
	int r = -EAGAIN;

	for (size_t i = 0; i < n; i++)
		vec_push(&wanted, flows[i]);
	if (n)
		qsort(wanted.at, n, sizeof(*wanted.at), by_bytes);
	for (int i = 0; i < DELETE_TRIES && r < 0; i++) {
		err_clear(err);
		r = still_there(&wanted, &there, err);
		if (r == 0 && there.n)
			r = change(false, there.at, there.n, err);
	}
	vec_done(&wanted);
	vec_done(&there);
	return r;
}
