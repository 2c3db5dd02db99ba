# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that torpor writes are decoded by Debian's crit and encoded again byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed
from subjects import Subject

# one subject for every image type there is
SUBJECTS = [
    "areas60000", "creds", "dead_leader", "deleted", "eventfds", "fd_sharing", "fifos", "files",
    "groups", "itimers", "limits_misc", "mem_cow", "mem_files", "mem_shared", "pending", "pipes",
    "posix_timers", "registers", "seccomp_filter", "seccomp_strict", "stopped", "threads", "zombies",
]  # fmt: skip

# images without crit's framing
RAW = ("pages-",)
# torpor's own, which CRIU and crit do not know and do not read
OWN = ("torpor-",)


def compare(image: Path) -> str:
    """'' if decode and encode give the same bytes, else what is wrong."""
    text = image.with_suffix(".json")
    again = image.with_suffix(".again")
    for command in (
        ["crit", "decode", "-i", str(image), "-o", str(text)],
        ["crit", "encode", "-i", str(text), "-o", str(again)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            return f"{image.name}: {command[1]}: {done.stderr.strip()[-300:]}"
    json.loads(text.read_text())
    old, new = image.read_bytes(), again.read_bytes()
    if old == new:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
    return f"{image.name}: {len(old)} bytes, encoded again {len(new)}, first difference at {at}"


def crit(box: Box, name: str) -> None:
    s = Subject(box, name, ("3000",) if name == "areas60000" else ())
    s.start()
    s.dump("-R")
    problems = []
    images = sorted(s.images.glob("*.img")) + [s.images / "stats-dump"]
    for image in images:
        if not image.name.startswith(RAW + OWN):
            problems.append(compare(image))
    problems = [p for p in problems if p]
    if problems:
        raise Failed("\n".join(problems))
    s.finish()


def explore(box: Box) -> None:
    """crit x: the whole set makes sense to it."""
    s = Subject(box, "tree")
    s.start()
    s.dump("-R")
    for what in ("ps", "fds", "mems", "rss"):
        done = box.run(["crit", "x", s.images, what])
        if done.status != 0:
            raise Failed(str(done))
        if what == "ps" and not all(str(t.pid) in done.output for t in s.before):
            raise Failed(f"crit x ps lacks tasks: {done.output}")
    s.finish()


@pytest.fixture(scope="module", autouse=True)
def crit_there() -> None:
    if not shutil.which("crit"):
        pytest.skip("crit is not installed (package criu)")


@pytest.mark.parametrize("name", SUBJECTS)
def test_crit(boxed: Callable[..., Any], name: str) -> None:
    boxed(crit, name=name)


def test_explore(boxed: Callable[..., Any]) -> None:
    boxed(explore)
