# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every program built from tests/unit, one test each; they print TAP lines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, SOURCE

NAMES = sorted(
    re.findall(r"^\s+'(\w+)',", (SOURCE / "tests/unit/meson.build").read_text(), re.MULTILINE)
)


# take huge pages where there are any
HUGE = {"mm_dump", "smaps"}


@pytest.mark.parametrize("name", NAMES)
def test_unit(name: str, tmp_path: Path, request: Any) -> None:
    if name in HUGE:
        request.getfixturevalue("huge_pages")
    program = BUILD / "tests/unit" / name
    if not program.exists():
        pytest.fail(f"{program} is not built (run make)", pytrace=False)
    done = subprocess.run(
        [program], capture_output=True, text=True, errors="replace", timeout=300, cwd=tmp_path,
        check=False,
    )
    lines = done.stdout.splitlines()
    bad = [line for line in lines if line.startswith("not ok") and "# TODO" not in line]
    good = [line for line in lines if line.startswith("ok ")]
    skips = [line for line in good if "# SKIP" in line.upper().replace("SKIPPED", "SKIP")]
    text = "\n".join([*bad[:20], *done.stderr.splitlines()[-20:]])
    if bad or done.returncode != 0:
        pytest.fail(f"{name} ended with {done.returncode}\n{text}", pytrace=False)
    if skips and len(skips) == len(good):
        pytest.skip(skips[0].split("#", 1)[1].strip())
    if not good:
        pytest.fail(f"{name} printed no test line\n{done.stdout[-500:]}", pytrace=False)
