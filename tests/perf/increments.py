#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What increments save: how long the target stands still with and without pre-dumps.

A program holds so much memory (tests/perf/load.c). In every round each tracker has its turn: a
pre-dump, then 0, 1 or 10 % of the pages are written, then a dump onto the pre-dump, from which the
program runs on; and a whole dump as the yardstick. Images go to a tmpfs. Medians; ratios of one run
say more than times of two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import LOAD, frozen_seconds, show, table  # noqa: E402
from box import TORPOR, Box, Failed, mount, run_boxed  # noqa: E402

TRACKERS = {"soft-dirty": "mem_dirty_track", "write-protect": "uffd_wp_async", "hash": ""}
WRITES = {0: 0, 1: signal.SIGUSR1, 10: signal.SIGUSR2}


class Load:
    """The program and what is made of it."""

    def __init__(self, box: Box, mib: int) -> None:
        self.box = box
        self.ready = box.dir / "ready"
        self.pid = box.start([LOAD, "writes", str(mib), self.ready], cwd=box.dir)
        box.until("not ready", 120, self.ready.exists)

    def write(self, number: int) -> float:
        """Seconds of processor time it takes to write to that many pages."""
        if not number:
            return 0
        self.ready.write_text("")
        os.kill(self.pid, number)
        self.box.until("it does not write", 60, self.ready.read_text)
        return int(self.ready.read_text()) / 1e6

    def save(self, command: str, name: str, *more: str) -> tuple[float, float]:
        """Seconds it stood still, and that the command took."""
        images = self.box.dir / name
        images.mkdir()
        words = [command, "-t", str(self.pid), "-D", str(images), "-o", "log", *more]
        done = self.box.run([TORPOR, *words], timeout=120)
        if done.status != 0:
            raise Failed(str(done))
        return frozen_seconds(images), done.seconds

    def drop(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.box.dir / name)


def measure(box: Box, mib: int, rounds: int) -> dict[str, list[float]]:
    where = box.dir / "tmpfs"
    where.mkdir()
    mount("none", str(where), "tmpfs", 0, "size=90%")
    box.dir = where
    load = Load(box, mib)
    pages = mib * 256
    found: dict[str, list[float]] = defaultdict(list)
    names = [
        t for t, f in TRACKERS.items()
        if not f or box.torpor("check", "--feature", f).status == 0
    ]
    for turn in range(rounds + 1):  # the first one warms memory up and is not counted
        samples: list[tuple[str, float]] = []
        frozen, took = load.save("dump", "whole", "-R")
        samples += [("whole frozen", frozen), ("whole took", took)]
        load.drop("whole")
        samples.append(("write untracked", load.write(signal.SIGUSR2) / (pages / 10)))
        for tracker in names:
            for percent, number in WRITES.items():
                frozen, took = load.save("pre-dump", "pre", "--tracker", tracker)
                samples.append((f"{tracker} pre-dump frozen", frozen))
                wrote = load.write(number)
                if percent == 10:
                    samples.append((f"{tracker} write", wrote / (pages / 10)))
                frozen, took = load.save(
                    "dump", "last", "-R", "--prev-images-dir", "../pre", "--tracker", tracker
                )
                samples.append((f"{tracker} {percent} frozen", frozen))
                samples.append((f"{tracker} {percent} took", took))
                load.drop("pre", "last")
        for name, value in samples if turn else []:
            found[name].append(value)
    os.kill(load.pid, signal.SIGKILL)
    return dict(found)


def report(found: dict[str, list[float]]) -> str:
    median = {name: statistics.median(values) for name, values in found.items()}
    whole = median["whole frozen"]
    rows = [["tracker", "written", "frozen", "of whole", "dump", "pre-dump frozen", "per write"]]
    rows.append(["none", "", show(whole), "1.00", show(median["whole took"]), "", ""])
    for tracker in TRACKERS:
        for percent in WRITES:
            name = f"{tracker} {percent} frozen"
            if name not in median:
                continue
            more = (median[f"{tracker} write"] - median["write untracked"]) * 1e6
            rows.append(
                [
                    *(tracker, f"{percent} %", show(median[name]), f"{median[name] / whole:.2f}"),
                    *(show(median[f"{tracker} {percent} took"]),),
                    show(median[f"{tracker} pre-dump frozen"]),
                    f"{more:.2f} us" if percent == 10 else "",
                ]
            )
    return table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024)
    words = parser.parse_args()
    print(f"{os.uname().release}, {os.cpu_count()} processors, {words.mib} MiB; "
          f"medians of {words.rounds}")
    print(report(run_boxed(measure, timeout=1800, mib=words.mib, rounds=words.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
