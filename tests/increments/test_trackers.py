# SPDX-License-Identifier: GPL-2.0-or-later
"""Pre-dumps, trackers and the tracker process: what is believed, and what is saved whole."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import Box, Done, Failed, Skipped
from daemons import PATIENCE
from subjects import Subject

NAME = "mem_stack_brk"


class Rig:
    """A subject and sets made of it."""

    def __init__(self, box: Box, tracker: str = "write-protect", name: str = NAME) -> None:
        self.box = box
        self.tracker = tracker
        if tracker == "write-protect":
            if box.torpor("check", "--feature", "uffd_wp_async").status != 0:
                raise Skipped("no write protection here")
        self.subject = Subject(box, name)
        self.subject.start()

    def run(self, command: str, name: str, *more: str, prev: str = "", **how: Any) -> Done:
        images = self.box.dir / name
        images.mkdir()
        words = [command, "-t", str(self.subject.pid), "-D", images, "-o", "dump.log", "-v4"]
        words += ["--tracker", self.tracker, *more]
        if prev:
            words += ["--prev-images-dir", f"../{prev}"]
        return self.box.torpor(*words, **how)

    def pre_dump(self, name: str, *more: str, prev: str = "") -> Path:
        if self.run("pre-dump", name, *more, prev=prev).status != 0:
            raise Failed("pre-dump failed")
        self.subject.expect_tasks()
        return self.box.dir / name

    def expect(self, name: str, whole: bool) -> None:
        """Whether a set has all pages itself, and says why."""
        own, parents = pagemaps.counts(self.box.dir / name)
        warned = "is saved whole" in (self.box.dir / name / "dump.log").read_text()
        if whole and (parents or not warned):
            raise Failed(f"{name} leaves {parents} pages to its parent, of {own}; {warned=}")
        if not whole and parents < 100:
            raise Failed(f"{name} has {own} pages and leaves {parents}")

    def finish(self, prev: str) -> None:
        """A dump onto that set, a restore, and the subject verifies itself."""
        s = self.subject
        s.dump("--prev-images-dir", f"../{prev}", "--tracker", self.tracker)
        s.restore()
        s.finish()
        self.box.until("trackers are left", PATIENCE, lambda: not self.box.trackers())


def uptime_us() -> float:
    """Full hundredths of seconds."""
    return float(Path("/proc/uptime").read_text().split()[0]) * 1e6


def semantics(box: Box, tracker: str) -> dict[str, int]:
    rig = Rig(box, tracker)
    s = rig.subject
    begin = uptime_us()
    first = rig.pre_dump("a", "--pre-dump-mode", "read")
    end = uptime_us() + 1e4
    fields = dict(pagemaps.fields(next(pagemaps.messages(first / "inventory.img"))))
    names = sorted(p.name for p in first.iterdir())
    for name in ("pstree.img", "files.img", f"core-{s.pid}.img", f"mm-{s.pid}.img"):
        if name in names:
            raise Failed(f"a pre-dump holds {name}")
    if not {"stats-dump", f"pagemap-{s.pid}.img", "pages-1.img"} <= set(names):
        raise Failed(f"a pre-dump holds {names}")
    if fields[1] != 0 or fields[9] != 2 or not begin <= fields[8] <= end:
        raise Failed(f"the inventory says {fields}, uptime was {begin} to {end}")
    done = box.torpor("restore", "-d", "-D", first, "-o", "restore.log")
    if done.status == 0 or "pre-dump" not in done.output:
        raise Failed("a pre-dump was restored")
    rig.pre_dump("b", prev="a")
    rig.expect("b", whole=False)
    if os.readlink(box.dir / "b" / "parent") != "../a":
        raise Failed("the link 'parent' is not as given")
    rig.finish("b")
    return fields


@pytest.mark.parametrize("tracker", ["write-protect", "hash"])
def test_pre_dump(boxed: Callable[..., Any], tracker: str) -> None:
    boxed(semantics, tracker=tracker)


def one_keeper(box: Box) -> None:
    """There is one tracker process per tree; it is a leftover, and ends with the tree."""
    rig = Rig(box)
    rig.pre_dump("a")
    (first,) = box.trackers()
    rig.pre_dump("b", prev="a")
    (second,) = box.trackers()
    if first == second:
        raise Failed("the old tracker process is still there")
    if (box.dir / "a" / "torpor-journal").exists():
        raise Failed("the journal of the first set tells of a process that is gone")
    done = box.torpor("leftovers", "-D", box.dir / "b", "--json")
    if done.status != 0 or not any(
        e["kind"] == "process" and e["pid"] == second for e in json.loads(done.output)["leftovers"]
    ):
        raise Failed(f"leftovers does not list process {second}: {done.output}")
    os.kill(rig.subject.pid, signal.SIGKILL)
    box.until("the tracker process does not end", PATIENCE, lambda: not box.trackers())


def test_one_keeper(boxed: Callable[..., Any]) -> None:
    boxed(one_keeper)


def other_order(box: Box) -> None:
    """Changes are known since the last set only: one made against an older set is whole."""
    rig = Rig(box)
    rig.pre_dump("a")
    rig.pre_dump("b", prev="a")
    rig.pre_dump("c", prev="a")
    rig.expect("c", whole=True)
    rig.pre_dump("d", prev="c")
    rig.expect("d", whole=False)
    rig.pre_dump("e")
    rig.pre_dump("f", prev="d")
    rig.expect("f", whole=True)
    rig.finish("f")


def test_other_order(boxed: Callable[..., Any]) -> None:
    boxed(other_order)


def keeper_lost(box: Box) -> None:
    rig = Rig(box)
    rig.pre_dump("a")
    (keeper,) = box.trackers()
    os.kill(keeper, signal.SIGKILL)
    box.until("the tracker process does not end", PATIENCE, lambda: not box.trackers())
    rig.pre_dump("b", prev="a")
    rig.expect("b", whole=True)
    rig.finish("b")


def test_keeper_lost(boxed: Callable[..., Any]) -> None:
    boxed(keeper_lost)


def failed_dump(box: Box) -> None:
    """A dump that fails leaves the tasks running, no images, no process, and no wrong belief."""
    rig = Rig(box)
    rig.pre_dump("a")
    before = box.trackers()
    # a last dump does not restart the tracking: it can be tried again against the same set
    for i, stage in enumerate(("memory", "save", "commit")):
        done = rig.run("dump", f"x{i}", prev="a", env={"TORPOR_FAULT": f"dump:{stage}"})
        if done.status == 0 or (box.dir / f"x{i}" / "inventory.img").exists():
            raise Failed("the fault had no effect")
        rig.subject.expect_tasks()
    if box.trackers() != before or (box.dir / "x0" / "parent").is_symlink():
        raise Failed("a failed dump has left something or taken something away")
    for stage in ("pick", "pages", "keep", "commit"):
        done = rig.run("pre-dump", stage, prev="a", env={"TORPOR_FAULT": f"pre-dump:{stage}"})
        if done.status == 0:
            raise Failed("the fault had no effect")
        rig.subject.expect_tasks()
        left = [p.name for p in (box.dir / stage).iterdir()]
        if left != ["dump.log"]:
            raise Failed(f"a failed pre-dump has left {left}")
    box.until("a tracker process is left", PATIENCE, lambda: not box.trackers())
    rig.pre_dump("b", prev="a")
    rig.expect("b", whole=True)
    rig.finish("b")


def test_failed_dump(boxed: Callable[..., Any]) -> None:
    boxed(failed_dump)


def is_asleep(pid: int) -> bool:
    """In the kernel's sleep: a program that sleep(1) has begun touches nothing any more."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def new_program(box: Box) -> None:
    """execve(2) between two dumps: nothing of the old program is believed."""
    rig = Rig(box)
    pid = box.start(["/bin/sh", "-c", "kill -STOP $$; exec sleep 1000"])
    box.until(
        "not stopped", PATIENCE, lambda: any(t.pid == pid and t.state == "T" for t in box.tasks())
    )
    rig.subject.pid, old = pid, rig.subject.pid
    rig.subject.before = [t for t in box.tasks()]
    if rig.run("pre-dump", "a").status != 0:
        raise Failed("pre-dump failed")
    os.kill(pid, signal.SIGCONT)
    box.until("no new program", PATIENCE, lambda: is_asleep(pid))
    for command, name, prev in (("pre-dump", "b", "a"), ("pre-dump", "c", "b"), ("dump", "d", "c")):
        if rig.run(command, name, prev=prev).status != 0:
            raise Failed(f"{command} failed")
    rig.expect("b", whole=True)
    own, parents = pagemaps.counts(box.dir / "c")
    if parents < own:
        raise Failed(f"after the new program was seen once, {own} pages are saved, {parents} not")
    box.until("still there", PATIENCE, lambda: not any(t.pid == pid for t in box.tasks()))
    done = box.torpor("restore", "-d", "-D", box.dir / "d", "-o", "restore.log")
    if done.status != 0:
        raise Failed("restore failed")
    os.kill(pid, signal.SIGKILL)
    os.kill(old, signal.SIGKILL)


