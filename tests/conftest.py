# SPDX-License-Identifier: GPL-2.0-or-later
"""pytest: finds what was built, and runs tests in boxes (box.py).

Environment: TORPOR_BUILD build directory (build), TORPOR tool (BUILD/torpor), TORPOR_FIXTURES
folder with image sets of CRIU, KILLS number of kills, DUMPS number of dumps of churn and expiries,
ROUNDS rounds of each real program, FUZZ_SECONDS time for each fuzzer. `-m "not slow"` leaves out
what takes long.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import box


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.fixture(scope="session")
def torpor() -> Path:
    """The tool; without it nothing can be tested."""
    if not box.TORPOR.exists():
        pytest.fail(f"{box.TORPOR} is not built (run make)", pytrace=False)
    return box.TORPOR


@pytest.fixture
def boxed(torpor: Path) -> Callable[..., Any]:
    """boxed(function, **args) runs function(box, **args) as process 1 of new namespaces."""

    def run(function: Callable[..., Any], **args: Any) -> Any:
        try:
            return box.run_boxed(function, **args)
        except (box.Skipped, box.Failed) as e:
            verdict = e
        if isinstance(verdict, box.Skipped):
            pytest.skip(str(verdict))
        pytest.fail(str(verdict), pytrace=False)

    return run


@pytest.fixture
def huge_pages() -> Iterator[None]:
    """A few huge pages, where they can be had. They are the machine's: for one test at a time."""
    path = Path("/proc/sys/vm/nr_hugepages")
    sizes = Path("/sys/kernel/mm/hugepages")
    if not path.exists() or not sizes.exists():
        yield
        return
    lock = os.open(sizes, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = path.read_text()
        if int(old) < 32:
            path.write_text("32")
        try:
            yield
        finally:
            path.write_text(old)
    finally:
        os.close(lock)
