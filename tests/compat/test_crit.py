# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that torpor writes are decoded by Debian's crit and encoded again byte for byte.

Debian's crit is of CRIU 3.17 and drops what later releases added. Those fields stand in LATER, and
only they may be missing from what it encodes.
"""

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

# fewer areas; only names that are text, because JSON cannot hold others
ARGS = {"areas60000": ("3000",), "files": ("text",)}
# images without crit's framing
RAW = ("pages-",)
# torpor's own, which CRIU and crit do not know and do not read
OWN = ("torpor-",)
# fields younger than 3.17, as paths of field numbers, by the start of the image's name
LATER: dict[str, set[tuple[int, ...]]] = {
    "core-": {
        (3, 21),  # stop_signo, 3.18
        (3, 22),  # membarrier_registration_mask, 3.19
        (5, 16),  # cg_set of a thread, 3.18
        (5, 10, 18),  # no_new_privs, 3.19
        (5, 10, 19),  # cap_amb, 4.1
    },
    "inventory.": {
        (12,),  # plugins_entry, 4.1
        (13,),  # dump_criu_run_id, 4.1
    },
}


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def without(data: bytes, paths: set[tuple[int, ...]]) -> bytes:
    """A message without the fields at these paths."""
    out, at = bytearray(), 0
    while at < len(data):
        begin = at
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        body = at
        if wire == 0:
            _, at = varint(data, at)
        elif wire == 2:
            size, body = varint(data, at)
            at = body + size
        else:
            at += 8 if wire == 1 else 4
        if (number,) in paths:
            continue
        inner = {p[1:] for p in paths if p[0] == number}
        if inner and wire == 2:
            part = without(data[body:at], inner)
            out += as_varint(tag) + as_varint(len(part)) + part
        else:
            out += data[begin:at]
    return bytes(out)


def of_317(image: str, data: bytes) -> bytes:
    """The image without what 3.17 did not have; such images have no payloads."""
    paths = next((v for k, v in LATER.items() if image.startswith(k)), None)
    if not paths:
        return data
    at = 4 if image.startswith("inventory.") else 8  # that one has its own magic only
    out = data[:at]
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        part = without(data[at + 4 : at + 4 + size], paths)
        out += len(part).to_bytes(4, "little") + part
        at += 4 + size
    return out


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
    old, new = of_317(image.name, image.read_bytes()), again.read_bytes()
    if old == new:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(old, new)) if a != b), min(len(old), len(new)))
    return f"{image.name}: {len(old)} bytes, encoded again {len(new)}, first difference at {at}"


def crit(box: Box, name: str) -> None:
    s = Subject(box, name, ARGS.get(name, ()))
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
