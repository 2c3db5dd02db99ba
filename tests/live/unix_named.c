/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_named: sockets with names: listeners with connections accepted and waiting; listeners that
 * are gone; abstract, relative, removed, renamed and replaced names,
 * names below another root; owner and mode of their files; datagrams of several senders.
 */
#include "descriptors.h"
#include "sockets.h"
#include <stddef.h>

enum { MAX = 64 };

static struct noted {
	int fd;
	struct fd_note note;
	struct maker_note maker;
	struct sockaddr_un own, peer;
	socklen_t own_len, peer_len;
	int accepts; /* SO_ACCEPTCONN */
} notes[MAX];
static int n_notes;
static bool no_proc; /* /proc is out of reach */
static char abstract[64];

static int new_socket(int type)
{
	int fd = socket(AF_UNIX, type, 0);

	NEED(fd >= 0 && n_notes < MAX);
	notes[n_notes++].fd = fd;
	return fd;
}

static socklen_t address(const char *name, struct sockaddr_un *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	strcpy(sa->sun_path, name);
	if (name[0] == '@')
		sa->sun_path[0] = 0;
	return offsetof(struct sockaddr_un, sun_path) + strlen(name);
}

static int bound(int type, const char *name)
{
	struct sockaddr_un sa;
	socklen_t len = address(name, &sa);
	int fd = new_socket(type);

	NEED(bind(fd, (struct sockaddr *)&sa, len) == 0);
	return fd;
}

static int listener(int type, const char *name, int backlog)
{
	int fd = bound(type, name);

	NEED(listen(fd, backlog) == 0);
	return fd;
}

static void reach(int fd, const char *name)
{
	struct sockaddr_un sa;
	socklen_t len = address(name, &sa);

	NEED(connect(fd, (struct sockaddr *)&sa, len) == 0);
}

static int client(int type, const char *name)
{
	int fd = new_socket(type);

	reach(fd, name);
	return fd;
}

static int accepted(int l)
{
	int fd = accept(l, NULL, NULL);

	NEED(fd >= 0 && n_notes < MAX);
	notes[n_notes++].fd = fd;
	return fd;
}

static void note_all(void)
{
	for (int i = 0; i < n_notes; i++) {
		struct noted *n = &notes[i];

		if (!no_proc)
			fd_note(&n->note, n->fd);
		maker_note(&n->maker, n->fd);
		n->own_len = n->peer_len = sizeof(n->own);
		NEED(getsockname(n->fd, (struct sockaddr *)&n->own, &n->own_len) == 0);
		if (getpeername(n->fd, (struct sockaddr *)&n->peer, &n->peer_len) < 0)
			n->peer_len = 0;
		n->accepts = sock_int(n->fd, SO_ACCEPTCONN);
	}
}

static void check_all(void)
{
	for (int i = 0; i < n_notes; i++) {
		const struct noted *n = &notes[i];
		struct sockaddr_un own, peer;
		socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

		if (!no_proc)
			fd_check(&n->note, n->fd, false);
		maker_check(&n->maker, n->fd);
		CHECK(getsockname(n->fd, (struct sockaddr *)&own, &own_len) == 0);
		if (own_len != n->own_len || memcmp(&own, &n->own, own_len))
			fail("socket %d (number %d) is '%.*s'", n->fd, i, (int)own_len - 2, own.sun_path);
		if (getpeername(n->fd, (struct sockaddr *)&peer, &peer_len) < 0)
			peer_len = 0;
		if (peer_len != n->peer_len || memcmp(&peer, &n->peer, peer_len))
			fail("the peer of socket %d (number %d) is '%.*s', not '%.*s'", n->fd, i,
				(int)peer_len - 2, peer.sun_path, (int)n->peer_len - 2, n->peer.sun_path);
		SAME(sock_int(n->fd, SO_ACCEPTCONN), n->accepts);
	}
}

/* ---- streams ---- */

static int door, first_waits, second_waits, yes, served, seq_door, seq_waits, by_abstract, self;
static pid_t kid_pid;
static int kid_served;

static void kid(void *arg)
{
	struct got g;
	int fd = client(SOCK_STREAM, "door");

	(void)arg;
	put(fd, "hello from the child", 20, NULL, 0);
	note_all();
	child_up();
	wait_term();
	check_all();
	get(&g, fd, 100);
	text_is(&g, "hello, child");
}

