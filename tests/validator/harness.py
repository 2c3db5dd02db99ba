#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Is the validator right? Changes one thing in dumps of live subjects and in image sets of CRIU,
asks the validator, and then really restores, in namespaces of its own.

Prints the confusion matrix and every disagreement; exit status 1 if precision or recall is below
0.99, something crashed, was left behind, or took more than a second of processor time. The same numbers give the
same changes, as far as live dumps are the same (addresses and inode numbers are not).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from box import BUILD, Box, Failed, Skipped, run_boxed

sys.path.insert(0, str(BUILD / "python"))

import bases
from cases import Outcome, run_case
from matrix import Case, disagreements, good, slow, summary, tables
from mutate import copy_sets, mutate
from torpor.images import ImageSet, Trait, crit

UNCHANGED = "nothing"
KEPT = BUILD / "validator-sets"  # a box sees the build folder
PAGE_HEAD = """\
# Proof that the validator's verdict is right: figures

Written by `make check-validator`; do not edit. What this is, how to run it and what is known to
remain: [VALIDATOR-proof.md](VALIDATOR-proof.md).
"""


def silence() -> None:
    """protobuf says on standard error that a string is no UTF-8: paths need not be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def comes_back(folder: Path) -> None:
    """Every image as JSON and back, byte by byte."""
    with ImageSet(folder) as images:
        for found in images.images():
            if found.kind.traits & Trait.RAW:
                continue
            with images.open(found.kind.id, found.number) as image:
                text = io.StringIO()
                crit.dump(image, text, False)
                if crit.image_bytes(json.loads(text.getvalue())) != bytes(image.data):
                    raise Failed(f"{folder.name}/{found.name} comes back from JSON differently")


def try_cases(box: Box, name: str, numbers: list[int], keep: bool) -> list[dict[str, Any]]:
    """Process 1 of a box: makes a base and goes through its cases."""
    silence()
    base = bases.make(box, name)
    for images in base.chain:
        comes_back(images)
    folder = box.dir / "changed"
    # nothing changed: both must accept it
    first = run_case(box, base, copy_sets(base.chain, folder)[0])
    base.place.put_back()
    if first.rules:
        raise Failed(f"the validator refuses a clean dump: {first.rules} {first.texts}")
    if first.status:
        raise Skipped(f"the clean dump cannot be restored: {first.reason or first.crash}")
    done = []
    for number in numbers:
        images, change = mutate(base.chain, folder, name, number)
        case = Case(name, number, change, run_case(box, base, images))
        base.place.put_back()
        if keep and disagreements([case]):
            to = KEPT / f"{name.replace(':', '-')}-{number}"
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(folder, to, symlinks=True)
        done.append(asdict(case))
    return done


def case_of(data: dict[str, Any]) -> Case:
    return Case(**{**data, "outcome": Outcome(**data["outcome"])})


def run_base(name: str, numbers: list[int], keep: bool = False) -> tuple[list[Case], str]:
    """Cases of one base; and why there are none."""
    try:
        found = run_boxed(
            try_cases, name=name, numbers=numbers, keep=keep, net=bases.needs_net(name),
            timeout=600 + 60 * len(numbers),
        )  # fmt: skip
    except Skipped as e:
        return [], str(e)
    except Failed as e:
        return [Case(name, -1, UNCHANGED, Outcome(crash=str(e)))], ""
    return [case_of(c) for c in found], ""


def spread(cases: int, names: list[str], first: int) -> dict[str, list[int]]:
    """Numbers for each base."""
    each, rest = divmod(cases, len(names))
    return {n: list(range(first, first + each + (i < rest))) for i, n in enumerate(names)}


def run(
    cases: int, names: list[str], first: int = 0, jobs: int = 2, keep: bool = False
) -> tuple[list[Case], dict[str, str]]:
    """All cases, and why bases were left out."""
    found: list[Case] = []
    skipped = {}
    plan = {n: k for n, k in spread(cases, names, first).items() if k}
    with ThreadPoolExecutor(jobs) as pool:
        for name, (part, why) in zip(plan, pool.map(lambda n: run_base(n, plan[n], keep), plan)):
            found += part
            lines = [f"{name}: {len(part)} cases{', left out' * bool(why)}"]
            print("\n".join([*lines, *map(str, disagreements(part))]), file=sys.stderr, flush=True)
            if why:
                skipped[name] = why
    return found, skipped


def text_of(cases: list[Case], skipped: dict[str, str]) -> str:
    """For people at a terminal."""
    lines = summary(cases)
    lines += [f"left out: {name}: {why[:300]}" for name, why in skipped.items()]
    return "\n".join([*lines, *(f"\n{c}" for c in disagreements(cases))])


def page_of(cases: list[Case], skipped: dict[str, str]) -> str:
    """For docs/."""
    lines = [PAGE_HEAD, *summary(cases), "", *tables(cases)]
    if skipped:
        lines += ["", "Left out, because not even the unchanged dump can be restored there:", ""]
        lines += [f"- `{name}`" for name in skipped]
    wrong = disagreements(cases)
    if wrong:
        lines += ["", "## Disagreements", "", "```", "\n".join(str(c) for c in wrong), "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--base", action="append", help="KIND:NAME; more than once for several")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="file for every case, a line of JSON each")
    parser.add_argument("--page", type=Path, help="file for the matrix, in Markdown")
    parser.add_argument("--keep", action="store_true", help=f"keep wrong cases in {KEPT}")
    args = parser.parse_args()
    cases, skipped = run(args.cases, args.base or bases.names(), args.first, args.jobs, args.keep)
    if args.out:
        args.out.write_text("".join(json.dumps(asdict(c)) + "\n" for c in cases))
    if args.page:
        args.page.write_text(page_of(cases, skipped))
    print(text_of(cases, skipped))
    for case in slow(cases):
        print(f"{case.base} {case.number} is slow: {case.change}")
    return 0 if good(cases) and not slow(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
