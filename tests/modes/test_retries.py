# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump that begins again, because something was on its way, with what it can have only once.

A request of unix_busy lies in a connection that nobody has accepted: such a moment cannot be saved.
The dump stops itself before each look at the tasks (a fault point), so that the test decides what it
sees: BAD times the request, then none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Failed, read_task
from daemons import Server, merge
from subjects import Subject
from test_streams import HERE as MODES
from test_streams import run_with

BAD = 2
PATIENCE = 60.0


class Steered:
    """A subject whose request waits until it was looked at often enough."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.work = box.dir / "work"
        self.work.mkdir()
        (self.work / "hold").touch()
        self.subject = Subject(box, "unix_busy", ("steered",))
        self.subject.start()
        self.until("asked")

    def until(self, name: str) -> None:
        self.box.until(f"the subject does not make '{name}'", PATIENCE, (self.work / name).exists)

    def begin(self, words: list[str], *inherited: int) -> int:
        """Starts a dump that stops before each of its looks."""
        for fd in inherited:
            os.set_inheritable(fd, True)
        out = self.box.dir / "dump.out"
        pid = self.box.start([TORPOR, *words], out=out, env={"TORPOR_FAULT": "dump:open=stop"})
        self.box.aside.add(pid)
        return pid

    def stands(self, pid: int) -> bool:
        """Waits until it stops; false: it has ended, or serves pages."""

        def seen() -> str:
            task = read_task(pid)
            if pid in self.box.statuses or (self.subject.images / "inventory.img").exists():
                return "done"
            return "stands" if task and task.state == "T" else ""

        return str(self.box.until("the dump neither stops nor ends", PATIENCE, seen)) == "stands"

    def steer(self, pid: int) -> None:
        """Lets it look BAD times at what cannot be saved and once at what can."""
        looks = 0
        while self.stands(pid):
            looks += 1
            if looks == BAD + 1:
                (self.work / "hold").unlink()
                self.until("answered")
            os.kill(pid, signal.SIGCONT)
        log = (self.subject.images / "dump.log").read_text()
        again = log.count("nobody has accepted yet; that cannot be read, try again")
        if looks != BAD + 1 or again != BAD or log.count("trying again") != BAD:
            raise Failed(f"the dump looked {looks} times, {again} times at what cannot be saved")

    def dump(self, words: list[str], *inherited: int) -> None:
        pid = self.begin(words, *inherited)
        self.steer(pid)
        if self.box.wait(pid, PATIENCE) != 0:
            raise Failed(f"the dump failed: {(self.box.dir / 'dump.out').read_text()}")

    def finish(self) -> None:
        """The restored ones ask and answer again."""
        self.subject.expect_tasks()
        (self.work / "answered").unlink()
        (self.work / "more").touch()
        self.until("answered")
        self.subject.finish()


def by_descriptor(t: Steered, option: str, secret: bytes) -> None:
    """The secret comes through a pipe, once."""

    @contextmanager
    def given() -> Iterator[int]:
        rd, wr = os.pipe()
        os.write(wr, secret)
        os.close(wr)
        yield rd
        os.close(rd)

    s = t.subject
    with given() as fd:
        t.dump(s.dump_command("--encrypt", option, str(fd)), fd)
    s.forget()
    with given() as fd:
        if run_with(t.box, [*s.restore_command(option, str(fd))], fd).status != 0:
            raise Failed("the restore failed")


def by_server(t: Steered, *filters: str) -> None:
    """The connection of the first try is that of the last one."""
    server = Server(t.box, t.box.dir / "pages")
    t.dump(t.subject.dump_command(*server.options, *filters))
    server.end()
    merge(server.images, t.subject.images)
    t.subject.restore()


def by_stream(t: Steered) -> None:
    where, s = t.box.dir / "stream", t.subject
    with where.open("wb") as out:
        t.dump(s.dump_command("--stream-fd", str(out.fileno())), out.fileno())
    s.forget()
    with where.open("rb") as file:
        fd = file.fileno()
        if run_with(t.box, [*s.restore_command("--stream-fd", str(fd))], fd).status != 0:
            raise Failed("the restore failed")


def by_streamer(t: Steered) -> None:
    s = t.subject
    words = s.dump_command("--stream")
    for what in ("capture", "serve"):
        script: list[str | Path] = ["/usr/bin/python3", MODES / "streamer.py", what, s.images]
        streamer = t.box.start([*script, t.box.dir / "all"], out=t.box.dir / "streamer.out")
        t.box.aside.add(streamer)
        t.box.until("no streamer", PATIENCE, (s.images / f"streamer-{what}.sock").exists)
        if what == "capture":
            t.dump(words)
        elif run_with(t.box, [*s.restore_command("--stream")]).status != 0:
            raise Failed("the restore failed")
        if t.box.wait(streamer, PATIENCE) != 0:
            raise Failed(f"the streamer: {(t.box.dir / 'streamer.out').read_text()}")
        s.forget()


def by_lazy_dump(t: Steered) -> None:
    """It listens at one port all the time; nobody asks, so the tasks run on."""
    dump = t.begin(t.subject.dump_command("--lazy-pages", "--address", "127.0.0.1"))
    t.steer(dump)
    os.kill(dump, signal.SIGKILL)
    t.box.wait(dump, PATIENCE)
    said = (t.box.dir / "dump.out").read_text()
    if said.count("listening") != 1:
        raise Failed(f"the dump does not listen once: {said}")


WAYS: dict[str, Callable[[Steered], None]] = {
    "key": lambda t: by_descriptor(t, "--key-fd", os.urandom(32)),
    "passphrase": lambda t: by_descriptor(t, "--passphrase-fd", b"correct horse\n"),
    "server": by_server,
    "server-zstd": lambda t: by_server(t, "--compress=zstd"),
    "stream": by_stream,
    "streamer": by_streamer,
    "lazy-dump": by_lazy_dump,
}


def retried(box: Box, way: str) -> None:
    t = Steered(box)
    WAYS[way](t)
    t.finish()


@pytest.mark.parametrize("way", WAYS)
def test_retried(boxed: Callable[..., Any], way: str) -> None:
    boxed(retried, way=way)
