#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What page filters cost: dump and restore of real memory through each chain.

The memory is that of a Python process with many small objects, and of redis where it is installed.
Images go to a tmpfs. "per core" is the memory divided by the processor time of the tool; it is
steadier than the clock on a busy machine. Pipes over the plain pages file (`lz4`, `zstd -1`,
`openssl enc`) are the yardstick: what another program reaches with the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from box import TORPOR, Box, Failed, run_boxed  # noqa: E402

SECRET = ("--encrypt", "--recipient", "KEY")
CHAINS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "digest": ("--page-filter", "digest"),
    "lz4": ("--compress",),
    "lz4:32": ("--compress=lz4:32",),
    "zstd:-7": ("--compress=zstd:-7",),
    "zstd:1": ("--compress=zstd:1",),
    "zstd:3": ("--compress=zstd:3",),
    "zstd:3,dict": ("--compress=zstd:3,dict",),
    "aes-gcm": SECRET,
    "chacha20": ("--encrypt=chacha20-poly1305", "--recipient", "KEY"),
    "lz4+aes-gcm": (*SECRET, "--compress"),
    "zstd:1+aes-gcm": (*SECRET, "--compress=zstd:1"),
}
PIPES = {
    "lz4": ["lz4", "-1", "-c"],
    "zstd:1": ["zstd", "-1", "-T1", "-c"],
    "openssl": ["openssl", "enc", "-aes-256-ctr", "-K", "00" * 32, "-iv", "00" * 16],
}

HEAP = """
import json, random, sys, time
r = random.Random(1)
words = ["".join(r.choices("etaoinshrdlu", k=r.randint(3, 9))) for _ in range(20000)]
rows = [{"id": i, "name": r.choice(words), "tags": r.choices(words, k=4), "at": r.random(),
    "note": " ".join(r.choices(words, k=12))} for i in range(int(sys.argv[1]) * 1500)]
index = {row["name"] + str(row["id"]): row for row in rows}
open(sys.argv[2], "w").close()
while True:
    time.sleep(1000)
"""


def start_python(box: Box, mib: int) -> int:
    program, ready = box.dir / "heap.py", box.dir / "ready"
    program.write_text(HEAP)
    ready.unlink(missing_ok=True)
    pid = box.start(["/usr/bin/python3", program, str(mib), ready], cwd=box.dir)
    box.until("python is not ready", 300, ready.exists)
    return pid


def start_redis(box: Box, mib: int) -> int:
    where = box.dir / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(where), "--save", "", "--enable-debug-command", "yes"]
    pid = box.start([*words, "--daemonize", "no"], cwd=box.dir)
    box.until("redis is not ready", 20, where.exists)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(where))
        left = mib * 3500
        while left > 0:
            s.sendall(f"DEBUG POPULATE {min(left, 100000)} key{left} 200\r\n".encode())
            s.recv(100)
            left -= 100000
    return pid


def timed(box: Box, argv: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of processor time."""
    out = box.dir / "out"
    begin = time.monotonic()
    pid = box.start(argv, session=False, out=out)
    _, status, used = os.wait4(pid, 0)
    took = time.monotonic() - begin
    if status != 0:
        raise Failed(f"{argv}: {out.read_text()[-500:]}")
    out.unlink()
    return took, used.ru_utime + used.ru_stime


def one_chain(box: Box, pid: int, options: tuple[str, ...]) -> list[float]:
    images = box.dir / "images"
    images.mkdir()
    key = str(box.dir / "key")
    words = [key if w == "KEY" else w for w in options]
    dump = timed(box, [str(TORPOR), "dump", "-t", str(pid), "-D", str(images), *words])
    size = sum(p.stat().st_size for p in images.glob("pages-*.img"))
    box.reap()
    back = [str(TORPOR), "restore", "-d", "-D", str(images), "--identity", key]
    restore = timed(box, back)
    shutil.rmtree(images)
    return [*dump, *restore, float(size)]


def pipes(box: Box, pid: int) -> dict[str, float]:
    """Seconds of processor time of each pipe over the plain pages."""
    images = box.dir / "images"
    images.mkdir()
    timed(box, [str(TORPOR), "dump", "-R", "-t", str(pid), "-D", str(images)])
    pages = max(images.glob("pages-*.img"), key=lambda p: p.stat().st_size)
    found = {}
    for name, argv in PIPES.items():
        if shutil.which(argv[0]):
            shell = f"{' '.join(argv)} < {pages} > /dev/null"
            found[name] = timed(box, ["/bin/sh", "-c", f"exec {shell}"])[1]
    found["bytes"] = float(pages.stat().st_size)
    shutil.rmtree(images)
    return found


def measure(box: Box, what: str, mib: int, rounds: int, chains: list[str]) -> dict[str, Any]:
    where = box.dir / "tmpfs"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(where)], check=True)
    box.dir = where
    box.torpor("keygen", "--output", box.dir / "key")
    start: dict[str, Callable[[Box, int], int]] = {"python": start_python, "redis": start_redis}
    pid = start[what](box, mib)
    samples: dict[str, list[list[float]]] = {name: [] for name in chains}
    for turn in range(rounds + 1):  # the first one warms memory up and is not counted
        for name in chains:
            got = one_chain(box, pid, CHAINS[name])
            if turn:
                samples[name].append(got)
    medians = {n: [statistics.median(column) for column in zip(*s)] for n, s in samples.items()}
    result = {"chains": medians, "pipes": pipes(box, pid)}
    box.kill_all()
    return result


def report(what: str, result: dict[str, Any]) -> None:
    mib = result["pipes"]["bytes"] / 1048576
    print(f"{what}, {mib:,.0f} MiB of pages; MiB/s")
    head = ("chain", "dump", "per core", "restore", "per core", "ratio")
    print(f"  {head[0]:16}" + "".join(f"{h:>10}" for h in head[1:]))
    for name, (dump, dump_cpu, restore, restore_cpu, size) in result["chains"].items():
        rates = [mib / t for t in (dump, dump_cpu, restore, restore_cpu)]
        cells = "".join(f"{r:10,.0f}" for r in rates)
        print(f"  {name:16}{cells}{mib * 1048576 / size:10.2f}")
    for name in PIPES:
        if name in result["pipes"]:
            print(f"  | {name:14}{'':10}{mib / result['pipes'][name]:10,.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--only", default=",".join(CHAINS), help="chains, separated by blanks")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chains = words.only.split() if " " in words.only else list(CHAINS)
    if words.only in CHAINS:
        chains = [words.only]
    print(f"{os.uname().release}, {os.cpu_count()} processors; medians of {words.rounds}")
    for what, program in (("python", "python3"), ("redis", "redis-server")):
        if shutil.which(program):
            args = {"what": what, "mib": words.mib, "rounds": words.rounds, "chains": chains}
            report(what, run_boxed(measure, timeout=1800, **args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
