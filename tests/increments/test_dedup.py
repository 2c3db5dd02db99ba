# SPDX-License-Identifier: GPL-2.0-or-later
"""dedup and --auto-dedup: what is replaced takes no room, what is needed is still there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import Box, Failed, mount
from pagemaps import PAGE
from subjects import Subject

TRACKER = ("--tracker", "hash")


def holes(file: Path) -> set[int]:
    """Numbers of the pages of a file that are holes."""
    size = file.stat().st_size
    found = set()
    with file.open("rb") as f:
        at = 0
        while at < size:
            try:
                data = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                data = size
            found |= set(range(at // PAGE, data // PAGE))
            at = os.lseek(f.fileno(), data, os.SEEK_HOLE) if data < size else size
    return found


def pages_files(images: Path) -> list[Path]:
    return sorted(images.glob("pages-*.img"))


def pre_dumps(box: Box, s: Subject, n: int, *options: str) -> list[Path]:
    """Sets of a subject that changes nothing, each against the one before."""
    sets: list[Path] = []
    for i in range(n):
        images = box.dir / f"set-{i}"
        images.mkdir()
        more = ["--prev-images-dir", f"../{sets[-1].name}"] if sets else []
        command = ["pre-dump", "-t", str(s.pid), "-D", images, "-o", "dump.log", "-v4"]
        if box.torpor(*command, *TRACKER, *more, *options).status != 0:
            raise Failed("pre-dump failed")
        sets.append(images)
    return sets


def needed(images: Path) -> dict[Path, set[int]]:
    """Which pages of which files a restore of the set reads."""
    found: dict[Path, set[int]] = {}
    for path in images.glob("pagemap-*.img"):
        for page in pagemaps.pages(images, path.name).values():
            found.setdefault(page.file.resolve(), set()).add(page.offset // PAGE)
    return found


def freed(sets: list[Path]) -> int:
    """Free pages of older sets; none of them may be needed by the last one."""
    wanted = needed(sets[-1])
    count = 0
    for file in (f for d in sets[:-1] for f in pages_files(d)):
        gone = holes(file)
        lost = gone & wanted.get(file.resolve(), set())
        if lost:
            raise Failed(f"{file}: {len(lost)} needed pages are free")
        count += len(gone)
    return count


def replaced(box: Box, way: str) -> int:
    mount("tmpfs", str(box.dir), "tmpfs", 0, "size=400m")
    s = Subject(box, "mem_private")
    s.start()
    options = ["--auto-dedup"] if way == "auto" else []
    sets = pre_dumps(box, s, 3, *options)
    # without digests everything is saved again
    for images in sets[1:]:
        (images / f"torpor-digest-{s.pid}").unlink()
    s.dump("--prev-images-dir", f"../{sets[-1].name}", *TRACKER, *options)
    sets.append(s.images)
    if way == "command":
        if freed(sets):
            raise Failed("pages are free before dedup")
        done = box.torpor("dedup", "-D", s.images)
        if done.status != 0 or not done.output.startswith("freed "):
            raise Failed("dedup failed")
    count = freed(sets)
    s.restore(*options)
    s.finish()
    left = sum(f.stat().st_blocks for f in pages_files(s.images))
    if way == "auto" and left:
        raise Failed(f"{left} blocks of images are left after restore --auto-dedup")
    return count


def replaced_encrypted(box: Box) -> None:
    """The dump is for somebody else: what it replaces is seen without his key."""
    mount("tmpfs", str(box.dir), "tmpfs", 0, "size=400m")
    mine, his = str(box.dir / "mine"), str(box.dir / "his")
    for key in (mine, his):
        if box.torpor("keygen", "--output", key).status != 0:
            raise Failed("no key was made")
    s = Subject(box, "mem_private")
    s.start()
    first = box.dir / "first"
    first.mkdir()
    words = ("pre-dump", "-t", str(s.pid), "-D", first, "-o", "dump.log")
    if box.torpor(*words, "--encrypt", "--recipient", mine, "--recipient", his).status != 0:
        raise Failed("pre-dump failed")
    # it has no digests: everything is saved again
    options = (*TRACKER, "--encrypt", "--recipient", his, "--identity", mine)
    done = s.dump("--prev-images-dir", "../first", *options, "--auto-dedup")
    left = sum(f.stat().st_blocks for f in pages_files(first))
    # holes begin and end with pages of the file, extents anywhere
    if left > 64 or "older images keep" in (s.images / "dump.log").read_text():
        raise Failed(f"{left} blocks are left: {done}")
    s.restore("--identity", his)
    s.finish()


def test_encrypted(boxed: Callable[..., Any]) -> None:
    boxed(replaced_encrypted)


@pytest.mark.parametrize("way", ["command", "auto"])
def test_dedup(boxed: Callable[..., Any], way: str) -> None:
    # the first set has some 12900 pages, all of which the last one has, too
    assert boxed(replaced, way=way) > 12000
