# SPDX-License-Identifier: GPL-2.0-or-later
"""System V objects and message queues, in an IPC namespace which torpor and the subject share."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed, mount
from subjects import Subject
from test_subjects import MODES

CLONE_NEWIPC = 0x08000000


def own_ipc() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWIPC):
        raise Failed(f"unshare: errno {ctypes.get_errno()}")


def objects() -> list[str]:
    """Kind, key and id of all objects."""
    found = []
    for kind in ("shm", "sem", "msg"):
        lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
        found += [f"{kind} {' '.join(line.split()[:2])}" for line in lines]
    return sorted(found)


def as_after_a_reboot() -> None:
    subprocess.run(["ipcrm", "--all"], check=True, capture_output=True)
    if objects():
        raise Failed(f"ipcrm left {objects()}")


def live(box: Box, mode: str) -> None:
    own_ipc()
    s = Subject(box, "sysv")
    s.start()
    MODES[mode](s)
    s.finish()


@pytest.mark.parametrize("mode", list(MODES))
def test_sysv(boxed: Callable[..., Any], mode: str) -> None:
    boxed(live, mode=mode)


def elsewhere(box: Box) -> None:
    """Nothing of the objects is there: they come from the images, with their numbers."""
    own_ipc()
    s = Subject(box, "sysv")
    s.start()
    before = objects()
    s.dump()
    as_after_a_reboot()
    s.restore()
    if objects() != before:
        raise Failed(f"objects are {objects()}, were {before}")
    s.finish()


def test_elsewhere(boxed: Callable[..., Any]) -> None:
    boxed(elsewhere)


def taken(box: Box) -> None:
    """Somebody else has a number meanwhile; a restore that fails leaves no object."""
    own_ipc()
    s = Subject(box, "sysv")
    s.start()
    s.dump()
    as_after_a_reboot()
    Path("/proc/sys/kernel/sem_next_id").write_text("0")
    subprocess.run(["ipcmk", "-S", "4"], check=True, capture_output=True)
    other = objects()
    done = box.torpor(*s.restore_command())
    if done.status == 0 or "other semaphores have that number" not in done.output:
        raise Failed("it was restored on the semaphores of another")
    if objects() != other or box.tasks():
        raise Failed(f"left are {objects()}, {box.tasks()}")


def test_taken(boxed: Callable[..., Any]) -> None:
    boxed(taken)


HAMMER = """
import ctypes, struct, sys
libc = ctypes.CDLL(None)
sem, num = int(sys.argv[1]), int(sys.argv[2])
if sem < 0:
    sem = libc.semget(0, 1, 0o600 | 0o1000)
up, down = (struct.pack("HhH", num, n, 0) for n in (1, -1))
print(sem, flush=True)
while True:
    libc.semop(sem, up, 1)
    libc.semop(sem, up, 1)
    libc.semop(sem, down, 1)
    libc.semop(sem, down, 1)
"""


def undos(s: Subject) -> list[dict[str, int]]:
    told = s.box.torpor("decode", "-i", s.images / "torpor-state").output
    return [u for e in json.loads(told)["entries"] for u in e.get("sem_undos", [])]


def others_at_work(box: Box, shared: bool) -> None:
    """Semaphores that others use all the time, its own (`shared`) or not, change nothing in what a
    task gives back at its end.

    Every process with threads has a list of such, so each is asked.
    """
    own_ipc()
    ours = Subject(box, "sysv")
    ours.start()
    ours.dump("-R")
    before = undos(ours)
    used = before[0] if shared else {"id": -1, "num": 0}
    argv = ["python3", "-c", HAMMER, str(used["id"]), str(used["num"])]
    other = box.start(argv, out=box.dir / "hammer")
    box.aside.add(other)
    box.until("no hammer", 60, lambda: (box.dir / "hammer").read_text())
    for _ in range(6):
        ours.dump("-R")
        if undos(ours) != before:
            raise Failed(f"they are {undos(ours)}, were {before}")
    if not shared:
        ours.dump()
        ours.restore()
        ours.finish()


@pytest.mark.parametrize("shared", [False, True])
def test_others_at_work(boxed: Callable[..., Any], shared: bool) -> None:
    boxed(others_at_work, shared=shared)


def queues_setup(box: Box, seen: bool) -> Subject:
    """`seen`: a mount shows them, and a descriptor was opened there."""
    own_ipc()
    if seen:
        folder = box.dir / "work/queues"
        folder.mkdir(parents=True)
        mount("mqueue", str(folder), "mqueue")
    s = Subject(box, "mqueues")
    s.start()
    return s


def queues(box: Box, mode: str, seen: bool) -> None:
    s = queues_setup(box, seen)
    MODES[mode](s)
    s.finish()


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("seen", [False, True])
def test_queues(boxed: Callable[..., Any], mode: str, seen: bool) -> None:
    boxed(queues, mode=mode, seen=seen)


def queues_elsewhere(box: Box, seen: bool) -> None:
    """The queues are not there: they come from the images, with their messages."""
    s = queues_setup(box, seen)
    s.dump()
    for name in (b"/torpor-mq", b"/torpor-idle"):
        if ctypes.CDLL(None).mq_unlink(name):
            raise Failed(f"{name!r} is not there")
    s.restore()
    s.finish()


@pytest.mark.parametrize("seen", [False, True])
def test_queues_elsewhere(boxed: Callable[..., Any], seen: bool) -> None:
    boxed(queues_elsewhere, seen=seen)
