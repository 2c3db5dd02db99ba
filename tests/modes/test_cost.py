# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump costs those who are dumped: no memory, and no more time than the copy takes."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, TORPOR, Box, Failed
from subjects import Subject

LOAD = BUILD / "tests/perf/load"
SECRET = ("--encrypt", "--recipient", "KEY")
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "zstd": ("--compress=zstd",),
    "secret": (*SECRET, "--compress"),
    "tracked": ("--track-mem",),
    "pre-dump": ("--pre-dump",),
}
SLACK_KB = 64  # of each process: pages of its own stack and C library that it touches meanwhile
MEMORY_KB = 64 * 1024  # what torpor may take, whatever the size of the target
MIB = 256


def rollup(pid: int) -> dict[str, int]:
    """kB by name, of a whole address space."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def with_key(box: Box, options: tuple[str, ...]) -> list[str]:
    key = box.dir / "key"
    if "KEY" in options:
        box.torpor("keygen", "--output", key)
    return [str(key) if w == "KEY" else w for w in options]


def keeps_shares(box: Box, name: str, way: str) -> None:
    """Neither is sharing by copy-on-write broken, nor are there more pages than before."""
    s = Subject(box, name)
    s.start()
    pids = [t.pid for t in s.before if t.state == "L"]
    before = {pid: rollup(pid) for pid in pids}
    if way == "pre-dump":
        s.pre_dumps(1)
    else:
        s.dump("-R", *with_key(box, WAYS[way]))
    grown = [
        f"{what} of {pid}: {before[pid][what]} -> {now[what]} kB"
        for pid, now in ((pid, rollup(pid)) for pid in pids)
        for what in ("Rss", "Pss", "Private_Dirty")
        if now[what] > before[pid][what] + SLACK_KB
    ]
    if sum(b["Rss"] - b["Pss"] for b in before.values()) < 1024:
        raise Failed(f"{name} shares too little for a test: {before}")
    if grown:
        raise Failed(f"a dump has cost its target memory: {grown}")
    s.finish()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["mem_cow", "tree"])
def test_keeps_shares(boxed: Callable[..., Any], name: str, way: str) -> None:
    boxed(keeps_shares, name=name, way=way)


def peak_kb(box: Box, words: list[str]) -> int:
    """The most memory the tool had."""
    pid = box.start([TORPOR, *words], session=False, out=box.dir / "output")
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise Failed(f"{words}: {(box.dir / 'output').read_text()[-500:]}")
    return used.ru_maxrss


def bounded(box: Box, way: str) -> list[int]:
    """The memory of torpor itself stays small while it moves a lot."""
    images, ready = box.dir / "images", box.dir / "ready"
    pid = box.start([LOAD, "memory", str(MIB), ready], cwd=box.dir)
    box.until("no memory", 60, ready.exists)
    images.mkdir()
    options = with_key(box, WAYS[way])
    dump = peak_kb(box, ["dump", "-R", "-t", str(pid), "-D", str(images), *options])
    box.kill_all()
    box.reap()
    back = ["restore", "-d", "-D", str(images), "--identity", str(box.dir / "key")]
    restore = peak_kb(box, back)
    if rollup(pid)["Rss"] < MIB * 1024:
        raise Failed("this is not the memory that was saved")
    if max(dump, restore) > MEMORY_KB:
        raise Failed(f"dump took {dump} kB, restore {restore} kB")
    return [dump, restore]


@pytest.mark.parametrize("way", ["plain", "zstd", "secret"])
def test_bounded(boxed: Callable[..., Any], way: str) -> None:
    boxed(bounded, way=way)


def does_not_wait(box: Box, method: str) -> None:
    """Tasks that run on do so before their pages go through slow filters, which learn after that."""
    s = Subject(box, "extents")
    s.start()
    s.dump("-R", f"--compress={method}")
    log = (s.images / "dump.log").read_text()
    stages = re.findall(r"stage '(\w+)' took (\d+) us", log)
    names = [name for name, _ in stages]
    if names.index("resume") > names.index("encode"):
        raise Failed(f"it waits for the filters: {names}")
    frozen = int(re.search(r"frozen (\d+) us", log)[1])  # type: ignore[index]
    encode = dict(stages)["encode"]
    if frozen > int(encode):
        raise Failed(f"frozen {frozen} us, though the filters took {encode} us")
    s.kill()
    s.restore()
    s.finish()


@pytest.mark.parametrize("method", ["zstd:19", "zstd:3,dict"])
def test_does_not_wait(boxed: Callable[..., Any], method: str) -> None:
    boxed(does_not_wait, method=method)


def tracked(box: Box) -> None:
    """What is written while the pages of the first dump still wait is in the second one."""
    s = Subject(box, "mem_private")
    s.start()
    s.dump("-R", "--track-mem", "--compress=zstd", "--tracker", "hash")
    first = s.images
    s.dump("--compress=zstd", "--tracker", "hash", "--prev-images-dir", f"../{first.name}")
    if not (s.images / "parent").exists():
        raise Failed("the second dump is no increment")
    s.restore()
    s.finish()


def test_tracked(boxed: Callable[..., Any]) -> None:
    boxed(tracked)


def waiting_bytes(box: Box, s: Subject, options: list[str]) -> bytes:
    """What lies in the file without a name while a slow filter is at work."""
    found: list[bytes] = []
    pid = box.start([TORPOR, *s.dump_command("-R", "--compress=zstd:19", *options)])
    box.aside.add(pid)
    fds = Path(f"/proc/{pid}/fd")

    def is_there() -> bool:
        for fd in fds.iterdir() if fds.exists() else ():
            try:
                if str(s.images) in os.readlink(fd) and "(deleted)" in os.readlink(fd):
                    found.append(fd.read_bytes())
            except FileNotFoundError:
                pass
        return pid in box.statuses

    box.until("dump does not end", 60, is_there)
    if box.statuses[pid] != 0 or not found:
        raise Failed(f"dump ended with {box.statuses[pid]}, {len(found)} files seen")
    return max(found, key=len)


def waits_in_secret(box: Box) -> None:
    """Pages of an encrypted set are encrypted while they wait, too."""
    s = Subject(box, "extents")
    s.start()
    words = re.compile(rb"[abc]{100}")  # half of its memory
    if not words.search(waiting_bytes(box, s, [])):
        raise Failed("what is looked for is not there without encryption either")
    secret = waiting_bytes(box, s, with_key(box, SECRET))
    if len(secret) < 3 << 20 or words.search(secret):
        raise Failed(f"pages are readable in a file of {len(secret)} bytes")
    s.finish()


def test_waits_in_secret(boxed: Callable[..., Any]) -> None:
    boxed(waits_in_secret)


def full_disk(box: Box) -> None:
    """No room for the copy: the target waits, and what comes out is the same."""
    s = Subject(box, "extents")
    s.start()
    where = box.dir / "small"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(where)], check=True)
    s.prefix = "small/images-"
    s.dump("-R", "--compress=zstd")
    if "'encode'" in (s.images / "dump.log").read_text():
        raise Failed("pages were to wait where there is no room for them")
    s.kill()
    s.restore()
    s.finish()


def test_full_disk(boxed: Callable[..., Any]) -> None:
    boxed(full_disk)
