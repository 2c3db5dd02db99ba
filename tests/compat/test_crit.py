# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that torpor writes are decoded by Debian's crit and encoded again byte for byte.

Debian's crit is of CRIU 3.17 and drops what later releases added; see crit317.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed
from crit317 import of_317, reencode
from subjects import NET, Subject

# one subject for every image type there is (but contents of BPF maps, which this crit decodes and
# does not encode)
SUBJECTS = [
    "areas60000", "creds", "dead_leader", "deleted", "eventfds", "fd_sharing", "fifos", "files",
    "groups", "itimers", "limits_misc", "mem_cow", "mem_files", "mem_shared", "pending", "pipes",
    "posix_timers", "registers", "seccomp_filter", "seccomp_strict", "stopped", "threads", "tuns", "zombies",
]  # fmt: skip

# fewer areas; only names that are text, because JSON cannot hold others
ARGS = {"areas60000": ("3000",), "files": ("text",)}
# images without crit's framing
RAW = ("pages-",)
# torpor's own, which CRIU and crit do not know and do not read
OWN = ("torpor-",)
def compare(image: Path) -> str:
    """'' if the image that was encoded again has the same bytes, else what is wrong."""
    again = image.with_name(image.name + ".again")
    old, new = of_317(image.name, image.read_bytes()), again.read_bytes()
    if old == new:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
    return f"{image.name}: {len(old)} bytes, encoded again {len(new)}, first difference at {at}"


def crit(box: Box, name: str) -> None:
    s = Subject(box, name, ARGS.get(name, ()))
    s.start()
    s.dump("-R")
    images = sorted(s.images.glob("*.img")) + [s.images / "stats-dump"]
    images = [i for i in images if not i.name.startswith(RAW + OWN)]
    problems = [reencode(images)]
    problems += [] if problems[0] else [compare(i) for i in images]
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
    boxed(crit, net=name in NET, name=name)


def test_explore(boxed: Callable[..., Any]) -> None:
    boxed(explore)
