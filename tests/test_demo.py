# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make demo` and `make bench` run works: the demo as a whole, the benchmark's smallest case."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from box import SOURCE


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def test_demo(torpor: Path) -> None:
    done = subprocess.run(
        [SOURCE / "tools/demo.sh", torpor], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout, "colours although this is no terminal"
    figures = done.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"4 tasks, 1\d threads, \d+ MiB of memory, frozen \d+\.\d{3} s, restored in \d+\.\d{3} s",
        figures,
    )


def test_demo_tells_a_failure(tmp_path: Path, torpor: Path) -> None:
    """A tool whose restore fails: the demo fails, too."""
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/bash\n[[ $1 != restore ]] || exit 3\nexec {torpor} "$@"\n')
    broken.chmod(0o755)
    done = subprocess.run(
        [SOURCE / "tools/demo.sh", broken], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 1 and "torpor restore failed" in done.stderr


def test_bench(tmp_path: Path, torpor: Path) -> None:
    file = tmp_path / "bench.json"
    words = ["--rounds", "1", "--only", "1 MiB", "--no-criu", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, SOURCE / "tests/perf/bench.py", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    medians = json.loads(file.read_text())["results"]["1 MiB"]["medians"]["torpor"]
    assert all(medians[f] > 0 for f in ("frozen", "dump", "restore"))
    assert 1 << 20 < medians["image_bytes"] < 2 << 20


def test_bench_of_lazy_restores(torpor: Path) -> None:
    words = [SOURCE / "tests/perf/lazy.py", "--rounds", "1", "--mib", "4"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("  ")[0] for line in done.stdout.splitlines()[2:]]
    assert rows == ["eager", "eager lz4", "lazy", "lazy again", "lazy lz4", "mmap"]
