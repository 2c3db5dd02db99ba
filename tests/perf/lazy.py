#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon a restored program runs, and how soon it has its memory: eager, lazy, mapped.

A program holds so much memory. From the start of a restore it is counted until its first instruction
runs, and until it has read one byte of 99 % of its pages, in an order that foresees nothing. Images
lie on a tmpfs or, with --dir, in that directory (then the page cache is warm: they were just
written). "lazy again" has the working set of the restore before. Medians; ratios of one run say more
than times of two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import LOAD, show, table  # noqa: E402
from box import TORPOR, Box, Failed, mount, run_boxed  # noqa: E402
from daemons import Daemon  # noqa: E402

WAYS = {
    "eager": ((), ()),
    "eager lz4": (("--compress=lz4",), ()),
    "lazy": ((), ("--lazy-pages",)),
    "lazy again": ((), ("--lazy-pages",)),
    "lazy lz4": (("--compress=lz4",), ("--lazy-pages",)),
    "mmap": ((), ("--mmap",)),
}
FIGURES = ("first", "nearly", "all", "command")


def restore(box: Box, pid: int, images: Path, options: tuple[str, ...]) -> list[float]:
    """Seconds until each of FIGURES."""
    ready = box.dir / "ready"
    ready.write_text("")
    (box.dir / "ready.go").touch()
    daemon = Daemon(box, images) if options == ("--lazy-pages",) else None
    begin = time.monotonic()
    done = box.run([TORPOR, "restore", "-d", "-D", images, "-o", "restore.log", *options])
    if done.status != 0:
        raise Failed(str(done))
    box.until("it does not read", 120, lambda: ready.read_text().endswith("\n"))
    first, nearly, whole = (int(w) / 1e6 - begin for w in ready.read_text().split())
    if daemon:
        daemon.end()
    os.kill(pid, signal.SIGKILL)
    box.until("it does not end", 120, lambda: not Path(f"/proc/{pid}").exists())
    return [first, nearly, whole, done.seconds]


def one_way(box: Box, mib: int, way: str) -> list[float]:
    dump, options = WAYS[way]
    box.reap()
    box.statuses.clear()
    pid = box.start([LOAD, "reads", str(mib), box.dir / "ready"], cwd=box.dir)
    box.until("not ready", 120, (box.dir / "ready").exists)
    images = box.dir / "images"
    images.mkdir()
    done = box.run([TORPOR, "dump", "-t", str(pid), "-D", images, "-o", "dump.log", *dump])
    if done.status != 0:
        raise Failed(str(done))
    box.until("it does not end", 120, lambda: not Path(f"/proc/{pid}").exists())
    found = restore(box, pid, images, options)
    if way == "lazy again":
        found = restore(box, pid, images, options)
    shutil.rmtree(images)
    (box.dir / "ready").unlink()
    return found


def measure(box: Box, mib: int, rounds: int, where: str) -> dict[str, list[list[float]]]:
    box.dir = Path(where) if where else box.dir / "tmpfs"
    if not where:
        box.dir.mkdir()
        mount("none", str(box.dir), "tmpfs", 0, "size=90%")
    found: dict[str, list[list[float]]] = defaultdict(list)
    for turn in range(rounds + 1):  # the first one warms memory up and is not counted
        for way in WAYS:
            figures = one_way(box, mib, way)
            if turn:
                found[way].append(figures)
    return dict(found)


def report(found: dict[str, list[list[float]]]) -> str:
    rows = [["restore", "first instruction", "99 % of its pages", "all", "command"]]
    for way, samples in found.items():
        rows.append([way, *(show(statistics.median(column)) for column in zip(*samples))])
    return table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--dir", default="", help="where images lie; must be empty")
    words = parser.parse_args()
    print(f"{os.uname().release}, {os.cpu_count()} processors, {words.mib} MiB; "
          f"medians of {words.rounds}")
    how = {"mib": words.mib, "rounds": words.rounds, "where": words.dir}
    print(report(run_boxed(measure, timeout=1800, **how)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
