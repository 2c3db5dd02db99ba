# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy restores of filtered and encrypted images; changed pages never reach a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Failed
from daemons import PATIENCE, Daemon
from subjects import Subject

SECRET = ("--compress", "--encrypt", "--recipient", "KEY")
KINDS: dict[str, tuple[str, ...]] = {
    "zstd": ("--compress=zstd:3,dict",),
    "digest": ("--page-filter", "digest"),
    "secret": SECRET,
}


def prepare(box: Box, name: str, options: tuple[str, ...]) -> Subject:
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, name)
    s.restore_options = ("--identity", str(key))
    s.start()
    s.dump(*(str(key) if w == "KEY" else w for w in options))
    return s


def lazily(box: Box, name: str, kind: str) -> None:
    s = prepare(box, name, KINDS[kind])
    daemon = Daemon(box, s.images, *s.restore_options)
    s.restore("--lazy-pages")
    s.finish()
    daemon.end()


@pytest.mark.parametrize(("name", "kind"), [("mem_private", "zstd"), ("tree", "secret"),
    ("mem_private", "secret"), ("threads", "digest")])  # fmt: skip
def test_lazily(boxed: Callable[..., Any], name: str, kind: str) -> None:
    boxed(lazily, name=name, kind=kind)


def changed(box: Box) -> None:
    """One bit in the middle of the pages: the daemon says so, and no task goes on with it."""
    s = prepare(box, "mem_private", SECRET)
    (path,) = s.images.glob("pages-*.img")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    daemon = Daemon(box, s.images, *s.restore_options)
    s.forget()
    box.torpor(*s.restore_command("--lazy-pages"))
    status = box.wait(daemon.pid, 2 * PATIENCE)
    said = (s.images / "lazy.log").read_text()
    if status != 1 or "are lost" not in said or "changed or moved" not in said:
        raise Failed(f"lazy-pages ended with {status}: {said}")
    box.kill_all()
    if "PASS" in s.lines():
        raise Failed("the subject passed")


def test_changed(boxed: Callable[..., Any]) -> None:
    boxed(changed)
