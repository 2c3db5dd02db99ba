# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes one thing in an image set or one of its parents: a member, an entry, a reference, a file,
a run of pages, the link to the parent.

Each mutation is made by a number alone: the same set and number give the same change.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from entries import (
    ENUM,
    MESSAGE,
    PAGE,
    REPEATED,
    STRING,
    Entry,
    Folder,
    Leaf,
    Nothing,
    leaves,
    limits,
    messages,
    other_value,
)
from torpor.images import ImageSet, Trait
from torpor.images import messages as pb

# Members that name another object, and where its number stands: (kind of image, member).
TASKS, FILES = [("PSTREE", "pid")], [("FILES", "id")]
NUMBERS = [*TASKS, ("PSTREE", "pgid"), ("PSTREE", "sid"), ("PSTREE", "threads")]
REFERENCES: dict[str, list[tuple[str, str]]] = {
    **dict.fromkeys(("pid", "ppid", "fown_pid", "notify_thread_id", "ns_pid"), TASKS),
    **dict.fromkeys(("pgid", "sid", "pgrp", "threads"), NUMBERS),
    **dict.fromkeys(
        ("id", "regf_id", "shmid", "exe_file_id", "cwd_id", "root_id", "orig_id", "remap_id", "file"),
        FILES,
    ),
    "tfd": [("FDINFO", "fd")],
    "fd": [("FDINFO", "fd")],
    "pages_id": [("PAGEMAP", "pages_id")],
    **dict.fromkeys(("ino", "peer", "pipe_id", "eventfd", "inode_id", "id_for"), [
        ("FILES", "ino"), ("FILES", "pipe_id"), ("FILES", "inode_id"), ("FILES", "peer"),
    ]),
    **dict.fromkeys(("tty_info_id", "index"), [("TTY_INFO", "id"), ("TTY_FILES", "tty_info_id")]),
    **dict.fromkeys(("vm_id", "files_id", "fs_id", "sighand_id", "pid_ns_id", "net_ns_id"), [
        ("IDS", "vm_id"), ("IDS", "files_id"), ("IDS", "pid_ns_id"), ("IDS", "net_ns_id"),
    ]),
}  # fmt: skip


