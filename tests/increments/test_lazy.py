# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy restores: from images, and from tasks that stand still elsewhere."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import TORPOR, Box, Failed
from subjects import Subject


class Daemon:
    """lazy-pages for the images of a subject."""

    def __init__(self, box: Box, images: Path, *options: str) -> None:
        self.box = box
        self.images = images
        self.out = box.dir / f"daemon-{box.runs}.out"
        words = ["lazy-pages", "-D", images, "-o", "lazy.log", "-v4", "--json", *options]
        self.pid = box.start([TORPOR, *words], out=self.out)
        box.aside.add(self.pid)
        box.until("no socket", 10, (images / "lazy-pages.socket").exists)

    def end(self, good: bool = True) -> dict[str, int]:
        status = self.box.wait(self.pid, 60)
        if (status == 0) != good:
            raise Failed(f"lazy-pages ended with {status}: {self.out.read_text()}")
        if (self.images / "lazy-pages.socket").exists():
            raise Failed("the socket is left")
        return json.loads(self.out.read_text().splitlines()[0]) if good else {}


def restored_lazily(box: Box, s: Subject, *options: str) -> dict[str, int]:
    daemon = Daemon(box, s.images, *options)
    s.restore("--lazy-pages")
    return daemon.end()


def local(box: Box, name: str, work: bool) -> dict[str, int]:
    """Everything comes, in whatever order; then it is dumped and restored again."""
    s = Subject(box, name)
    s.start()
    s.dump()
    if not work:
        found = restored_lazily(box, s)
        s.dump()
        s.restore()
        s.finish()
        return found
    # while everything is still coming
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    s.finish()
    return daemon.end()


NAMES = ["mem_cow", "mem_shared", "mem_files", "mem_stack_brk", "threads", "tree"]


@pytest.mark.parametrize("name", NAMES)
def test_all_comes(boxed: Callable[..., Any], name: str) -> None:
    boxed(local, name=name, work=False)


# mem_private compares its areas: the kernel merges two of them when both have become equal, which
# happens when all pages are there
@pytest.mark.parametrize("name", ["mem_private", *NAMES])
def test_works_meanwhile(boxed: Callable[..., Any], name: str) -> None:
    found = boxed(local, name=name, work=True)
    if name == "mem_private":
        assert found["pages_on_fault"] + found["pages_ahead"] > 12000


# -------------------------------------------------------------------------------------- the storm


def storm(box: Box, seed: int) -> dict[str, int]:
    """Memory that is mapped, moved, dropped and forked while it is still coming."""
    s = Subject(box, "storm", (str(seed),))
    s.start()
    time.sleep(0.2)
    for t in box.tasks():
        os.kill(t.pid, signal.SIGSTOP)
    box.until("not stopped", 10, lambda: all(t.state in "TZ" for t in box.tasks()))
    time.sleep(0.02)
    s.before = box.tasks()
    s.dump()
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    for t in box.tasks():
        os.kill(t.pid, signal.SIGCONT)
    time.sleep(0.3)
    s.finish()
    return daemon.end()


@pytest.mark.parametrize("seed", range(1, int(os.environ.get("INCREMENT_SEEDS", "3")) + 1))
def test_storm(boxed: Callable[..., Any], seed: int) -> None:
    boxed(storm, seed=seed)
