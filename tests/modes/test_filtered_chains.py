# SPDX-License-Identifier: GPL-2.0-or-later
"""Increments whose sets went through different filters, plain ones among them; encrypted parents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed, Skipped
from sealed_sets import AESGCM, PAGE, Reader
from subjects import PATIENT, Subject

LZ4 = ("--compress",)
ZSTD = ("--compress=zstd:3",)
SECRET = ("--encrypt", "--recipient", "KEY")
CHAINS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plain-lz4-zstd": ((), LZ4, ZSTD),
    "lz4-plain-plain": (LZ4, (), ()),
    "secret": (SECRET, SECRET + LZ4, SECRET),
}


class Chain:
    """One subject and the sets made of it; the last one is a full dump."""

    def __init__(self, box: Box, name: str) -> None:
        self.box = box
        self.key = box.dir / "key"
        box.torpor("keygen", "--output", self.key)
        self.subject = Subject(box, name)
        self.subject.start()
        self.sets: list[Path] = []

    def words(self, command: str, options: tuple[str, ...]) -> list[str | Path]:
        images = self.box.dir / f"set-{len(self.sets)}"
        images.mkdir(exist_ok=True)
        words: list[str | Path] = [command, "-t", str(self.subject.pid), "-D", images]
        words += ["--tracker", "hash", "-o", "dump.log", "-v4", *PATIENT]
        words += ["--track-mem"] if command == "dump" else []
        words += ["--prev-images-dir", f"../{self.sets[-1].name}"] if self.sets else []
        words += ["--identity", self.key]
        return words + [str(self.key) if w == "KEY" else w for w in options]

    def dump(self, command: str, options: tuple[str, ...]) -> None:
        done = self.box.torpor(*self.words(command, options))
        if done.status != 0:
            raise Failed(f"{command} failed")
        self.sets.append(self.box.dir / f"set-{len(self.sets)}")

    def restore(self) -> int:
        self.subject.forget()
        words: list[str | Path] = ["restore", "-d", "-D", self.sets[-1], "-o", "restore.log", "-v4"]
        return self.box.torpor(*words, "--identity", self.key).status


def chain(box: Box, kinds: str) -> None:
    c = Chain(box, "mem_private")
    for options in CHAINS[kinds][:-1]:
        c.dump("pre-dump", options)
    c.dump("dump", CHAINS[kinds][-1])
    last = c.sets[-1] / "pages-1.img"
    if last.exists() and last.stat().st_size > 8 << 20:
        raise Failed("the last set has pages that its parents have")
    if c.restore() != 0:
        raise Failed("restore failed")
    c.subject.expect_tasks()
    c.subject.finish()


@pytest.mark.parametrize("kinds", CHAINS)
def test_chain(boxed: Callable[..., Any], kinds: str) -> None:
    boxed(chain, kinds=kinds)


def foreign_parent(box: Box) -> None:
    """The parent of an encrypted set is that one and no other, not even one of the same tasks."""
    c = Chain(box, "mem_private")
    c.dump("pre-dump", SECRET)
    shutil.copytree(c.sets[0], box.dir / "older")
    c.sets.clear()
    shutil.rmtree(box.dir / "set-0")
    c.dump("pre-dump", SECRET)
    c.dump("dump", SECRET)
    right = box.dir / "right"
    c.sets[0].rename(right)
    shutil.copytree(box.dir / "older", c.sets[0])
    if c.restore() == 0 or box.tasks():
        raise Failed("restored with the pages of an older parent")
    shutil.rmtree(c.sets[0])
    right.rename(c.sets[0])
    if c.restore() != 0:
        raise Failed("restore failed")
    c.subject.finish()


def test_foreign_parent(boxed: Callable[..., Any]) -> None:
    boxed(foreign_parent)


def plain_parent(box: Box) -> None:
    """An encrypted increment to plain images is refused: those could be changed by anybody."""
    c = Chain(box, "pipes")
    c.dump("pre-dump", ())
    done = box.torpor(*c.words("dump", SECRET))
    if done.status != 1 or "encrypted set cannot be an increment" not in done.output:
        raise Failed(f"it ended with {done}")
    c.subject.expect_tasks()
    c.subject.finish()


def test_plain_parent(boxed: Callable[..., Any]) -> None:
    boxed(plain_parent)


def sizes(box: Box, options: tuple[str, ...]) -> None:
    """What a dump says of its size is what lies there."""
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, "mem_shared")
    s.start()
    said = s.dump("-R", "--json", *(str(key) if w == "KEY" else w for w in options)).output
    aside = {"dump.log", "stats-dump"}
    there = sum(p.stat().st_size for p in s.images.iterdir() if p.name not in aside)
    found = json.loads(said.splitlines()[-1])["image_bytes"]
    if found != there:
        raise Failed(f"said {found} bytes, there are {there}")
    s.finish()


@pytest.mark.parametrize("options", [(), ZSTD, SECRET], ids=["plain", "zstd", "secret"])
def test_sizes(boxed: Callable[..., Any], options: tuple[str, ...]) -> None:
    boxed(sizes, options=options)


def recorded(box: Box) -> None:
    """Each extent tells what was done to it; what does not shrink passes a compressor unchanged."""
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, "extents", restore_options=("--identity", str(key)))
    s.start()
    s.dump(*(str(key) if w == "KEY" else w for w in SECRET + LZ4))
    r = Reader({p.name: p.read_bytes() for p in s.images.iterdir()})
    r.unwrap_by(key)
    zero, lz4, cipher = 1, 2, 4
    applied = {}
    for x in r.extents(f"pagemap-{s.pid}.img"):
        pages = len(x.addresses) * PAGE
        applied[x.applied] = applied.get(x.applied, 0) + 1
        if not 0 < pages <= 256 * 1024 or not x.applied & cipher or x.applied & zero:
            raise Failed(f"an extent of {pages} bytes went through {x.applied:#x}")
        if (x.size < pages) != bool(x.applied & lz4) or x.size > pages + 16:
            raise Failed(f"an extent of {pages} bytes takes {x.size}, filters {x.applied:#x}")
    if set(applied) != {cipher, cipher | lz4}:
        raise Failed(f"extents by filters: {applied}")
    s.restore()
    s.finish()


def test_recorded(boxed: Callable[..., Any]) -> None:
    boxed(recorded)
