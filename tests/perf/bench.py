#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump and a restore cost: medians, beside a plain copy and beside criu.

Every case is a program with so much of one thing (tests/perf/load.c), in two sizes, so that one
sees whether the cost grows in proportion. Images go to a tmpfs. In every round each tool has its
turn, and so has the yardstick: write() of the same amount of memory to the same tmpfs and read()
of it into fresh memory. Machines are noisy; ratios of one run say more than times of two.

Processor time of the tool itself ("cpu") is there because it is steadier than what a clock shows
on a busy machine; whether a cost grows in proportion is told by it.

A criu that cannot start, or that fails at a case, is said to do so and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from box import BUILD, TORPOR, Box, Failed, Skipped, run_boxed  # noqa: E402

LOAD = BUILD / "tests/perf/load"


@dataclass(frozen=True)
class Case:
    """So many of something."""

    what: str
    count: int
    unit: str

    @property
    def name(self) -> str:
        return f"{self.count:,} {self.unit}"


CASES = [
    Case("memory", 1, "MiB"),
    Case("memory", 256, "MiB"),
    Case("memory", 1024, "MiB"),
    Case("threads", 200, "threads"),
    Case("threads", 1000, "threads"),
    Case("tasks", 100, "tasks"),
    Case("tasks", 500, "tasks"),
    Case("tasks", 2000, "tasks"),
    Case("areas", 12000, "areas"),
    Case("areas", 60000, "areas"),
    Case("files", 2000, "descriptors"),
    Case("files", 10000, "descriptors"),
    Case("files", 50000, "descriptors"),
    Case("tables", 10000, "descriptors in several tables"),
    Case("tables", 50000, "descriptors in several tables"),
    Case("sockets", 2000, "sockets"),
    Case("sockets", 10000, "sockets"),
    Case("unixes", 2000, "unix sockets"),
    Case("unixes", 10000, "unix sockets"),
    Case("terminals", 400, "terminals"),
    Case("terminals", 2000, "terminals"),
    Case("watches", 2000, "epoll entries"),
    Case("watches", 10000, "epoll entries"),
    Case("connections", 1000, "ends of TCP connections"),
    Case("connections", 10000, "ends of TCP connections"),
]
# what their dump and their restore need to be told
OPTIONS = {"connections": ["--tcp-established"]}

FIGURES = ("frozen", "dump", "dump_cpu", "restore", "restore_cpu", "image_bytes")


@dataclass
class Samples:
    """What one tool took in each round; times in seconds."""

    frozen: list[float] = field(default_factory=list)
    dump: list[float] = field(default_factory=list)
    dump_cpu: list[float] = field(default_factory=list)
    restore: list[float] = field(default_factory=list)
    restore_cpu: list[float] = field(default_factory=list)
    image_bytes: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        return {f: statistics.median(getattr(self, f)) for f in FIGURES if getattr(self, f)}


# ------------------------------------------------------------------------------------ in the box


def frozen_seconds(images: Path) -> float:
    """From stats-dump, which both tools write."""
    done = subprocess.run(
        ["crit", "decode", "-i", str(images / "stats-dump")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return float("nan")
    return float(json.loads(done.stdout)["entries"][0]["dump"]["frozen_time"]) / 1e6


def timed(box: Box, argv: list[str]) -> tuple[float, float]:
    """Seconds and seconds of processor time the command took; Failed if it failed."""
    out = box.dir / "out"
    begin = time.monotonic()
    pid = box.start(argv, session=False, out=out)
    _, status, used = os.wait4(pid, 0)
    took = time.monotonic() - begin
    text = out.read_text(errors="replace")
    out.unlink()
    if status != 0:
        raise Failed(f"'{' '.join(argv[:2])}' ended with {status}: {text[-500:].strip()}")
    return took, used.ru_utime + used.ru_stime


def one_round(box: Box, case: Case, tool: str, samples: Samples) -> None:
    """Starts the load, saves it, brings it back, ends it."""
    ready, images = box.dir / "ready", box.dir / "images"
    ready.unlink(missing_ok=True)
    images.mkdir()
    pid = box.start([LOAD, case.what, str(case.count), ready], cwd=box.dir)
    box.until(f"{case.name}: not ready ({box.statuses.get(pid)})", 60, ready.exists)
    try:
        options = ["-D", str(images), *OPTIONS.get(case.what, [])]
        dump = timed(box, [tool, "dump", "-t", str(pid), "-o", "dump.log", *options])
        size = sum(p.stat().st_size for p in images.glob("*.img"))
        box.reap()
        restore = timed(box, [tool, "restore", "-d", "-o", "restore.log", *options])
        samples.dump.append(dump[0])
        samples.dump_cpu.append(dump[1])
        samples.image_bytes.append(size)
        samples.restore.append(restore[0])
        samples.restore_cpu.append(restore[1])
        samples.frozen.append(frozen_seconds(images))
    except Failed as e:
        logs = [t for p in images.glob("*.log") for t in p.read_text().splitlines()]
        errors = [t for t in logs if "Error" in t]
        raise Failed(f"{e} {errors[0] if errors else ''}".strip()) from None
    finally:
        box.kill_all()
        shutil.rmtree(images)


def measure(box: Box, case: Case, tools: dict[str, str], rounds: int) -> dict[str, Any]:
    """All rounds of a case, the tools and the yardstick in turn."""
    where = box.dir / "tmpfs"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(where)], check=True)
    box.dir = where
    samples = {name: Samples() for name in tools}
    yard = Samples()
    faults: dict[str, str] = {}
    for turn in range(rounds + 1):  # the first one warms memory up and is not counted
        for name, tool in tools.items():
            if name in faults:
                continue
            try:
                one_round(box, case, tool, Samples() if turn == 0 else samples[name])
            except Failed as e:
                faults[name] = str(e)
        if case.what == "memory":
            argv = [str(LOAD), "copy", str(case.count), str(where / "copy")]
            text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            write, read = (int(word) / 1e6 for word in text.split())
            if turn:
                yard.dump.append(write)
                yard.restore.append(read)
    return {
        "medians": {name: s.medians() for name, s in samples.items() if name not in faults},
        "faults": faults,
        "copy": yard.medians(),
    }


