# SPDX-License-Identifier: GPL-2.0-or-later
"""Who does not answer: torpor gives up within --timeout and says for whom it waited.

Whatever happens the target runs on, and nothing is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slowfs
from box import TORPOR, Box, Done, Failed, Skipped, read_task

LIMIT = "1"  # --timeout
USER = """
import mmap, os, sys, time
what, path, beats = sys.argv[1:]
if what == "cwd":
    os.chdir(os.path.dirname(path))
else:
    f = open(path, "rb", 0)
if what == "map":
    m = mmap.mmap(f.fileno(), 4096, prot=1, flags=2)
    f.close()
while True:
    with open(beats, "a") as out:
        out.write("x")
    time.sleep(0.01)
"""


class Target:
    """A program that writes a byte into a file now and then."""

    def __init__(self, box: Box, argv: list[str | Path]) -> None:
        self.box = box
        self.beats = box.dir / "beats"
        self.pid = box.start([*argv, self.beats])
        self.runs_on("before anything")
        self.tasks = box.tasks()

    def size(self) -> int:
        return self.beats.stat().st_size if self.beats.exists() else 0

    def runs_on(self, when: str) -> None:
        before = self.size()
        self.box.until(f"{when}: the target stands still", 30, lambda: self.size() > before)

    def expect_untouched(self, images: Path, but: tuple[str, ...] = ("dump.log",)) -> None:
        """It runs on with all its tasks, and nothing is left (of tasks nobody can end, later)."""
        self.runs_on("afterwards")
        left = sorted(p.name for p in images.iterdir() if p.name not in but)
        if left:
            raise Failed(f"left in the images directory: {left}")

    def expect_tasks(self) -> None:
        self.box.until(
            f"tasks differ: {self.box.tasks()}", 30, lambda: self.box.tasks() == self.tasks
        )


def command(images: Path, pid: int, what: str = "dump", *options: str) -> list[str]:
    images.mkdir(exist_ok=True)
    return [what, "-t", str(pid), "-D", str(images), "-o", "dump.log", "-v4", *options]


def expect_refusal(done: Done, *words: str) -> None:
    if done.status != 1:
        raise Failed(f"status {done.status}")
    if not all(w in done.output for w in words):
        raise Failed(f"'{done.output}' does not say {words}")


# ------------------------------------------------------------------------------------ file systems


def hanging_file(box: Box, what: str, deaf: bool) -> None:
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, what, fs.path])
    images = box.dir / "images"
    if box.torpor(*command(images, target.pid, "dump", "-R")).status != 0:
        raise Failed("a file system that answers is fine")
    fs.go_deaf() if deaf else fs.stop()
    for kind in ("dump", "pre-dump") if what == "map" else ("dump",):
        images = box.dir / kind
        done = box.torpor(*command(images, target.pid, kind, "--timeout", LIMIT))
        expect_refusal(done, f"task {target.pid} (python3)", "fuse", f"'{fs.dir}'", "--timeout")
        target.expect_untouched(images)
    fs.end()
    target.expect_tasks()


@pytest.mark.parametrize("what,deaf", [("fd", False), ("cwd", True), ("map", True)])
def test_file_system(boxed: Callable[..., Any], what: str, deaf: bool) -> None:
    """A file of the target is on a file system that hangs; deaf: not even SIGKILL would help."""
    boxed(hanging_file, what=what, deaf=deaf)


def hanging_restore(box: Box) -> None:
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, "fd", fs.path])
    images = box.dir / "images"
    if box.torpor(*command(images, target.pid)).status != 0:
        raise Failed("dump failed")
    restore = ["restore", "-d", "-D", str(images), "-o", "restore.log", "-v4"]
    fs.go_deaf()
    done = box.torpor(*restore, "--timeout", LIMIT)
    expect_refusal(done, f"'{fs.path}'", "fuse", "does not answer", "--timeout")
    fs.end()
    box.until(f"tasks are left: {box.tasks()}", 30, lambda: not box.tasks())
    if not (images / "inventory.img").exists():
        raise Failed("the images are gone")


def test_restore(boxed: Callable[..., Any]) -> None:
    boxed(hanging_restore)


# ---------------------------------------------------------------------------------- control groups


class Group:
    """A control group (version 2) of the test's own."""

    def __init__(self) -> None:
        mounts = [line.split() for line in Path("/proc/self/mounts").open()]
        found = [m[1] for m in mounts if m[2] == "cgroup2"]
        if not found:
            raise Skipped("no control groups of version 2 here")
        self.path = Path(found[0]) / f"torpor-test-{time.time_ns()}"
        try:
            self.path.mkdir()
        except OSError as e:
            raise Skipped(f"no control group can be made here: {e}") from None
        if not (self.path / "cgroup.freeze").exists():
            self.path.rmdir()
            raise Skipped("control groups cannot be frozen here")

    def take(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def freeze(self, box: Box, on: bool) -> None:
        (self.path / "cgroup.freeze").write_text("1" if on else "0")
        events = self.path / "cgroup.events"
        box.until("it does not freeze", 30, lambda: f"frozen {int(on)}" in events.read_text())

    def end(self, box: Box) -> None:
        (self.path / "cgroup.freeze").write_text("0")
        box.kill_all()
        self.path.rmdir()


BEATS = 'while :; do printf x >> "$1"; sleep 0.01; done'
PARENT = f"sh -c '{BEATS}' child \"$1\"; exit"


def frozen(box: Box, child: bool) -> None:
    group = Group()
    try:
        target = Target(box, ["sh", "-c", PARENT if child else BEATS, "parent"])
        loop = target.pid
        if child:
            (loop,) = [t.pid for t in box.tasks() if t.ppid == target.pid]
        maps = Path(f"/proc/{loop}/maps")
        before = maps.read_text()
        group.take(loop)
        group.freeze(box, True)
        images = box.dir / "images"
        done = box.torpor(*command(images, target.pid, "dump", "--timeout", LIMIT))
        expect_refusal(done, f"task {loop}", str(group.path), "frozen")
        group.freeze(box, False)
        target.expect_untouched(images)
        box.until("memory stays mapped", 30, lambda: maps.read_text() == before)
        if box.torpor(*command(box.dir / "later", target.pid, "dump", "-R")).status != 0:
            raise Failed("a dump of what was thawed failed")
        target.runs_on("after the dump")
    finally:
        group.end(box)


@pytest.mark.parametrize("child", [False, True])
def test_frozen(boxed: Callable[..., Any], child: bool) -> None:
    """Frozen tasks can be stopped but do not run what they are asked."""
    boxed(frozen, child=child)
