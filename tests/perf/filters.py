#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What page filters cost: dump and restore of real memory through each chain.

The memory is that of a Python process with many small objects, and of redis where it is installed.
Images go to a tmpfs. In every round each chain has its turn. Times by the clock are medians. "per core"
is the memory divided by the processor time of the tool in its best round: whoever else uses the
caches and the memory can only make it longer, so the best rounds of two things can be compared where
their medians cannot. "frozen" is how long the tasks stand still when they run on afterwards.

Yardsticks: the libraries alone, with the same extents, on all processors (tests/perf/library.c);
pipes over the plain pages file; criu, where it is installed and works. "of library" compares with
the slowest library of the chain, "of bound" with all that no chain can do without: its libraries, a
copy of the memory out of its process, and storing what is left of it; both by processor time. Where
memory shrinks much (that of redis to a tenth) lz4 is so fast that the copy alone takes half as long:
then nothing can come near to the library.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import find_criu  # noqa: E402
from box import BUILD, TORPOR, Box, Failed, run_boxed  # noqa: E402

LIBRARY = BUILD / "tests/perf/library"
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
# what the library is to do for each chain; "of library" looks at the slowest
LIBRARIES: dict[str, tuple[str, ...]] = {
    "digest": ("digest",),
    "lz4": ("lz4",),
    "lz4:32": ("lz4:32",),
    "zstd:-7": ("zstd:-7",),
    "zstd:1": ("zstd:1",),
    "zstd:3": ("zstd:3",),
    "aes-gcm": ("aes-gcm",),
    "chacha20": ("chacha20-poly1305",),
    "lz4+aes-gcm": ("lz4", "aes-gcm"),
    "zstd:1+aes-gcm": ("zstd:1", "aes-gcm"),
}
# aims: of the slowest library; of plain, by the clock
OF_LIBRARY, OF_PLAIN = 0.85, 0.80
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


def frozen_seconds(box: Box, pid: int, words: list[str]) -> float:
    """How long the tasks stand still for a dump from which they run on."""
    images = box.dir / "images"
    images.mkdir()
    argv = [TORPOR, "dump", "-R", "--json", "-t", str(pid), "-D", str(images), *words]
    done = box.run(argv, timeout=600)
    shutil.rmtree(images)
    if done.status != 0:
        raise Failed(str(done))
    return float(json.loads(done.output.splitlines()[-1])["frozen_us"]) / 1e6


def one_chain(box: Box, pid: int, tool: str, options: tuple[str, ...]) -> list[float]:
    images = box.dir / "images"
    key = str(box.dir / "key")
    own = tool == str(TORPOR)
    words = [key if w == "KEY" else w for w in options]
    frozen = frozen_seconds(box, pid, words) if own else float("nan")
    images.mkdir()
    dump = timed(box, [tool, "dump", "-t", str(pid), "-D", str(images), *words])
    size = sum(p.stat().st_size for p in images.glob("pages-*.img"))
    box.reap()
    back = [tool, "restore", "-d", "-D", str(images), *(("--identity", key) if own else ())]
    restore = timed(box, back)
    shutil.rmtree(images)
    return [*dump, *restore, float(size), frozen]


def pipes(box: Box, pages: Path) -> dict[str, float]:
    """Seconds of processor time of each pipe."""
    found = {}
    for name, argv in PIPES.items():
        if shutil.which(argv[0]):
            shell = f"{' '.join(argv)} < {pages} > /dev/null"
            found[name] = timed(box, ["/bin/sh", "-c", f"exec {shell}"])[1]
    return found


def libraries(box: Box, pages: Path, chains: list[str]) -> dict[str, list[float]]:
    """Filter -> MiB/s of encoding, per core, of decoding, per core."""
    names = sorted({"copy", "store"} | {f for c in chains for f in LIBRARIES.get(c, ())})
    done = box.run([LIBRARY, pages, *names], timeout=600)
    if done.status != 0:
        raise Failed(str(done))
    lines = [line.split() for line in done.output.splitlines()]
    return {name: [float(x) for x in rates] for name, *rates in lines}


# dump and its processor time, restore and its processor time, bytes stored, seconds frozen
DUMP_COLUMNS = [statistics.median, min, statistics.median, min, min, statistics.median]


def figures(rounds: list[list[float]], of: list[Callable[[Iterable[float]], float]]) -> list[float]:
    """One figure for each column."""
    return [choose(column) for choose, column in zip(of, zip(*rounds))]


