# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of inotify and fanotify which nobody has read are lost: the log says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from box import Box, Failed
from subjects import Subject


def unread(box: Box) -> None:
    s = Subject(box, "unread")
    s.start()
    s.dump()
    log = (s.images / "dump.log").read_text()
    for fd, what in ((9, "inotify"), (8, "fanotify")):
        words = (f"task {s.pid} ", f"descriptor {fd} ", what, "Warn")
        if not any(all(w in t for w in words) for t in log.splitlines()):
            raise Failed(f"no warning about the events of {what}")
    s.restore()
    s.finish()


def test_unread(boxed: Callable[..., Any]) -> None:
    boxed(unread)