# ---------------------------------------------------------------------------------- criu, report


def try_criu(box: Box, tool: str) -> str:
    """'' if it can save and restore the smallest load, else why not."""
    try:
        one_round(box, Case("memory", 1, "MiB"), tool, Samples())
    except Failed as e:
        return str(e)
    return ""


def find_criu() -> tuple[str | None, str]:
    """The criu that works, or None and the reason."""
    tool = os.environ.get("CRIU") or shutil.which("criu")
    if not tool:
        return None, "criu is not installed"
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    version = (done.stdout.split() or ["?", "?"])[1]
    try:
        fault = run_boxed(try_criu, tool=tool)
    except (Failed, Skipped) as e:
        fault = str(e)
    if fault:
        return None, f"criu {version} does not work on this kernel: {fault}"
    return tool, f"criu {version}"


def may_open() -> int:
    """How many descriptors a process may have, as many as can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (1 << 17, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limit))
            return limit
        except (ValueError, OSError):
            continue
    return hard


def show(seconds: float | None) -> str:
    if seconds is None or seconds != seconds:
        return "-"
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def size(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number / 1048576:,.1f} MiB"


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def ratio(ours: float | None, other: float | None) -> str:
    return f"{ours / other:.2f}" if ours and other else ""


def report(results: dict[str, Any]) -> str:
    head = ["case", "tool", "frozen", "dump", "cpu", "restore", "cpu", "images"]
    head += ["dump/copy", "restore/copy"]
    rows = [head]
    for name, result in results.items():
        copy = result["copy"]
        for tool, m in result["medians"].items():
            cells = [show(m.get(f)) for f in FIGURES[:5]] + [size(m.get("image_bytes"))]
            cells.append(ratio(m.get("dump"), copy.get("dump")))
            cells.append(ratio(m.get("restore"), copy.get("restore")))
            rows.append([name, tool, *cells])
        if copy:
            times = ["", show(copy["dump"]), "", show(copy["restore"]), "", ""]
            rows.append([name, "copy", *times, "", ""])
    return table(rows)


def growth(results: dict[str, Any]) -> str:
    """How much more processor time the larger of two sizes costs than in proportion: 1.0 is
    linear, less is a fixed part, clearly more is a cost that grows faster than the load."""
    lines = []
    for what in dict.fromkeys(c.what for c in CASES):
        two = [c for c in CASES if c.what == what and c.name in results][-2:]
        if len(two) < 2:
            continue
        small, large = (results[c.name]["medians"].get("torpor") for c in two)
        if not small or not large:
            continue
        times = two[1].count / two[0].count
        parts = [f"{f} {large[f] / small[f] / times:.2f}" for f in ("dump_cpu", "restore_cpu")]
        lines.append(f"  {what}: {two[0].count:,} to {two[1].count:,}: {', '.join(parts)}")
    return "\n".join(lines)


def rates(results: dict[str, Any]) -> str:
    """How many of a load's things each tool saves and restores in a second."""
    lines = []
    for case in CASES:
        if case.what not in ("tasks", "threads") or case.name not in results:
            continue
        for tool, m in results[case.name]["medians"].items():
            parts = [f"{f} {case.count / m[f]:,.0f}" for f in ("dump", "restore") if m.get(f)]
            lines.append(f"  {case.name}, {tool}: {', '.join(parts)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--json", type=Path, default=BUILD / "bench.json", help="where to")
    parser.add_argument("--no-criu", action="store_true")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    criu, about = (None, "not asked for") if words.no_criu else find_criu()
    tools = {"torpor": str(TORPOR)} | ({"criu": criu} if criu else {})
    print(f"{os.uname().release}, {os.cpu_count()} processors; medians of {words.rounds}; {about}")
    results: dict[str, Any] = {}
    failed = False
    limit = may_open()
    for case in CASES:
        if words.only not in case.name:
            continue
        if case.what not in ("memory", "threads", "tasks", "areas") and case.count + 100 > limit:
            print(f"{case.name}: left out, a process may have {limit:,} here")
            continue
        print(f"{case.name} ...", file=sys.stderr, flush=True)
        try:
            results[case.name] = run_boxed(
                measure, timeout=900, net=True, case=case, tools=tools, rounds=words.rounds
            )
        except (Failed, Skipped) as e:
            print(f"{case.name}: {e}")
            failed = True
            continue
        for tool, fault in results[case.name]["faults"].items():
            print(f"{case.name}: {tool} failed: {fault}")
            failed = failed or tool == "torpor"
    print(report(results))
    print("growth of processor time beyond proportion (1.0: linear):")
    print(growth(results))
    print("tasks and threads per second:")
    print(rates(results))
    words.json.write_text(json.dumps({"criu": about, "results": results}, indent=1) + "\n")
    print(f"written: {words.json}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
