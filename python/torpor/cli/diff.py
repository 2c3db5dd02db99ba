# SPDX-License-Identifier: MIT
"""`diff A B`: what differs between two image sets, or two images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from torpor.cli import UsageError, keys
from torpor.images import Trait, diff
from torpor.images.diff import Change, Pages
from torpor.images.imageset import Found
from torpor.images.keys import Keys

PLACES = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", type=Path, metavar="A", help="images directory or image")
    parser.add_argument("new", type=Path, metavar="B", help="what to compare it with")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--all", action="store_true", help="statistics and other noise, too")
    keys.arguments(parser)
    parser.epilog = "Exit status: 0 no difference, 1 differences or an error, 2 wrong usage."


def run(args: argparse.Namespace) -> int:
    for path in (args.old, args.new):
        path.stat()  # what is not there is said to be missing
    if args.old.is_dir() != args.new.is_dir():
        raise UsageError("one is a directory and the other is not")
    given = keys.of(args)
    found = list(_sets(args, given) if args.old.is_dir() else _images(args, given))
    if args.json:
        print(json.dumps({"differences": [_json(f) for f in found]}, indent=1))
    else:
        for f in found:
            print(_text(f))
    return 1 if found else 0


def _sets(args: argparse.Namespace, given: Keys | None) -> Iterator[Change | Pages]:
    def wanted(found: Found) -> bool:
        noise = found.kind.traits & Trait.SERVICE or found.kind.id == "TORPOR_MANIFEST"
        return args.all or not noise

    with keys.open_set(args.old, given) as old, keys.open_set(args.new, given) as new:
        yield from diff.sets(old, new, wanted)


def _images(args: argparse.Namespace, given: Keys | None) -> Iterator[Change | Pages]:
    with keys.open_image(args.old, given) as old:
        with keys.open_image(args.new, given, old.kind) as new:
            yield from diff.images(old, new)


def _json(found: Change | Pages) -> dict[str, object]:
    if isinstance(found, Change):
        return {"image": found.image, "at": found.place, "old": found.old, "new": found.new}
    return {
        "image": found.image,
        "pages": {
            "only_old": found.only_old,
            "only_new": found.only_new,
            "changed": found.changed,
            "same": found.same,
            "places": [{"address": a, "pages": n} for a, n in found.places],
        },
    }


def _value(value: object) -> str:
    if value is None:
        return "nothing"
    return "there" if value == "there" else json.dumps(value)


def _text(found: Change | Pages) -> str:
    if isinstance(found, Change):
        where = f" {found.place}" if found.place else ""
        return f"{found.image}{where}: {_value(found.old)} -> {_value(found.new)}"
    places = ", ".join(f"0x{a:x}+{n}" for a, n in found.places[:PLACES])
    more = ", ..." if len(found.places) > PLACES else ""
    return (
        f"{found.image}: of the pages {found.changed} differ, {found.only_old} are gone, "
        f"{found.only_new} are new, {found.same} are the same ({places}{more})"
    )
