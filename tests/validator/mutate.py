# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes one thing in an image set: a member, an entry, a file, a run of pages, the parent.

Each mutation is made by a number alone: the same set and number give the same change.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor.images import BY_ID, ImageSet, Trait, kinds
from torpor.images import messages as pb
from torpor.images.writer import pack

MESSAGE, STRING, BYTES, ENUM, BOOL, REPEATED = 11, 9, 12, 14, 8, 3
SIGNED = {3, 5, 15, 16, 17, 18}
BITS = {3: 64, 4: 64, 6: 64, 16: 64, 18: 64}
PAGE = 4096
# Written by a dump for people; a restore does not look at them.
IGNORED = {"STATS_DUMP", "STATS_RESTORE"}


@dataclass
class Entry:
    message: pb.Message
    payload: bytes


@dataclass
class Leaf:
    """A member with a value that is no message."""

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


class Nothing(Exception):
    """There is nothing this mutation could change here."""


class Mutator:
    """One change to the images in a folder, which are its own to change."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        with ImageSet(folder) as images:
            self.found = [f for f in images.images() if f.kind.id not in IGNORED]

    # ----------------------------------------------------------------------------- reading

    def pick(self, good: Callable[[Any], bool] = lambda f: True) -> Any:
        """An image; rare kinds are as likely as frequent ones."""
        choice = [f for f in self.found if not f.kind.traits & Trait.RAW and good(f)]
        names = sorted({f.kind.id for f in choice})
        if not names:
            raise Nothing
        kind = self.rng.choice(names)
        return self.rng.choice([f for f in choice if f.kind.id == kind])

    def load(self, found: Any) -> list[Entry]:
        with ImageSet(self.folder) as images, images.open(found.kind.id, found.number) as image:
            self.layout = image.layout
            return [Entry(e.message, bytes(e.payload)) for e in image]

    def store(self, found: Any, entries: list[Entry]) -> None:
        parts = [kinds.header(found.kind, self.layout)]
        for e in entries:
            body = e.message.SerializePartialToString()
            parts += [len(body).to_bytes(4, "little"), body, e.payload]
        self.write(found.name, b"".join(parts))

    def write(self, name: str, data: bytes) -> None:
        """Replaces a file; others may have a link to the old one."""
        (self.folder / name).unlink(missing_ok=True)
        (self.folder / name).write_bytes(data)

    # --------------------------------------------------------------------------- members

    def leaves(self, message: pb.Message, place: str = "") -> list[Leaf]:
        """All members that are set."""
        found: list[Leaf] = []
        for field, value in message.ListFields():
            here = f"{place}.{field.name}" if place else field.name
            many = field.label == REPEATED
            if field.type == MESSAGE:
                for i, inner in enumerate(value if many else [value]):
                    found += self.leaves(inner, f"{here}[{i}]" if many else here)
            elif many:
                found += [Leaf(message, field, f"{here}[{i}]", i) for i in range(len(value))]
            else:
                found.append(Leaf(message, field, here))
        return found

    def pick_leaf(self, entries: list[Entry]) -> tuple[int, Leaf]:
        """A member of any entry; long lists count once."""
        i = self.rng.randrange(len(entries))
        by_name: dict[str, list[Leaf]] = {}
        for leaf in self.leaves(entries[i].message):
            name = "".join(c for c in leaf.place if not c.isdigit())
            by_name.setdefault(name, []).append(leaf)
        if not by_name:
            raise Nothing
        return i, self.rng.choice(by_name[self.rng.choice(sorted(by_name))])

    def other_value(self, found: Any, entries: list[Entry], leaf: Leaf) -> Any:
        """A new value for a member: near, far, or that of another object."""
        kind, old, rng = leaf.field.type, leaf.value, self.rng
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
        return self._other_number(entries, leaf, old)

    def _other_number(self, entries: list[Entry], leaf: Leaf, old: int) -> int:
        rng, bits = self.rng, BITS.get(leaf.field.type, 32)
        low = -(1 << bits - 1) if leaf.field.type in SIGNED else 0
        high = (1 << bits - 1) - 1 if leaf.field.type in SIGNED else (1 << bits) - 1
        same = [
            x.value
            for e in entries
            for x in self.leaves(e.message)
            if x.field.name == leaf.field.name
        ]
        new = rng.choice([
            0, 1, old + 1, old - 1, old ^ 1 << rng.randrange(bits), low, high, rng.choice(same),
            rng.choice(same), rng.randrange(1000), rng.randrange(low, high), old + PAGE, old - PAGE,
        ])  # fmt: skip
        return min(max(new, low), high)

    # ------------------------------------------------------------------------- mutations

    def change_member(self) -> str:
        found = self.pick()
        entries = self.load(found)
        if not entries:
            raise Nothing
        i, leaf = self.pick_leaf(entries)
        old = leaf.value
        leaf.value = self.other_value(found, entries, leaf)
        if leaf.value == old:
            raise Nothing
        self.store(found, entries)
        return f"{found.name}[{i}].{leaf.place}: {old!r:.60} -> {leaf.value!r:.60}"

    def clear_member(self) -> str:
        found = self.pick()
        entries = self.load(found)
        if not entries:
            raise Nothing
        i, leaf = self.pick_leaf(entries)
        leaf.owner.ClearField(leaf.field.name)
        self.store(found, entries)
        return f"{found.name}[{i}].{leaf.place} is cleared"

    def drop_part(self) -> str:
        """A message inside a message goes, or stands there twice."""
        found = self.pick()
        entries = self.load(found)
        parts: list[tuple[Any, pb.Message, pb.Field]] = []

        def walk(place: str, m: pb.Message) -> None:
            for field, value in m.ListFields():
                if field.type != MESSAGE:
                    continue
                parts.append((f"{place}.{field.name}", m, field))
                for k, inner in enumerate(value if field.label == REPEATED else [value]):
                    if k < 8:
                        walk(f"{place}.{field.name}", inner)

        for i, e in enumerate(entries[:50]):
            walk(f"{found.name}[{i}]", e.message)
        if not parts:
            raise Nothing
        names = sorted({p for p, _, _ in parts})
        name = self.rng.choice(names)
        place, owner, field = self.rng.choice([p for p in parts if p[0] == name])
        if field.label != REPEATED:
            owner.ClearField(field.name)
            text = f"{place} is cleared"
        else:
            values = getattr(owner, field.name)
            k = self.rng.randrange(len(values))
            if self.rng.random() < 0.5:
                del values[k]
                text = f"{place}[{k}] is dropped"
            else:
                values.add().CopyFrom(values[k])
                text = f"{place}[{k}] stands there twice"
        self.store(found, entries)
        return str(text)

    def drop_entry(self) -> str:
        found = self.pick()
        entries = self.load(found)
        if not entries:
            raise Nothing
        i = self.rng.randrange(len(entries))
        del entries[i]
        self.store(found, entries)
        return f"{found.name}[{i}] is dropped"

    def double_entry(self) -> str:
        found = self.pick()
        entries = self.load(found)
        if not entries:
            raise Nothing
        i = self.rng.randrange(len(entries))
        entries.insert(self.rng.randrange(len(entries) + 1), entries[i])
        self.store(found, entries)
        return f"{found.name}[{i}] stands there twice"

    def swap_entries(self) -> str:
        found = self.pick()
        entries = self.load(found)
        if len(entries) < 2:
            raise Nothing
        i, k = self.rng.sample(range(len(entries)), 2)
        entries[i], entries[k] = entries[k], entries[i]
        self.store(found, entries)
        return f"{found.name}[{i}] and [{k}] change places"

    def cut_file(self) -> str:
        found = self.rng.choice(self.found)
        data = (self.folder / found.name).read_bytes()
        if not data:
            raise Nothing
        size = self.rng.choice([0, self.rng.randrange(len(data)), len(data) - 1])
        self.write(found.name, data[:size])
        return f"{found.name} is cut from {len(data)} to {size} bytes"

    def extend_file(self) -> str:
        found = self.rng.choice(self.found)
        data = (self.folder / found.name).read_bytes()
        more = self.rng.choice([b"\0", b"\0" * 4, b"\1" * 8, data[-64:], bytes(PAGE)])
        self.write(found.name, data + more)
        return f"{found.name} gets {len(more)} bytes more"

    def remove_file(self) -> str:
        found = self.pick()
        (self.folder / found.name).unlink()
        return f"{found.name} is removed"

    def flip_bit(self) -> str:
        found = self.pick()
        data = bytearray((self.folder / found.name).read_bytes())
        if not data:
            raise Nothing
        at, bit = self.rng.randrange(min(len(data), 1 << 16)), self.rng.randrange(8)
        data[at] ^= 1 << bit
        self.write(found.name, bytes(data))
        return f"{found.name}: bit {bit} of byte {at} is flipped"

    def shift_run(self) -> str:
        found = self.pick(lambda f: f.kind.name == "PAGEMAP")
        entries = self.load(found)
        if len(entries) < 2:
            raise Nothing
        i = self.rng.randrange(1, len(entries))
        run: Any = entries[i].message
        pages = run.nr_pages if run.HasField("nr_pages") else run.compat_nr_pages
        old = f"0x{run.vaddr:x}+{pages}"
        what = self.rng.choice(["up", "down", "more", "fewer", "parent", "lazy", "odd"])
        if what in ("up", "down"):
            run.vaddr = max(0, run.vaddr + (PAGE if what == "up" else -PAGE))
        elif what in ("more", "fewer"):
            run.compat_nr_pages = max(0, pages + (1 if what == "more" else -1))
            run.ClearField("nr_pages")
        elif what == "odd":
            run.vaddr += 8
        else:
            run.flags = 1 if what == "parent" else 2
        self.store(found, entries)
        return f"{found.name}[{i}] {old}: {what}"

    def replace_parent(self) -> str:
        link = self.folder / "parent"
        if not link.is_symlink():
            raise Nothing
        link.unlink()
        to = self.rng.choice(["", "nowhere", ".", "..", "/proc/self"])
        if to:
            link.symlink_to(to)
        return f"the link 'parent' leads to '{to}'"

    def swap_pages(self) -> str:
        """Two pagemaps name each other's pages."""
        found = self.pick(lambda f: f.kind.name == "PAGEMAP")
        entries = self.load(found)
        heads = [f.number for f in self.found if f.kind.id == "PAGES"]
        if not entries or not heads:
            raise Nothing
        head: Any = entries[0].message
        old = head.pages_id
        head.pages_id = self.rng.choice([*heads, 999])
        if head.pages_id == old:
            raise Nothing
        self.store(found, entries)
        return f"{found.name}: pages-{old} becomes pages-{head.pages_id}"


WEIGHTS: dict[Callable[[Mutator], str], int] = {
    Mutator.change_member: 40,
    Mutator.clear_member: 10,
    Mutator.drop_part: 10,
    Mutator.drop_entry: 8,
    Mutator.double_entry: 6,
    Mutator.swap_entries: 4,
    Mutator.cut_file: 5,
    Mutator.extend_file: 4,
    Mutator.remove_file: 5,
    Mutator.flip_bit: 8,
    Mutator.shift_run: 8,
    Mutator.replace_parent: 4,
    Mutator.swap_pages: 3,
}


def mutate(source: Path, folder: Path, base: str, number: int) -> str:
    """Makes a changed copy of a set; says what was changed. Files that stay are linked."""
    for attempt in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in source.iterdir():
            if path.is_symlink():
                (folder / path.name).symlink_to(os.readlink(path))
            elif path.suffix != ".log" and path.is_file():
                os.link(path, folder / path.name)
        rng = random.Random(f"{base} {number} {attempt}")
        how = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        try:
            return f"{how.__name__}: {how(Mutator(folder, rng))}"
        except Nothing:
            continue
    raise RuntimeError("nothing can be changed")


__all__ = ["BY_ID", "mutate", "pack"]
