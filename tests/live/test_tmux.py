# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole terminal session: tmux with a shell, an editor and top in its windows."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Failed, Skipped, Task, mount
from subjects import PATIENT

ROUNDS = int(os.environ.get("ROUNDS", "2"))


@dataclass
class Session:
    """One tmux server and how to talk to it."""

    box: Box
    pid: int = 0

    def tmux(self, *words: str) -> str:
        socket = str(self.box.dir / "socket")
        done = self.box.run(["tmux", "-S", socket, "-f", "/dev/null", *words], timeout=120)
        if done.status != 0:
            raise Failed(str(done))
        return done.output

    def start(self) -> None:
        self.tmux("new-session", "-d", "-s", "work", "-x", "90", "-y", "30", "bash --norc")
        self.pid = int(self.tmux("display-message", "-p", "#{pid}"))
        self.tmux("send-keys", "-t", "work:0", "PS1='ready> '; stty -a | head -1", "Enter")
        self.expect(0, "rows 30; columns 90")
        self.tmux("new-window", "-t", "work:1", "vim -u NONE -N text")
        self.tmux("send-keys", "-t", "work:1", "ifirst line", "Enter", "second")
        self.expect(1, "second")
        self.tmux("new-window", "-t", "work:2", "top -d 1")
        self.expect(2, "load average")
        # a job that is stopped and one in the foreground
        self.tmux("new-window", "-t", "work:3", "bash --norc")
        self.tmux("send-keys", "-t", "work:3", "PS1='jobs> '; sleep 1000", "Enter")
        self.box.until("no sleep", 60, lambda: "sleep" in [t.comm for t in self.box.tasks()])
        self.tmux("send-keys", "-t", "work:3", "C-z")
        self.expect(3, "Stopped")
        self.tmux("send-keys", "-t", "work:3", "cat", "Enter")
        self.box.until("no cat", 60, lambda: "cat" in [t.comm for t in self.box.tasks()])
        self.tmux("send-keys", "-t", "work:3", "half a li")
        self.expect(3, "half a li")

    def resting(self) -> list[Task]:
        """The tasks when those of a moment are gone."""
        lasting = ["bash", "bash", "cat", "sleep", "tmux: server", "top", "vim"]

        def tasks() -> list[Task]:
            found = self.box.tasks()
            return found if sorted(t.comm for t in found) == lasting else []

        found: list[Task] = self.box.until(
            lambda: f"tasks are {self.box.tasks()}", 60, tasks
        )
        return found

    def screen(self, window: int) -> str:
        return self.tmux("capture-pane", "-p", "-t", f"work:{window}")

    def expect(self, window: int, text: str) -> None:
        self.box.until(
            lambda: f"window {window} does not show '{text}': {self.screen(window)}",
            60,
            lambda: text in self.screen(window),
        )

    def check(self, turn: int) -> None:
        """Every window goes on as if nothing had happened."""
        self.tmux("send-keys", "-t", "work:0", f"echo round-$(({turn}+1))-$COLUMNS", "Enter")
        self.expect(0, f"round-{turn + 1}-90")
        self.tmux("send-keys", "-t", "work:1", f" and {turn}")
        self.expect(1, f" and {turn}")
        shown = self.screen(2)
        self.box.until("top stands still", 60, lambda: self.screen(2) != shown)
        self.tmux("send-keys", "-t", "work:3", f"ne {turn}", "Enter")
        self.expect(3, f"half a line {turn}")
        self.tmux("resize-window", "-t", "work:0", "-x", str(90 + turn), "-y", "30")
        self.tmux("send-keys", "-t", "work:0", "stty size", "Enter")
        self.expect(0, f"30 {90 + turn}")
        self.tmux("resize-window", "-t", "work:0", "-x", "90", "-y", "30")
        self.tmux("send-keys", "-t", "work:3", "half a li")

    def end(self) -> None:
        self.tmux("send-keys", "-t", "work:3", "C-c")
        self.tmux("send-keys", "-t", "work:3", "fg", "Enter")
        self.expect(3, "sleep 1000")
        self.tmux("send-keys", "-t", "work:1", "Escape", ":wq", "Enter")
        text = self.box.dir / "text"
        self.box.until(
            lambda: f"vim wrote {text.read_text() if text.exists() else 'nothing'!r}",
            60,
            lambda: text.exists() and "first line\nsecond and 0" in text.read_text(),
        )
        self.tmux("kill-server")


def tmux_session(box: Box) -> None:
    for program in ("tmux", "vim", "top"):
        if not shutil.which(program):
            raise Skipped(f"{program} is not installed")
    mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
    os.environ |= {"TERM": "xterm", "LC_ALL": "C.UTF-8", "HOME": str(box.dir)}
    s = Session(box)
    s.start()
    for turn in range(ROUNDS):
        before = s.resting()
        images = box.dir / f"images-{turn}"
        images.mkdir()
        words = ("-D", images, "-v4", "--file-locks")
        done = box.run([TORPOR, "dump", "-t", str(s.pid), *words, *PATIENT, "-o", "dump.log"])
        if done.status != 0:
            raise Failed(str(done))
        box.reap()
        box.statuses.clear()
        done = box.run([TORPOR, "restore", "-d", *words, "-o", "restore.log"])
        if done.status != 0:
            raise Failed(str(done))
        box.until(
            lambda: f"tasks are {box.tasks()}, were {before}", 60, lambda: box.tasks() == before
        )
        s.check(turn)
    s.end()
    for t in box.tasks():
        with suppress(ProcessLookupError):  # the end of one ends others
            os.kill(t.pid, signal.SIGKILL)


def test_tmux(boxed: Callable[..., Any]) -> None:
    boxed(tmux_session)


def test_pty_of_another(boxed: Callable[..., Any]) -> None:
    """A number that somebody else has got meanwhile is named; nothing is left of the restore."""
    boxed(taken_number)


def taken_number(box: Box) -> None:
    mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
    script = (
        "import os, pty, time\n"
        "m, s = pty.openpty()\n"
        f"open({str(box.dir / 'up')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(1000)\n"
    )
    pid = box.start(["/usr/bin/python3", "-c", script])
    box.until("it does not start", 60, lambda: (box.dir / "up").exists())
    images = box.dir / "images"
    images.mkdir()
    if box.torpor("dump", "-t", str(pid), "-D", images, *PATIENT).status != 0:
        raise Failed("dump failed")
    box.reap()
    box.statuses.clear()
    master, slave = os.openpty()
    done = box.torpor("restore", "-d", "-D", images)
    if done.status == 0 or "pseudoterminal 0" not in done.output or "in use" not in done.output:
        raise Failed("a pseudoterminal was taken from another")
    if box.tasks():
        raise Failed(f"left are {box.tasks()}")
    os.close(slave)
    os.close(master)
    done = box.torpor("restore", "-d", "-D", images)
    if done.status != 0 or not Path(f"/proc/{pid}").exists():
        raise Failed("not restored when the number is free")
    box.kill_all()