static void set_up_streams(void)
{
	door = listener(SOCK_STREAM, "door", 5);
	NEED(chmod("door", 0640) == 0 && chown("door", 1, 2) == 0);
	yes = client(SOCK_STREAM, "door");
	served = accepted(door);
	put(yes, "request", 7, NULL, 0);
	put(served, "answer", 6, NULL, 0);
	kid_pid = child(kid, NULL);
	kid_served = accepted(door);
	first_waits = client(SOCK_STREAM, "door");
	second_waits = client(SOCK_STREAM, "door");
	NEED(shutdown(second_waits, SHUT_WR) == 0);
	seq_door = listener(SOCK_SEQPACKET | SOCK_NONBLOCK, abstract, 3);
	seq_waits = client(SOCK_SEQPACKET, abstract);
	/* a client with a name of its own, whose listener is gone by now */
	by_abstract = listener(SOCK_STREAM, "closed", 3);
	n_notes--;
	self = bound(SOCK_STREAM, "client");
	reach(self, "closed");
	accepted(by_abstract);
	close(by_abstract);
	NEED(unlink("closed") == 0);
}

static void check_served(void)
{
	struct got g;
	struct stat st;

	CHECK(stat("door", &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_uid == 1 && st.st_gid == 2);
	get(&g, served, 100);
	text_is(&g, "request");
	get(&g, yes, 100);
	text_is(&g, "answer");
	get(&g, kid_served, 100);
	text_is(&g, "hello from the child");
	put(kid_served, "hello, child", 12, NULL, 0);
	child_end(kid_pid);
}

static void check_waiting(void)
{
	struct got g;
	struct ucred c;
	socklen_t len = sizeof(c);
	int fd = accept(door, NULL, NULL);
	CHECK(fd >= 0);
	put(fd, "first", 5, NULL, 0);
	get(&g, first_waits, 100);
	text_is(&g, "first");
	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0);
	SAME(c.pid, getpid());
	fd = accept(door, NULL, NULL);
	CHECK(fd >= 0);
	SAME(recv(fd, &g, 1, MSG_DONTWAIT), 0);
	put(fd, "second", 6, NULL, 0);
	get(&g, second_waits, 100);
	text_is(&g, "second");
	CHECK(fcntl(door, F_SETFL, O_NONBLOCK) == 0);
	CHECK(accept(door, NULL, NULL) < 0 && errno == EAGAIN);
	fd = accept(seq_door, NULL, NULL);
	CHECK(fd >= 0);
	put(fd, "seq", 3, NULL, 0);
	get(&g, seq_waits, 100);
	text_is(&g, "seq");
	/* new clients find it */
	fd = client(SOCK_STREAM, "door");
	CHECK(accept(door, NULL, NULL) >= 0);
	/* the backlog is as it was */
	for (int i = 0; i < 6; i++)
		fd = client(SOCK_STREAM | SOCK_NONBLOCK, "door");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	len = address("door", &g.from);
	CHECK(connect(fd, (struct sockaddr *)&g.from, len) < 0 && errno == EAGAIN);
}

/* ---- datagrams ---- */

static int inbox, sender, quiet, removed, renamed, replaced, replacing, lonely, lost, odd, tower;

