# SPDX-License-Identifier: MIT
"""System V objects, rings of asynchronous I/O, and the areas by which tasks reach them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from torpor.images import ImageError, payload
from torpor.images import messages as pb
from torpor.images.limits import PAGE
from torpor.validate.context import INT32_MAX, Context, TaskView
from torpor.validate.facts import CAP_SYS_RESOURCE, Facts

SYSVIPC = 0x400  # vma_entry.status
SEMAPHORES_MAX, VALUE_MAX = 32000, 32767
INT64_MAX = (1 << 63) - 1
MESSAGE_HEAD, MESSAGE_MAX = 48, 8192
SHM_DEST = 0o1000
IPC_PRIVATE = 0
NOBODY = 0xFFFFFFFF


def objects(c: Context) -> None:
    """Rules over all System V objects, and what tasks give back to semaphores."""
    for kind, (make, what, check) in KINDS.items():
        numbers: set[int] = set()
        keys: set[int] = set()
        for found in c.images.images(kind):
            for message, body in _entries(c, make, kind, found.number):
                _number(c, found.name, what, message.desc, numbers, keys)
                _owner(c, found.name, what, message.desc)
                check(c, found.name, message, body)
    sets = {e.desc.id: e.nsems for e in _all(c, pb.ipc_sem_entry, "IPCNS_SEM")}
    for pid, extra in c.extras.items():
        for undo in extra.sem_undos:
            good = 0 < abs(undo.adjust) <= VALUE_MAX and undo.num < sets.get(undo.id, 0)
            if not good:
                text = f"task {pid} gives {undo.adjust} back to semaphore {undo.num} of {undo.id}"
                c.add("ipc-undo", text, pid, "torpor-state")


def _entries(c: Context, make: type[Any], kind: str, number: int) -> list[tuple[Any, memoryview]]:
    """Messages with what follows them; what cannot be read was found by the container's rules."""
    found = []
    try:
        with c.images.open(kind, number) as image:
            for entry in image:
                assert isinstance(entry.message, make)
                found.append((entry.message, memoryview(bytes(entry.payload))))
    except (ImageError, OSError):
        pass
    return found


def _all(c: Context, make: type[Any], kind: str) -> list[Any]:
    return [m for f in c.images.images(kind) for m, _ in _entries(c, make, kind, f.number)]


def _number(
    c: Context, image: str, what: str, d: pb.ipc_desc_entry, numbers: set[int], keys: set[int]
) -> None:
    if d.id > INT32_MAX or d.id in numbers or (d.key != IPC_PRIVATE and d.key in keys):
        twice = "stands twice" if d.id <= INT32_MAX else "cannot be"
        c.add("ipc-number", f"{what} {d.id} with key 0x{d.key:x} {twice}", 0, image)
    numbers.add(d.id)
    keys.add(d.key)


def _owner(c: Context, image: str, what: str, d: pb.ipc_desc_entry) -> None:
    if NOBODY in (d.uid, d.gid):
        c.add("ipc-owner", f"{what} {d.id} belongs to user {d.uid}, group {d.gid}", 0, image)


def _segment(c: Context, image: str, e: pb.ipc_shm_entry, body: memoryview) -> None:
    if not e.in_pagemaps:
        text = f"System V shared memory {e.desc.id} was saved by an old release"
        c.add("ipc-segment", text, 0, image)
    if not 0 < e.size <= INT64_MAX:
        text = f"System V shared memory {e.desc.id} has {e.size} bytes"
        c.add("ipc-segment", text, 0, image)


def _semaphores(c: Context, image: str, e: pb.ipc_sem_entry, body: memoryview) -> None:
    values = payload.semaphores(e, body) if len(body) >= 2 * e.nsems else ()
    if not 0 < e.nsems <= SEMAPHORES_MAX or any(v > VALUE_MAX for v in values):
        text = f"the System V semaphores {e.desc.id}, {e.nsems} of them, cannot be made"
        c.add("ipc-semaphores", text, 0, image)


def _queue(c: Context, image: str, e: pb.ipc_msg_entry, body: memoryview) -> None:
    total = 0
    name = f"the System V message queue {e.desc.id}"
    for m in payload.ipc_messages(e, body, image):
        total += m.head.msize
        if not 0 < m.head.mtype <= INT64_MAX:
            text = f"{name} has a message of type {m.head.mtype} with {m.head.msize} bytes"
            c.add("ipc-queue", text, 0, image)
            return
    if total > e.qbytes or (e.qnum > e.qbytes and e.qnum):
        text = f"{name} has {e.qnum} messages of {total} bytes, but takes {e.qbytes}"
        c.add("ipc-queue", text, 0, image)


KINDS: dict[str, tuple[type[Any], str, Callable[[Context, str, Any, memoryview], None]]] = {
    "IPCNS_SHM": (pb.ipc_shm_entry, "System V shared memory", _segment),
    "IPCNS_SEM": (pb.ipc_sem_entry, "the System V semaphores", _semaphores),
    "IPCNS_MSG": (pb.ipc_msg_entry, "the System V message queue", _queue),
}


