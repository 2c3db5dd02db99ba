# SPDX-License-Identifier: MIT
"""Rooms of memory: address spaces, areas, page runs, shared memory."""

from __future__ import annotations

from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.imageset import Found
from torpor.images.pages import PageMap
from torpor.images.reader import Image
from torpor.resgraph.builder import Builder, read
from torpor.resgraph.store import NOWHERE, Place

# Bits of vma_entry.status
FILE_PRIVATE, FILE_SHARED, ANON_SHARED, SYSVIPC = 0x40, 0x80, 0x100, 0x400
SOCKET, AIORING = 0x800, 0x2000


def mm(b: Builder, image: Image, found: Found) -> None:
    """mm-PID.img"""
    entry, areas = image.one_split(pb.mm_entry, "vmas", pb.vma_entry)
    pid = found.number
    node = b.add("mm", pid, found)
    b.refer(node, "task", pid, "of")
    b.refer(node, "file", entry.exe_file_id, "runs")
    b.refer(node, "pagemap", ("task", pid), "content in")
    for i, ring in enumerate(entry.aios):
        b.edge(b.add("aio", (pid, ring.id), found, 0, "aios", i), node, "in")
    block = b.store.add_block("area", len(areas), node, Place("MM", pid, 0, "vmas", 0))
    area = block.first
    for a in areas.each():
        status = a.status
        if status & (FILE_PRIVATE | FILE_SHARED | SOCKET):
            b.refer(area, "file", a.shmid, "maps")
        elif status & SYSVIPC:
            b.segments.append((area, pid, a.shmid))
        elif status & ANON_SHARED:
            _shared(b, area, a.shmid)
        elif status & AIORING:
            b.may_refer(area, "aio", (pid, a.start), "maps")
        area += 1


def _shared(b: Builder, area: int, number: int) -> None:
    node = b.need("shmem", number)
    b.edge(area, node, "maps")
    if "content" not in b.store.notes.get(node, {}):
        b.note(node, "content", number)
        b.may_refer(node, "pagemap", ("shmem", number), "content in")


def finish_segments(b: Builder) -> None:
    """System V segments belong to the ipc namespace of the task that maps them."""
    for area, pid, number in b.segments:
        b.refer(area, "shm", (b.ipc.get(pid, 0), number), "maps")


# Kind of image -> owner in the key of its node. What a page server was told is not in this set.
OWNERS = {
    "PAGEMAP": "task",
    "PAGEMAP_SHMEM": "shmem",
    "TORPOR_PAGEMAP": "task elsewhere",
    "TORPOR_PAGEMAP_SHMEM": "shmem elsewhere",
}


def pagemap(b: Builder, image: Image, found: Found) -> None:
    """pagemap-PID.img, pagemap-shmem-ID.img, torpor-pagemap-..."""
    runs = PageMap(image)
    if not runs.headed:
        raise ImageError(found.name, "it has no head, which names the file with the pages")
    owner = OWNERS[found.kind.id]
    b.pagemaps[owner, found.number] = runs
    node = b.add("pagemap", (owner, found.number), found)
    if owner.endswith(" elsewhere"):
        b.refer(node, owner.partition(" ")[0], found.number, "of")
    elif runs.pages_id:
        b.refer(node, "pages", runs.pages_id, "stored in")
    if runs.needs_parent:
        b.refer(node, "layer", 1, "builds on")
    # the head is entry 0
    b.store.add_block("run", len(runs), node, Place(found.kind.id, found.number, 1, "", NOWHERE))


def touched(b: Builder, image: Image, found: Found) -> None:
    """torpor-working-set: what a lazy restore brings first"""
    for i, entry in enumerate(read(image, pb.torpor_touched_entry)):
        b.refer(b.add("touched", i, found, i), "task", entry.pid, "of")


def pages(b: Builder, image: Image, found: Found) -> None:
    """pages-ID.img"""
    b.note(b.add("pages", found.number, found), "size", len(image.data))


def memfd(b: Builder, image: Image, found: Found) -> None:
    """memfd.img"""
    for i, entry in enumerate(read(image, pb.memfd_inode_entry)):
        node = b.add("memfd", entry.inode_id & 0xFFFFFFFF, found, i)  # files have 32 bits of it
        b.may_refer(node, "pagemap", ("shmem", entry.shmid), "content in")


def segments(b: Builder, image: Image, found: Found) -> None:
    """ipcns-shm-NS.img"""
    for i, entry in enumerate(read(image, pb.ipc_shm_entry)):
        node = b.add("shm", (found.number, entry.desc.id), found, i)
        b.refer(node, "ns", ("ipc", found.number), "lives in")
        b.may_refer(node, "pagemap", ("shmem", entry.desc.id), "content in")


def semaphores(b: Builder, image: Image, found: Found) -> None:
    """ipcns-sem-NS.img"""
    for i, entry in enumerate(read(image, pb.ipc_sem_entry)):
        node = b.add("sem", (found.number, entry.desc.id), found, i)
        b.refer(node, "ns", ("ipc", found.number), "lives in")


def queues(b: Builder, image: Image, found: Found) -> None:
    """ipcns-msg-NS.img"""
    for i, entry in enumerate(read(image, pb.ipc_msg_entry)):
        node = b.add("msg", (found.number, entry.desc.id), found, i)
        b.refer(node, "ns", ("ipc", found.number), "lives in")


def digests(b: Builder, image: Image, found: Found) -> None:
    """torpor-digest-PID, torpor-digest-shmem-ID"""
    image.one(pb.torpor_digest_head)
    owner = "task" if found.kind.id == "TORPOR_DIGEST" else "shmem"
    b.attach(b.need("pagemap", (owner, found.number)), "digests", found)


ROOMS = {
    "TORPOR_DIGEST": digests,
    "TORPOR_DIGEST_SHMEM": digests,
    "TORPOR_PAGEMAP": pagemap,
    "TORPOR_PAGEMAP_SHMEM": pagemap,
    "TORPOR_WORKING_SET": touched,
    "MM": mm,
    "PAGEMAP": pagemap,
    "PAGEMAP_SHMEM": pagemap,
    "PAGES": pages,
    "MEMFD_INODE": memfd,
    "IPCNS_SHM": segments,
    "IPCNS_SEM": semaphores,
    "IPCNS_MSG": queues,
}
FINISHERS = (finish_segments,)
