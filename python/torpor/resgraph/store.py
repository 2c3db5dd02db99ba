# SPDX-License-Identifier: MIT
"""Nodes and edges as columns of numbers.

A graph of a million areas has a million nodes: each costs some bytes here, no object. Areas and
page runs come in blocks, whose edges to what they are part of are not stored at all.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from torpor.resgraph.schema import NODE_KINDS, REASONS

Key = Hashable
KIND_NAMES = tuple(NODE_KINDS)
REASON_NAMES = tuple(REASONS)
NOWHERE = 0xFFFFFFFF


class Place(NamedTuple):
    """Where the message of a node stands."""

    kind: str  # of the image
    number: int  # of the image
    entry: int
    member: str  # path of a member of the entry's message, or ""
    item: int  # of that member if it is repeated, else NOWHERE


class Block(NamedTuple):
    """Consecutive nodes of one kind that are all part of one node."""

    first: int
    size: int
    parent: int
    image: int  # index of the image; the entries are the elements in their order

    @property
    def end(self) -> int:
        """The node number behind it."""
        return self.first + self.size


class Store:
    """The columns, and what is needed to fill them."""

    def __init__(self) -> None:
        # names of kinds and reasons that images brought along (new kinds of images)
        self.kinds: list[str] = list(KIND_NAMES)
        self.reasons: list[str] = list(REASON_NAMES)
        self._kind_number = {name: i for i, name in enumerate(self.kinds)}
        self._reason_number = {name: i for i, name in enumerate(self.reasons)}
        self.images: list[tuple[str, int]] = []
        self._image_number: dict[tuple[str, int], int] = {}
        self.members: list[str] = [""]
        # nodes
        self.kind = array("B")
        self.image = array("I")
        self.entry = array("I")
        self.member = array("B")
        self.item = array("I")
        self.keys: dict[int, Key] = {}
        self.by_key: dict[str, dict[Key, int]] = {}
        self.doubles: list[tuple[int, int]] = []
        """(node, earlier node with the same key)"""
        self.notes: dict[int, dict[str, object]] = {}
        """Attributes of nodes beyond their messages."""
        self.blocks: list[Block] = []
        self._block_starts: list[int] = []
        self._block_of_parent: dict[tuple[int, int], Block] = {}
        # edges
        self.source = array("I")
        self.target = array("I")
        self.reason = array("B")

    # ---------------------------------------------------------------------------------- filling

    def kind_number(self, kind: str) -> int:
        """Number of a kind; unknown ones get one."""
        number = self._kind_number.get(kind)
        if number is None:
            number = self._kind_number[kind] = len(self.kinds)
            self.kinds.append(kind)
        return number

    def image_number(self, kind: str, number: int) -> int:
        """Number of an image in the columns."""
        place = (kind, number)
        found = self._image_number.get(place)
        if found is None:
            found = self._image_number[place] = len(self.images)
            self.images.append(place)
        return found

    def member_number(self, member: str) -> int:
        """Number of the name of a repeated member."""
        if member not in self.members:
            self.members.append(member)
        return self.members.index(member)

    def _append(self, kind: str, place: Place | None) -> int:
        node = len(self.kind)
        self.kind.append(self.kind_number(kind))
        self.image.append(NOWHERE)
        self.entry.append(NOWHERE)
        self.member.append(0)
        self.item.append(NOWHERE)
        if place:
            self._put(node, place)
        return node

    def _put(self, node: int, place: Place) -> None:
        self.image[node] = self.image_number(place.kind, place.number)
        self.entry[node] = place.entry
        self.member[node] = self.member_number(place.member) if place.member else 0
        self.item[node] = place.item

    def need(self, kind: str, key: Key) -> int:
        """The node with this key; made without a message if it is not there (yet)."""
        known = self.by_key.setdefault(kind, {})
        node = known.get(key)
        if node is None:
            node = known[key] = self._append(kind, None)
            self.keys[node] = key
        return node

    def add(self, kind: str, key: Key, place: Place) -> int:
        """A node with a message; gives a node that was only needed so far its message."""
        known = self.by_key.setdefault(kind, {})
        node = known.get(key)
        if node is None:
            node = known[key] = self._append(kind, place)
        elif self.image[node] == NOWHERE:
            self._put(node, place)
            return node
        else:
            first, node = node, self._append(kind, place)
            self.doubles.append((node, first))
        self.keys[node] = key
        return node

    def rename(self, node: int, kind: str, key: Key) -> None:
        """Gives a node another key."""
        del self.by_key[kind][self.keys[node]]
        self.by_key[kind][key] = node
        self.keys[node] = key

    def add_block(self, kind: str, count: int, parent: int, place: Place) -> Block:
        """Many nodes at once; their keys are not stored.

        `place` is that of the first one; the others follow as entries of the image, or as elements
        of the repeated member if there is one.
        """
        image = self.image_number(place.kind, place.number)
        block = Block(len(self.kind), count, parent, image)
        self.kind.extend(array("B", [self.kind_number(kind)]) * count)
        self.image.extend(array("I", [image]) * count)
        if place.member:
            self.entry.extend(array("I", [place.entry]) * count)
            self.member.extend(array("B", [self.member_number(place.member)]) * count)
            self.item.extend(range(place.item, place.item + count))
        else:
            self.entry.extend(range(place.entry, place.entry + count))
            self.member.extend(bytes(count))
            self.item.extend(array("I", [NOWHERE]) * count)
        self.blocks.append(block)
        self._block_starts.append(block.first)
        self._block_of_parent[(parent, self.kind_number(kind))] = block
        return block

    def edge(self, source: int, target: int, reason: str) -> None:
        """An edge; the same one may stand there twice."""
        number = self._reason_number.get(reason)
        if number is None:
            number = self._reason_number[reason] = len(self.reasons)
            self.reasons.append(reason)
        self.source.append(source)
        self.target.append(target)
        self.reason.append(number)

    # --------------------------------------------------------------------------------- looking

    def block_of(self, node: int) -> Block | None:
        """The block a node lies in."""
        i = bisect_right(self._block_starts, node) - 1
        if i >= 0 and node < self.blocks[i].end:
            return self.blocks[i]
        return None

    def block_below(self, parent: int, kind: str) -> Block | None:
        """The nodes of a kind that are part of this one."""
        return self._block_of_parent.get((parent, self._kind_number.get(kind, -1)))

    def has_message(self, node: int) -> bool:
        """Whether an entry of an image stands behind the node."""
        return self.image[node] != NOWHERE

    def place(self, node: int) -> Place | None:
        """Where the message of a node stands."""
        image = self.image[node]
        if image == NOWHERE:
            return None
        kind, number = self.images[image]
        member = self.members[self.member[node]]
        return Place(kind, number, self.entry[node], member, self.item[node])


class Adjacency:
    """Edges by one of their ends, for looking them up."""

    def __init__(self, ends: array[int], nodes: int) -> None:
        """`ends`: the node at that end of every edge."""
        order = sorted(range(len(ends)), key=ends.__getitem__)
        self._order = array("I", order)
        self._starts = array("I", bytes(array("I").itemsize * (nodes + 1)))
        starts = self._starts
        for end in ends:
            starts[end + 1] += 1
        total = 0
        for i in range(nodes + 1):
            total += starts[i]
            starts[i] = total

    def edges(self, node: int) -> Iterator[int]:
        """Numbers of the edges at a node."""
        yield from self._order[self._starts[node] : self._starts[node + 1]]
