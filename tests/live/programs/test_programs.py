# SPDX-License-Identifier: GPL-2.0-or-later
"""Real programs, saved, killed and restored many times while they work (see programs.py).

ROUNDS (10) says how often, SEED when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from box import Box
from programs import run_program
from table import PROGRAMS

ROUNDS = int(os.environ.get("ROUNDS", "10"))


def boxed_program(box: Box, name: str, rounds: int, seed: int) -> dict[str, Any]:
    return run_program(box, PROGRAMS[name], rounds, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(boxed: Callable[..., Any], name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(boxed(boxed_program, name=name, rounds=ROUNDS, seed=seed, timeout=120 + 20 * ROUNDS))
