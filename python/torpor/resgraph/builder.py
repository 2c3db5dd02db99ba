# SPDX-License-Identifier: MIT
"""From images to nodes and edges: what the rooms work with, and the order they are called in.

Every kind of image has one room, a function that makes its nodes; a kind without a room gets a node
for each entry all the same, so that nothing of a set is ever missing from its graph. What refers to
something not read yet gets a node without a message, which is filled when the entry comes along:
nodes of kind ENTRY that stay without one are what the images lack.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import cast

from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.imageset import Found, ImageSet
from torpor.images.kinds import Trait
from torpor.images.pages import PageMap
from torpor.images.reader import Image
from torpor.resgraph.store import NOWHERE, Key, Place, Store

Room = Callable[["Builder", Image, Found], None]


@dataclass
class Reference:
    """An edge that is made at the end, if what it leads to is there then."""

    source: int
    kind: str
    key: Key
    reason: str


@dataclass
class Builder:
    """A graph that is being made."""

    images: ImageSet
    only: Collection[str] | None = None  # kinds of images that are read
    store: Store = field(default_factory=Store)
    problems: list[ImageError] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    # what rooms leave for those that finish
    tasks: list[int] = field(default_factory=list)  # pids in the order of the tree
    tables: dict[int, int] = field(default_factory=dict)  # pid -> files_id
    ipc: dict[int, int] = field(default_factory=dict)  # pid -> ipc namespace
    sockets: dict[int, int] = field(default_factory=dict)  # inode -> node of the file
    peers: list[tuple[int, int]] = field(default_factory=list)  # node of a file, inode of its peer
    listeners: set[int] = field(default_factory=set)  # nodes of files
    segments: list[tuple[int, int, int]] = field(default_factory=list)  # area, pid, shm id
    watches: list[tuple[int, int, int]] = field(default_factory=list)  # node, epoll file id, fd
    watched: dict[tuple[int, int], int] = field(default_factory=dict)  # torpor knows the file id
    locks: list[tuple[int, int, int]] = field(default_factory=list)  # node, pid, fd
    mounts: dict[int, int] = field(default_factory=dict)  # node -> parent's mount id
    made: set[tuple[str, int]] = field(default_factory=set)  # sessions and groups with a maker
    root_cg_set: int = 0
    pagemaps: dict[tuple[str, int], PageMap] = field(default_factory=dict)  # owner, number

    def add(
        self,
        kind: str,
        key: Key,
        image: Found,
        entry: int = 0,
        member: str = "",
        index: int = NOWHERE,
    ) -> int:
        """A node for an entry of an image, or for a part of it."""
        return self.store.add(kind, key, Place(image.kind.id, image.number, entry, member, index))

    def need(self, kind: str, key: Key) -> int:
        """A node something refers to."""
        return self.store.need(kind, key)

    def edge(self, source: int, target: int, reason: str) -> None:
        """An edge."""
        self.store.edge(source, target, reason)

    def refer(self, source: int, kind: str, key: Key, reason: str) -> None:
        """An edge to what has to be there."""
        self.store.edge(source, self.store.need(kind, key), reason)

    def may_refer(self, source: int, kind: str, key: Key, reason: str) -> None:
        """An edge to what need not be there."""
        self.references.append(Reference(source, kind, key, reason))

    def attach(self, node: int, name: str, image: Found, entry: int = 0) -> None:
        """Another message that says something of a node."""
        place = Place(image.kind.id, image.number, entry, "", NOWHERE)
        notes = self.store.notes.setdefault(node, {})
        notes[name if name not in notes else f"{name} {entry}"] = place

    def note(self, node: int, name: str, value: object) -> None:
        """An attribute that stands in no message of the node's own."""
        self.store.notes.setdefault(node, {})[name] = value

    def get(self, kind: str, key: Key) -> int | None:
        """The node with this key, if there is one."""
        return self.store.by_key.get(kind, {}).get(key)

    # ---------------------------------------------------------------------------------- running

    def run(self, rooms: dict[str, Room], finishers: Iterable[Callable[[Builder], None]]) -> None:
        """Reads all images. What cannot be read is a problem; the rest is read all the same."""
        for found in self._in_order():
            try:
                with self.images.open(found.kind.id, found.number) as image:
                    rooms.get(found.kind.id, anything)(self, image, found)
            except ImageError as e:
                self.problems.append(e)
            except OSError as e:
                self.problems.append(ImageError(found.name, e.strerror or str(e)))
        for finish in finishers:
            finish(self)
        for r in self.references:
            target = self.get(r.kind, r.key)
            if target is not None:
                self.edge(r.source, target, r.reason)

    def _in_order(self) -> list[Found]:
        """The inventory first: others look at it. Old forms of files if there is no new one."""
        only = self.only
        found = [f for f in self.images.images() if only is None or f.kind.id in only]
        merged = any(f.kind.id == "FILES" and self.images.size(f) > 8 for f in found)
        if merged:
            found = [f for f in found if f.kind.id not in OLD_FILES]
        return sorted(found, key=lambda f: (f.kind.id != "INVENTORY", f.name))


OLD_FILES = {
    "REG_FILES", "EXT_FILES", "NS_FILES", "EVENTFD_FILE", "EVENTPOLL_FILE", "SIGNALFD",
    "INOTIFY_FILE", "FANOTIFY_FILE", "TIMERFD", "PIPES", "FIFO", "UNIXSK", "INETSK", "PACKETSK",
    "NETLINK_SK", "TTY_FILES", "TUNFILE", "BPFMAP_FILE", "PIDFD",
}  # fmt: skip


def anything(b: Builder, image: Image, found: Found) -> None:
    """The room of images without one: a node for each entry, part of the task it is named after."""
    kind = found.kind.id.lower()
    if found.kind.traits & Trait.RAW:
        b.add(kind, found.number, found)
        return
    for i, _ in enumerate(image):
        key: Key = (found.number, i) if "%" in found.kind.pattern else i
        node = b.add(kind, key, found, i)
        if found.kind.traits & Trait.TASK:
            b.refer(node, "task", found.number, "of")


def read(image: Image, make: type[pb.M]) -> Iterable[pb.M]:
    """The messages of an image, as what they are."""
    for message in image.messages():
        yield cast("pb.M", message)
