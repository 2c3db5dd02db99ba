# SPDX-License-Identifier: MIT
"""`decode`: an image as JSON, in crit's form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torpor.cli import UsageError, keys
from torpor.images import crit
from torpor.images.reader import Image, recognise


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="image (standard input)")
    parser.add_argument("-i", "--in", dest="input", metavar="FILE", help="same as FILE")
    parser.add_argument("-o", "--out", metavar="FILE", help="write there (standard output)")
    parser.add_argument("--pretty", action="store_true", help="for people: flags, addresses, lines")
    keys.arguments(parser)


def run(args: argparse.Namespace) -> int:
    path = args.input or args.file
    given = keys.of(args)
    if path in (None, "-"):
        if given:
            raise UsageError("an encrypted image is opened by its name: its set lies around it")
        data = memoryview(sys.stdin.buffer.read())
        image = Image(data, "standard input", recognise(data, "standard input"))
    else:
        image = keys.open_image(Path(path), given)
    with image:
        if args.out in (None, "-"):
            crit.dump(image, sys.stdout, args.pretty)
        else:
            with open(args.out, "w", encoding="ascii") as out:
                crit.dump(image, out, args.pretty)
    return 0
