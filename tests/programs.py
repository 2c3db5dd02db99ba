# SPDX-License-Identifier: GPL-2.0-or-later
"""Real programs: each does work with one right answer, and is saved, killed and restored during it.

A program runs twice in the box. The first run is left alone; it shows how much processor time
the work takes and what the answer is. The second one is dumped and restored ROUNDS times, at
moments spread at random over that time; each round dumps what the round before restored. The
answers of both must be the same, and right.

Moments are counted in processor time of the program, not on a clock: so a busy machine does not
move them, and a program that waits does not look like one that works.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped, read_stat, umount
from subjects import Subject

HERE = Path(__file__).parent / "live/programs"
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 60.0  # seconds without any work: it hangs
PF_EXITING = 4  # of the flags in /proc/PID/stat, linux/sched.h
# A program works on between the moment and the stop. On a busy machine that may take long, so the
# work may end before the last round: then again with twice as much, all moments in this part of it.
SHARES = (0.75, 0.4, 0.2, 0.1, 0.05, 0.025)


def nothing(folder: Path, amount: int) -> None:
    """No files are needed; nothing more is to be said about the answer."""


def at_once(folder: Path) -> bool:
    """It can be dumped from its start on."""
    return True


@dataclass(frozen=True)
class Program:
    """One line of the table (tests/live/programs/table.py).

    In argv "{here}" is the folder of the scripts, "{inputs}" that of the files which prepare() made,
    "{amount}" how much work is to be done. The program runs in an empty folder of its own; its
    standard output goes to "out" there.
    """

    name: str
    argv: tuple[str, ...]
    amount: int  # enough for ten rounds: one second of processor time or more
    stdin: str = os.devnull
    prepare: Callable[[Path, int], None] = nothing  # makes inputs
    verify: Callable[[Path, int], None] = nothing  # is the answer right? raises Failed
    during: Callable[[Path, int], None] = nothing  # holds after each restore; raises Failed
    answers: tuple[str, ...] = ("out",)  # files that must be the same as when left alone
    options: tuple[str, ...] = ()  # of dump and restore
    env: tuple[tuple[str, str], ...] = ()
    ready: Callable[[Path], bool] = at_once  # before that it is not dumped


def cpu_seconds(box: Box) -> float:
    """Processor time of all tasks in the box and of those children they have waited for."""
    seconds = 0.0
    for t in box.tasks():
        try:
            fields = read_stat(f"/proc/{t.pid}/stat")[1]
            # the clock of a process by its number: CPUCLOCK_SCHED, clock_getcpuclockid(3)
            seconds += sum(int(f) for f in fields[13:15]) / TICK + time.clock_gettime(~t.pid << 3 | 2)
        except OSError:
            continue
    return seconds


@dataclass
class Job(Subject):
    """A program at work."""

    program_entry: Program | None = None
    amount: int = 0
    work: Path = Path()
    inputs: Path = Path()
    asks_validator: bool = True
    used: float = 0.0  # processor time up to the last dump; the clocks of a restored task begin anew

    @property
    def entry(self) -> Program:
        assert self.program_entry
        return self.program_entry

    def start(self, session: bool = True, stops: bool = False) -> None:
        """Starts it in its folder."""
        self.work.mkdir()
        names = {"here": HERE, "inputs": self.inputs, "amount": self.amount}
        argv = [word.format(**names) for word in self.entry.argv]
        if not shutil.which(argv[0]):
            raise Skipped(f"{argv[0]} is not installed")
        self.options = self.entry.options
        self.pid = self.box.start(
            argv,
            cwd=self.work,
            session=session,
            into=self.entry.stdin.format(**names),
            out=self.work / "out",
            env=dict(self.entry.env) or None,
        )

    def expect_tasks(self, but: str = "") -> None:
        """The root lives, or has done its work already."""
        if self.box.statuses.get(self.pid, 0) != 0:
            raise Failed(f"it ended with {self.box.statuses[self.pid]} after {self.rounds} rounds")

    def until_busy(self, good: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Until good(), or until no task has used the processor for so many seconds."""
        used, end = -1.0, 0.0
        while not good():
            now = cpu_seconds(self.box)
            if now != used:
                used, end = now, time.monotonic() + patience
            if time.monotonic() > end:
                raise Failed(f"it hangs after {self.rounds} rounds: {self.describe()}")
            time.sleep(0.005)

    def has_ended(self) -> bool:
        self.box.reap()
        return self.pid in self.box.statuses

    def finish(self, timeout: float = PATIENCE) -> None:
        """It ends by itself, with 0, leaving nobody."""
        self.until_busy(self.has_ended, timeout)
        status = self.box.statuses[self.pid]
        if status != 0:
            raise Failed(f"it ended with {status} after {self.rounds} rounds: {self.tail()}")
        self.box.until(f"tasks are left: {self.box.tasks()}", PATIENCE, lambda: not self.box.tasks())

    def describe(self) -> str:
        """What the tasks are doing."""
        lines = []
        for t in self.box.tasks():
            where = {Path(f"/proc/{t.pid}/task/{tid}/wchan").read_text() for tid in t.tids}
            lines.append(f"{t.pid} {t.comm} {t.state} {len(t.tids)} threads in {sorted(where)}")
        return "; ".join(lines)

    def tail(self) -> str:
        """The end of its output."""
        out = self.work / "out"
        return out.read_bytes()[-500:].decode(errors="replace") if out.exists() else ""

    def work_until(self, seconds: float) -> bool:
        """Until it has used so much processor time in all rounds; false if it ends before that."""
        before = self.used
        self.until_busy(lambda: self.has_ended() or before + cpu_seconds(self.box) >= seconds)
        self.used = before + cpu_seconds(self.box)
        return not self.has_ended()

    def is_ending(self) -> bool:
        """It has ended, or will in a moment: it does nothing but that any more."""
        try:
            ends = int(read_stat(f"/proc/{self.pid}/stat")[1][6]) & PF_EXITING
        except OSError:
            ends = True
        return self.has_ended() or bool(ends and self.box.wait(self.pid, PATIENCE) is not None)

    def round(self) -> bool:
        """Dumped, killed, restored; false if it ended before. Images of good rounds go away."""
        if self.rounds:
            shutil.rmtree(self.images)
        try:
            self.dump(timeout=2 * PATIENCE)
        except Failed:
            if not self.is_ending():
                raise
            self.rounds -= 1
            return False
        self.restore(timeout=2 * PATIENCE)
        self.entry.during(self.work, self.amount)
        return True