class Mutator:
    """One change to the images in a folder."""

    def __init__(self, folder: Folder, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng

    def pick(self, good: Callable[[Any], bool] = lambda f: True) -> Any:
        return self.folder.pick(self.rng, good)

    def pick_leaf(self, entries: list[Entry], names: Any = None) -> tuple[int, Leaf]:
        """A member of any entry; long lists count once."""
        i = self.rng.randrange(len(entries))
        by_name: dict[str, list[Leaf]] = {}
        for leaf in leaves(entries[i].message):
            if names is None or leaf.field.name in names:
                name = "".join(c for c in leaf.place if not c.isdigit())
                by_name.setdefault(name, []).append(leaf)
        if not by_name:
            raise Nothing
        return i, self.rng.choice(by_name[self.rng.choice(sorted(by_name))])

    # -------------------------------------------------------------------------- members

    def change_member(self) -> str:
        found = self.pick()
        entries = self.folder.load(found)
        i, leaf = self.pick_leaf(entries)
        old = leaf.value
        leaf.value = other_value(self.rng, entries, leaf)
        if leaf.value == old:
            raise Nothing
        self.folder.store(found, entries)
        return f"{found.name}[{i}].{leaf.place}: {old!r:.60} -> {leaf.value!r:.60}"

    def clear_member(self) -> str:
        found = self.pick()
        entries = self.folder.load(found)
        i, leaf = self.pick_leaf(entries)
        leaf.owner.ClearField(leaf.field.name)
        self.folder.store(found, entries)
        return f"{found.name}[{i}].{leaf.place} is cleared"

    def set_member(self) -> str:
        """A member that was not set gets a value, a list one more."""
        found = self.pick()
        entries = self.folder.load(found)
        i = self.rng.randrange(len(entries))
        place, owner = self.rng.choice(list(messages(entries[i].message, f"{found.name}[{i}]")))
        there = {f.name for f, _ in owner.ListFields()}
        free = [
            f
            for f in owner.DESCRIPTOR.fields_by_number.values()
            if f.type != MESSAGE and (f.label == REPEATED or f.name not in there)
        ]
        if not free:
            raise Nothing
        field = self.rng.choice(sorted(free, key=lambda f: f.number))
        leaf = Leaf(owner, field, "")
        if field.label == REPEATED:
            if field.type in (STRING, ENUM, 12) or not getattr(owner, field.name):
                raise Nothing
            value = self.rng.choice([0, 1, limits(field)[1], self.rng.randrange(5000)])
            getattr(owner, field.name).append(value)
        else:
            value = leaf.value = other_value(self.rng, entries, leaf)
        self.folder.store(found, entries)
        return f"{place}.{field.name} gets {value!r:.60}"

    def move_reference(self) -> str:
        """A member that names another object names a third one, of the same kind or not."""
        found = self.pick()
        entries = self.folder.load(found)
        i, leaf = self.pick_leaf(entries, REFERENCES)
        pool: set[int] = set()
        with ImageSet(self.folder.path) as images:
            for kind, member in REFERENCES[leaf.field.name]:
                for other in images.images(kind):
                    for message in images.messages(kind, other.number):
                        pool.update(
                            x.value
                            for x in leaves(message)
                            if x.field.name == member and isinstance(x.value, int)
                        )
        low, high = limits(leaf.field)
        old = leaf.value
        choice = sorted(v for v in pool if v != old and low <= v <= high)
        if not choice:
            raise Nothing
        leaf.value = self.rng.choice(choice)
        self.folder.store(found, entries)
        return f"{found.name}[{i}].{leaf.place}: {old} -> {leaf.value}, another one's"

    def drop_part(self) -> str:
        """A message inside a message goes, or stands there twice."""
        found = self.pick()
        entries = self.folder.load(found)
        parts: dict[str, list[tuple[pb.Message, pb.Field]]] = {}
        for i, e in enumerate(entries[:50]):
            for place, m in messages(e.message, f"{found.name}[{i}]"):
                for field, _ in m.ListFields():
                    if field.type == MESSAGE:
                        parts.setdefault(f"{place}.{field.name}", []).append((m, field))
        if not parts:
            raise Nothing
        place = self.rng.choice(sorted(parts))
        owner, field = self.rng.choice(parts[place])
        text = self._drop(owner, field)
        self.folder.store(found, entries)
        return f"{place}{text}"

    def _drop(self, owner: pb.Message, field: pb.Field) -> str:
        if field.label != REPEATED:
            owner.ClearField(field.name)
            return " is cleared"
        values = getattr(owner, field.name)
        k = self.rng.randrange(len(values))
        if self.rng.random() < 0.5:
            del values[k]
            return f"[{k}] is dropped"
        values.add().CopyFrom(values[k])
        return f"[{k}] stands there twice"

    # -------------------------------------------------------------------------- entries

    def drop_entry(self) -> str:
        found = self.pick()
        entries = self.folder.load(found)
        i = self.rng.randrange(len(entries))
        del entries[i]
        self.folder.store(found, entries)
        return f"{found.name}[{i}] is dropped"

    def double_entry(self) -> str:
        found = self.pick()
        entries = self.folder.load(found)
        i = self.rng.randrange(len(entries))
        entries.insert(self.rng.randrange(len(entries) + 1), entries[i])
        self.folder.store(found, entries)
        return f"{found.name}[{i}] stands there twice"

    def swap_entries(self) -> str:
        found = self.pick()
        entries = self.folder.load(found)
        if len(entries) < 2:
            raise Nothing
        i, k = self.rng.sample(range(len(entries)), 2)
        entries[i], entries[k] = entries[k], entries[i]
        self.folder.store(found, entries)
        return f"{found.name}[{i}] and [{k}] change places"

    # ---------------------------------------------------------------------------- files

    def cut_file(self) -> str:
        found = self.rng.choice(self.folder.found)
        data = self.folder.read(found.name)
        if not data:
            raise Nothing
        size = self.rng.choice([0, self.rng.randrange(len(data)), len(data) - 1])
        self.folder.write(found.name, data[:size])
        return f"{found.name} is cut from {len(data)} to {size} bytes"

    def extend_file(self) -> str:
        found = self.rng.choice(self.folder.found)
        data = self.folder.read(found.name)
        more = self.rng.choice([b"\0", b"\0" * 4, b"\1" * 8, data[-64:], bytes(PAGE)])
        self.folder.write(found.name, data + more)
        return f"{found.name} gets {len(more)} bytes more"

    def remove_file(self) -> str:
        found = self.pick()
        (self.folder.path / found.name).unlink()
        return f"{found.name} is removed"

    def swap_files(self) -> str:
        """Two images of one kind change places, or one takes the place of another kind's."""
        found = self.rng.choice(self.folder.found)
        same = self.rng.random() < 0.7
        others = [
            f for f in self.folder.found if f != found and (f.kind.id == found.kind.id) == same
        ]
        if not others:
            raise Nothing
        other = self.rng.choice(others)
        data, theirs = self.folder.read(found.name), self.folder.read(other.name)
        self.folder.write(found.name, theirs)
        if not same:
            return f"{found.name} becomes a copy of {other.name}"
        self.folder.write(other.name, data)
        return f"{found.name} and {other.name} change places"

    def renumber_file(self) -> str:
        found = self.pick(lambda f: "%" in f.kind.pattern)
        number = max(1, found.number + self.rng.choice([-1, 1, 7, 1 << 20]))
        name = found.kind.pattern % number
        if (self.folder.path / name).exists():
            raise Nothing
        (self.folder.path / found.name).rename(self.folder.path / name)
        return f"{found.name} becomes {name}"

    def flip_bit(self) -> str:
        found = self.pick()
        data = bytearray(self.folder.read(found.name))
        if not data:
            raise Nothing
        at, bit = self.rng.randrange(min(len(data), 1 << 16)), self.rng.randrange(8)
        data[at] ^= 1 << bit
        self.folder.write(found.name, bytes(data))
        return f"{found.name}: bit {bit} of byte {at} is flipped"

    # ---------------------------------------------------------------------------- pages

    def shift_run(self) -> str:
        found = self.pick(lambda f: f.kind.name in ("PAGEMAP", "TORPOR_PAGEMAP"))
        entries = self.folder.load(found)
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
        self.folder.store(found, entries)
        return f"{found.name}[{i}] {old}: {what}"

    def swap_pages(self) -> str:
        """A pagemap names the pages of another one."""
        found = self.pick(lambda f: f.kind.name == "PAGEMAP")
        entries = self.folder.load(found)
        heads = [f.number for f in self.folder.found if f.kind.id == "PAGES"]
        if not heads:
            raise Nothing
        head: Any = entries[0].message
        old = head.pages_id
        head.pages_id = self.rng.choice([*heads, 999])
        if head.pages_id == old:
            raise Nothing
        self.folder.store(found, entries)
        return f"{found.name}: pages-{old} becomes pages-{head.pages_id}"

    def damage_payload(self) -> str:
        """A bit of saved content, not of its description: contents of memory may be anything."""
        raw = [f for f in self.folder.found if f.kind.traits & Trait.RAW]
        if not raw:
            raise Nothing
        found = self.rng.choice(raw)
        data = bytearray(self.folder.read(found.name))
        if not data:
            raise Nothing
        at = self.rng.randrange(len(data))
        data[at] ^= 1 << self.rng.randrange(8)
        self.folder.write(found.name, bytes(data))
        return f"{found.name}: a bit of byte {at} is flipped"

    def replace_parent(self) -> str:
        link = self.folder.path / "parent"
        if not link.is_symlink():
            raise Nothing
        link.unlink()
        to = self.rng.choice(["", "nowhere", ".", "..", "/proc/self", "empty", "a-file"])
        if to == "empty":
            (self.folder.path / to).mkdir()
        if to == "a-file":
            link.write_bytes(b"")
            return "instead of the link 'parent' there is a file"
        if to:
            link.symlink_to(to)
        return f"the link 'parent' leads to '{to}'"


WEIGHTS: dict[Callable[[Mutator], str], int] = {
    Mutator.change_member: 36,
    Mutator.move_reference: 14,
    Mutator.set_member: 8,
    Mutator.clear_member: 10,
    Mutator.drop_part: 8,
    Mutator.drop_entry: 8,
    Mutator.double_entry: 6,
    Mutator.swap_entries: 4,
    Mutator.cut_file: 4,
    Mutator.extend_file: 4,
    Mutator.remove_file: 4,
    Mutator.swap_files: 4,
    Mutator.renumber_file: 3,
    Mutator.flip_bit: 8,
    Mutator.shift_run: 8,
    Mutator.replace_parent: 6,
    Mutator.swap_pages: 3,
    Mutator.damage_payload: 2,
}


def copy_sets(chain: Sequence[Path], into: Path) -> list[Path]:
    """A set and those it builds on, side by side under their own names; files are linked."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    made = []
    for source in chain:
        folder = into / source.name
        folder.mkdir()
        made.append(folder)
        for path in source.iterdir():
            if path.is_symlink():
                (folder / path.name).symlink_to(os.readlink(path))
            elif path.suffix != ".log" and path.is_file():
                os.link(path, folder / path.name)
    return made


def mutate(chain: Sequence[Path], into: Path, base: str, number: int) -> tuple[Path, str]:
    """Makes a changed copy of a set and its parents; returns its folder and what was changed."""
    for attempt in range(100):
        made = copy_sets(chain, into)
        rng = random.Random(f"{base} {number} {attempt}")
        how = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        layer = 0 if len(made) == 1 or rng.random() < 0.6 else rng.randrange(1, len(made))
        try:
            text = how(Mutator(Folder(made[layer]), rng))
        except Nothing:
            continue
        return made[0], f"{how.__name__}: {f'parent {layer}: ' if layer else ''}{text}"
    raise RuntimeError("nothing can be changed")
