# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump that begins again, because something was on its way, with what it can have only once.

unix_busy sends requests into connections that wait to be accepted: such a moment cannot be saved.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Done, Failed
from daemons import Server, merge
from elsewhere import start_dump
from subjects import Subject
from test_streams import HERE as MODES
from test_streams import run_with

TRIES = 30


class Busy(Failed):
    """No try met a good moment: the dump said so, and the tasks run on."""


def expect_dump(s: Subject, done: Done) -> None:
    if done.status == 0:
        return
    log = (s.images / "dump.log").read_text()
    if "try again" in done.output and log.count("trying again") == 8:
        raise Busy(str(done))
    raise Failed(f"the dump failed: {done}")


def by_descriptor(s: Subject, option: str, secret: bytes) -> None:
    """The secret comes through a pipe, once."""

    def given() -> tuple[list[str], int]:
        rd, wr = os.pipe()
        os.write(wr, secret)
        os.close(wr)
        return [option, str(rd)], rd

    words, fd = given()
    done = run_with(s.box, [*s.dump_command("--encrypt", *words)], fd)
    os.close(fd)
    expect_dump(s, done)
    s.forget()
    words, fd = given()
    if run_with(s.box, [*s.restore_command(*words)], fd).status != 0:
        raise Failed("the restore failed")
    os.close(fd)


def by_server(s: Subject, *filters: str) -> None:
    server = Server(s.box, s.box.dir / f"pages-{s.rounds}")
    done = s.box.torpor(*s.dump_command(*server.options, *filters))
    if done.status != 0:
        os.kill(server.pid, 9)
        s.box.wait(server.pid, 10)
    expect_dump(s, done)
    server.end()
    merge(server.images, s.images)
    s.restore()


def by_stream(s: Subject) -> None:
    where = s.box.dir / "stream"
    with where.open("wb") as out:
        fd = out.fileno()
        expect_dump(s, run_with(s.box, [*s.dump_command("--stream-fd", str(fd))], fd))
    s.forget()
    with where.open("rb") as file:
        fd = file.fileno()
        if run_with(s.box, [*s.restore_command("--stream-fd", str(fd))], fd).status != 0:
            raise Failed("the restore failed")


def by_streamer(s: Subject) -> None:
    words = s.dump_command("--stream")
    for what, command in (("capture", words), ("serve", s.restore_command("--stream"))):
        script: list[str | Path] = ["/usr/bin/python3", MODES / "streamer.py", what, s.images, s.box.dir / "all"]
        with subprocess.Popen(script) as streamer:
            s.box.until("no streamer", 20, (s.images / f"streamer-{what}.sock").exists)
            done = run_with(s.box, [*command])
            streamer.wait()
            if what == "capture":
                expect_dump(s, done)
            elif done.status != 0:
                raise Failed("the restore failed")
        s.forget()


def by_lazy_dump(s: Subject) -> None:
    """It listens at one port all the time; nobody asks, so the tasks run on."""
    dump, port = start_dump(s.box, s)
    os.kill(dump, 9)
    s.box.wait(dump, 10)
    if (s.box.dir / "lazy-dump.out").read_text().count("listening") != 1:
        raise Failed("the dump listens more than once")
    (s.box.dir / "lazy-dump.out").unlink()
    s.expect_tasks()


WAYS: dict[str, Callable[[Subject], None]] = {
    "key": lambda s: by_descriptor(s, "--key-fd", os.urandom(32)),
    "passphrase": lambda s: by_descriptor(s, "--passphrase-fd", b"correct horse\n"),
    "server": by_server,
    "server-zstd": lambda s: by_server(s, "--compress=zstd"),
    "stream": by_stream,
    "streamer": by_streamer,
    "lazy-dump": by_lazy_dump,
}


def retried(box: Box, way: str) -> int:
    s = Subject(box, "unix_busy")
    s.start()
    for tries in range(1, TRIES + 1):
        try:
            WAYS[way](s)
        except Busy:
            s.expect_tasks()
            continue
        s.expect_tasks()
        if "trying again" in (s.images / "dump.log").read_text():
            break
    else:
        raise Failed(f"no moment of {TRIES} was a bad one")
    s.finish()
    return tries


# each try makes a key of the passphrase again, which is slow by design
SLOW = [] if os.environ.get("TORPOR_MODES") == "all" else ["passphrase"]


@pytest.mark.parametrize("way", [w for w in WAYS if w not in SLOW])
def test_retried(boxed: Callable[..., Any], way: str) -> None:
    boxed(retried, way=way)
