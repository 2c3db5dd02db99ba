# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of increments of memory that never rests, compared with whole dumps of the same moment.

A sample runs with every check; `make check-increments` runs the long matrix (INCREMENT_SEEDS).
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import Box, Failed, Skipped, Task, read_task
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

    def tasks(self) -> list[Task]:
        return [t for t in self.box.tasks() if t.comm == "storm"]

    def signal(self, number: int) -> None:
        for t in self.tasks():
            try:
                os.kill(t.pid, number)
            except ProcessLookupError:
                pass

    def stop(self) -> None:
        """Stops all; one that is being forked meanwhile, too."""

        def all_stopped() -> bool:
            self.signal(signal.SIGSTOP)
            return all(t.state in "TZ" for t in self.tasks())

        self.box.until("the storm does not stop", 20, all_stopped)

    def compare(self, number: int, *options: str) -> None:
        """An increment and a whole dump of the same moment hold the same memory."""
        self.stop()
        one = self.dump(f"inc-{number}", "dump", "-R", *options)
        other = self.dump(f"whole-{number}", "dump", "-R", chained=False)
        found = pagemaps.differences(one, other)
        if found:
            raise Failed(f"after {number} rounds by {self.tracker}: {len(found)}: {found[:6]}")
        self.signal(signal.SIGCONT)

    def round(self, number: int) -> None:
        time.sleep(self.dice.uniform(0.01, 0.06))
        if self.dice.random() < 0.6:
            self.dump(f"inc-{number}", "pre-dump")
        else:
            self.compare(number, "--track-mem")


def chain(box: Box, tracker: str, seed: int) -> list[tuple[int, int]]:
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
    s.before = []
    c.stop()
    s.before = c.tasks()
    c.dump("last", "dump")
    counts = [pagemaps.counts(d) for d in c.sets]
    box.until("tasks are left", 5, lambda: not c.tasks())
    s.forget()
    done = box.torpor("restore", "-d", "-D", c.sets[-1], "-o", "restore.log", "-v4")
    if done.status != 0:
        raise Failed("restore failed")
    c.signal(signal.SIGCONT)
    time.sleep(0.1)
    s.finish()
    return counts


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("tracker", TRACKERS)
def test_chain(boxed: Callable[..., Any], tracker: str, seed: int) -> None:
    counts = boxed(chain, tracker=tracker, seed=seed)
    own = sum(n for n, _ in counts)
    parents = sum(n for _, n in counts)
    # a tracker that calls everything changed would be right, too, and worth nothing
    assert parents > own / 200, f"pages saved {own}, left to parents {parents}"
