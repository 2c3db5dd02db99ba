# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets with filters or encryption are refused by CRIU for their version, not misread."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Failed, Skipped
from subjects import Subject

KINDS = {
    "compressed": ("--compress",),
    "encrypted": ("--encrypt", "--recipient", "KEY"),
}


def refused(box: Box, kind: str) -> None:
    criu = shutil.which("criu")
    if not criu:
        raise Skipped("criu is not installed")
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, "pipes")
    s.start()
    s.dump(*(str(key) if w == "KEY" else w for w in KINDS[kind]))
    log = box.dir / "criu.log"
    done = box.run([criu, "restore", "-d", "-D", s.images, "-o", log, "-v4"])
    text = log.read_text(errors="replace")
    if "kernel features detection" in text:
        raise Skipped("this criu does not work on this kernel")
    if done.status == 0 or box.tasks():
        raise Failed(f"CRIU restored it: {done}")
    if "mage" not in text or "ersion" not in text:
        raise Failed(f"CRIU does not speak of the version: {text[-1000:]}")
    # a parent's inventory is not looked at: its pagemap must not be understood either
    for name in s.images.glob("pagemap-*.img"):
        shown = subprocess.run(["crit", "show", name], capture_output=True, check=False)
        if shown.returncode == 0:
            raise Failed(f"crit understands {name.name}")
    s.forget()
    s.restore("--identity", str(key))
    s.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_refused(boxed: Callable[..., Any], kind: str) -> None:
    boxed(refused, kind=kind)
