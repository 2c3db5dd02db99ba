# SPDX-License-Identifier: MIT
"""Mounts, network devices and control groups: what the images say of them, by itself."""

from __future__ import annotations

from torpor.images import crit
from torpor.images import messages as pb
from torpor.validate.context import Context


def spaces(c: Context) -> None:
    """Rules over namespaces with content, and over control groups."""
    for found in c.images.images("MNTS"):
        _mounts(c, found.number, found.name)
    for found in c.images.images("NETDEV"):
        _devices(c, found.number, found.name)
    _cgroups(c)


def _mounts(c: Context, number: int, image: str) -> None:
    entries = list(c.all(pb.mnt_entry, "MNTS", number))
    by_id = {e.mnt_id: e for e in entries}
    groups = {e.shared_id for e in entries if e.shared_id}
    roots = [e for e in entries if e.parent_mnt_id not in by_id or e.parent_mnt_id == e.mnt_id]
    for e in entries:
        name = crit.text_of(e.mountpoint)
        node = c.graph.find("mount", e.mnt_id)
        here = node
        if e in roots and name != "/":
            text = f"mount {e.mnt_id} '{name}' lies on {e.parent_mnt_id}, which is not there"
            c.add("mount-parent", text, 0, image, here)
        if e.master_id and e.master_id not in groups and not e.HasField("ext_key"):
            text = f"mount {e.mnt_id} '{name}' receives from group {e.master_id}, which is outside"
            c.add("mount-master", text, 0, image, here)
    real = [e for e in roots if crit.text_of(e.mountpoint) == "/"]
    if len(real) != 1:
        c.add("mount-root", f"mount namespace {number} has {len(real)} roots", 0, image)
    for mnt_id in _circles(by_id):
        c.add("mount-circle", f"mount {mnt_id} lies on itself by others", 0, image)


def _circles(by_id: dict[int, pb.mnt_entry]) -> list[int]:
    """One mount of each circle."""
    state: dict[int, int] = {}
    found = []
    for start in by_id:
        way = []
        at = start
        while at in by_id and at not in state:
            state[at] = 1
            way.append(at)
            at = by_id[at].parent_mnt_id
        if way and state.get(at) == 1 and at != way[-1]:
            found.append(at)
        for mnt_id in way:
            state[mnt_id] = 2
    return found


def _devices(c: Context, number: int, image: str) -> None:
    entries = list(c.all(pb.net_device_entry, "NETDEV", number))
    known = {e.ifindex for e in entries}
    for e in entries:
        if e.HasField("master") and e.master not in known:
            node = c.graph.find("device", (number, e.ifindex))
            text = f"device '{crit.text_of(e.name)}' has the master {e.master}, which is not there"
            c.add("device-master", text, 0, image, node)


def _cgroups(c: Context) -> None:
    """Sets that threads are in, and the groups they consist of."""
    if not c.images.has("CGROUP"):
        return
    for node in c.graph.nodes("cgset"):
        if node.missing:
            users = [n.key for n in node.users("in cgroups")]
            pid = users[0] if users and isinstance(users[0], int) else 0
            text = f"thread {pid} is in the set of control groups {node.key}, which is not there"
            c.add("cgroup-set", text, pid, "cgroup.img", node)
            continue
        for edge in node.out("holds"):
            if "settings" not in edge.target.notes:
                text = f"set {node.key} holds the control group {edge.target.key}, not described"
                c.add("cgroup-path", text, 0, "cgroup.img", edge.target)
