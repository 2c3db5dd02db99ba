# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads in vfork (vforks.c): a dump waits until they are out of it, or says who is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from box import Box, Failed
from subjects import Subject


def passes(box: Box, what: str) -> None:
    """The child comes to its end although it needs a thread that the dump wants to stop."""
    s = Subject(box, "vforks", (what,))
    s.start()
    for _ in range(3):
        done = box.torpor(*s.dump_command("--timeout", "100"))
        if done.status != 0:
            raise Failed("the dump did not wait for the child")
        s.forget()
        if box.torpor(*s.restore_command()).status != 0:
            raise Failed("restore failed")
    s.finish()


@pytest.mark.parametrize("what", ["partner", "sleep"])
def test_passes(boxed: Callable[..., Any], what: str) -> None:
    boxed(passes, what=what)


def refused(box: Box, what: str, words: tuple[str, ...]) -> None:
    """Who does not come to an end is named, within --timeout, and all runs on."""
    s = Subject(box, "vforks", (what,))
    s.start()
    before = s.before
    begin = time.monotonic()
    for command in ("dump", "pre-dump"):
        argv = s.dump_command("--timeout", "1")
        done = box.torpor(command, *argv[1:])
        if done.status == 0:
            raise Failed(f"{command} of memory that two processes have")
        sentences = [t for t in done.output.splitlines() if f"task {s.pid} (vforks)" in t]
        if not any(all(w in t for w in words) for t in sentences):
            raise Failed(f"{command} does not say why: {done.output}")
        if (s.images / "inventory.img").exists():
            raise Failed(f"a failed {command} left inventory.img")
    if time.monotonic() - begin > 60:
        raise Failed("it did not give up in time")
    box.until("tasks differ", 30, lambda: box.tasks() == before)
    os.kill(s.pid, signal.SIGUSR1)
    s.finish()


def test_never(boxed: Callable[..., Any]) -> None:
    boxed(refused, what="never", words=("waits in vfork for its child", "(vforks)"))


def test_thread(boxed: Callable[..., Any]) -> None:
    boxed(refused, what="thread", words=("CLONE_VFORK",))
