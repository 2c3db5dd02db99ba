# SPDX-License-Identifier: GPL-2.0-or-later
"""Stopping tasks that fork meanwhile."""

from __future__ import annotations

import os
import signal

from box import Box, Failed, Task
from daemons import PATIENCE


def members(box: Box, name: str) -> list[Task]:
    """The tasks with this name; all of them if it is ''."""
    return [t for t in box.tasks() if not name or t.comm == name]


def send(box: Box, name: str, number: int) -> None:
    for t in members(box, name):
        try:
            os.kill(t.pid, number)
        except ProcessLookupError:
            pass


def stop_all(box: Box, name: str = "") -> list[Task]:
    """Stops all of them, also who was being forked meanwhile; returns them.

    Who is found stopped forks no more; so if the next look finds the same tasks, these are all.
    """
    last: list[int] = []

    def rests() -> bool:
        nonlocal last
        send(box, name, signal.SIGSTOP)
        found = members(box, name)
        pids = [t.pid for t in found] if all(t.state in "TZ" for t in found) else []
        same, last = bool(pids) and pids == last, pids
        return same

    try:
        box.until("", PATIENCE, rests)
    except Failed:
        raise Failed(f"these do not stop: {members(box, name)}") from None
    return members(box, name)
