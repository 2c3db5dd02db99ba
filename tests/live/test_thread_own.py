# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads that do not share what threads share are named; nothing of theirs is lost silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Failed
from subjects import Subject

WORDS = {
    "files": "a table of descriptors of its own",
    "fs": "a working directory, root and umask of its own",
    "net": "in another net namespace",
    "uts": "in another uts namespace",
}


def own(box: Box, what: str) -> None:
    s = Subject(box, "thread_own", (what,))
    s.start()
    tid = s.before[0].tids[1]
    done = box.torpor(*s.dump_command())
    words = (f"thread {tid} of task {s.pid} (thread_own)", WORDS[what])
    if done.status != 1 or not any(all(w in t for w in words) for t in done.output.splitlines()):
        raise Failed(f"not refused by name: {done}")
    if (s.images / "inventory.img").exists():
        raise Failed("a failed dump left inventory.img")
    s.expect_tasks()
    s.finish()


@pytest.mark.parametrize("what", sorted(WORDS))
def test_thread_own(boxed: Callable[..., Any], what: str) -> None:
    boxed(own, what=what)
