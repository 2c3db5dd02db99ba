# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the Python package as it stands in the build directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from box import BUILD, SOURCE

PACKAGE = BUILD / "python"
FIXTURES = Path(os.environ.get("TORPOR_FIXTURES", SOURCE.parent / "shared/fixtures"))
sys.path.insert(0, str(PACKAGE))


def pytest_configure(config: pytest.Config) -> None:
    if not (PACKAGE / "torpor/images/messages.py").exists():
        raise pytest.UsageError(f"{PACKAGE}/torpor is not there (run make)")


def fixture_sets() -> list[Path]:
    """The image sets of CRIU, by name."""
    return sorted(FIXTURES.glob("*/images"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest undoes the filter that torpor.images.reader sets."""
    for item in items:
        if "tests/python" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:Unexpected end-group tag"))
