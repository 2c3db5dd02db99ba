# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge pages that are not there when a task comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped
from subjects import Subject

RESERVED = Path("/proc/sys/vm/nr_hugepages")


def too_few(box: Box) -> None:
    """The sentence says of what there is too little and what to do; then it is done."""
    if not RESERVED.exists() or int(RESERVED.read_text()) < 32:
        raise Skipped("not enough huge pages (sysctl vm.nr_hugepages)")
    s = Subject(box, "hugetlb")
    s.start()
    s.dump()
    RESERVED.write_text("1")
    done = box.torpor(*s.restore_command())
    if done.status == 0 or "too few huge pages of 2048 KiB are free" not in done.output:
        raise Failed(f"restored without huge pages: {done}")
    if box.tasks():
        raise Failed(f"left behind: {box.tasks()}")
    RESERVED.write_text("32")
    s.restore()
    s.finish()


def test_too_few(boxed: Callable[..., Any], huge_pages: None) -> None:
    boxed(too_few)
