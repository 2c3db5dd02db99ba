# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of a tree in which tasks and threads come and go all the time (churn.c).

CHURN (60) says how many dumps; every fourth one is followed by a restore.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed
from subjects import Subject

DUMPS = int(os.environ.get("CHURN", "60"))
WORKERS = 9


class Churn(Subject):
    """The tree is never twice the same: what counts is that every worker goes on."""

    def expect_tasks(self) -> None:
        with (self.box.dir / "work/beats").open("rb") as f:
            beats = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)
        start = struct.unpack_from(f"{WORKERS}Q", beats)

        def moved() -> bool:
            if self.answer() or self.pid in self.box.statuses:
                raise Failed(f"{self.lines()}, status {self.box.statuses.get(self.pid)}")
            return all(a < b for a, b in zip(start, struct.unpack_from(f"{WORKERS}Q", beats)))

        try:
            self.box.until("", 20, moved)
        except Failed as e:
            if str(e).strip(": ") != "after 20 s":
                raise
            now = struct.unpack_from(f"{WORKERS}Q", beats)
            raise Failed(f"a worker hangs: {start} {now}, tasks {self.box.tasks()}") from None


def churn(box: Box, dumps: int, seed: int) -> None:
    rng = random.Random(seed)
    s = Churn(box, "churn")
    s.keep_images_in_memory()
    s.start()
    for i in range(dumps):
        time.sleep(rng.random() * 0.02)
        try:
            if i % 4 < 3:
                s.dump("-R")
            else:
                s.dump()
                s.restore()
        except Failed as e:
            raise Failed(f"dump {i} (seed {seed}): {e}") from e
        shutil.rmtree(s.images)
    s.finish()


@pytest.mark.slow
def test_churn(boxed: Callable[..., Any]) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    boxed(churn, dumps=DUMPS, seed=seed, timeout=120 + DUMPS)
