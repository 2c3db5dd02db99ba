# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of increments of memory that never rests, compared with whole dumps of the same moment.

A sample runs with every check; `make check-increments` runs the long matrix (INCREMENT_SEEDS).
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import Box, Failed, Skipped
from daemons import PATIENCE
from storms import members, send, stop_all
from subjects import Subject

TRACKERS = ("soft-dirty", "write-protect", "hash")
ROUNDS = 10
SEEDS = int(os.environ.get("INCREMENT_SEEDS", "1"))


def needs_tracker(box: Box, tracker: str) -> None:
    """Skips where the kernel has none of this kind."""
    feature = {"soft-dirty": "mem_dirty_track", "write-protect": "uffd_wp_async"}.get(tracker)
    if feature and box.torpor("check", "--feature", feature).status != 0:
        raise Skipped(f"no {tracker} here")


class Chain:
    """A storm and the sets made of it, each against the one before."""

    def __init__(self, box: Box, tracker: str, seed: int) -> None:
        self.box = box
        self.tracker = tracker
        self.dice = random.Random(seed)
        self.subject = Subject(box, "storm", (str(seed),))
        self.sets: list[Path] = []

    def dump(self, name: str, command: str, *options: str, chained: bool = True) -> Path:
        images = self.box.dir / name
        images.mkdir()
        words = [command, "-t", str(self.subject.pid), "-D", images, "-o", "dump.log", "-v4"]
        if chained:
            words += ["--tracker", self.tracker]
            if self.sets:
                words += ["--prev-images-dir", f"../{self.sets[-1].name}"]
        done = self.box.torpor(*words, *options)
        if done.status != 0:
            raise Failed(f"{command} failed")
        if chained:
            self.sets.append(images)
        return images

    def compare(self, number: int, *options: str) -> None:
        """An increment and a whole dump of the same moment hold the same memory."""
        stop_all(self.box, "storm")
        one = self.dump(f"inc-{number}", "dump", "-R", *options)
        other = self.dump(f"whole-{number}", "dump", "-R", chained=False)
        found = pagemaps.differences(one, other)
        if found:
            raise Failed(f"after {number} rounds by {self.tracker}: {len(found)}: {found[:6]}")
        send(self.box, "storm", signal.SIGCONT)

    def round(self, number: int) -> None:
        time.sleep(self.dice.uniform(0.01, 0.06))
        if self.dice.random() < 0.6:
            self.dump(f"inc-{number}", "pre-dump")
        else:
            self.compare(number, "--track-mem")


def huge_areas(pid: int) -> list[range]:
    """Those of hugetlbfs, which every increment saves whole."""
    found = []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        area = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if area:
            last = range(int(area[1], 16), int(area[2], 16))
        elif line.startswith("VmFlags:") and " ht" in line:
            found.append(last)
    return found


def counts(images: Path, huge: dict[str, list[range]]) -> tuple[int, int]:
    """How many pages a set has itself, but for huge ones, and how many it leaves to its parents."""
    own = parents = 0
    for path in images.glob("pagemap-*.img"):
        for run in pagemaps.entries(path)[1]:
            if run.flags == pagemaps.PARENT:
                parents += run.pages
            elif not any(run.vaddr in area for area in huge.get(path.name, [])):
                own += run.pages
    return own, parents


def chain(box: Box, tracker: str, seed: int) -> tuple[int, int]:
    """Returns the pages of an increment between which and its parent nothing happened.

    Those that it has itself, and those it leaves to its parents.
    """
    needs_tracker(box, tracker)
    # the number of the processor in the C library's area for rseq changes whenever the kernel likes
    os.environ["GLIBC_TUNABLES"] = "glibc.pthread.rseq=0"
    c = Chain(box, tracker, seed)
    s = c.subject
    s.start()
    for number in range(ROUNDS):
        c.round(number)
    c.compare(ROUNDS)
    time.sleep(0.05)
    s.before = stop_all(box, "storm")
    huge = {f"pagemap-{t.pid}.img": huge_areas(t.pid) for t in s.before if t.state == "T"}
    c.dump("before-last", "dump", "-R", "--track-mem")
    last = c.dump("last", "dump")
    box.until("tasks are left", PATIENCE, lambda: not members(box, "storm"))
    s.forget()
    done = box.torpor("restore", "-d", "-D", c.sets[-1], "-o", "restore.log", "-v4")
    if done.status != 0:
        raise Failed("restore failed")
    send(box, "storm", signal.SIGCONT)
    time.sleep(0.1)
    s.finish()
    return counts(last, huge)


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("tracker", TRACKERS)
def test_chain(boxed: Callable[..., Any], huge_pages: None, tracker: str, seed: int) -> None:
    own, parents = boxed(chain, tracker=tracker, seed=seed)
    # a tracker that calls everything changed would be right, too, and worth nothing
    assert parents > 10 * own, f"pages saved {own}, left to parents {parents}"
