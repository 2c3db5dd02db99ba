# SPDX-License-Identifier: GPL-2.0-or-later
"""Images as lists of messages that can be changed and written back, and other values for members."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor.images import ImageSet, Trait, kinds
from torpor.images import messages as pb

MESSAGE, STRING, BYTES, ENUM, BOOL, REPEATED = 11, 9, 12, 14, 8, 3
SIGNED = {3, 5, 15, 16, 17, 18}
BITS = {3: 64, 4: 64, 6: 64, 16: 64, 18: 64}
PAGE = 4096
# Written by a dump for people; a restore does not look at them.
IGNORED = {"STATS_DUMP", "STATS_RESTORE"}


class Nothing(Exception):
    """There is nothing this mutation could change here."""


@dataclass
class Entry:
    message: pb.Message
    payload: bytes


@dataclass
class Leaf:
    """A member that is no message, and has a value."""

    owner: pb.Message
    field: pb.Field
    place: str
    index: int | None = None

    @property
    def value(self) -> Any:
        value = getattr(self.owner, self.field.name)
        return value if self.index is None else value[self.index]

    @value.setter
    def value(self, new: Any) -> None:
        if self.index is None:
            setattr(self.owner, self.field.name, new)
        else:
            getattr(self.owner, self.field.name)[self.index] = new


def leaves(message: pb.Message, place: str = "") -> list[Leaf]:
    """All members that are set."""
    found: list[Leaf] = []
    for field, value in message.ListFields():
        here = f"{place}.{field.name}" if place else field.name
        many = field.label == REPEATED
        if field.type == MESSAGE:
            for i, inner in enumerate(value if many else [value]):
                found += leaves(inner, f"{here}[{i}]" if many else here)
        elif many:
            found += [Leaf(message, field, f"{here}[{i}]", i) for i in range(len(value))]
        else:
            found.append(Leaf(message, field, here))
    return found


def messages(message: pb.Message, place: str, most: int = 8) -> Iterator[tuple[str, pb.Message]]:
    """The message and those in it, of lists only the first ones."""
    yield place, message
    for field, value in message.ListFields():
        if field.type == MESSAGE:
            for inner in list(value)[:most] if field.label == REPEATED else [value]:
                yield from messages(inner, f"{place}.{field.name}", most)


def limits(field: pb.Field) -> tuple[int, int]:
    """Least and greatest value of a number."""
    bits = BITS.get(field.type, 32)
    if field.type in SIGNED:
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


def _other_number(rng: random.Random, entries: list[Entry], leaf: Leaf, old: int) -> int:
    low, high = limits(leaf.field)
    same = [
        x.value for e in entries for x in leaves(e.message) if x.field.name == leaf.field.name
    ] or [old]
    new = rng.choice([
        0, 1, old + 1, old - 1, old ^ 1 << rng.randrange(BITS.get(leaf.field.type, 32)), low, high,
        rng.choice(same), rng.choice(same), rng.randrange(1000), rng.randrange(low, high),
        old + PAGE, old - PAGE,
    ])  # fmt: skip
    return min(max(new, low), high)


def other_value(rng: random.Random, entries: list[Entry], leaf: Leaf) -> Any:
    """A new value for a member: near, far, or that of another object."""
    kind, old = leaf.field.type, leaf.value
    if kind == BOOL:
        return not old
    if kind == ENUM and leaf.field.enum_type:
        return rng.choice(sorted(leaf.field.enum_type.values_by_number))
    if kind == STRING:
        text = old if isinstance(old, str) else old.decode("utf-8", "replace")
        return rng.choice([text + "x", text[:-1], "", text.lstrip("/"), text + "/y"])
    if kind == BYTES:
        flip = bytearray(old or b"\0")
        flip[rng.randrange(len(flip))] ^= 1 << rng.randrange(8)
        return rng.choice([bytes(flip), old[:-1], old + b"\0", b""])
    return _other_number(rng, entries, leaf, old)


class Folder:
    """An image set whose files are its own, or links that are replaced before they change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with ImageSet(path) as images:
            self.found = [f for f in images.images() if f.kind.id not in IGNORED]

    def pick(self, rng: random.Random, good: Callable[[Any], bool] = lambda f: True) -> Any:
        """An image with messages; rare kinds are as likely as frequent ones."""
        choice = [f for f in self.found if not f.kind.traits & Trait.RAW and good(f)]
        names = sorted({f.kind.id for f in choice})
        if not names:
            raise Nothing
        kind = rng.choice(names)
        return rng.choice([f for f in choice if f.kind.id == kind])

    def load(self, found: Any) -> list[Entry]:
        """All entries; Nothing if there are none."""
        with ImageSet(self.path) as images, images.open(found.kind.id, found.number) as image:
            self.layout = image.layout
            entries = [Entry(e.message, bytes(e.payload)) for e in image]
        if not entries:
            raise Nothing
        return entries

    def store(self, found: Any, entries: list[Entry]) -> None:
        """Writes the image that was loaded last."""
        parts = [kinds.header(found.kind, self.layout)]
        for e in entries:
            body = e.message.SerializePartialToString()
            parts += [len(body).to_bytes(4, "little"), body, e.payload]
        self.write(found.name, b"".join(parts))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).write_bytes(data)
