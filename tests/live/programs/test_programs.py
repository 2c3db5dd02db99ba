# SPDX-License-Identifier: GPL-2.0-or-later
"""Real programs, saved, killed and restored many times while they work (see programs.py).

ROUNDS (10) says how often, SEED when, PROGRAMS=all that those of more.py run, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from box import Box
from more import MORE
from programs import run_program
from table import TABLE

ROUNDS = int(os.environ.get("ROUNDS", "10"))
WANTED = TABLE + (MORE if os.environ.get("PROGRAMS") == "all" else ())
PROGRAMS = {p.name: p for p in WANTED}


def boxed_program(box: Box, name: str, rounds: int, seed: int) -> dict[str, Any]:
    return run_program(box, PROGRAMS[name], rounds, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(boxed: Callable[..., Any], name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(boxed(boxed_program, name=name, rounds=ROUNDS, seed=seed, timeout=300 + 30 * ROUNDS))
