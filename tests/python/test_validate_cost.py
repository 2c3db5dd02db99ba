# SPDX-License-Identifier: GPL-2.0-or-later
"""What judging a set costs: calls in proportion, and memory whatever a hostile file claims."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bigsets
import pytest
from bigsets import ROOT, area
from conftest import PACKAGE
from rawimages import field, framed
from test_validate import check, facts, torpor
from torpor.images import ImageError, ImageSet
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import Options, paths_of, proportion, validate


def calls(folder: Path) -> int:
    """How many functions are called to judge a set: what it costs, however busy the machine is."""
    n = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal n
        n += event in ("call", "c_call")

    with ImageSet(folder, GROWTH_STRICT) as images:
        sys.setprofile(count)
        try:
            report = validate(images, Options(), facts())
        finally:
            sys.setprofile(None)
    assert report.restorable, report.findings.found
    return n


@pytest.mark.parametrize("what", ["tasks", "areas", "descriptors"])
def test_growth(tmp_path: Path, what: str) -> None:
    """Four times as much costs four times as much. `make bench` shows the time."""
    cost = []
    for n in (50, 200):
        sizes = {"tasks": (n, 3, 3), "areas": (1, n * 5, 3), "descriptors": (1, 3, n * 5)}[what]
        cost.append(calls(bigsets.make_set(tmp_path / f"{n}", *sizes)))
    assert cost[1] < 4.2 * cost[0], cost


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes that judging a small set takes."""
    return memory(bigsets.make_set(tmp_path_factory.mktemp("small") / "set", 2, 3, 1))


@pytest.mark.parametrize("name", ["areas", "areas of nothing", "runs", "descriptors", "files",
                                  "tasks", "filters", "packets", "state", "garbage"])  # fmt: skip
def test_hostile_memory(tmp_path: Path, small_set: int, name: str) -> None:
    """Judging a set takes no more than four times its size and what its entries are counted with."""
    folder = bigsets.make_set(tmp_path / "set", 2, 3, 1)
    HOSTILE[name](folder)
    size = sum(p.stat().st_size for p in folder.iterdir())
    with ImageSet(folder) as images:
        allowed = 4 * size + proportion.estimate(images)
    used = memory(folder) - small_set
    assert used < allowed, (size, used, allowed)


def test_out_of_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take too much is not even read."""
    folder = bigsets.make_set(tmp_path / "set", 2, 3, 1)
    HOSTILE["descriptors"](folder)
    with ImageSet(folder) as images:
        assert proportion.problem(images) == ""
        monkeypatch.setattr(proportion, "ALLOWANCE", 4 << 20)
        assert "fdinfo-2.img" in proportion.problem(images)
        with pytest.raises(ImageError, match="MiB of memory"):
            paths_of(images)
    report = check(folder)
    assert report.rules() == {"image-memory"} and not list(report.graph.nodes("fd"))
    shutil.rmtree(folder)
    assert check(bigsets.make_set(folder, 20, 30, 10)).restorable


N = 20000
HOSTILE: dict[str, Callable[[Path], Any]] = {
    "areas": lambda f: put_raw(f, "MM", ROOT, field(14, AREA) * N, MM_REST),
    "areas of nothing": lambda f: put_raw(f, "MM", ROOT, field(14, b"") * N * 10, MM_REST),
    "runs": lambda f: (f / "pagemap-100.img").write_bytes(
        framed("PAGEMAP", b"\x08\x01", *[b"\x08\x00\x10\x01"] * N * 4)),
    "descriptors": lambda f: (f / "fdinfo-2.img").write_bytes(framed("FDINFO", *[
        bigsets.pb.fdinfo_entry(id=3, flags=0, type=1, fd=i).SerializeToString()
        for i in range(N)])),
    "files": lambda f: (f / "files.img").write_bytes(framed("FILES", *[
        bigsets.reg(i, "/x").SerializeToString() for i in range(1, N)])),
    "tasks": lambda f: (f / "pstree.img").write_bytes(framed("PSTREE", *[
        bigsets.pb.pstree_entry(
            pid=100 + i, ppid=100 if i else 0, pgid=100, sid=100).SerializeToString()
        for i in range(N)])),
    "filters": lambda f: (f / "seccomp.img").write_bytes(framed("SECCOMP", field(1, b"") * N * 10)),
    "packets": lambda f: (f / "sk-queues.img").write_bytes(
        framed("SK_QUEUES", *[b"\x08\x09\x10\x00"] * N)),
    "state": lambda f: (f / "torpor-state").write_bytes(framed("TORPOR_STATE", *[
        bigsets.pb.torpor_task_entry(pid=i + 1).SerializeToString() for i in range(N)])),
    "garbage": lambda f: (f / "files.img").write_bytes(b"\x55" * (2 << 20)),
}  # fmt: skip
AREA = area(0x10000000, 1).SerializeToString()
MM_REST = bigsets.address_space(2)


def put_raw(folder: Path, kind: str, number: int, raw: bytes, rest: Any) -> None:
    """A message with encoded members added to it."""
    (folder / f"{kind.lower()}-{number}.img").write_bytes(
        framed(kind, rest.SerializeToString() + raw)
    )


MEASURE = """
import ctypes, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages: they make memory jump
sys.path.insert(0, sys.argv[1])
from torpor.images import ImageSet
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import validate
with ImageSet(sys.argv[2], GROWTH_STRICT) as images:
    report = validate(images)
print(next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmHWM")))
"""


def memory(folder: Path) -> int:
    """Bytes a process takes that judges a set."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(PACKAGE), str(folder)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return int(done.stdout) * 1024


def test_many_findings(tmp_path: Path) -> None:
    """A set in which everything is wrong does not make a report without end."""
    folder = bigsets.make_set(tmp_path / "set", 1, 3, 1)
    fds = [bigsets.pb.fdinfo_entry(id=7, flags=0, type=1, fd=i) for i in range(5000)]
    bigsets.put(folder, "FDINFO", *fds, number=2)
    report = check(folder)
    assert len(report.findings.found) == 100 and report.findings.left_out() == {
        "file-dangling": 4900
    }
    status, text = torpor("validate", folder)
    assert status == 1 and "4900 more of rule file-dangling" in text
