# SPDX-License-Identifier: GPL-2.0-or-later
"""A live subject in a box: start, dump, restore, finish, each with what must hold afterwards."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from box import BUILD, SOURCE, Box, Done, Failed, Late, Skipped, Task, mount, read_stat, read_task
from verdict import expect_restorable


# started by tests of their own
OTHERS = {
    "busy",
    "churn",
    "leaver",
    "mqueues",
    "given",
    "expiries",
    "extents",
    "refused",
    "storm",
    "sysv",
    "tcp_dropped",
    "tcp_pump",
    "tcp_refused",
    "thread_own",
    "tty",
    "unix_outside",
    "unread",
    "urings_busy",
    "vforks",
}
# take long: only the main ways
BIG = {"areas60000", "epolls10000", "files10000", "mem_objects", "threads1000", "unix_flood"}
NAMES = sorted(p.stem for p in (SOURCE / "tests/live").glob("*.c") if p.stem not in OTHERS)
# in a network namespace of their own, with these options
NET = {
    "every_option": ("--tcp-established",),
    "inet_options": ("--tcp-established",),
    "inet_sockets": (),
    "mptcps": ("--tcp-established",),
    "netlinks": (),  # its ports are its pid, as those of others in boxes are theirs
    "tcp_ended": (),
    "tcp_flying": ("--tcp-established",),
    "tcp_halves": ("--tcp-established",),
    "tcp_md5": ("--tcp-established",),
    "tcp_streams": ("--tcp-established",),
    "tuns": (),
}
# seconds for the freeze: of a machine that is busy with other things, too
PATIENCE = 100
PATIENT = ("--timeout", str(PATIENCE))
# stop themselves
STOPPED = {"stopped_root", "wakeups"}
# take huge pages where there are any
HUGE = {"hugetlb", "storm"}
# with these options
OPTIONS = {"filelocks": ("--file-locks",), "links": ("--link-remap",)}


@dataclass
class Subject:
    """One subject (tests/live/NAME.c) and the images made of it."""

    box: Box
    name: str
    args: tuple[str, ...] = ()
    pid: int = 0
    before: list[Task] = field(default_factory=list)
    rounds: int = 0
    options: tuple[str, ...] = ()  # of both commands
    restore_options: tuple[str, ...] = ()
    fds: tuple[int, int, int] | None = None
    prefix: str = "images-"
    # before each restore: has the validator anything against it?
    asks_validator: bool = os.environ.get("TORPOR_VALIDATE") == "1"

    @property
    def program(self) -> Path:
        return BUILD / "tests/live" / self.name

    @property
    def result(self) -> Path:
        return self.box.dir / "result"

    @property
    def images(self) -> Path:
        return self.box.dir / f"{self.prefix}{self.rounds}"

    def lines(self) -> list[str]:
        try:
            return self.result.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def answer(self) -> str:
        """The first line that says how it ended, or ''."""
        for line in self.lines():
            if line.startswith(("FAIL", "PASS", "SKIP")):
                return line
        return ""

    def keep_images_in_memory(self) -> None:
        """For many rounds: nothing waits for the disk."""
        self.prefix = "images/"
        (self.box.dir / "images").mkdir(exist_ok=True)
        mount("images", str(self.box.dir / "images"), "tmpfs")

    # --------------------------------------------------------------------------------- start

    def start(self, session: bool = True, stops: bool = False) -> None:
        """Starts it and waits until it is ready (`stops`: and has stopped itself)."""
        work = self.box.dir / "work"
        work.mkdir(exist_ok=True)
        self.pid = self.box.start(
            [self.program, self.result, *self.args], cwd=work, session=session, fds=self.fds
        )

        def is_ready() -> bool:
            if self.answer().startswith("SKIP"):
                raise Skipped(self.answer()[6:])
            if self.answer() or self.pid in self.box.statuses:
                raise Failed(f"{self.name} did not set up: {self.lines()}")
            task = read_task(self.pid)
            return "ready" in self.lines() and (not stops or bool(task and task.state == "T"))

        self.box.until(lambda: f"{self.name} is not ready: {self.lines()}", 60, is_ready)
        self.before = self.box.tasks()

    # ---------------------------------------------------------------------------------- dump

    def dump_command(self, *options: str) -> list[str]:
        self.rounds += 1
        self.images.mkdir()
        return self.dump_again(*options)

    def dump_again(self, *options: str) -> list[str]:
        return [
            *("dump", "-t", str(self.pid), "-D", str(self.images), "-o", "dump.log", "-v4"),
            *(PATIENT + self.options + options),
        ]

    def pre_dumps(self, n: int, *options: str) -> tuple[str, ...]:
        """Saves its memory n times while it runs; returns the option for a dump onto the last."""
        previous: tuple[str, ...] = ()
        for i in range(n):
            images = self.box.dir / f"pre-dump-{self.rounds}-{i}"
            images.mkdir()
            done = self.box.torpor(
                *("pre-dump", "-t", str(self.pid), "-D", str(images), "-o", "dump.log", "-v4"),
                *(PATIENT + self.options + options + previous),
            )
            if done.status != 0:
                raise Failed("pre-dump failed")
            if not (images / "inventory.img").exists():
                raise Failed("pre-dump succeeded but left no inventory.img")
            previous = ("--prev-images-dir", f"../{images.name}")
        return previous

    def dump(self, *options: str, timeout: float = 120) -> Done:
        """Dumps it; images must be complete and the tasks gone, or with -R, -s be there."""
        done = self.box.torpor(*self.dump_command(*options), timeout=timeout, fds=self.fds)
        if done.status != 0:
            raise Failed("dump failed")
        for name in ("inventory.img", "pstree.img", "dump.log", "stats-dump"):
            if not (self.images / name).exists():
                raise Failed(f"dump succeeded but left no {name}")
        if "-R" in options:
            self.expect_tasks()
        elif "-s" in options:
            self.expect_stopped()
        else:
            left = [t for t in self.box.tasks() if t.state != "Z"]
            if left:
                raise Failed(f"tasks which the dump left behind: {left}")
        return done

    # ------------------------------------------------------------------------------- restore

    def restore_command(self, *options: str) -> list[str]:
        return [
            *("restore", "-d", "-D", str(self.images), "-o", "restore.log", "-v4"),
            *("--pidfile", str(self.box.dir / "pidfile")),
            *(self.options + self.restore_options + options),
        ]

    def restore(self, *options: str, timeout: float = 120) -> Done:
        """Restores it; every task and thread must be there as it was."""
        (self.box.dir / "pidfile").unlink(missing_ok=True)
        self.forget()
        if self.asks_validator:
            expect_restorable(self.images, self.options + self.restore_options + options)
        done = self.box.torpor(*self.restore_command(*options), timeout=timeout, fds=self.fds)
        if done.status != 0:
            raise Failed("restore failed")
        for path in (self.images / "restore.log", self.images / "stats-restore"):
            if not path.exists():
                raise Failed(f"restore succeeded but left no {path.name}")
        written = (self.box.dir / "pidfile").read_text().strip()
        if written != str(self.pid):
            raise Failed(f"pidfile holds '{written}', not {self.pid}")
        if "-s" in options:
            self.expect_stopped()
        else:
            self.expect_tasks()
        return done

    def forget(self) -> None:
        """Forgets how tasks ended: the same pids are going to live again."""
        self.box.reap()
        self.box.statuses.clear()

    def kill(self) -> None:
        self.box.kill_all()

    # --------------------------------------------------------------------------------- state

    def expect_refusal(self, *words: str) -> None:
        """A dump is refused by a sentence with all the words, in log and output; all is as before."""
        done = self.box.torpor(*self.dump_command())
        log = self.images / "dump.log"
        if done.status != 1:
            raise Failed(f"dump ended with {done.status}")
        if (self.images / "inventory.img").exists():
            raise Failed("a failed dump left inventory.img")
        if not log.exists():
            raise Failed("a failed dump left no log")
        for where, text in (("the log", log.read_text()), ("its output", done.output)):
            if not any(all(w in t for w in words) for t in text.splitlines()):
                raise Failed(f"{where} has no sentence with {words}: {text}")
        self.expect_tasks()

    def expect_tasks(self, but: str = "") -> None:
        """The tasks are those of the start: ids, parents, groups, sessions, states, threads.

        Apart from those with the name `but`.
        """
        last: list[Task] = []

        def same() -> bool:
            nonlocal last
            last = [t for t in self.box.tasks() if not but or t.comm != but]
            return last == self.before

        try:
            self.box.until("", 30, same)
        except Late:
            gone = [t for t in self.before if t not in last]
            new = [t for t in last if t not in self.before]
            raise Failed(
                f"tasks differ: was {gone[:4]} is {new[:4]} ({len(gone)}); result {self.lines()}"
            ) from None

    def expect_stopped(self) -> None:
        """Every task and thread is stopped; a stop that was asked for takes a moment."""

        def running() -> list[str]:
            found = []
            for t in self.box.tasks():
                for tid in t.tids:
                    state = read_stat(f"/proc/{t.pid}/task/{tid}/stat")[1][0]
                    if state not in "TZ":
                        found.append(f"{t.comm} {t.pid} thread {tid} state {state}")
            return found

        self.box.until("tasks are not stopped", 30, lambda: not running())
        if [t.pid for t in self.box.tasks()] != [t.pid for t in self.before]:
            raise Failed(f"tasks are {self.box.tasks()}, were {self.before}")

    def resume(self) -> None:
        """SIGCONT to those that ran before."""
        for t in self.before:
            if t.state == "L" or (t.state == "Z" and len(t.tids) > 1):
                os.kill(t.pid, signal.SIGCONT)
        self.expect_tasks()

    def finish(self, timeout: float = 120) -> None:
        """SIGTERM; it must say PASS, end with 0 and leave no task behind."""
        task = read_task(self.pid)
        if not task or task.state == "Z":
            status = self.box.statuses.get(self.pid)
            raise Failed(f"{self.name} died with {status} before SIGTERM: {self.lines()}")
        os.kill(self.pid, signal.SIGTERM)
        if task.state == "T":
            os.kill(self.pid, signal.SIGCONT)
        self.box.until(
            "no answer", timeout, lambda: self.answer() or self.pid in self.box.statuses
        )
        if self.answer() != "PASS":
            status = self.box.statuses.get(self.pid)
            raise Failed(f"{self.name} says '{self.answer()}' (status {status})")
        self.box.until("the root does not end", timeout, lambda: self.pid in self.box.statuses)
        if self.box.statuses[self.pid] != 0:
            raise Failed(f"exit status is {self.box.statuses[self.pid]}")
        self.box.until(
            lambda: f"tasks are left: {self.box.tasks()}", timeout, lambda: not self.box.tasks()
        )
