# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted images that somebody changed: every one is refused before a task runs.

Two dumps of the same tasks are made with the same key. Then each file of the first is flipped,
cut, lengthened, taken away, swapped with its neighbour and replaced by the one of the second dump.
Every extent, whose places a reader of the format tells, is flipped at both ends and in the middle,
swapped with its neighbour, replaced by its predecessor in the second dump and by zeros, and the
file is cut in it. The number of changes is printed; each of them must be refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Failed, Skipped
from sealed_sets import AESGCM, Extent, Reader
from subjects import Subject

# what stands beside the images
ASIDE = {"dump.log", "restore.log", "stats-dump", "stats-restore"}
CHAINS = {
    "aes-gcm": ("--encrypt",),
    "lz4-aes-gcm": ("--encrypt", "--compress"),
    "zstd-chacha": ("--encrypt=chacha20-poly1305", "--compress=zstd"),
}
LAZY_CHANGES = ("flipped at 0", "swapped", "replayed")


@dataclass
class Attacks:
    """The images, what may be done to them, and what has been done."""

    box: Box
    subject: Subject
    other: Path  # images of the second dump
    done: int = 0
    extents: int = 0
    undetected: list[str] = field(default_factory=list)
    ran: str = ""  # what the subject has said before

    @property
    def images(self) -> Path:
        return self.subject.images

    def names(self) -> list[str]:
        return sorted(p.name for p in self.images.iterdir() if p.name not in ASIDE)

    def expect_refusal(self, what: str) -> None:
        """A restore fails with a sentence; no task is left, and none has run."""
        self.done += 1
        self.box.notes.clear()
        self.subject.forget()
        result = self.box.torpor(*self.subject.restore_command())
        if result.status == 0 or self.box.tasks() or "\n".join(self.subject.lines()) != self.ran:
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
        if new == old:
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

    def index(self, images: Path) -> dict[str, list[Extent]]:
        """Pages file -> its extents."""
        names = [p.name for p in images.iterdir() if p.name not in ASIDE]
        reader = Reader({n: (images / n).read_bytes() for n in names})
        reader.unwrap_by(self.box.dir / "key")
        lists = [reader.extents(n) for n in names if n.startswith("pagemap-")]
        return {found[0].file: found for found in lists if found}

    def pages(self) -> None:
        """Every extent; the length of the file stays, so that only the extent itself tells."""
        mine, others = self.index(self.images), self.index(self.other)
        for name, extents in sorted(mine.items()):
            self.extents += len(extents)
            old = (self.images / name).read_bytes()
            other = (self.other / name).read_bytes()
            for i, x in enumerate(extents):
                for what, new in extent_changes(old, extents, i, other, others[name]):
                    self.change(name, f"with extent {i} {what}", new)
                self.change(name, f"cut in extent {i}", old[: x.at + x.size // 2])

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


def extent_changes(
    old: bytes, extents: list[Extent], i: int, other: bytes, others: list[Extent]
) -> Iterator[tuple[str, bytes]]:
    """What can be done to an extent without a change of the file's length."""

    def put(at: int, new: bytes) -> bytes:
        return old[:at] + new + old[at + len(new) :]

    x = extents[i]
    end = x.at + x.size
    for at in sorted({x.at, x.at + x.size // 2, end - 1}):
        yield f"flipped at {at - x.at}", put(at, bytes([old[at] ^ 1]))
    yield "zeroed", put(x.at, bytes(x.size))
    if i + 1 < len(extents):
        y = extents[i + 1]
        swapped = old[y.at : y.at + y.size] + old[x.at : end]
        yield "swapped with the next one", put(x.at, swapped)
    if i < len(others):
        again = other[others[i].at : others[i].at + others[i].size]
        yield "replayed", put(x.at, again[: x.size].ljust(x.size, b"\0"))


def prepare(box: Box, name: str, options: tuple[str, ...]) -> Attacks:
    """Two dumps with one key; the subject is gone."""
    key = box.dir / "key"
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    if box.torpor("keygen", "--output", key).status != 0:
        raise Failed("no key was made")
    s = Subject(box, name)
    s.start()
    s.dump("-R", *options, "--recipient", str(key))
    other = s.images
    s.dump("-R", *options, "--recipient", str(key))
    s.kill()
    s.restore_options = ("--identity", str(key))
    return Attacks(box, s, other, ran="\n".join(s.lines()))


def conclude(a: Attacks, least: int) -> str:
    """All were refused, and what was not changed is still good."""
    if a.undetected:
        raise Failed(f"{len(a.undetected)} of {a.done} changes were not noticed: {a.undetected[:20]}")
    if a.done < least:
        raise Failed(f"only {a.done} changes were tried")
    a.subject.restore()
    a.subject.finish()
    return f"{a.done} changes, all refused ({len(a.names())} files, {a.extents} extents)"


def attack(box: Box, name: str, chain: str) -> str:
    a = prepare(box, name, CHAINS[chain])
    a.files()
    a.pages()
    a.together()
    return conclude(a, 300)


EVERYTHING = os.environ.get("TORPOR_MODES") == "all"


def cases() -> Iterator[Any]:
    """A sample of names and chains; `make check-modes` has all."""
    for name in ("deleted", "extents", "mem_shared") if EVERYTHING else ("deleted", "extents"):
        for chain in CHAINS if EVERYTHING else ["lz4-aes-gcm"]:
            yield pytest.param(name, chain, id=f"{name}-{chain}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chain"), cases())
def test_attacks(boxed: Callable[..., Any], capsys: Any, name: str, chain: str) -> None:
    said = boxed(attack, timeout=1200, name=name, chain=chain)
    with capsys.disabled():
        print(f"\n{name}, {chain}: {said}")


def lazily(a: Attacks, what: str) -> None:
    """The daemon refuses, and no task gets as far as to say anything about its memory."""
    a.done += 1
    a.subject.forget()
    words = ["lazy-pages", "-D", a.images, "-o", "lazy.log", "-v4", *a.subject.restore_options]
    daemon = a.box.start([TORPOR, *words])
    a.box.aside.add(daemon)
    a.box.until("no socket", 60, (a.images / "lazy-pages.socket").exists)
    a.box.torpor(*a.subject.restore_command("--lazy-pages"))
    status = a.box.wait(daemon, 120)
    # what the threads need at once is read by the restore itself
    said = "".join((a.images / f"{n}.log").read_text() for n in ("lazy", "restore"))
    if status != 1 or "changed or moved" not in said:
        a.undetected.append(f"{what} (status {status}: {said[-300:]})")
    a.box.kill_all()
    if "\n".join(a.subject.lines()) != a.ran:
        a.undetected.append(f"{what}: the task went on: {a.subject.lines()}")
    a.box.aside.discard(daemon)
    a.box.notes.clear()
    (a.images / "lazy-pages.socket").unlink(missing_ok=True)


def attack_lazily(box: Box, chain: str) -> str:
    a = prepare(box, "extents", CHAINS[chain])
    mine, others = a.index(a.images), a.index(a.other)
    for file, extents in sorted(mine.items()):
        path = a.images / file
        old, other = path.read_bytes(), (a.other / file).read_bytes()
        a.extents += len(extents)
        for i in range(len(extents)):
            for what, new in extent_changes(old, extents, i, other, others[file]):
                if new == old or not what.startswith(LAZY_CHANGES):
                    continue
                path.write_bytes(new)
                lazily(a, f"{file} with extent {i} {what}")
        path.write_bytes(old)
    return conclude(a, 60)


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS if EVERYTHING else ["lz4-aes-gcm"])
def test_attacks_lazily(boxed: Callable[..., Any], capsys: Any, chain: str) -> None:
    said = boxed(attack_lazily, timeout=1200, chain=chain)
    with capsys.disabled():
        print(f"\nextents, {chain}, lazily: {said}")


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