def moments(end: float, rounds: int, rng: random.Random) -> list[float]:
    """So many moments up to the end, none too close to the one before."""
    weights = [rng.expovariate(1) + 0.2 for _ in range(rounds)]
    return [end * sum(weights[: i + 1]) / sum(weights) for i in range(rounds)]


def compare(entry: Program, alone: Path, job: Path) -> None:
    """Both runs left the same."""
    for name in entry.answers:
        one, other = (alone / name).read_bytes(), (job / name).read_bytes()
        if one != other:
            at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), -1)
            raise Failed(
                f"'{name}' differs from the undisturbed run: {len(other)} bytes instead of "
                f"{len(one)}, at {at}: {other[at:at + 60]!r} instead of {one[at:at + 60]!r}"
            )


@dataclass
class Trial:
    """One attempt at the test of a program, with so much work."""

    box: Box
    entry: Program
    amount: int
    folder: Path

    def __post_init__(self) -> None:
        self.inputs = self.folder / "inputs"
        self.inputs.mkdir(parents=True)
        self.entry.prepare(self.inputs, self.amount)

    def job(self, name: str) -> Job:
        return Job(
            self.box,
            self.entry.name,
            program_entry=self.entry,
            amount=self.amount,
            inputs=self.inputs,
            work=self.folder / name,
        )

    def run_alone(self) -> float:
        """The processor time it takes."""
        before = sum(os.times()[2:4])
        job = self.job("alone")
        job.start()
        job.finish()
        return sum(os.times()[2:4]) - before

    def run_disturbed(self, plan: list[float]) -> int:
        """Rounds at these moments; how many there was time for."""
        job = self.job("job")
        job.keep_images_in_memory()
        job.start()
        job.until_busy(lambda: job.has_ended() or self.entry.ready(job.work))
        for moment in plan:
            if not job.work_until(moment) or not job.round():
                break
        job.finish()
        umount(str(self.box.dir / "images"))
        compare(self.entry, self.folder / "alone", job.work)
        self.entry.verify(job.work, self.amount)
        return job.rounds


def run_program(box: Box, entry: Program, rounds: int, seed: int) -> dict[str, Any]:
    """The whole test of one program, in a box."""
    rng = random.Random(seed)
    amount = entry.amount * max(10, rounds) // 10
    for n, share in enumerate(SHARES):
        begin = time.monotonic()
        try:
            trial = Trial(box, entry, amount << n, box.dir / f"trial-{n}")
            seconds = trial.run_alone()
            done = trial.run_disturbed(moments(seconds * share, rounds, rng))
        except Failed as e:
            raise Failed(f"{entry.name}, {rounds} rounds, seed {seed}, trial {n}: {e}") from e
        if done == rounds:
            return {
                "rounds": rounds,
                "trial": n,
                "cpu_seconds": round(seconds, 2),
                "seconds": round(time.monotonic() - begin, 2),
            }
        shutil.rmtree(trial.folder)
    raise Failed(f"{entry.name}: too little work, it ended after {done} of {rounds} rounds")
