# SPDX-License-Identifier: GPL-2.0-or-later
"""tmux and screen with vim, top and a shell with jobs in them: the tree is saved, killed, restored.

The test types into the windows and reads them: through tmux's socket, as a client would, or at a
terminal of its own to which screen is attached anew in every turn. Every turn uses what the turns
before have left: text and undo history in vim, jobs and variables in the shell.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import shutil
import struct
import termios
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped, read_stat
from subjects import Subject

PATIENCE = 60.0
# a job in the background: three programs with pipes between them, which are fed at every turn
PIPELINE = "while read n; do echo $((n * 2)); done <numbers | tee -a twice | sed -u s/^/got/ >>got &"
PROGRAMS = {
    "vim": "vim -u NONE -N -n text",
    "top": "top -d 0.2",
    "sh": "bash --norc --noediting -i",
}
ROWS, COLUMNS = 30, 100
KEYS = {"Enter": "\r", "Escape": "\x1b", "C-c": "\x03", "C-z": "\x1a"}


class Session(Subject):
    """A detached server with one window for each program; see the subclasses."""

    server = ""  # comm of the server
    client = ""  # what a user calls

    def command(self, *words: str) -> str:
        """A client of the server; what it prints."""
        raise NotImplementedError

    def launch(self) -> None:
        """The server and its windows; attached, as by attach()."""
        raise NotImplementedError

    def press(self, window: str, *keys: str) -> None:
        """Types these keys (names of KEYS, or text) into the window."""
        raise NotImplementedError

    def show(self, window: str) -> str:
        """What can be seen in the window."""
        raise NotImplementedError

    def attach(self, shows: str) -> None:
        """At a terminal, where the server knows how to be; it shows this text there."""

    def detach(self) -> None:
        """The opposite of attach()."""

    def quit(self) -> None:
        """The server ends, and all that is in it."""
        raise NotImplementedError

    def expect_tasks(self, but: str = "") -> None:
        """Every one is there again; top and the shell come and go with what is typed."""
        wanted = {self.server, *PROGRAMS, "bash"} - {"sh"}
        here: set[str] = set()

        def all_there() -> bool:
            nonlocal here
            here = {t.comm for t in self.box.tasks() if t.state != "Z"}
            return wanted <= here

        try:
            self.box.until("", PATIENCE, all_there)
        except Failed:
            gone = wanted - here
            raise Failed(f"{gone} are gone after {self.rounds} rounds; {here} are there") from None

    def begin(self) -> None:
        """The server, its windows, and what is in them at the start."""
        work = self.box.dir / "work"
        work.mkdir()
        os.environ.update(TERM="screen", LC_ALL="C.UTF-8", HOME=str(work), SHELL="/bin/bash")
        for name in ("TMUX", "STY"):
            os.environ.pop(name, None)
        os.chdir(work)
        self.launch()
        os.mkfifo(work / "numbers")
        self.type("sh", "PS1='$ ' turns=0", "exec 9<>numbers", PIPELINE)
        self.type("sh", "sleep 1000 &", "seq 1000000 | sort -n | wc -l")
        self.until("sh", "1000000\n")
        self.expect_tasks()

    def type(self, window: str, *lines: str) -> None:
        self.press(window, *(key for line in lines for key in (line, "Enter")))

    def until(self, window: str, text: str) -> None:
        """Until the text can be seen."""
        last = ""

        def seen() -> bool:
            nonlocal last
            last = self.show(window)
            return text in last

        try:
            self.box.until("", PATIENCE, seen)
        except Failed:
            raise Failed(f"window {window} does not show '{text}' but {last.strip()!r}") from None

    # --------------------------------------------------------------------------------- one turn

    def expect_file(self, name: str, wanted: str) -> None:
        """Until the file holds this."""
        path = self.box.dir / "work" / name

        def text() -> str:
            return path.read_text() if path.exists() else ""

        try:
            self.box.until("", PATIENCE, lambda: text() == wanted)
        except Failed:
            raise Failed(f"'{name}' holds {text()!r}, not {wanted!r}") from None

    def check_vim(self, turn: int) -> None:
        """Adds a line, adds another and takes it back; the file has all lines of all turns."""
        self.press("vim", f"Goline {turn}", "Escape", "onot this", "Escape", "u", ":w", "Enter")
        self.expect_file("text", "".join(f"\nline {i}" for i in range(1, turn + 1)) + "\n")
        self.until("vim", f" {turn + 1}L, ")  # the last thing that it draws

    def check_top(self) -> None:
        """It goes on to show other times."""
        clocks = {self.show("top").split("up")[0]}

        def moved() -> bool:
            text = self.show("top")
            clocks.add(text.split("up")[0])
            return len(clocks) > 1 and "top -" in text and self.client in text

        self.box.until(f"top stands still: {clocks}", PATIENCE, moved)

    def check_shell(self, turn: int) -> None:
        """Jobs are stopped and continued by the terminal; variables are kept."""
        self.type("sh", f'turns=$((turns + 1)); clear; echo "turn" $turns "jobs" $(jobs -rp | wc -l)')
        self.until("sh", f"turn {turn} jobs 2")
        self.check_pipeline(turn)
        self.type("sh", f"sleep {1000 + turn} | sort | wc -l")
        self.expect_job(turn, "S")
        self.press("sh", "C-z")
        self.until_prompt("Stopped")
        self.expect_job(turn, "T")

    def until_prompt(self, text: str) -> None:
        """Until the shell shows the text and asks for more behind it: it draws nothing afterwards."""
        self.box.until(
            f"the shell does not ask behind '{text}'",
            PATIENCE,
            lambda: self.show("sh").rpartition(text)[2].rstrip().endswith("\n$"),
        )

    def expect_job(self, turn: int, state: str) -> None:
        """Until every program of the pipeline is there and in this state."""
        found: dict[str, str] = {}

        def good() -> bool:
            nonlocal found
            found = self.job_states(1000 + turn)
            return found == dict.fromkeys(("sleep", "sort", "wc"), state)

        try:
            self.box.until("", PATIENCE, good)
        except Failed:
            raise Failed(f"the job is not {state}: {found}") from None

    def resume_shell(self, turn: int) -> None:
        """After the restore the stopped pipeline is brought back and interrupted."""
        self.expect_job(turn, "T")
        self.type("sh", f"clear; fg %?{1000 + turn}")
        self.expect_job(turn, "S")
        self.press("sh", "C-c")
        self.box.until("C-c does nothing", PATIENCE, lambda: not self.job_states(1000 + turn))

    def check_pipeline(self, turn: int) -> None:
        """What the shell writes goes through all of the pipeline in the background."""
        self.type("sh", "echo $turns >&9")
        for name, word in (("twice", ""), ("got", "got")):
            self.expect_file(name, "".join(f"{word}{2 * i}\n" for i in range(1, turn + 1)))

    def job_states(self, seconds: int) -> dict[str, str]:
        """State of each program of `sleep SECONDS | sort | wc -l`; none if there is none."""
        states: dict[str, str] = {}
        for t in self.box.tasks():
            try:
                words = Path(f"/proc/{t.pid}/cmdline").read_bytes().split(b"\0")
                if t.comm in ("sort", "wc") or words[:2] == [b"sleep", b"%d" % seconds]:
                    states[t.comm] = read_stat(f"/proc/{t.pid}/stat")[1][0]
            except OSError:
                pass
        return states


class Tmux(Session):
    server, client = "tmux: server", "tmux"

    def command(self, *words: str) -> str:
        done = self.box.run(["tmux", "-S", str(self.box.dir / "socket"), *words], timeout=PATIENCE)
        if done.status:
            raise Failed(str(done))
        return done.output

    def launch(self) -> None:
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self.command("-f", "/dev/null", "new-session", "-d", "-s", "s", *size)
        self.command("set-option", "-g", "remain-on-exit", "on")
        for name, program in PROGRAMS.items():
            self.command("new-window", "-d", "-n", name, program)
        self.pid = int(self.command("display-message", "-p", "#{pid}"))

    def press(self, window: str, *keys: str) -> None:
        words: list[str] = []
        for key in keys:  # all in one call of the client, in which ; is between commands
            words += [";", "send-keys", "-t", f"s:{window}", *(() if key in KEYS else ("-l",)), key]
        self.command(*words[1:])

    def show(self, window: str) -> str:
        return self.command("capture-pane", "-p", "-t", f"s:{window}")

    def quit(self) -> None:
        self.command("kill-server")


class Screen(Session):
    """The test sits at a terminal of its own, outside of the tree, while screen is attached to it."""

    server = client = "screen"

    def command(self, *words: str) -> str:
        done = self.box.run(["screen", "-S", "s", *words], timeout=PATIENCE)
        if done.status:
            raise Failed(str(done))
        return done.output

    def launch(self) -> None:
        sockets = self.box.dir / "sockets"
        sockets.mkdir(mode=0o700)
        # while a message can be seen screen loses what is typed
        rc = "startup_message off\ndeflogin off\nmsgminwait 0\nmsgwait 0\n"
        (self.box.dir / "screenrc").write_text(rc)
        os.environ.update(SCREENDIR=str(sockets), SCREENRC=str(self.box.dir / "screenrc"))
        self.sit_down("screen", "-S", "s", "-t", "first")
        # it lives in a process of its own
        self.pid = int(next(sockets.glob("*.s")).name.split(".")[0])
        for number, (name, program) in enumerate(PROGRAMS.items(), 1):
            self.command("-X", "screen", "-t", name, str(number), *program.split())
        self.box.until(
            "not all windows are there",
            PATIENCE,
            lambda: all(name in self.command("-Q", "windows") for name in PROGRAMS),
        )

    def attach(self, shows: str) -> None:
        """As a user comes back, who finds what was there when he left."""
        self.sit_down("screen", "-x", "s")
        self.seat.until(shows)

    def sit_down(self, *argv: str) -> None:
        """At a new terminal; the windows have its size from the start."""
        self.seat = Seat(self.box, argv)
        self.seat.until("")

    def detach(self) -> None:
        self.seat.write("\x01d")
        self.seat.leave("detached from")

    def press(self, window: str, *keys: str) -> None:
        number = list(PROGRAMS).index(window) + 1
        # with C-a and a number the terminal shows the window, and what is typed goes there
        self.seat.write(f"\x01{number}" + "".join(KEYS.get(key, key) for key in keys))

    def show(self, window: str) -> str:
        number = list(PROGRAMS).index(window) + 1
        path = self.box.dir / "hardcopy"
        path.unlink(missing_ok=True)
        self.command("-p", str(number), "-X", "hardcopy", str(path))
        self.command("-Q", "number")  # the server answers when it has done what came before
        return path.read_text() if path.exists() else ""

    def quit(self) -> None:
        self.command("-X", "quit")


class Seat:
    """A terminal and a program at it, outside of what is saved; what is drawn is read all the time."""

    def __init__(self, box: Box, argv: Iterable[str]) -> None:
        self.box, self.seen = box, b""
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.pid = box.start(argv, fds=(slave, slave, slave))
        os.close(slave)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        try:
            while part := os.read(self.master, 65536):
                self.seen += part
        except OSError:  # EIO: nobody has the terminal open any more
            pass

    def until(self, text: str) -> None:
        """Until something with this text in it has been drawn; then the server listens, too."""
        try:
            self.box.until("", PATIENCE, lambda: self.seen and text.encode() in self.seen)
        except Failed:
            raise Failed(f"the terminal does not show '{text}' but {self.seen[-500:]!r}") from None

    def write(self, text: str) -> None:
        rest = text.encode()
        while rest:
            rest = rest[os.write(self.master, rest) :]

    def leave(self, word: str) -> None:
        """Until the program has ended well and said this word."""
        status = self.box.wait(self.pid, PATIENCE)
        self.reader.join(PATIENCE)
        os.close(self.master)
        if status != 0 or word.encode() not in self.seen:
            raise Failed(f"the program at the terminal ends with {status}: {self.seen[-300:]!r}")


SESSIONS: dict[str, type[Session]] = {c.client: c for c in (Tmux, Screen)}


def run_session(box: Box, name: str, rounds: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    for program in (name, "vim", "top", "bash"):
        if not shutil.which(program):
            raise Skipped(f"{program} is not installed")
    s = SESSIONS[name](box, name)
    s.keep_images_in_memory()
    s.begin()
    begin = time.monotonic()
    for turn in range(1, rounds + 1):
        try:
            one_turn(s, turn, rng)
        except Failed as e:
            raise Failed(f"turn {turn} (seed {seed}): {e}") from e
        shutil.rmtree(s.images)
    s.check_vim(rounds + 1)
    s.detach()
    s.quit()
    box.until(f"tasks are left: {box.tasks()}", PATIENCE, lambda: not box.tasks())
    return {"rounds": rounds, "seconds": round(time.monotonic() - begin, 2)}


def one_turn(s: Session, turn: int, rng: random.Random) -> None:
    s.check_vim(turn)
    s.check_top()
    s.check_shell(turn)
    time.sleep(rng.random() * 0.1)
    s.detach()
    shown = [s.show(window) for window in ("vim", "sh")]
    s.dump()
    s.restore()
    if (now := [s.show(window) for window in ("vim", "sh")]) != shown:
        raise Failed(f"the screens have changed: {shown} {now}")
    s.attach(f"turn {turn} jobs 2")
    s.resume_shell(turn)
