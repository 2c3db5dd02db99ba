# SPDX-License-Identifier: GPL-2.0-or-later
"""Parent images: long chains, chains of other writers, and chains that are broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import Box, Failed
from pagemaps import PAGE, PARENT, PRESENT, Entry
from subjects import Subject

NAME = "mem_stack_brk"


def split(images: Path, links: int, legacy: bool = False) -> list[Path]:
    """Spreads the pages of a set over a chain of sets below it; returns the directories."""
    (path,) = images.glob("pagemap-*.img")
    number, runs = pagemaps.entries(path)
    data = (images / f"pages-{number}.img").read_bytes()
    pages = [run.vaddr + i * PAGE for run in runs for i in range(run.pages)]
    chain = [images, *(images.parent / f"link-{i}" for i in range(1, links + 1))]
    for level, folder in enumerate(chain):
        if level:
            folder.mkdir()
            shutil.copy(images / "inventory.img", folder)
        own = [i for i in range(len(pages)) if i % len(chain) == level]
        entries = []
        for i, at in enumerate(pages):
            flags = PRESENT if i % len(chain) == level else PARENT
            # what lies in sets above is of no interest below
            if i % len(chain) < level:
                continue
            last = entries[-1] if entries else None
            if last and last.flags == flags and last.vaddr + last.pages * PAGE == at:
                entries[-1] = Entry(last.vaddr, last.pages + 1, flags)
            else:
                entries.append(Entry(at, 1, flags))
        pagemaps.write(folder / path.name, 7, entries, legacy=legacy)
        with (folder / "pages-7.img").open("wb") as f:
            for i in own:
                f.write(data[i * PAGE : (i + 1) * PAGE])
        if level + 1 < len(chain):
            (folder / "parent").symlink_to(f"../{chain[level + 1].name}")
    return chain


def restored(box: Box, links: int, legacy: bool) -> None:
    s = Subject(box, NAME)
    s.start()
    s.dump()
    split(s.images, links, legacy)
    s.restore()
    s.finish()


@pytest.mark.parametrize(
    ("links", "legacy"), [(1, False), (1, True), (3, True), (150, False)]
)
def test_chain_is_restored(boxed: Callable[..., Any], links: int, legacy: bool) -> None:
    boxed(restored, links=links, legacy=legacy)


def lose_link(chain: list[Path]) -> list[str]:
    (chain[2] / "parent").unlink()
    return ["link-2", "no link 'parent'"]


def lose_set(chain: list[Path]) -> list[str]:
    shutil.rmtree(chain[3])
    return ["link-3", "cannot be opened"]


def lose_inventory(chain: list[Path]) -> list[str]:
    (chain[2] / "inventory.img").unlink()
    return ["link-2", "no complete image set"]


def lose_pagemap(chain: list[Path]) -> list[str]:
    next(chain[3].glob("pagemap-*.img")).unlink()
    return ["link-3", "3 links up", "page 0x"]


def lose_page(chain: list[Path]) -> list[str]:
    path = next(chain[3].glob("pagemap-*.img"))
    number, runs = pagemaps.entries(path)
    pagemaps.write(path, number, runs[:-1])
    return ["link-3", f"page {runs[-1].vaddr:#x}"]


def cut_pages(chain: list[Path]) -> list[str]:
    with (chain[1] / "pages-7.img").open("r+b") as f:
        f.truncate(PAGE)
    return ["link-1", "pages-7.img is too short"]


def lose_pages(chain: list[Path]) -> list[str]:
    (chain[2] / "pages-7.img").unlink()
    return ["link-2", "pages-7.img"]


def circle(chain: list[Path]) -> list[str]:
    shutil.rmtree(chain[3])
    chain[3].symlink_to(chain[1].name)
    return ["circle"]


BREAKS = {
    f.__name__: f
    for f in (
        *(lose_link, lose_set, lose_inventory, lose_pagemap),
        *(lose_page, cut_pages, lose_pages, circle),
    )
}


def broken(box: Box) -> dict[str, str]:
    """Every way of breaking a chain: the restore names it, and starts nothing."""
    s = Subject(box, NAME)
    s.start()
    s.dump()
    whole = box.dir / "whole"
    shutil.copytree(s.images, whole)
    wrong = {}
    for name, how in BREAKS.items():
        home = box.dir / name
        home.mkdir()
        chain = split(Path(shutil.copytree(whole, home / "set")), 3)
        parts = how(chain)
        done = box.torpor("restore", "-d", "-D", chain[0], "-o", "restore.log", "-v4")
        log = (chain[0] / "restore.log").read_text()
        if done.status == 0 or not all(p in done.output for p in parts):
            wrong[name] = f"{done.status}: {done.output}"
        elif "stage 'pids'" in log or box.tasks():
            wrong[name] = "found too late"
    if wrong:
        raise Failed(str(wrong))
    return wrong


def test_broken_chain_is_named(boxed: Callable[..., Any]) -> None:
    boxed(broken)


def dump_onto_broken(box: Box) -> None:
    """A dump onto images whose own parents are gone fails, and the tasks run on."""
    s = Subject(box, NAME)
    s.start()
    sets = [box.dir / f"set-{i}" for i in range(3)]
    command = ["pre-dump", "-t", str(s.pid), "-o", "dump.log", "-D"]
    for i, images in enumerate(sets):
        images.mkdir()
        more = ["--prev-images-dir", f"../set-{i - 1}"] if i else []
        if i == 2:
            shutil.rmtree(sets[0])
        done = box.torpor(*command, images, *more)
        if (done.status == 0) != (i < 2):
            raise Failed(f"pre-dump {i} ended with {done.status}")
    if "'../set-0'" not in done.output or (sets[2] / "parent").is_symlink():
        raise Failed("the missing set is not named, or its link was left")
    s.dump()
    s.restore()
    s.finish()


def test_dump_onto_broken_chain(boxed: Callable[..., Any]) -> None:
    boxed(dump_onto_broken)
