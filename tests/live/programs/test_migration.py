# SPDX-License-Identifier: GPL-2.0-or-later
"""A redis under load moves from one network to another one: what `make demo-migration` shows.

PROGRAMS=all moves more memory, in more rounds, with more clients.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from box import SOURCE

SMALL = ("--mib", "24", "--rounds", "2", "--clients", "3")
LARGE = ("--mib", "400", "--rounds", "4", "--clients", "8")


@pytest.mark.slow
def test_migration(torpor: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    size = LARGE if os.environ.get("PROGRAMS") == "all" else SMALL
    file = tmp_path / "figures"
    done = subprocess.run(
        [SOURCE / "tools/demo-migration.py", torpor, *size, "--json", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    mib = int(size[1])
    assert found["lost"] == 0 and found["keys"] > mib * 200
    assert 0 < found["pause"] < 120 and found["requests"] > 100
    # each step sends what it is for
    first, *others = (r["bytes"] for r in found["rounds"])
    assert first > mib << 20 and all(r < first / 2 for r in others)
    move, lazy = found["move"], found["move"]["lazy"]
    assert move["bytes"] + move["follow_bytes"] < first / 2
    # before redis runs over there or behind that, as it comes; asked for over the cable and locally
    assert lazy["pages_on_fault"] + lazy["pages_ahead"] > 0 and move["asked_bytes"] > 4096
    print(done.stdout.splitlines()[-1])
