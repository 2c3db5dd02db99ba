#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verdict of the validator costs: many tasks, many areas, many descriptors.

usage: verdicts.py [--part N]

Sets made of nothing (tests/python/bigsets.py), judged by themselves in a process of their own. Time is
that of the processor, memory the most that was resident. --part 10 makes a tenth of each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "python")]
from box import BUILD  # noqa: E402

PACKAGE = BUILD / "python"
sys.path.insert(0, str(PACKAGE))
import bigsets  # noqa: E402

SETS = {"tasks": (10_000, 3, 3), "areas": (1, 1_000_000, 3), "descriptors": (1, 3, 100_000)}
MEASURE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from torpor.images import ImageSet
from torpor.validate import validate
begin = time.process_time()
with ImageSet(sys.argv[2]) as images:
    assert validate(images).restorable
took = time.process_time() - begin
peak = next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM"))
print(f"{took:8.2f} s {peak / 1024:8.0f} MiB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=int, default=1)
    part = parser.parse_args().part
    for what, sizes in SETS.items():
        with tempfile.TemporaryDirectory(prefix="torpor-verdicts-") as folder:
            n = max(sizes)
            tasks, areas, fds = (s // part if s == n else s for s in sizes)
            images = bigsets.make_set(Path(folder) / "set", tasks, areas, fds)
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, PACKAGE, images],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        print(f"{n // part:9} {what:12} {done.stdout.rstrip()}", flush=True)


if __name__ == "__main__":
    main()