def test_new_program(boxed: Callable[..., Any]) -> None:
    boxed(new_program)


def other_tracker(box: Box) -> None:
    """Another tracker than that of the previous set has nothing to tell about it."""
    rig = Rig(box)
    rig.pre_dump("a")
    rig.tracker = "hash"
    rig.pre_dump("b", prev="a")
    rig.pre_dump("c", prev="b")
    rig.expect("c", whole=False)
    rig.tracker = "auto"
    rig.pre_dump("d", prev="c")
    rig.expect("d", whole=False)
    if "told by hash" not in (box.dir / "d" / "dump.log").read_text():
        raise Failed("auto does not go on with the tracker of the previous set")
    rig.finish("d")


def test_other_tracker(boxed: Callable[..., Any]) -> None:
    boxed(other_tracker)


def unknown_tracker(box: Box) -> None:
    rig = Rig(box, "hash")
    if box.torpor("check", "--feature", "mem_dirty_track").status == 0:
        raise Skipped("this kernel has them all")
    rig.tracker = "soft-dirty"
    done = rig.run("pre-dump", "a")
    if done.status == 0 or "mem_dirty_track" not in done.output or "--tracker" not in done.output:
        raise Failed("the error does not say what is missing and what to do")
    rig.subject.expect_tasks()


def test_tracker_not_here(boxed: Callable[..., Any]) -> None:
    boxed(unknown_tracker)
