# SPDX-License-Identifier: GPL-2.0-or-later
"""tmux with vim, top and a shell with jobs in it: the whole tree is saved, killed and restored.

The test types into the panes and reads them through tmux's socket, as a client would. Every turn
uses what the turns before have left: text and undo history in vim, jobs and variables in the shell.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped
from subjects import Subject

PATIENCE = 30.0
# a job in the background: three programs with pipes between them, which are fed at every turn
PIPELINE = "while read n; do echo $((n * 2)); done <numbers | tee -a twice | sed -u s/^/got/ >>got &"
NEEDED = ("tmux", "vim", "top", "bash")


class Tmux(Subject):
    """A detached server with one pane for each program."""

    def expect_tasks(self, but: str = "") -> None:
        """Every one is there again; top and the shell come and go with what is typed."""
        here = {t.comm for t in self.box.tasks() if t.state != "Z"}
        missing = {"tmux: server", "vim", "top", "bash"} - here
        if missing:
            raise Failed(f"{missing} are gone after {self.rounds} rounds; {here} are there")

    def command(self, *words: str) -> str:
        """A client of the server; what it prints."""
        done = self.box.run(["tmux", "-S", str(self.box.dir / "socket"), *words], timeout=PATIENCE)
        if done.status:
            raise Failed(str(done))
        return done.output

    def begin(self) -> None:
        """The server and its panes."""
        work = self.box.dir / "work"
        work.mkdir()
        os.environ.update(TERM="screen", LC_ALL="C.UTF-8", HOME=str(work), SHELL="/bin/bash")
        os.environ.pop("TMUX", None)
        os.chdir(work)
        self.command(*("-f", "/dev/null", "new-session", "-d", "-s", "s", "-x", "100", "-y", "30"))
        self.command("set-option", "-g", "remain-on-exit", "on")
        self.command("new-window", "-d", "-n", "vim", "vim -u NONE -N -n text")
        self.command("new-window", "-d", "-n", "top", "top -d 0.2")
        self.command("new-window", "-d", "-n", "sh", "bash --norc --noediting -i")
        self.pid = int(self.command("display-message", "-p", "#{pid}"))
        os.mkfifo(work / "numbers")
        self.type("sh", "PS1='$ ' turns=0", "exec 9<>numbers", PIPELINE)
        self.type("sh", "sleep 1000 &", "seq 1000000 | sort -n | wc -l")
        self.until("sh", "1000000")
        self.expect_tasks()

    def type(self, pane: str, *lines: str) -> None:
        for line in lines:
            self.command("send-keys", "-t", f"s:{pane}", "-l", line)
            self.command("send-keys", "-t", f"s:{pane}", "Enter")

    def show(self, pane: str) -> str:
        """What can be seen in the pane."""
        return self.command("capture-pane", "-p", "-t", f"s:{pane}")

    def until(self, pane: str, text: str) -> None:
        """Until the text can be seen."""
        last = ""

        def seen() -> bool:
            nonlocal last
            last = self.show(pane)
            return text in last

        try:
            self.box.until("", PATIENCE, seen)
        except Failed:
            raise Failed(f"pane {pane} does not show '{text}' but {last.strip()!r}") from None

    # --------------------------------------------------------------------------------- one turn

    def check_vim(self, turn: int) -> None:
        """Adds a line, adds another and takes it back; the file has all lines of all turns."""
        path = self.box.dir / "work/text"
        self.command(*("send-keys", "-t", "s:vim", f"Goline {turn}", "Escape", "onot this"))
        self.command(*("send-keys", "-t", "s:vim", "Escape", "u", ":w", "Enter"))
        wanted = "".join(f"\nline {i}" for i in range(1, turn + 1)) + "\n"
        self.box.until(
            f"vim wrote {path.read_text() if path.exists() else None!r}",
            PATIENCE,
            lambda: path.exists() and path.read_text() == wanted,
        )

    def check_top(self) -> None:
        """It goes on to show other times."""
        clocks = {self.show("top").split("up")[0]}

        def moved() -> bool:
            text = self.show("top")
            clocks.add(text.split("up")[0])
            return len(clocks) > 1 and "top -" in text and "tmux" in text

        self.box.until(f"top stands still: {clocks}", PATIENCE, moved)

    def check_shell(self, turn: int) -> None:
        """Jobs are stopped and continued by the terminal; variables are kept."""
        self.type("sh", f'turns=$((turns + 1)); clear; echo "turn" $turns "jobs" $(jobs -rp | wc -l)')
        self.until("sh", f"turn {turn} jobs 2")
        self.check_pipeline(turn)
        self.type("sh", f"sleep {1000 + turn} | sort | wc -l")
        self.box.until("no sleep runs", PATIENCE, lambda: self.sleeps(1000 + turn) == "S")
        self.command("send-keys", "-t", "s:sh", "C-z")
        self.until("sh", "Stopped")
        self.box.until("sleep is not stopped", PATIENCE, lambda: self.sleeps(1000 + turn) == "T")

    def resume_shell(self, turn: int) -> None:
        """After the restore the stopped pipeline is brought back and interrupted."""
        self.box.until("sleep is not stopped", PATIENCE, lambda: self.sleeps(1000 + turn) == "T")
        self.type("sh", f"clear; fg %?{1000 + turn}")
        self.box.until("fg does nothing", PATIENCE, lambda: self.sleeps(1000 + turn) == "S")
        self.command("send-keys", "-t", "s:sh", "C-c")
        self.box.until("C-c does nothing", PATIENCE, lambda: not self.sleeps(1000 + turn))

    def check_pipeline(self, turn: int) -> None:
        """What the shell writes goes through all of the pipeline in the background."""
        self.type("sh", "echo $turns >&9")
        for name, word in (("twice", ""), ("got", "got")):
            path = self.box.dir / "work" / name
            wanted = "".join(f"{word}{2 * i}\n" for i in range(1, turn + 1))
            self.box.until(
                f"the pipeline wrote {path.read_text()!r}",
                PATIENCE,
                lambda path=path, wanted=wanted: path.read_text() == wanted,
            )

    def sleeps(self, seconds: int) -> str:
        """State of `sleep SECONDS`, '' if there is none."""
        for t in self.box.tasks():
            try:
                words = Path(f"/proc/{t.pid}/cmdline").read_bytes().split(b"\0")
                if t.comm == "sleep" and words[1] == str(seconds).encode():
                    return Path(f"/proc/{t.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                pass
        return ""


def run_tmux(box: Box, rounds: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    for name in NEEDED:
        if not shutil.which(name):
            raise Skipped(f"{name} is not installed")
    s = Tmux(box, "tmux")
    s.keep_images_in_memory()
    s.begin()
    begin = time.monotonic()
    for turn in range(1, rounds + 1):
        try:
            s.check_vim(turn)
            s.check_top()
            s.check_shell(turn)
            time.sleep(rng.random() * 0.1)
            shown = [s.show(pane) for pane in ("vim", "sh")]
            s.dump()
            s.restore()
            if (now := [s.show(pane) for pane in ("vim", "sh")]) != shown:
                raise Failed(f"the screens have changed: {shown} {now}")
            s.resume_shell(turn)
        except Failed as e:
            raise Failed(f"turn {turn} (seed {seed}): {e}") from e
        shutil.rmtree(s.images)
    s.check_vim(rounds + 1)
    s.command("kill-server")
    box.until(f"tasks are left: {box.tasks()}", 10, lambda: not box.tasks())
    return {"rounds": rounds, "seconds": round(time.monotonic() - begin, 2)}
