# SPDX-License-Identifier: GPL-2.0-or-later
"""A session of terminals, saved, killed and restored many times (terminals.py).

ROUNDS (10) says how often, SEED when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from terminals import run_tmux

ROUNDS = int(os.environ.get("ROUNDS", "10"))


@pytest.mark.slow
def test_tmux(boxed: Callable[..., Any]) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(boxed(run_tmux, rounds=ROUNDS, seed=seed, timeout=90 + 20 * ROUNDS))
