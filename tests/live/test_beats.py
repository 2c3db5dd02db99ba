# SPDX-License-Identifier: GPL-2.0-or-later
"""Subjects that never rest, and count what they have done in the shared file "beats".

DUMPS (60) says how many dumps, SEED when.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Failed, Late
from subjects import Subject

DUMPS = int(os.environ.get("DUMPS", "60"))
# number of counters, how many of the dumps are followed by a restore (one of so many)
SUBJECTS = {"churn": (9, 4), "expiries": (12, 1)}


class Beating(Subject):
    """The tasks are never twice the same: what counts is that every counter goes on."""

    def read_beats(self) -> tuple[int, ...]:
        data = (self.box.dir / "work/beats").read_bytes()
        return struct.unpack_from(f"{SUBJECTS[self.name][0]}Q", data)

    def expect_tasks(self, but: str = "") -> None:
        start = self.read_beats()

        def moved() -> bool:
            if self.answer() or self.pid in self.box.statuses:
                raise Failed(f"{self.lines()}, status {self.box.statuses.get(self.pid)}")
            return all(a < b for a, b in zip(start, self.read_beats()))

        try:
            self.box.until("", 60, moved)
        except Late:
            raise Failed(
                f"a counter stands still: {start} {self.read_beats()}, tasks {self.box.tasks()}"
            ) from None


def beats(box: Box, name: str, dumps: int, seed: int) -> None:
    rng = random.Random(seed)
    s = Beating(box, name)
    s.keep_images_in_memory()
    s.start()
    for i in range(dumps):
        time.sleep(rng.random() * 0.02)
        try:
            if i % SUBJECTS[name][1]:
                s.dump("-R")
            else:
                s.dump()
                s.restore()
        except Failed as e:
            raise Failed(f"dump {i} (seed {seed}): {e}") from e
        shutil.rmtree(s.images)
    s.finish()


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_beats(boxed: Callable[..., Any], name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    boxed(beats, name=name, dumps=DUMPS, seed=seed, timeout=300 + 5 * DUMPS)
