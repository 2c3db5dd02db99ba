# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions of terminals, saved, killed and restored many times (terminals.py).

ROUNDS (10) says how often, SEED when, PROGRAMS=all that more than one of them runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from terminals import SESSIONS, run_session

ROUNDS = int(os.environ.get("ROUNDS", "10"))
WANTED = list(SESSIONS) if os.environ.get("PROGRAMS") == "all" else ["tmux"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED)
def test_session(boxed: Callable[..., Any], name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(boxed(run_session, name=name, rounds=ROUNDS, seed=seed, timeout=300 + 30 * ROUNDS))
