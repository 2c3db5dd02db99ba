# SPDX-License-Identifier: MIT
"""Rooms of namespaces, mounts, network devices and control groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torpor.images import crit
from torpor.images import messages as pb
from torpor.images.imageset import Found
from torpor.images.kinds import Trait
from torpor.images.reader import Image
from torpor.resgraph.builder import Builder, Room, read


def _entries(image: Image, found: Found) -> Iterator[int]:
    """Numbers of the entries of an image; raw ones count as one."""
    if found.kind.traits & Trait.RAW:
        yield 0
    else:
        yield from (i for i, _ in enumerate(image))


def of_space(space: str, name: str) -> Room:
    """A room of images that say one thing of a namespace."""

    def room(b: Builder, image: Image, found: Found) -> None:
        of_set = found.kind.id == "TIMENS" and not found.number
        node = b.need("inventory", 0) if of_set else b.need("ns", (space, found.number))
        for i in _entries(image, found):
            b.attach(node, name, found, i)

    return room


def of_superblock(name: str) -> Room:
    """A room of images with the content of a file system."""

    def room(b: Builder, image: Image, found: Found) -> None:
        node = b.need("superblock", found.number)
        for i in _entries(image, found):
            b.attach(node, name, found, i)

    return room


def mounts(b: Builder, image: Image, found: Found) -> None:
    """mountpoints-NS.img"""
    for i, entry in enumerate(read(image, pb.mnt_entry)):
        node = b.add("mount", entry.mnt_id, found, i)
        b.refer(node, "ns", ("mnt", found.number), "lives in")
        b.refer(node, "superblock", entry.root_dev, "view of")
        b.mounts[node] = entry.parent_mnt_id
        if entry.shared_id:
            b.refer(node, "peers", entry.shared_id, "shares with")
        if entry.master_id:
            b.refer(node, "peers", entry.master_id, "slave of")
        if entry.HasField("ext_key"):
            b.refer(node, "external", crit.text_of(entry.ext_key), "provided as")


def finish_mounts(b: Builder) -> None:
    """The parent of the root mount is outside."""
    for node, parent in b.mounts.items():
        if parent != b.store.keys[node]:
            b.may_refer(node, "mount", parent, "mounted on")


def devices(b: Builder, image: Image, found: Found) -> None:
    """netdev-NS.img"""
    for i, entry in enumerate(read(image, pb.net_device_entry)):
        node = b.add("device", (found.number, entry.ifindex), found, i)
        b.refer(node, "ns", ("net", found.number), "lives in")
        if entry.HasField("master"):
            b.refer(node, "device", (found.number, entry.master), "port of")
        if entry.HasField("peer_ifindex"):
            space = entry.peer_nsid if entry.HasField("peer_nsid") else found.number
            b.may_refer(node, "device", (space, entry.peer_ifindex), "peer")


def _folders(
    b: Builder,
    controllers: str,
    above: str,
    parent: int | None,
    dirs: Iterable[pb.cgroup_dir_entry],
) -> None:
    # by hand: messages nest up to a hundred deep, and so would calls
    todo = [(above, parent, d) for d in dirs]
    while todo:
        above, parent, entry = todo.pop()
        name = crit.text_of(entry.dir_name)
        path = f"{above}/{name}" if name else above or "/"
        node = b.need("cgroup", (controllers, path))
        b.note(
            node,
            "settings",
            {crit.text_of(p.name): crit.text_of(p.value) for p in entry.properties},
        )
        if parent is not None:
            b.edge(node, parent, "in")
        todo += [("" if path == "/" else path, node, d) for d in entry.children]


def cgroups(b: Builder, image: Image, found: Found) -> None:
    """cgroup.img"""
    entry = image.one(pb.cgroup_entry)
    b.attach(b.need("inventory", 0), "cgroups", found)
    for i, cg_set in enumerate(entry.sets):
        node = b.add("cgset", cg_set.id, found, 0, "sets", i)
        for ctl in cg_set.ctls:
            key = (crit.text_of(ctl.name), crit.text_of(ctl.path))
            b.refer(node, "cgroup", key, "holds")
    for controller in entry.controllers:
        names = ",".join(map(crit.text_of, controller.cnames))
        _folders(b, names, "", None, controller.dirs)


ROOMS: dict[str, Room] = {
    "MNTS": mounts,
    "NETDEV": devices,
    "CGROUP": cgroups,
    "UTSNS": of_space("uts", "uts"),
    "IPC_VAR": of_space("ipc", "limits"),
    "USERNS": of_space("user", "map"),
    "TIMENS": of_space("time", "clocks"),
    "PIDNS": of_space("pid", "pid"),
    "NETNS": of_space("net", "settings"),
    "NETNF_CT": of_space("net", "connections"),
    "NETNF_EXP": of_space("net", "expectations"),
    "IFADDR": of_space("net", "addresses"),
    "ROUTE": of_space("net", "routes"),
    "ROUTE6": of_space("net", "routes6"),
    "RULE": of_space("net", "rules"),
    "IPTABLES": of_space("net", "iptables"),
    "IP6TABLES": of_space("net", "ip6tables"),
    "NFTABLES": of_space("net", "nftables"),
    "TMPFS_DEV": of_superblock("content"),
    "TMPFS_IMG": of_superblock("old content"),
    "AUTOFS": of_superblock("autofs"),
}
FINISHERS = (finish_mounts,)
