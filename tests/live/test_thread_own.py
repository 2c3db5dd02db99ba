# SPDX-License-Identifier: GPL-2.0-or-later
"""Threads that do not share what threads share are named; nothing of theirs is lost silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from box import Box
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
    s.expect_refusal(f"thread {tid} of task {s.pid} (thread_own)", WORDS[what])
    s.finish()


@pytest.mark.parametrize("what", sorted(WORDS))
def test_thread_own(boxed: Callable[..., Any], what: str) -> None:
    boxed(own, what=what)
