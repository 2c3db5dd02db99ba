# SPDX-License-Identifier: GPL-2.0-or-later
"""A page server that is killed while a dump has to do with it, at moments that are certain."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from box import TORPOR, Box, Failed, read_task
from daemons import PATIENCE, Server
from subjects import Subject

# the dump stops itself after these stages: connected, tasks stopped, the looks done, all pages sent
STAGES = ("server", "seize", "files", "memory")


def state(pid: int) -> str:
    task = read_task(pid)
    return task.state if task else ""


def die_first(box: Box, server: Server, words: list[str]) -> int:
    """Nobody is there."""
    os.kill(server.pid, signal.SIGKILL)
    box.wait(server.pid, PATIENCE)
    return box.start([TORPOR, *words], out=box.dir / "dump.out")


def die_after(box: Box, server: Server, words: list[str], stage: str) -> int:
    env = {"TORPOR_FAULT": f"dump:{stage}=stop"}
    dump = box.start([TORPOR, *words], out=box.dir / "dump.out", env=env)
    box.until(f"the dump does not stop after {stage}", PATIENCE, lambda: state(dump) == "T")
    os.kill(server.pid, signal.SIGKILL)
    box.wait(server.pid, PATIENCE)
    os.kill(dump, signal.SIGCONT)
    return dump


def die_meanwhile(box: Box, server: Server, words: list[str], log: Path) -> int:
    """While pages are on their way: it does not read, and what is between holds only a part."""
    os.kill(server.pid, signal.SIGSTOP)
    box.until("the server does not stop", PATIENCE, lambda: state(server.pid) == "T")
    dump = box.start([TORPOR, *words], out=box.dir / "dump.out")
    box.until(
        "the dump does not come to the pages",
        PATIENCE,
        lambda: log.exists() and "stage 'streams'" in log.read_text(),
    )
    os.kill(server.pid, signal.SIGKILL)
    return dump


def dies_at_each_moment(box: Box, options: tuple[str, ...]) -> None:
    """The dump fails with a sentence that names the server, nothing is left, the tasks run on."""
    s = Subject(box, "mem_private")
    s.start()
    for moment in ("first", "meanwhile", *STAGES):
        server = Server(box, box.dir / f"pages-{moment}")
        images = box.dir / f"images-{moment}"
        images.mkdir()
        log = images / "dump.log"
        words = ["dump", "-t", str(s.pid), "-D", str(images), "-o", "dump.log", "-v4"]
        words += [*server.options, *options]
        if moment == "first":
            dump = die_first(box, server, words)
        elif moment == "meanwhile":
            dump = die_meanwhile(box, server, words, log)
        else:
            dump = die_after(box, server, words, moment)
        status = box.wait(dump, PATIENCE)
        said = (box.dir / "dump.out").read_text()
        (box.dir / "dump.out").unlink()
        if status != 1 or "the page server at 127.0.0.1" not in said:
            raise Failed(f"{moment}: the dump ended with {status}: {said}")
        left = [p.name for p in images.iterdir() if p.name != "dump.log"]
        if left:
            raise Failed(f"{moment}: left behind: {left}")
        s.expect_tasks()
    s.finish()
