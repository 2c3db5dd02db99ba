# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted images that somebody changed: every one is refused before a task runs.

Two dumps of the same tasks are made with the same key. Then each file of the first is flipped,
cut, lengthened, taken away, swapped with its neighbour and replaced by the one of the second dump;
pages are flipped in every extent and extents are swapped and replaced. `make check` tries each
seventh change, `make check-modes` all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed
from subjects import Subject

# what stands beside the images
ASIDE = {"dump.log", "restore.log", "stats-dump", "stats-restore"}
STRIDE = 1 if os.environ.get("TORPOR_MODES") == "all" else 7
EXTENT = 128 * 1024 + 16  # a whole one with its tag, not compressed


@dataclass
class Attacks:
    """The images, what may be done to them, and what has been done."""

    box: Box
    subject: Subject
    other: Path  # images of the second dump
    met: int = 0
    done: int = 0
    undetected: list[str] = field(default_factory=list)

    @property
    def images(self) -> Path:
        return self.subject.images

    def names(self) -> list[str]:
        return sorted(p.name for p in self.images.iterdir() if p.name not in ASIDE)

    def is_wanted(self) -> bool:
        self.met += 1
        return self.met % STRIDE == 0

    def expect_refusal(self, what: str) -> None:
        self.done += 1
        self.box.notes.clear()
        self.subject.forget()
        result = self.box.torpor(*self.subject.restore_command())
        if result.status == 0 or self.box.tasks():
            self.undetected.append(f"{what} (status {result.status})")
            self.box.kill_all()
        elif result.status != 1 or not re.search(r"Error \(\S+:\d+\): .{20,}", result.output):
            log = self.images / "restore.log"
            if result.status != 1 or "Error (" not in log.read_text():
                raise Failed(f"{what}: no clear refusal: {result}")

    def change(self, name: str, what: str, new: bytes | None) -> None:
        """One file gets another content, or goes; a restore is tried; all is as before."""
        path = self.images / name
        old = path.read_bytes()
        if new == old or not self.is_wanted():
            return
        if new is None:
            path.unlink()
        else:
            path.write_bytes(new)
        self.expect_refusal(f"{name} {what}")
        path.write_bytes(old)

    def files(self) -> None:
        """What can be done to any file."""
        names = self.names()
        for name, next_name in zip(names, names[1:] + names[:1], strict=True):
            old = (self.images / name).read_bytes()
            if not old:
                continue
            for at in sorted({0, 5, 17, 40, len(old) // 2, len(old) - 17, len(old) - 1}):
                if 0 <= at < len(old):
                    new = old[:at] + bytes([old[at] ^ 4]) + old[at + 1 :]
                    self.change(name, f"with byte {at} of {len(old)} flipped", new)
            self.change(name, "cut by a byte", old[:-1])
            self.change(name, "cut to half", old[: len(old) // 2])
            self.change(name, "emptied", b"")
            self.change(name, "lengthened", old + b"\0")
            self.change(name, "taken away", None)
            self.change(name, f"swapped with {next_name}", (self.images / next_name).read_bytes())
            if (self.other / name).exists():
                self.change(name, "replayed", (self.other / name).read_bytes())

    def pages(self) -> None:
        """Extents are known by their size: none is compressed."""
        for path in sorted(self.images.glob("pages-*.img")):
            old, other = path.read_bytes(), (self.other / path.name).read_bytes()
            for at in range(3000, len(old), 30000):
                new = old[:at] + bytes([old[at] ^ 1]) + old[at + 1 :]
                self.change(path.name, f"with byte {at} flipped", new)
            whole = len(old) // EXTENT
            for i in range(min(whole - 1, 30)):
                a, b = old[i * EXTENT : (i + 1) * EXTENT], old[(i + 1) * EXTENT : (i + 2) * EXTENT]
                new = old[: i * EXTENT] + b + a + old[(i + 2) * EXTENT :]
                self.change(path.name, f"with extents {i} and {i + 1} swapped", new)
                again = other[i * EXTENT : (i + 1) * EXTENT]
                new = old[: i * EXTENT] + again + old[(i + 1) * EXTENT :]
                if len(again) == EXTENT:
                    self.change(path.name, f"with extent {i} replayed", new)

    def together(self) -> None:
        """Several files of the second dump at once, up to all but one."""
        names = [n for n in self.names() if (self.other / n).exists()]
        old = {n: (self.images / n).read_bytes() for n in names}
        groups: Iterator[tuple[str, list[str]]] = iter(
            [
                ("inventory and manifest", ["inventory.img", "torpor-manifest"]),
                ("all pages", [n for n in names if n.startswith("page")]),
                ("all but the inventory", [n for n in names if n != "inventory.img"]),
                *((f"all but {n}", [m for m in names if m != n]) for n in names[:4]),
            ]
        )
        for what, group in groups:
            for n in group:
                (self.images / n).write_bytes((self.other / n).read_bytes())
            self.expect_refusal(f"replayed: {what}")
            for n in group:
                (self.images / n).write_bytes(old[n])


def attack(box: Box, name: str) -> None:
    key = box.dir / "key"
    if box.torpor("keygen", "--output", key).status != 0:
        raise Failed("no key was made")
    s = Subject(box, name)
    s.start()
    s.dump("-R", "--encrypt", "--recipient", str(key))
    other = s.images
    s.dump("-R", "--encrypt", "--recipient", str(key))
    s.kill()
    s.restore_options = ("--identity", str(key))
    a = Attacks(box, s, other)
    a.files()
    a.pages()
    a.together()
    if a.undetected:
        raise Failed(f"{len(a.undetected)} of {a.done} changes were not noticed: {a.undetected[:20]}")
    if a.done < 300 // STRIDE:
        raise Failed(f"only {a.done} changes were tried")
    s.restore()
    s.finish()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deleted", "mem_shared"])
def test_attacks(boxed: Callable[..., Any], name: str) -> None:
    boxed(attack, name=name)


def wrong_key(box: Box) -> None:
    """A missing or wrong key: one sentence, nothing started, nothing left."""
    keys = [box.dir / "key-0", box.dir / "key-1"]
    for key in keys:
        box.torpor("keygen", "--output", key)
    s = Subject(box, "tree")
    s.start()
    s.dump("--encrypt", "--recipient", str(keys[0]))
    for options in ((), ("--identity", str(keys[1]))):
        s.forget()
        done = box.torpor(*s.restore_command(*options))
        lines = [t for t in done.output.splitlines() if t]
        if done.status != 1 or box.tasks() or len(lines) != 1 or "encrypted" not in lines[0]:
            raise Failed(f"with {options} restore ended with {done}")
    s.restore("--identity", str(keys[0]))
    s.finish()


def test_wrong_key(boxed: Callable[..., Any]) -> None:
    boxed(wrong_key)


def nothing_in_the_clear(box: Box) -> None:
    """Names of files and tasks, memory and registers stand nowhere in the images."""
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, "deleted")
    s.start()
    s.dump("-R")
    words = (b"deleted", os.fsencode(box.dir), b"/usr/lib", b"ELF")
    if not any(word in p.read_bytes() for p in s.images.glob("*.img") for word in words[:1]):
        raise Failed("plain images do not have what is looked for")
    s.dump("--encrypt", "--recipient", str(key))
    for path in s.images.iterdir():
        if path.name not in ASIDE:
            for word in words:
                if word in path.read_bytes():
                    raise Failed(f"{word!r} stands in {path.name}")
    s.restore("--identity", str(key))
    s.finish()


def test_nothing_in_the_clear(boxed: Callable[..., Any]) -> None:
    boxed(nothing_in_the_clear)
