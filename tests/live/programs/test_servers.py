# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers, saved, killed and restored many times while clients stay connected (servers.py, web.py).

ROUNDS (10) says how often, SEED when, PROGRAMS=all that more than one of them runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from browser import Chromium
from servers import SERVERS, run_server
from web import WEB

ROUNDS = int(os.environ.get("ROUNDS", "10"))
KINDS = SERVERS | WEB | {"chromium": Chromium}
WANTED = list(KINDS) if os.environ.get("PROGRAMS") == "all" else ["redis"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED)
def test_server(boxed: Callable[..., Any], name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    how = {"rounds": ROUNDS, "seed": seed, "timeout": 300 + 30 * ROUNDS}
    print(boxed(run_server, net=True, kind=KINDS[name], **how))