static void set_up_datagrams(void)
{
	struct sockaddr_un to;
	int stray, other, named;

	NEED(mkdir("folder", 0700) == 0);
	inbox = bound(SOCK_DGRAM, "folder/inbox");
	sender = bound(SOCK_DGRAM, "sender");
	quiet = client(SOCK_DGRAM, "folder/inbox");
	reach(sender, "folder/inbox");
	put(quiet, "nameless", 8, NULL, 0);
	put(sender, "with a name", 11, &inbox, 1);
	/* whoever sent it: none of those that are connected to the inbox has no name */
	tower = bound(SOCK_DGRAM, "tower");
	named = bound(SOCK_DGRAM, "named");
	reach(named, "tower");
	other = new_socket(SOCK_DGRAM);
	NEED(sendto(other, "nobody", 6, 0, (struct sockaddr *)&to, address("tower", &to)) == 6);
	put(named, "somebody", 8, NULL, 0);
	NEED(fchown(quiet, 1234, 2345) == 0 && fchmod(quiet, 0700) == 0);
	stray = bound(SOCK_DGRAM, "stray");
	n_notes--;
	reach(stray, "folder/inbox");
	put(stray, "from one that is gone", 21, NULL, 0);
	close(stray);
	NEED(unlink("stray") == 0);
	removed = bound(SOCK_DGRAM, "removed");
	NEED(unlink("removed") == 0);
	renamed = bound(SOCK_DGRAM, "renamed");
	NEED(rename("renamed", "folder/another") == 0);
	replaced = bound(SOCK_DGRAM, "replaced");
	NEED(unlink("replaced") == 0);
	replacing = bound(SOCK_DGRAM, "replaced");
	lonely = bound(SOCK_DGRAM, "lonely");
	lost = client(SOCK_DGRAM, "lonely");
	n_notes -= 2; /* lonely goes */
	notes[n_notes++].fd = lost;
	close(lonely);
	/* it has mail from others, and a peer since then */
	odd = bound(SOCK_DGRAM, "odd");
	reach(sender, "odd");
	put(sender, "before", 6, NULL, 0);
	reach(sender, "folder/inbox");
	reach(odd, "replaced");
}

static void check_datagrams(void)
{
	struct sockaddr_un to;
	struct got g;
	socklen_t len;
	struct stat st;

	get(&g, inbox, 100);
	text_is(&g, "nameless");
	SAME(g.from_len, 0);
	get(&g, inbox, 100);
	text_is(&g, "with a name");
	CHECK(!strcmp(g.from.sun_path, "sender"));
	CHECK(g.n_fds == 1 && fd_is_same(getpid(), g.fds[0], getpid(), inbox));
	get(&g, inbox, 100);
	text_is(&g, "from one that is gone");
	CHECK(!strcmp(g.from.sun_path, "stray"));
	CHECK(stat("stray", &st) < 0 && stat("removed", &st) < 0 && stat("renamed", &st) < 0);
	get(&g, tower, 100);
	text_is(&g, "nobody");
	SAME(g.from_len, 0);
	get(&g, tower, 100);
	text_is(&g, "somebody");
	CHECK(!strcmp(g.from.sun_path, "named"));
	get(&g, odd, 100);
	text_is(&g, "before");
	CHECK(!strcmp(g.from.sun_path, "sender"));
	put(odd, "to the new one", 14, NULL, 0);
	get(&g, replacing, 100);
	text_is(&g, "to the new one");
	CHECK(recv(replaced, &g, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK(send(lost, "x", 1, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED);
	len = address("folder/another", &to);
	SAME(sendto(quiet, "moved", 5, 0, (struct sockaddr *)&to, len), 5);
	get(&g, renamed, 100);
	text_is(&g, "moved");
	put(quiet, "again", 5, NULL, 0);
	get(&g, inbox, 100);
	text_is(&g, "again");
}

/* ---- below another root ---- */

static int jailed;

static void in_jail(void *arg)
{
	struct got g;

	(void)arg;
	no_proc = true;
	NEED(mkdir("jail", 0755) == 0 && chdir("jail") == 0 && chroot(".") == 0);
	n_notes = 0;
	NEED(mkdir("/run", 0755) == 0);
	jailed = listener(SOCK_STREAM, "/run/jailed", 2);
	NEED(chmod("/run/jailed", 0666) == 0);
	yes = client(SOCK_STREAM, "/run/jailed");
	note_all();
	/* its result file is out of reach */
	child_up();
	wait_term();
	check_all();
	served = accept(jailed, NULL, NULL);
	CHECK(served >= 0);
	put(served, "inside", 6, NULL, 0);
	get(&g, yes, 100);
	text_is(&g, "inside");
	served = client(SOCK_STREAM, "/run/jailed");
}

int main(int argc, char **argv)
{
	struct stat st;
	pid_t jail;

	subject_init(argc, argv);
	snprintf(abstract, sizeof(abstract), "@torpor-test-%d-%lx", getpid(), (long)(now() * 1e6));
	jail = child(in_jail, NULL);
	set_up_streams();
	set_up_datagrams();
	note_all();
	ready();
	wait_term();
	check_all();
	check_datagrams();
	check_served();
	check_waiting();
	CHECK(stat("jail/run/jailed", &st) == 0 && (st.st_mode & 0777) == 0666);
	child_end(jail);
	pass();
}
