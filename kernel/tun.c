/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/tun.h. */
#include "kernel/tun.h"
#include "base/cleanup.h"
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef TUNSETCARRIER
#define TUNSETCARRIER _IOW('T', 226, int) /* 4.20 */
#endif
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227) /* 5.2 */
#endif

static const uint32_t kept_flags = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR |
	IFF_MULTI_QUEUE | IFF_NAPI | IFF_NAPI_FRAGS;

static uint32_t ethtool_value(int sock, const char *name, uint32_t cmd)
{
	struct ethtool_value v = { .cmd = cmd };
	struct ifreq ifr = { .ifr_data = (void *)&v };

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	return ioctl(sock, SIOCETHTOOL, &ifr) == 0 ? v.data : 0;
}

/* The kernel shows them as features of the device (tun_net_fix_features()). */
static uint32_t offload_of(const char *name)
{
	auto_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t offload = 0;

	if (sock >= 0 && ethtool_value(sock, name, ETHTOOL_GTXCSUM))
		offload |= TUN_F_CSUM;
	if (offload && ethtool_value(sock, name, ETHTOOL_GTSO))
		offload |= TUN_F_TSO4 | TUN_F_TSO6;
	return offload;
}

static uint64_t netns_of(int fd)
{
	auto_close int ns = ioctl(fd, TUNGETDEVNETNS);
	struct stat st;

	return ns >= 0 && fstat(ns, &st) == 0 ? st.st_ino : 0;
}

int tun_look(int fd, struct tun_info *ret)
{
	struct tun_info i = { 0 };
	struct ifreq ifr = { 0 };
	int little = 0;

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	if (ioctl(fd, TUNGETSNDBUF, &i.send_buffer) < 0 || ioctl(fd, TUNGETVNETHDRSZ, &i.header) < 0)
		return -errno;
	snprintf(i.name, sizeof(i.name), "%s", ifr.ifr_name);
	i.flags = (uint16_t)ifr.ifr_flags & ~(uint32_t)IFF_NOFILTER;
	i.filtered = !(ifr.ifr_flags & IFF_NOFILTER);
	i.little_endian = ioctl(fd, TUNGETVNETLE, &little) == 0 && little;
	i.offload = offload_of(i.name);
	i.netns = netns_of(fd);
	*ret = i;
	return 0;
}

int tun_attach(int fd, const char *name, uint32_t flags, uint32_t index)
{
	struct ifreq ifr = { .ifr_flags = (short)(flags & kept_flags) };

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	if (index && ioctl(fd, TUNSETIFINDEX, &index) < 0)
		return -errno;
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

int tun_detach(int fd)
{
	struct ifreq ifr = { .ifr_flags = IFF_DETACH_QUEUE };

	return ioctl(fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

int tun_unplug(int fd)
{
	return ioctl(fd, TUNSETCARRIER, &(int){ 0 }) < 0 ? -errno : 0;
}

int tun_set(int fd, const struct tun_info *info, int64_t owner, int64_t group)
{
	int little = info->little_endian;

	if ((info->flags & IFF_VNET_HDR && ioctl(fd, TUNSETVNETHDRSZ, &info->header) < 0) ||
		ioctl(fd, TUNSETSNDBUF, &info->send_buffer) < 0 ||
		(little && ioctl(fd, TUNSETVNETLE, &little) < 0) ||
		(info->offload && ioctl(fd, TUNSETOFFLOAD, (unsigned long)info->offload) < 0) ||
		(owner >= 0 && ioctl(fd, TUNSETOWNER, (unsigned long)owner) < 0) ||
		(group >= 0 && ioctl(fd, TUNSETGROUP, (unsigned long)group) < 0))
		return -errno;
	return 0;
}
