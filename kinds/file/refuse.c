/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Says what a descriptor is that no room knows. */
#include "kinds/kind.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

struct named {
	unsigned long key;
	const char *text;
};

/* What the kernel calls its nameless inodes, and what people call them. */
static const struct {
	const char *link, *text;
} anonymous[] = {
	{ "anon_inode:[eventpoll]", "an epoll descriptor" },
	{ "anon_inode:[signalfd]", "a signalfd" },
	{ "anon_inode:[timerfd]", "a timerfd" },
	{ "anon_inode:inotify", "an inotify descriptor" },
	{ "anon_inode:[fanotify]", "a fanotify descriptor" },
	{ "anon_inode:[io_uring]", "an io_uring" },
	{ "anon_inode:[userfaultfd]", "a userfaultfd" },
	{ "anon_inode:[perf_event]", "a perf event" },
	{ "anon_inode:[pidfd]", "a pidfd" },
	{ "pidfd:", "a pidfd" },
	{ "anon_inode:bpf-map", "a BPF map" },
	{ "anon_inode:bpf-prog", "a BPF program" },
	{ "anon_inode:bpf", "a BPF object" },
	{ "anon_inode:[fscontext]", "a file system being configured (fsopen)" },
	{ "anon_inode:[landlock-ruleset]", "a landlock ruleset" },
	{ "anon_inode:seccomp notify", "a seccomp notification descriptor" },
	{ "anon_inode:kvm", "a virtual machine (KVM)" },
	{ "anon_inode:sync_file", "a sync file" },
	{ "anon_inode:dmabuf", "a DMA buffer" },
	{ "anon_inode:[eventfd]", "an eventfd" },
	{ "/dmabuf", "a DMA buffer" },
	{ "/secretmem", "secret memory (memfd_secret)" },
	{ "net:[", "a network namespace" },
	{ "mnt:[", "a mount namespace" },
	{ "pid:[", "a pid namespace" },
	{ "pid_for_children:[", "a pid namespace" },
	{ "ipc:[", "an IPC namespace" },
	{ "uts:[", "a UTS namespace" },
	{ "user:[", "a user namespace" },
	{ "cgroup:[", "a cgroup namespace" },
	{ "time:[", "a time namespace" },
	{ "time_for_children:[", "a time namespace" },
	{ "pipe:[", "a pipe" },
};

static const struct named families[] = {
	{ AF_UNIX, "UNIX" }, { AF_NETLINK, "netlink" }, { AF_PACKET, "packet" },
	{ AF_VSOCK, "vsock" }, { AF_ALG, "crypto (AF_ALG)" }, { AF_XDP, "AF_XDP" },
	{ AF_BLUETOOTH, "Bluetooth" }, { AF_CAN, "CAN" }, { AF_TIPC, "TIPC" },
	{ AF_KEY, "PF_KEY" }, { AF_RDS, "RDS" }, { AF_SMC, "SMC" },
};

static const struct named types[] = {
	{ SOCK_STREAM, "stream" }, { SOCK_DGRAM, "datagram" }, { SOCK_RAW, "raw" },
	{ SOCK_SEQPACKET, "seqpacket" }, { SOCK_RDM, "rdm" }, { SOCK_DCCP, "DCCP" },
};

static const struct named protocols[] = {
	{ 6, "TCP" }, { 17, "UDP" }, { 1, "ping (ICMP)" }, { 58, "ping (ICMPv6)" }, { 132, "SCTP" },
	{ 136, "UDP-Lite" }, { 262, "MPTCP" },
};

static const char *look_up(const struct named *table, size_t n, unsigned long key, const char *other)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].key == key)
			return table[i].text;
	return other;
}
#define name_of(table, key, other) look_up(table, sizeof(table) / sizeof(table[0]), key, other)

static int socket_number(int fd, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) < 0 ? -1 : v;
}

static void say_socket(const struct fd_look *l, char *buf, size_t size)
{
	int family = socket_number(l->dup, SO_DOMAIN), type = socket_number(l->dup, SO_TYPE);
	int proto = socket_number(l->dup, SO_PROTOCOL);
	const char *six = family == AF_INET6 ? " over IPv6" : "";

	if (family != AF_INET && family != AF_INET6)
		snprintf(buf, size, "a %s %s socket",
			name_of(families, (unsigned long)family, "strange"),
			name_of(types, (unsigned long)type, "strange"));
	else if (type == SOCK_RAW)
		snprintf(buf, size, "a raw IP socket%s", six);
	else
		snprintf(buf, size, "a %s socket%s", name_of(protocols, (unsigned long)proto, "IP"), six);
}

static void say_what(const struct fd_look *l, char *buf, size_t size)
{
	dev_t rdev = l->st.st_rdev;

	if (S_ISSOCK(l->st.st_mode) && !(l->flags & O_PATH)) {
		say_socket(l, buf, size);
		return;
	}
	for (size_t i = 0; i < sizeof(anonymous) / sizeof(anonymous[0]); i++) {
		if (!strncmp(l->link, anonymous[i].link, strlen(anonymous[i].link))) {
			snprintf(buf, size, "%s", anonymous[i].text);
			return;
		}
	}
	if (S_ISCHR(l->st.st_mode))
		snprintf(buf, size, "%s %u:%u",
			major(rdev) == 5 && minor(rdev) == 2 ? "the master of a pseudoterminal," :
			major(rdev) == 10 && minor(rdev) == 200 ? "a network tunnel (tun)," :
			major(rdev) == 10 && minor(rdev) == 232 ? "the virtual machine monitor (KVM)," :
								  "the character device",
			major(rdev), minor(rdev));
	else if (S_ISREG(l->st.st_mode) && l->fs_type == 0x19800202)
		snprintf(buf, size, "a POSIX message queue");
	else
		snprintf(buf, size, "an object of unknown kind");
}

int file_kind_refuse(const struct fd_look *l, struct err *err)
{
	char who[96], what[128];

	say_what(l, what, sizeof(what));
	return err_unsupported(err, "%s is %s (%.200s), which this version cannot save",
		file_look_who(l, who, sizeof(who)), what, l->link);
}
