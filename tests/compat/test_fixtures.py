# SPDX-License-Identifier: GPL-2.0-or-later
"""Restores the image sets that CRIU wrote (TORPOR_FIXTURES) and lets each program verify itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from box import SOURCE

FOLDER = Path(os.environ.get("TORPOR_FIXTURES", SOURCE.parent / "shared/fixtures"))
NAMES = sorted(p.parent.name for p in FOLDER.glob("*/fixture.json"))
# what a fixture needs beyond what this release restores, by the image that shows it
LATER = {"eventpoll.img": "epoll", "sk-": "sockets", "tty-info.img": "terminals of the tree"}


def needs_more(name: str) -> str:
    """The first thing in the set that is refused by design so far, or ''."""
    for image in sorted((FOLDER / name / "images").iterdir()):
        for start, what in LATER.items():
            if image.name.startswith(start) and image.stat().st_size > 8:
                return what
    done = subprocess.run(
        ["crit", "decode", "-i", str(FOLDER / name / "images/files.img")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        for entry in json.loads(done.stdout)["entries"]:
            if entry["type"] in ("EVENTPOLL", "UNIXSK", "INETSK", "SIGNALFD", "TIMERFD"):
                return str(entry["type"]).lower()
    return ""


@pytest.mark.parametrize("name", NAMES or [pytest.param("", id="none")])
def test_fixture(torpor: Path, name: str) -> None:
    if not name:
        pytest.skip(f"there are no image sets in {FOLDER}")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    env: dict[str, Any] = os.environ | {"VERIFY_PIDNS": "1", "VERIFY_TIMEOUT": "120"}
    done = subprocess.run(
        [str(FOLDER / "verify"), str(torpor), name],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        env=env,
        check=False,
    )
    if done.returncode != 0:
        more = needs_more(name)
        if more and "unsupported" in done.stdout + done.stderr or more and "cannot" in done.stdout:
            pytest.skip(f"needs {more}: {done.stdout.splitlines()[0][:200]}")
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