def measure(
    box: Box, what: str, mib: int, rounds: int, chains: list[str], criu: str | None
) -> dict[str, Any]:
    where = box.dir / "tmpfs"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(where)], check=True)
    box.dir = where
    box.torpor("keygen", "--output", box.dir / "key")
    start: dict[str, Callable[[Box, int], int]] = {"python": start_python, "redis": start_redis}
    pid = start[what](box, mib)
    tools = {name: (str(TORPOR), CHAINS[name]) for name in chains}
    if criu:
        tools["criu"] = (criu, ())
    samples: dict[str, list[list[float]]] = {name: [] for name in tools}
    yard: dict[str, list[list[float]]] = {}
    images = box.dir / "plain"
    images.mkdir()
    timed(box, [str(TORPOR), "dump", "-R", "-t", str(pid), "-D", str(images)])
    pages = max(images.glob("pages-*.img"), key=lambda p: p.stat().st_size)
    for turn in range(rounds + 1):  # the first one warms memory up and is not counted
        for name, (tool, options) in tools.items():
            got = one_chain(box, pid, tool, options)
            if turn:
                samples[name].append(got)
        for name, rates in libraries(box, pages, chains).items() if turn else ():
            yard.setdefault(name, []).append(rates)
    result = {
        "chains": {n: figures(s, DUMP_COLUMNS) for n, s in samples.items()},
        "libraries": {n: figures(s, [max] * 4) for n, s in yard.items()},
        "pipes": pipes(box, pages),
        "bytes": pages.stat().st_size,
    }
    box.kill_all()
    return result


def of_library(chain: str, per_core: float, result: dict[str, Any], back: bool) -> float | None:
    """Part of what the slowest library of the chain can do."""
    rates = [result["libraries"][f][3 if back else 1] for f in LIBRARIES.get(chain, ())]
    return per_core / min(rates) if rates else None


def of_bound(chain: str, per_core: float, ratio: float, result: dict[str, Any]) -> float | None:
    """Part of what can be at all; ciphers get, and the file system, what is compressed."""
    if chain not in LIBRARIES and chain != "plain":
        return None
    rates = result["libraries"]
    seconds = 1 / rates["copy"][1] + 1 / rates["store"][1] / ratio
    for i, name in enumerate(LIBRARIES.get(chain, ())):
        seconds += 1 / rates[name][1] / (ratio if i else 1)
    return per_core * seconds


def report(what: str, result: dict[str, Any]) -> None:
    mib = result["bytes"] / 1048576
    print(f"{what}, {mib:,.0f} MiB of pages; MiB/s")
    head = ("dump", "per core", "library", "of it", "of bound", "frozen s", "restore", "per core",
            "of library", "ratio")  # fmt: skip
    print(f"  {'chain':16}" + "".join(f"{h:>11}" for h in head))
    met, missed = [], []
    plain = result["chains"].get("plain")
    for name, (dump, dump_cpu, restore, restore_cpu, size, frozen) in result["chains"].items():
        part = of_library(name, mib / dump_cpu, result, False)
        back = of_library(name, mib / restore_cpu, result, True)
        slowest = min((result["libraries"][f][1] for f in LIBRARIES.get(name, ())), default=None)
        cells = [f"{mib / dump:,.0f}", f"{mib / dump_cpu:,.0f}"]
        bound = of_bound(name, mib / dump_cpu, mib * 1048576 / size, result)
        cells += ["", ""] if part is None else [f"{slowest:,.0f}", f"{part:.0%}"]
        cells += ["" if bound is None else f"{bound:.0%}"]
        cells += ["" if frozen != frozen else f"{frozen:.3f}"]
        cells += [f"{mib / restore:,.0f}", f"{mib / restore_cpu:,.0f}"]
        cells += ["" if back is None else f"{back:.0%}", f"{mib * 1048576 / size:.2f}"]
        print(f"  {name:16}" + "".join(f"{c:>11}" for c in cells))
        if part is not None:
            (met if part >= OF_LIBRARY else missed).append(f"{name} {part:.0%} of its library")
        if name == "aes-gcm" and plain:
            (met if plain[0] / dump >= OF_PLAIN else missed).append(
                f"{name} {plain[0] / dump:.0%} of plain"
            )
    for name, seconds in result["pipes"].items():
        print(f"  | {name:14}{'':11}{mib / seconds:11,.0f}")
    print(f"  aims met: {', '.join(met) or 'none'}; missed: {', '.join(missed) or 'none'}")


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
    criu, said = find_criu()
    print(f"{os.uname().release}, {os.cpu_count()} processors; {words.rounds} rounds; {said}")
    for what, program in (("python", "python3"), ("redis", "redis-server")):
        if shutil.which(program):
            args = {"what": what, "mib": words.mib, "rounds": words.rounds, "chains": chains,
                    "criu": criu}  # fmt: skip
            report(what, run_boxed(measure, timeout=1800, **args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
