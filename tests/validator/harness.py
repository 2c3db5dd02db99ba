#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Is the validator right? Changes one thing in dumps of live subjects and in fixtures, asks the
validator, and then really restores, stopped, in a pid namespace of its own.

usage: harness.py [--cases N] [--first N] [--base NAME]... [--out FILE] [--jobs N]

Prints the confusion matrix and every disagreement; exit status 1 if precision or recall is below
0.99, something crashed, or a verdict took more than a second. The same numbers give the same cases.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from box import BUILD, SOURCE, Box, Failed, Skipped, run_boxed
from subjects import Subject

sys.path.insert(0, str(BUILD / "python"))

FIXTURES = Path(os.environ.get("TORPOR_FIXTURES", SOURCE.parent / "shared/fixtures"))
INSTALLED = Path("/tmp/torpor-fixtures")
LIVE = [
    "creds", "cwd_chroot_exe", "dead_leader", "deleted", "dirs", "eventfds", "fd_sharing", "fifos",
    "files", "fs_sharing", "groups", "itimers", "limits_misc", "mem_cow", "mem_files",
    "mem_private", "mem_shared", "mlock_madvise", "pending", "pipes", "polls", "posix_timers",
    "robust_rseq", "seccomp_filter", "sigactions", "stopped", "threads", "tree", "zombies",
]  # fmt: skip
LIMIT = 0.99
SLOWEST = 1.0  # seconds a verdict may take


@dataclass
class Case:
    """One mutation and what both said."""

    base: str
    number: int
    change: str
    predicted: list[str]  # rules of severity error
    texts: list[str]
    status: int  # of restore
    reason: str
    seconds: float  # the validator's
    crash: str = ""

    @property
    def kind(self) -> str:
        """tp: both refuse, tn: both accept, fp: only the validator refuses, fn: only restore."""
        refused, failed = bool(self.predicted), self.status != 0
        return ("t" if refused == failed else "f") + ("p" if refused else "n")


def fixtures() -> list[str]:
    return sorted(p.parent.name for p in FIXTURES.glob("*/fixture.json"))


# ------------------------------------------------------------------------------------- in a box


def restore_words(box: Box, images: Path, options: list[str]) -> list[str]:
    return [
        *("restore", "-d", "-s", "-D", str(images), "-W", str(box.dir), "-o", "restore.log", "-v2"),
        *options,
    ]


def reason_of(box: Box, output: str) -> str:
    log = box.dir / "restore.log"
    text = output + (log.read_text(errors="replace") if log.exists() else "")
    lines = [x for x in text.splitlines() if "Error" in x or x.startswith("torpor")]
    return lines[0][:400] if lines else text[-300:]


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What a folder looks like, to see whether a restore changed it."""
    return {
        str(p.relative_to(folder)): (st.st_mode, st.st_size, st.st_mtime_ns)
        for p in folder.rglob("*")
        for st in [p.lstat()]
    }


@dataclass
class Place:
    """The files a dump needs, and how to put them back as they were."""

    folder: Path
    kept: Path
    before: dict[str, tuple[int, int, int]]

    @classmethod
    def keep(cls, folder: Path, kept: Path) -> Place:
        subprocess.run(["cp", "-a", str(folder), str(kept)], check=True)
        return cls(folder, kept, snapshot(folder))

    def put_back(self) -> None:
        if snapshot(self.folder) == self.before:
            return
        for child in self.folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        subprocess.run(["cp", "-a", f"{self.kept}/.", str(self.folder)], check=True)
        self.before = snapshot(self.folder)


def try_cases(
    box: Box, base: str, images: Path, place: Place, numbers: list[int], options: list[str]
) -> list[dict[str, Any]]:
    from mutate import mutate
    from torpor.images import ImageSet
    from torpor.images.limits import GROWTH_STRICT
    from torpor.validate import Options, Severity, collect, validate

    cases = []
    changed = box.dir / "changed"
    for number in numbers:
        change = mutate(images, changed, base, number)
        begin = time.process_time()  # others may use the processors, too
        crash, rules, texts = "", [], []
        try:
            with ImageSet(changed, GROWTH_STRICT) as opened:
                report = validate(opened, Options(), collect())
            errors = [f for f in report.findings.found if f.severity == Severity.ERROR]
            rules, texts = sorted({f.rule_id for f in errors}), [f.text for f in errors[:3]]
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            crash = f"validator: {type(e).__name__} at {where.filename}:{where.lineno}: {e}"
        seconds = time.process_time() - begin
        (box.dir / "restore.log").unlink(missing_ok=True)
        try:
            done = box.torpor(*restore_words(box, changed, options), timeout=30)
            status, reason = done.status, reason_of(box, done.output) if done.status else ""
        except Failed as e:
            status, reason = -1, str(e)[-300:]
        if status not in (0, 1):
            crash = crash or f"restore ended with {status}"
        box.kill_all()
        place.put_back()
        box.notes.clear()
        cases.append(
            asdict(Case(base, number, change, rules, texts, status, reason, seconds, crash))
        )
    return cases


def first_is_good(box: Box, images: Path, place: Place, options: list[str]) -> None:
    """Nothing changed: both say yes, and no rule of severity error is broken."""
    from torpor.images import ImageSet
    from torpor.validate import Options, collect, validate

    with ImageSet(images) as opened:
        report = validate(opened, Options(), collect())
    if not report.restorable:
        raise Failed(f"a clean dump has findings: {report.findings.found}")
    done = box.torpor(*restore_words(box, images, options))
    if done.status != 0:
        raise Skipped(f"the clean dump cannot be restored here: {reason_of(box, done.output)}")
    box.kill_all()
    place.put_back()


def silence() -> None:
    """protobuf says on standard error that a string is no UTF-8: paths need not be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def live(box: Box, base: str, numbers: list[int]) -> list[dict[str, Any]]:
    silence()
    s = Subject(box, base)
    s.start(stops=base == "stopped_root")
    s.dump()
    s.kill()
    place = Place.keep(box.dir / "work", box.dir / "kept")
    first_is_good(box, s.images, place, [])
    return try_cases(box, base, s.images, place, numbers, [])


