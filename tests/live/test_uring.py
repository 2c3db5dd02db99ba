# SPDX-License-Identifier: GPL-2.0-or-later
"""io_uring with requests in flight: waited for, and refused when that takes too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from box import Box, Failed
from subjects import Subject


def waits(box: Box) -> None:
    """A request that completes by itself within --timeout."""
    s = Subject(box, "urings_busy", ("timer",))
    s.start()
    s.dump()
    s.restore()
    s.finish()


def test_waits(boxed: Callable[..., Any]) -> None:
    boxed(waits)


def busy(box: Box, what: str) -> None:
    """One that does not: named, and the program runs on with its ring."""
    s = Subject(box, "urings_busy", (what,))
    s.start()
    done = box.torpor(*s.dump_command("--timeout", "1"))
    words = (f"task {s.pid} ", "descriptor 9 ", "io_uring", "busy", "--timeout", "of 1 requests 0")
    if done.status != 1 or not any(all(w in t for w in words) for t in done.output.splitlines()):
        raise Failed(f"not refused by name: {done}")
    if not 0.9 < done.seconds < 60:
        raise Failed(f"waited for {done.seconds} s")
    if (s.images / "inventory.img").exists():
        raise Failed("a failed dump left inventory.img")
    s.expect_tasks()
    s.finish()


def test_busy_poll(boxed: Callable[..., Any]) -> None:
    boxed(busy, what="poll")


def test_busy_timer(boxed: Callable[..., Any]) -> None:
    boxed(busy, what="hour")


def several(box: Box, what: str) -> None:
    """Requests with several completions: none in flight is taken for done, and nothing waited for."""
    s = Subject(box, "urings_busy", (what,))
    s.start()
    done = box.torpor(*s.dump_command())
    words = (f"task {s.pid} ", "descriptor 9 ", "io_uring", "multishot")
    if done.status != 1 or not any(all(w in t for w in words) for t in done.output.splitlines()):
        raise Failed(f"not refused by name: {done}")
    if done.seconds > 60:  # --timeout is 100
        raise Failed(f"waited for {done.seconds} s")
    s.expect_tasks()
    s.finish()


def test_several_in_flight(boxed: Callable[..., Any]) -> None:
    boxed(several, what="several")


def test_several_done(boxed: Callable[..., Any]) -> None:
    boxed(several, what="twice")
