# SPDX-License-Identifier: MIT
"""`facts [DIR]`: what this computer is like, for `validate --target` elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from torpor.cli import keys
from torpor.images import ImageSet
from torpor.validate import collect, paths_of


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", nargs="?", type=Path, help="images: look at the files they need")
    parser.add_argument("--path", action="append", default=[], help="look at this file, too")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write there")
    keys.arguments(parser)


def run(args: argparse.Namespace) -> int:
    paths = list(args.path)
    if args.dir:
        with ImageSet(args.dir, keys=keys.of(args)) as images:
            keys.refuse_wrong(images)
            paths += paths_of(images)
    text = collect(paths).to_json()
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    return 0
