# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL to torpor at any instant of a dump: the target neither dies nor miscalculates.

Random instants: KILLS (500) says how often a running dump must have been met. The target (tests/live/busy.c)
verifies registers, sums, system calls and signals all the time and counts its rounds for each
thread, so a hanging thread shows too.

Between two steps: before every ptrace(2) call of a dump, of a target that gets signals all the time
whose handler needs room on its stack (tests/live/alarms.c).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import shutil
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Failed, Skipped, read_stat, tail
from subjects import Subject

KILLS = int(os.environ.get("KILLS", "500"))
PATIENCE = 60  # seconds


class Beats:
    """So many counters of the target, in shared memory."""

    def __init__(self, path: Path, n: int) -> None:
        self.n = n
        with path.open("rb") as f:
            self.map = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)

    def read(self) -> tuple[int, ...]:
        return struct.unpack_from(f"{self.n}Q", self.map)


def every_thread_goes_on(s: Subject, beats: Beats, what: str) -> None:
    """Each counter moves (soon, where nobody else computes), and no mistake was found."""
    start = beats.read()

    def moved() -> bool:
        if s.answer() or s.pid in s.box.statuses:
            raise Failed(
                f"{what}: the target says {s.lines()}, status {s.box.statuses.get(s.pid)}"
            )
        return all(a < b for a, b in zip(start, beats.read()))

    try:
        s.box.until("", PATIENCE, moved)
    except Failed as e:
        if not str(e).startswith(f"after {PATIENCE} s"):
            raise
        states = {
            tid: read_stat(f"/proc/{t.pid}/task/{tid}/stat")[1][0]
            for t in s.box.tasks()
            for tid in t.tids
        }
        raise Failed(
            f"{what}: a thread hangs: {start} {beats.read()} states {states}"
        ) from None


class Delays:
    """When to kill: at any instant of a dump, however long dumps take here and now."""

    def __init__(self, rng: random.Random, span: float) -> None:
        self.rng = rng
        self.span = span  # about as long as a dump takes, in seconds

    def choose(self) -> float:
        return self.rng.random() * self.span

    def met(self, delay: float) -> None:
        """A dump still ran then."""
        if delay > self.span * 0.9:
            self.span *= 1.1

    def missed(self, delay: float) -> None:
        """A dump had ended by itself before."""
        self.span = (self.span + delay) / 2


def give_way(s: Subject) -> None:
    """The target, which takes all processors, lets the harness go first (sched(7): autogroup, too)."""
    for task in s.box.tasks():
        for tid in task.tids:
            os.setpriority(os.PRIO_PROCESS, tid, 15)
    with contextlib.suppress(OSError):
        Path(f"/proc/{s.pid}/autogroup").write_text("15")


def kill_harness(box: Box, kills: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    s = Subject(box, "busy")
    s.keep_images_in_memory()
    s.start()
    give_way(s)
    beats = Beats(box.dir / "work/beats", 9)
    every_thread_goes_on(s, beats, "before any dump")
    times = []
    for _ in range(5):
        times.append(s.dump("-R").seconds)
        every_thread_goes_on(s, beats, "after an ordinary dump")
        shutil.rmtree(s.images)
    delays = Delays(rng, sorted(times)[2])
    images = s.images.with_name("killed")
    command = ["dump", "-t", str(s.pid), "-R", "-D", str(images), "-o", "dump.log", "-v4"]
    tried = hit = complete = 0
    # a dump that ends before its kill does not count
    while hit < kills:
        tried += 1
        images.mkdir()
        delay = delays.choose()
        what = f"kill {tried} after {delay * 1000:.2f} ms of {delays.span * 1000:.2f} (seed {seed})"
        tool = box.start([TORPOR, *command])
        time.sleep(delay)
        box.reap()
        if tool not in box.statuses:
            os.kill(tool, signal.SIGKILL)
        status = box.wait(tool, PATIENCE)
        if status == -signal.SIGKILL:
            hit += 1
            delays.met(delay)
        elif status == 0:
            delays.missed(delay)
        else:
            box.reap()
            raise Failed(
                f"{what}: the dump ended with {status}, the target with "
                f"{box.statuses.get(s.pid)} {s.lines()}: {tail(images / 'dump.log')}"
            )
        complete += (images / "inventory.img").exists()
        every_thread_goes_on(s, beats, what)
        shutil.rmtree(images)
    s.dump()
    s.restore()
    every_thread_goes_on(s, beats, "after dump and restore")
    s.finish()
    return {"kills": tried, "hit": hit, "complete": complete, "span_ms": delays.span * 1000}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_kill(boxed: Callable[..., Any], part: int) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000)) + part
    figures = boxed(kill_harness, kills=KILLS // 2, seed=seed, timeout=300 + 3 * KILLS)
    print(figures)


def killed_between(box: Box) -> int:
    """strace kills before the call takes place."""
    if not shutil.which("strace"):
        raise Skipped("there is no strace")
    s = Subject(box, "alarms")
    s.keep_images_in_memory()
    s.start()
    beats = Beats(box.dir / "work/beats", 2)
    trace = box.dir / "trace"
    box.run(["strace", "-o", trace, "-e", "trace=ptrace", TORPOR, *s.dump_command("-R")])
    shutil.rmtree(s.images)
    total = trace.read_text().count("ptrace(")
    for at in range(1, total + 1):
        inject = f"inject=ptrace:signal=KILL:when={at}"
        words = ["strace", "-o", "/dev/null", "-e", "trace=ptrace", "-e", inject]
        done = box.run([*words, TORPOR, *s.dump_command("-R")])
        what = f"killed before ptrace call {at} of {total} (it ended with {done.status})"
        every_thread_goes_on(s, beats, what)
        shutil.rmtree(s.images)
    s.dump()
    s.restore()
    every_thread_goes_on(s, beats, "after dump and restore")
    s.finish()
    return total


@pytest.mark.slow
def test_killed_between(boxed: Callable[..., Any]) -> None:
    assert boxed(killed_between, timeout=900) > 10