def fixture(box: Box, base: str, numbers: list[int]) -> list[dict[str, Any]]:
    """Installed as their README says, in a mount of its own."""
    from box import mount

    silence()
    source = FIXTURES / base
    INSTALLED.mkdir(exist_ok=True)
    mount("tmpfs", str(INSTALLED), "tmpfs", 0, "mode=755")
    to = INSTALLED / base
    to.mkdir(mode=0o755)
    shutil.copy(source / "prog", to / "prog")
    (to / "prog").chmod(0o755)
    if (source / "files").exists():
        shutil.copytree(source / "files", to, dirs_exist_ok=True)
        for p in to.rglob("*"):
            if p.name != "prog":
                p.chmod(0o755 if p.is_dir() else 0o644)
    to.chmod(0o755)
    (to / "result").touch()
    (to / "result").chmod(0o666)
    if (source / "prepare").exists():
        subprocess.run(["sh", str(source / "prepare")], cwd=to, check=True)
    images = box.dir / "images"
    shutil.copytree(source / "images", images)
    place = Place.keep(to, box.dir / "kept")
    options = json.loads((source / "fixture.json").read_text()).get("restore_options") or []
    first_is_good(box, images, place, options)
    return try_cases(box, base, images, place, numbers, options)


# --------------------------------------------------------------------------------- all together


def bases() -> list[str]:
    return [f"live:{n}" for n in LIVE] + [f"fixture:{n}" for n in fixtures()]


def run_base(name: str, numbers: list[int]) -> tuple[list[Case], str]:
    """Cases of one base; and why there are none."""
    kind, _, base = name.partition(":")
    try:
        found = run_boxed(
            live if kind == "live" else fixture, base=base, numbers=numbers,
            timeout=60 + 2 * len(numbers),
        )  # fmt: skip
    except Skipped as e:
        return [], str(e)
    except Failed as e:
        crash = Case(name, -1, "nothing", [], [], 0, "", 0.0, str(e))
        return [crash], ""
    return [Case(**{**c, "base": name}) for c in found], ""


def spread(cases: int, names: list[str], first: int) -> dict[str, list[int]]:
    """Numbers for each base; a base gets the same ones however many others there are."""
    each, rest = divmod(cases, len(names))
    return {n: list(range(first, first + each + (i < rest))) for i, n in enumerate(names)}


def run(
    cases: int, names: list[str], first: int = 0, jobs: int = 2
) -> tuple[list[Case], dict[str, str]]:
    """All cases and the bases that were left out."""
    found: list[Case] = []
    skipped = {}
    plan = {n: k for n, k in spread(cases, names, first).items() if k}
    with ThreadPoolExecutor(jobs) as pool:
        for name, (part, why) in zip(plan, pool.map(lambda n: run_base(n, plan[n]), plan)):
            found += part
            if why:
                skipped[name] = why
    return found, skipped


def matrix(cases: list[Case]) -> dict[str, int]:
    counts = dict.fromkeys(("tp", "tn", "fp", "fn"), 0)
    for c in cases:
        counts[c.kind] += 1
    return counts


def rates(counts: dict[str, int]) -> tuple[float, float]:
    """Precision and recall of "this cannot be restored"."""
    said, are = counts["tp"] + counts["fp"], counts["tp"] + counts["fn"]
    return counts["tp"] / said if said else 1.0, counts["tp"] / are if are else 1.0


def report(cases: list[Case], skipped: dict[str, str]) -> str:
    counts = matrix(cases)
    precision, recall = rates(counts)
    lines = [
        f"{len(cases)} cases of {len({c.base for c in cases})} dumps",
        "                        restore fails   restore works",
        f"validator refuses      {counts['tp']:14d}  {counts['fp']:14d}",
        f"validator accepts      {counts['fn']:14d}  {counts['tn']:14d}",
        f"precision {precision:.4f}, recall {recall:.4f}",
        f"slowest verdict {max((c.seconds for c in cases), default=0):.3f} s",
    ]
    lines += [f"left out: {name}: {why[:200]}" for name, why in skipped.items()]
    for c in cases:
        if c.kind[0] == "f" or c.crash:
            lines.append(f"{c.kind} {c.base} {c.number}: {c.change}")
            lines.append(f"    validator: {', '.join(c.predicted) or 'restorable'} {c.texts[:1]}")
            lines.append(f"    restore: {c.status} {c.reason} {c.crash}")
    return "\n".join(lines)


def good(cases: list[Case]) -> bool:
    precision, recall = rates(matrix(cases))
    fast = all(c.seconds <= SLOWEST for c in cases)
    return min(precision, recall) >= LIMIT and fast and not any(c.crash for c in cases)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--base", action="append", help="live:NAME or fixture:NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="every case as a line of JSON")
    args = parser.parse_args()
    cases, skipped = run(args.cases, args.base or bases(), args.first, args.jobs)
    if args.out:
        args.out.write_text("".join(json.dumps(asdict(c)) + "\n" for c in cases))
    print(report(cases, skipped))
    return 0 if good(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
