# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump costs those who are dumped: no memory, and no more time than the copy takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, TORPOR, Box, Failed, read_task
from daemons import PATIENCE
from subjects import PATIENT, Subject

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


def has(r: dict[str, int]) -> dict[str, int]:
    """
    What may not grow. A page that is read back from swap is none more; the share of a file's pages
    (Pss_File) grows when others on this machine end, who have the same C library.
    """
    return {
        "Rss and Swap": r["Rss"] + r["Swap"],
        "Pss": r["Pss_Anon"] + r["Pss_Shmem"] + r["SwapPss"],
        "Private_Dirty and Swap": r["Private_Dirty"] + r["Swap"],
    }


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
        f"{what} of {pid}: {had} -> {has(now)[what]} kB"
        for pid, now in ((pid, rollup(pid)) for pid in pids)
        for what, had in has(before[pid]).items()
        # the kernel makes huge pages out of small ones when it likes
        if has(now)[what] > had + SLACK_KB
        + max(0, now["AnonHugePages"] - before[pid]["AnonHugePages"])
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


# Runs a program and says its exit and the most memory it had. That of a process begins with what its
# parent has, so this one is small.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print("\\nmost", status, used.ru_maxrss)
"""


def peak_kb(box: Box, words: list[str]) -> int:
    """The most memory the tool had."""
    done = box.run(["/usr/bin/python3", "-S", "-c", MEASURE, TORPOR, *words], timeout=120)
    status, peak = (int(x) for x in done.output.rsplit("most", 1)[1].split())
    if status != 0:
        raise Failed(f"{words}: {done.output[-500:]}")
    return peak


def bounded(box: Box, way: str) -> list[int]:
    """The memory of torpor itself stays small while it moves a lot."""
    images, ready = box.dir / "images", box.dir / "ready"
    pid = box.start([LOAD, "memory", str(MIB), ready], cwd=box.dir)
    box.until("no memory", 60, ready.exists)
    images.mkdir()
    options = with_key(box, WAYS[way])
    dump = peak_kb(box, ["dump", "-R", "-t", str(pid), "-D", str(images), *PATIENT, *options])
    box.kill_all()
    box.reap()
    back = ["restore", "-d", "-D", str(images), "--identity", str(box.dir / "key")]
    restore = peak_kb(box, back)
    if has(rollup(pid))["Rss and Swap"] < MIB * 1024:
        raise Failed("this is not the memory that was saved")
    if max(dump, restore) > MEMORY_KB:
        raise Failed(f"dump took {dump} kB, restore {restore} kB")
    return [dump, restore]


@pytest.mark.parametrize("way", ["plain", "zstd", "secret"])
def test_bounded(boxed: Callable[..., Any], way: str) -> None:
    boxed(bounded, way=way)


def begin_staged(s: Subject, *options: str) -> int:
    """A dump that lets the tasks run on, and stops itself right after that; its pid."""
    env = {"TORPOR_FAULT": "dump:resume=stop"}
    out = s.box.dir / "dump.out"
    out.unlink(missing_ok=True)
    pid = s.box.start([TORPOR, *s.dump_command("-R", *options)], out=out, env=env)
    s.box.aside.add(pid)

    def stands() -> bool:
        if pid in s.box.statuses:
            raise Failed(f"the dump ended: {out.read_text()}")
        task = read_task(pid)
        return task is not None and task.state == "T"

    s.box.until("the dump does not let the tasks go", PATIENCE, stands)
    return pid


def end_staged(s: Subject, pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    if s.box.wait(pid, 2 * PATIENCE) != 0:
        raise Failed(f"the dump failed: {(s.box.dir / 'dump.out').read_text()}")


def does_not_wait(box: Box, method: str) -> None:
    """Tasks that run on do so before their pages go through slow filters, which learn after that."""
    s = Subject(box, "extents")
    s.start()
    dump = begin_staged(s, f"--compress={method}")
    s.expect_tasks()
    for t in s.before:
        if "TracerPid:\t0\n" not in Path(f"/proc/{t.pid}/status").read_text():
            raise Failed(f"{t} is not let go")
    if list(s.images.glob("pages-*")) or "stage 'encode'" in (s.images / "dump.log").read_text():
        raise Failed("pages went through the filters while the tasks waited")
    end_staged(s, dump)
    if "stage 'encode'" not in (s.images / "dump.log").read_text():
        raise Failed("nothing was left to be done afterwards")
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
    """What lies in the file without a name while pages wait for the filters."""
    pid = begin_staged(s, "--compress=zstd", *options)
    found = [
        fd.read_bytes()
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if str(s.images) in os.readlink(fd) and "(deleted)" in os.readlink(fd)
    ]
    end_staged(s, pid)
    if not found:
        raise Failed("there is no such file")
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
