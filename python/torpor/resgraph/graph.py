# SPDX-License-Identifier: MIT
"""The graph: asking for nodes and edges, following them, taking parts.

Nodes are handles made on demand; two handles of one node are equal. A graph stays valid as long as
its image set is open.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

from torpor.images import ImageError, ImageSet, Trait, crit
from torpor.images import messages as pb
from torpor.images.imageset import Found
from torpor.images.kinds import BY_ID, file_name
from torpor.images.pages import PageMap
from torpor.images.reader import Image
from torpor.images.wire import Lazy
from torpor.resgraph import labels, rooms_file, rooms_memory, rooms_space, rooms_task
from torpor.resgraph.builder import Builder
from torpor.resgraph.schema import NODE_KINDS, REASONS, Origin
from torpor.resgraph.store import NOWHERE, Adjacency, Block, Key, Place, Store

M = TypeVar("M", bound=pb.Message)
T = TypeVar("T")
ROOMS = rooms_task.ROOMS | rooms_memory.ROOMS | rooms_file.ROOMS | rooms_space.ROOMS
FINISHERS = (
    *rooms_task.FINISHERS, *rooms_memory.FINISHERS, *rooms_file.FINISHERS, *rooms_space.FINISHERS,
)  # fmt: skip
# Open images and parsed columns that are kept at hand.
CACHE = 64
GUARD = 0x10000  # vma_entry.status


class Edge(NamedTuple):
    """SOURCE reason TARGET."""

    source: Node
    reason: str
    target: Node

    @property
    def needs(self) -> bool:
        """Whether the source cannot be made before the target is there."""
        reason = REASONS.get(self.reason)
        return reason.needs if reason else True


class Node:
    """One thing of the dump."""

    __slots__ = ("graph", "id")

    def __init__(self, graph: Graph, number: int) -> None:
        self.graph = graph
        self.id = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and other.id == self.id and other.graph is self.graph

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<{self.label}>"

    @property
    def kind(self) -> str:
        """Name in schema.NODE_KINDS, or of a kind of image that has no room."""
        return self.graph.store.kinds[self.graph.store.kind[self.id]]

    @property
    def key(self) -> Key:
        """What tells it from others of its kind (schema.NODE_KINDS says what that is)."""
        return self.graph.key(self.id)

    @property
    def label(self) -> str:
        """For people: "task 42 'bash'"."""
        return labels.label(self)

    @property
    def missing(self) -> bool:
        """The images refer to it but do not have it."""
        return self.graph.is_missing(self.id)

    @property
    def origin(self) -> Origin:
        """Where nodes of this kind come from."""
        kind = NODE_KINDS.get(self.kind)
        return kind.origin if kind else Origin.ENTRY

    @property
    def place(self) -> Place | None:
        """Where its message stands; None if it has none."""
        return self.graph.store.place(self.id)

    @property
    def image(self) -> str:
        """Name of the image file it stands in, or ""."""
        place = self.place
        return file_name(BY_ID[place.kind], place.number) if place else ""

    @property
    def message(self) -> pb.Message | None:
        """Its message, parsed anew at every access; an address space comes without its areas."""
        place = self.place
        return self.graph.message(place) if place else None

    @property
    def details(self) -> pb.Message | None:
        """Its message, that of an open file being the one of its type (reg_file_entry ...)."""
        message = self.message
        if isinstance(message, pb.file_entry):
            known = rooms_file.TYPES.get(message.type)
            if known and message.HasField(known[0]):
                return cast(pb.Message, getattr(message, known[0]))
        return message

    @property
    def type(self) -> str:
        """Type of an open file ("REG"), else ""."""
        message = self.message
        if isinstance(message, pb.file_entry):
            return pb.fd_types(message.type).name
        place = self.place
        old = rooms_file.TYPE_OF_OLD.get(place.kind) if place and self.kind == "file" else None
        return pb.fd_types(old).name if old is not None else ""

    @property
    def notes(self) -> dict[str, object]:
        """Attributes that come from elsewhere: values, and messages of further images."""
        found = {}
        for name, value in self.graph.store.notes.get(self.id, {}).items():
            found[name] = self.graph.message(value) if isinstance(value, Place) else value
        return found

    def attributes(self) -> dict[str, Any]:
        """Everything the images say of it, as JSON values."""
        message = self.message
        found = crit.message_json(message, pretty=True) if message is not None else {}
        for name, value in self.notes.items():
            shown = (
                crit.message_json(value, pretty=True) if isinstance(value, pb.Message) else value
            )
            found[f"({name})"] = shown
        return found

    def out(self, *reasons: str) -> Iterator[Edge]:
        """Edges from this node, all or those for a reason."""
        return self.graph.out(self, *reasons)

    def into(self, *reasons: str) -> Iterator[Edge]:
        """Edges to this node."""
        return self.graph.into(self, *reasons)

    def one(self, *reasons: str) -> Node | None:
        """Where the first such edge leads."""
        edge = next(self.out(*reasons), None)
        return edge.target if edge else None

    def users(self, *reasons: str) -> list[Node]:
        """Where edges to this node come from."""
        return [e.source for e in self.into(*reasons)]


class _Columns(NamedTuple):
    """Addresses of areas."""

    starts: array[int]
    ends: array[int]
    plain: int  # so many come before the first guard, ascending


class _Cache(OrderedDict[Any, Any]):
    """The last few of what is expensive to make."""

    def fetch(self, key: object, make: Callable[[], T]) -> T:
        if key in self:
            self.move_to_end(key)
        else:
            self[key] = make()
            if len(self) > CACHE:
                self.popitem(last=False)
        return cast(T, self[key])


class Graph:
    """A whole image set. `problems` are the images that could not be read."""

    def __init__(self, images: ImageSet, only: Collection[str] | None = None) -> None:
        """`only`: kinds of images that are read (Kind.id); all if it is None."""
        builder = Builder(images, only)
        builder.run(ROOMS, FINISHERS)
        self.images = images
        self.store: Store = builder.store
        self.problems: list[ImageError] = builder.problems
        self.task_order: list[int] = builder.tasks
        """pids in the order of the tree."""
        self._pagemaps = builder.pagemaps
        self._cache = _Cache()

    # ----------------------------------------------------------------------------------- nodes

    def __len__(self) -> int:
        return len(self.store.kind)

    def __iter__(self) -> Iterator[Node]:
        return self.nodes()

    def __contains__(self, node: Node) -> bool:
        return node.graph is self

    def node(self, number: int) -> Node:
        """The node with this number (Node.id)."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return Node(self, number)

    def nodes(self, *kinds: str) -> Iterator[Node]:
        """All nodes, or those of some kinds, in the order they were met."""
        if not kinds:
            yield from (Node(self, i) for i in range(len(self)))
            return
        wanted = {i for i, name in enumerate(self.store.kinds) if name in kinds}
        for i, kind in enumerate(self.store.kind):
            if kind in wanted:
                yield Node(self, i)

    def kinds(self) -> dict[str, int]:
        """Kinds of nodes there are, and how many of each."""
        counts = [0] * len(self.store.kinds)
        for kind in self.store.kind:
            counts[kind] += 1
        return {n: c for n, c in zip(self.store.kinds, counts) if c}

    def find(self, kind: str, key: Key) -> Node | None:
        """The node of this kind and key."""
        number = self.store.by_key.get(kind, {}).get(key)
        if number is None and kind in ("area", "run") and isinstance(key, tuple):
            return self._find_in_block(kind, key)
        return None if number is None else Node(self, number)

    def _find_in_block(self, kind: str, key: tuple[Any, ...]) -> Node | None:
        owner: Key = key[0] if kind == "area" else key[:2]
        parent = self.find("mm" if kind == "area" else "pagemap", owner)
        block = parent and self.store.block_below(parent.id, kind)
        if not block:
            return None
        if kind == "run":
            inside = 0 <= key[2] < block.size
            return Node(self, block.first + key[2]) if inside else None
        starts = self._area_columns(block).starts
        return Node(self, block.first + starts.index(key[1])) if key[1] in starts else None

    def tasks(self) -> list[Node]:
        """Tasks in the order of the tree."""
        return [n for n in (self.find("task", pid) for pid in self.task_order) if n]

    def area_at(self, pid: int, address: int) -> Node | None:
        """The area of a task that holds an address."""
        mm = self.find("mm", pid)
        block = mm and self.store.block_below(mm.id, "area")
        return next(self._areas_touching(block, address, address + 1), None) if block else None

    def key(self, number: int) -> Key:
        """Key of a node."""
        key = self.store.keys.get(number)
        if key is not None:
            return key
        block = self.store.block_of(number)
        if not block:
            raise KeyError(number)
        parent = self.store.keys[block.parent]
        index = number - block.first
        if self.store.kinds[self.store.kind[number]] == "area":
            return parent, self._area_columns(block).starts[index]
        assert isinstance(parent, tuple)
        return (*parent, index)

    def is_missing(self, number: int) -> bool:
        """Whether a node should have an entry in the images and has none."""
        kind = NODE_KINDS.get(self.store.kinds[self.store.kind[number]])
        wanted = kind is None or kind.origin is Origin.ENTRY
        return wanted and not self.store.has_message(number)

    def missing(self) -> Iterator[Node]:
        """What the images refer to and do not have."""
        for number in range(len(self)):
            if not self.store.has_message(number) and self.is_missing(number):
                yield Node(self, number)

    # ----------------------------------------------------------------------------------- edges

    @cached_property
    def _out(self) -> Adjacency:
        return Adjacency(self.store.source, len(self))

    @cached_property
    def _in(self) -> Adjacency:
        return Adjacency(self.store.target, len(self))

    def _edge(self, number: int) -> Edge:
        store = self.store
        return Edge(
            Node(self, store.source[number]),
            store.reasons[store.reason[number]],
            Node(self, store.target[number]),
        )

    def out(self, node: Node, *reasons: str) -> Iterator[Edge]:
        """Edges from a node."""
        for number in self._out.edges(node.id):
            edge = self._edge(number)
            if not reasons or edge.reason in reasons:
                yield edge
        block = self.store.block_of(node.id)
        if block and (not reasons or "in" in reasons):
            yield Edge(node, "in", Node(self, block.parent))
        if block and (not reasons or "fills" in reasons) and node.kind == "run":
            yield from (Edge(node, "fills", area) for area in self._areas_of_run(node, block))

    def into(self, node: Node, *reasons: str) -> Iterator[Edge]:
        """Edges to a node."""
        for number in self._in.edges(node.id):
            edge = self._edge(number)
            if not reasons or edge.reason in reasons:
                yield edge
        if not reasons or "in" in reasons:
            for kind in ("area", "run"):
                block = self.store.block_below(node.id, kind)
                for number in range(block.first, block.end) if block else ():
                    yield Edge(Node(self, number), "in", node)
        if (not reasons or "fills" in reasons) and node.kind == "area":
            yield from (Edge(run, "fills", node) for run in self._runs_of_area(node))

    def edges(self) -> Iterator[Edge]:
        """All edges."""
        for number in range(len(self)):
            yield from self.out(Node(self, number))

    def neighbours(self, node: Node) -> Iterator[tuple[Edge, Node]]:
        """Edges at a node in either direction, with the node at the other end."""
        for edge in self.out(node):
            yield edge, edge.target
        for edge in self.into(node):
            yield edge, edge.source

    # ----------------------------------------------------------------------- areas and page runs

    def _area_columns(self, block: Block) -> _Columns:
        """Starts and ends of the areas of a block, and how many there are before the guards."""

        def make() -> _Columns:
            columns = _Columns(array("Q"), array("Q"), 0)
            plain = 0
            for area in self._areas(self.store.images[block.image][1]).each():
                columns.starts.append(area.start)
                columns.ends.append(area.end)
                plain += not area.status & GUARD
            return columns._replace(plain=plain)

        return self._cache.fetch(("columns", block.first), make)

    def _areas_touching(self, block: Block, start: int, end: int) -> Iterator[Node]:
        """Areas that share an address with [start, end), guards left out; they are sorted."""
        starts, ends, plain = self._area_columns(block)
        index = max(0, bisect_right(starts, start, 0, plain) - 1)
        while index < plain and starts[index] < end:
            if ends[index] > start:
                yield Node(self, block.first + index)
            index += 1

    def pagemap(self, owner: str, number: int) -> PageMap:
        """The runs of "task" pid or "shmem" id (or "task elsewhere": on a page server).

        KeyError if there is no such image, or one that cannot be read.
        """
        return self._pagemaps[owner, number]

    def _areas_of_run(self, node: Node, block: Block) -> Iterator[Node]:
        owner, number = cast("tuple[str, int]", self.store.keys[block.parent])
        mm = self.find("mm", number) if owner == "task" else None
        areas = mm and self.store.block_below(mm.id, "area")
        if areas:
            run = self.pagemap(owner, number)[node.id - block.first]
            yield from self._areas_touching(areas, run.address, run.end)

    def _runs_of_area(self, node: Node) -> Iterator[Node]:
        block = self.store.block_of(node.id)
        if not block:
            return
        pid, start = cast("tuple[int, int]", self.key(node.id))
        pagemap = self.find("pagemap", ("task", pid))
        runs = pagemap and self.store.block_below(pagemap.id, "run")
        if not runs or not pagemap or not pagemap.place:
            return
        end = self._area_columns(block).ends[node.id - block.first]
        columns = self.pagemap("task", pid)
        for index in columns.indices_between(start, end):
            yield Node(self, runs.first + index)

    # -------------------------------------------------------------------------------- messages

    def _image(self, kind: str, number: int) -> Image:
        return self._cache.fetch(("image", kind, number), lambda: self.images.open(kind, number))

    def _mm(self, pid: int) -> tuple[pb.mm_entry, Lazy[pb.vma_entry]]:
        return self._cache.fetch(("mm", pid), lambda: self.images.mm(pid))

    def _areas(self, pid: int) -> Lazy[pb.vma_entry]:
        return self._mm(pid)[1]

    def message(self, place: Place) -> pb.Message | None:
        """The message that stands at a place; None for raw images."""
        if BY_ID[place.kind].traits & Trait.RAW:
            return None
        if place.kind == "MM":
            whole, areas = self._mm(place.number)
            if place.member == "vmas":
                return areas[place.item]
            message: Any = whole
        else:
            message = self._image(place.kind, place.number)[place.entry].message
        for name in place.member.split(".") if place.member else ():
            message = getattr(message, name)
        if place.item != NOWHERE:
            message = message[place.item]
        return cast(pb.Message, message)

    # ---------------------------------------------------------------------------------- parts

    def follow(
        self, start: Iterable[Node], reasons: Collection[str] = (), backwards: bool = False
    ) -> Iterator[Node]:
        """What can be reached by edges (for these reasons), nearest first, the start included."""
        seen = {n.id for n in start}
        todo = [Node(self, i) for i in sorted(seen)]
        for node in todo:
            yield node
            edges = self.into(node, *reasons) if backwards else self.out(node, *reasons)
            for edge in edges:
                other = edge.source if backwards else edge.target
                if other.id not in seen:
                    seen.add(other.id)
                    todo.append(other)

    def found(self, node: Node) -> Found | None:
        """The image file a node stands in."""
        place = node.place
        return Found(BY_ID[place.kind], place.number, node.image) if place else None
