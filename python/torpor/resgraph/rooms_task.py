# SPDX-License-Identifier: MIT
"""Rooms of tasks and threads: tree, identities, timers, signals, credentials, filters, locks."""

from __future__ import annotations

import hashlib

from torpor.images import messages as pb
from torpor.images.imageset import Found
from torpor.images.reader import Image
from torpor.resgraph.builder import Builder, read

ZOMBIE = (2, 6)
# Namespaces of task_kobj_ids_entry: members are "<type>_ns_id".
SPACES = ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time")


def inventory(b: Builder, image: Image, found: Found) -> None:
    """inventory.img"""
    entry = image.one(pb.inventory_entry)
    b.add("inventory", 0, found)
    b.root_cg_set = entry.root_cg_set
    if entry.HasField("root_ids"):
        for space in SPACES:
            if entry.root_ids.HasField(f"{space}_ns_id"):
                ns = b.need("ns", (space, getattr(entry.root_ids, f"{space}_ns_id")))
                b.note(ns, "host", True)


def _threads(b: Builder, entry: pb.pstree_entry) -> list[int]:
    """Ids of a task's threads. What stands there for a zombie means nothing."""
    others = list(entry.threads[1:])
    if others and b.images.has("CORE", entry.pid):
        core = b.images.one(pb.core_entry, "CORE", entry.pid)
        if core.tc.task_state in ZOMBIE:
            return [entry.pid]
    return [entry.pid, *others]


def _member(b: Builder, node: int, kind: str, number: int, leader: bool) -> None:
    """A task's session or group."""
    if not number:
        return
    of = b.need(kind, number)
    if leader:
        b.edge(node, of, "leads")
    else:
        b.edge(node, of, f"in {kind}")
    if (kind, number) not in b.made:
        b.made.add((kind, number))
        b.refer(of, "task", number, "made by")


def pstree(b: Builder, image: Image, found: Found) -> None:
    """pstree.img"""
    for i, entry in enumerate(read(image, pb.pstree_entry)):
        node = b.add("task", entry.pid, found, i)
        b.tasks.append(entry.pid)
        if entry.ppid:
            b.refer(node, "task", entry.ppid, "child of")
        _member(b, node, "session", entry.sid, entry.sid == entry.pid)
        _member(b, node, "group", entry.pgid, entry.pgid == entry.pid)
        for tid in _threads(b, entry):
            b.edge(b.need("thread", tid), node, "thread of")


def _timers(b: Builder, found: Found, timers: pb.task_timers_entry) -> None:
    for name in ("real", "virt", "prof"):
        timer: pb.itimer_entry = getattr(timers, name)
        if timer.isec or timer.iusec or timer.vsec or timer.vusec:
            node = b.add("timer", (found.number, name), found, 0, f"tc.timers.{name}")
            b.refer(node, "task", found.number, "of")
    for i, posix in enumerate(timers.posix):
        node = b.add("timer", (found.number, posix.it_id), found, 0, "tc.timers.posix", i)
        b.refer(node, "task", found.number, "of")
        if posix.HasField("notify_thread_id"):
            b.refer(node, "thread", posix.notify_thread_id, "notifies")


def _signals(b: Builder, found: Found, count: int, member: str, key: int, owner: str) -> None:
    for i in range(count):
        node = b.add("signal", (key, i), found, 0, member, i)
        b.refer(node, owner, found.number, "of")


def core(b: Builder, image: Image, found: Found) -> None:
    """core-TID.img"""
    entry = image.one(pb.core_entry)
    node = b.add("thread", found.number, found)
    if entry.HasField("tc"):
        if entry.tc.HasField("timers"):
            _timers(b, found, entry.tc.timers)
        queue = entry.tc.signals_s.signals
        _signals(b, found, len(queue), "tc.signals_s.signals", -found.number, "task")
    if entry.HasField("thread_core"):
        _thread_core(b, found, node, entry.thread_core)
    cg_set = entry.thread_core.cg_set or entry.tc.cg_set
    if cg_set and cg_set != b.root_cg_set:
        b.refer(node, "cgset", cg_set, "in cgroups")


def _thread_core(b: Builder, found: Found, node: int, entry: pb.thread_core_entry) -> None:
    queue = entry.signals_p.signals
    _signals(b, found, len(queue), "thread_core.signals_p.signals", found.number, "thread")
    if entry.HasField("creds"):
        raw = entry.creds.SerializeToString()
        digest = hashlib.blake2b(raw, digest_size=6).hexdigest()
        creds = b.need("creds", digest)
        if not b.store.has_message(creds):
            b.add("creds", digest, found, 0, "thread_core.creds")
        b.edge(node, creds, "runs as")
    if entry.HasField("seccomp_filter"):
        b.refer(node, "filter", entry.seccomp_filter, "filtered by")


def ids(b: Builder, image: Image, found: Found) -> None:
    """ids-PID.img"""
    entry = image.one(pb.task_kobj_ids_entry)
    node = b.need("task", found.number)
    b.attach(node, "ids", found)
    b.tables[found.number] = entry.files_id
    b.ipc[found.number] = entry.ipc_ns_id
    for space in SPACES:
        if entry.HasField(f"{space}_ns_id"):
            b.refer(node, "ns", (space, getattr(entry, f"{space}_ns_id")), "lives in")


def finish_tables(b: Builder) -> None:
    """The first task that has a descriptor table owns it."""
    seen: dict[int, int] = {}
    for pid in [p for p in b.tasks if p in b.tables] or list(b.tables):
        table = b.need("fdtable", b.tables[pid])
        task = b.need("task", pid)
        if b.tables[pid] in seen:
            b.edge(task, table, "shares")
        else:
            seen[b.tables[pid]] = pid
            b.edge(table, task, "of")


def state(b: Builder, image: Image, found: Found) -> None:
    """torpor-state"""
    for i, entry in enumerate(read(image, pb.torpor_task_entry)):
        b.attach(b.need("task", entry.pid), "torpor", found, i)
        for w in entry.watched:
            b.watched[(w.epoll, w.index)] = w.file


def seccomp(b: Builder, image: Image, found: Found) -> None:
    """seccomp.img"""
    for i, entry in enumerate(read(image, pb.seccomp_entry)):
        b.attach(b.need("inventory", 0), "seccomp", found, i)  # there also without any filter
        for k, f in enumerate(entry.seccomp_filters):
            node = b.add("filter", k, found, i, "seccomp_filters", k)
            if f.HasField("prev"):
                b.refer(node, "filter", f.prev, "behind")


def locks(b: Builder, image: Image, found: Found) -> None:
    """filelocks.img"""
    for i, entry in enumerate(read(image, pb.file_lock_entry)):
        node = b.add("lock", i, found, i)
        b.refer(node, "task", entry.pid, "held by")
        b.locks.append((node, entry.pid, entry.fd))


def finish_locks(b: Builder) -> None:
    """Locks know their descriptor by its number."""
    for node, pid, fd in b.locks:
        table = b.tables.get(pid)
        if table is not None:
            b.refer(node, "fd", (table, fd), "locks")


ROOMS = {
    "INVENTORY": inventory,
    "PSTREE": pstree,
    "CORE": core,
    "IDS": ids,
    "TORPOR_STATE": state,
    "SECCOMP": seccomp,
    "FILE_LOCKS": locks,
}
FINISHERS = (finish_tables, finish_locks)
