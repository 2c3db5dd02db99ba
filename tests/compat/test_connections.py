# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections saved by torpor and restored by criu, and the other way round.

CRIU names the program to compare with (criu). Where it cannot start on this kernel, as Debian 12's
3.17.1 on newer ones, nothing is tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from box import TORPOR, Box, Failed, Skipped
from subjects import Subject

CRIU = os.environ.get("CRIU", "criu")


def tables() -> str:
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return done.stdout


def cross(box: Box, name: str, dumper: str, restorer: str, method: str) -> None:
    if not shutil.which(CRIU) or box.run([CRIU, "check"]).status != 0:
        raise Skipped(f"'{CRIU}' does not work here")
    tools = {"torpor": str(TORPOR), "criu": CRIU}
    s = Subject(box, name)
    s.start()
    options = ["--tcp-established", "-v4"]
    command = s.dump_command(*options, "--network-lock", method)
    done = box.run([tools[dumper], *command])
    if done.status != 0:
        raise Failed(f"{dumper} cannot save it: {done}")
    box.reap()
    box.statuses.clear()
    words = ["restore", "-d", "-D", str(s.images), "-o", "restore.log", *options]
    done = box.run([tools[restorer], *words])
    if done.status != 0:
        raise Failed(f"{restorer} cannot restore it: {done}")
    if "CRIU-" in tables():
        raise Failed(f"{restorer} left the lock of {dumper}: {tables()}")
    s.finish()


@pytest.mark.parametrize("method", ["nftables", "iptables"])
@pytest.mark.parametrize("pair", [("torpor", "criu"), ("criu", "torpor")], ids="-".join)
@pytest.mark.parametrize("name", ["tcp_streams", "tcp_halves"])
def test_cross(boxed: Callable[..., Any], name: str, pair: tuple[str, str], method: str) -> None:
    boxed(cross, net=True, name=name, dumper=pair[0], restorer=pair[1], method=method)