# --------------------------------------------------------------------------------------- areas


def area(c: Context, t: TaskView, v: pb.vma_entry) -> None:
    """An area that is a part of a segment, or the ring of an aio context."""
    if v.status & SYSVIPC:
        _attached(c, t, v)
    else:
        _aio(c, t, v)


def segments(c: Context) -> dict[int, int]:
    """System V shared memory by number: bytes."""
    if c.segments is None:
        c.segments = {e.desc.id: e.size for e in _all(c, pb.ipc_shm_entry, "IPCNS_SHM")}
    return c.segments


def _attached(c: Context, t: TaskView, v: pb.vma_entry) -> None:
    size = payload.padded(segments(c).get(v.shmid, 0), PAGE)
    if not size or v.pgoff % PAGE or v.pgoff + v.end - v.start > size:
        text = (
            f"task {t.pid}: area 0x{v.start:x}-0x{v.end:x} is not part of the System V shared "
            f"memory {v.shmid}"
        )
        c.add("ipc-segment", text, t.pid, f"mm-{t.pid}.img")


RING, EVENT, RING_MAX, RING_MAGIC = 32, 32, 1 << 28, 0xA10A10A1
RING_HEAD = struct.Struct("<IIIII")  # id, places, first, behind the last, magic


def _pages_for(requests: int) -> int:
    """What the kernel makes the ring of (fs/aio.c)."""
    return (RING + EVENT * (2 * requests + 2) + PAGE - 1) // PAGE


def _aio(c: Context, t: TaskView, v: pb.vma_entry) -> None:
    size = v.end - v.start
    entry = next((a for a in (t.mm.aios if t.mm else ()) if a.id == v.start), None)
    if size > RING_MAX or (entry and _pages_for(entry.nr_req) != size // PAGE):
        asked = f", made for {entry.nr_req} requests" if entry else ""
        text = f"task {t.pid}: the aio context 0x{v.start:x} has a ring of {size} bytes{asked}"
        c.add("aio-ring", text, t.pid, f"mm-{t.pid}.img")


def ring(c: Context, t: TaskView, start: int, size: int, head: bytes) -> None:
    """The beginning of a saved ring."""
    if len(head) < RING_HEAD.size:
        return
    _, places, first, last, magic = RING_HEAD.unpack_from(head)
    if not magic:
        return
    good = magic == RING_MAGIC and places == (size - RING) // EVENT
    if not good or max(first, last) >= places:
        text = f"task {t.pid}: the saved ring of the aio context 0x{start:x} is damaged"
        c.add("aio-ring", text, t.pid, f"pagemap-{t.pid}.img")


# ---------------------------------------------------------------------------------------- target


def _sizes(c: Context) -> Iterator[tuple[str, str, int, str]]:
    """(object, limit, what it needs of that, image)"""
    for found in c.images.images("IPCNS_SHM"):
        for e, _ in _entries(c, pb.ipc_shm_entry, "IPCNS_SHM", found.number):
            yield f"{KINDS['IPCNS_SHM'][1]} {e.desc.id}", "shmmax", e.size, found.name
    for found in c.images.images("IPCNS_SEM"):
        for e, _ in _entries(c, pb.ipc_sem_entry, "IPCNS_SEM", found.number):
            yield f"{KINDS['IPCNS_SEM'][1]} {e.desc.id}", "semmsl", e.nsems, found.name
    for found in c.images.images("IPCNS_MSG"):
        for e, body in _entries(c, pb.ipc_msg_entry, "IPCNS_MSG", found.number):
            name = f"{KINDS['IPCNS_MSG'][1]} {e.desc.id}"
            longest = (m.head.msize for m in payload.ipc_messages(e, body, found.name))
            yield name, "msgmnb", e.qbytes, found.name
            yield name, "msgmax", max(longest, default=0), found.name


def _limits(c: Context, facts: Facts) -> None:
    for what, limit, needed, image in _sizes(c):
        allowed = facts.ipc_limits.get(limit, needed)
        if needed > allowed and not (limit == "msgmnb" and facts.may(CAP_SYS_RESOURCE)):
            text = f"{what} needs {needed} of '{limit}', which is {allowed} here"
            c.add("ipc-limit", text, 0, image)


def here(c: Context, facts: Facts) -> None:
    """Numbers and keys that are in use, and limits."""
    _limits(c, facts)
    for kind, (make, what, _) in KINDS.items():
        there = {number: key for number, key in facts.ipc.get(kind, ())}
        by_key = {key: number for number, key in there.items() if key != IPC_PRIVATE}
        for e in _all(c, make, kind):
            key = there.get(e.desc.id)
            other = by_key.get(e.desc.key, e.desc.id)
            if (key is not None and key != e.desc.key) or other != e.desc.id:
                text = f"{what} {e.desc.id} with key 0x{e.desc.key:x}: number or key is in use"
                c.add("ipc-taken", text)
