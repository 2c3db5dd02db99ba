# SPDX-License-Identifier: MIT
"""`decode`: an image as JSON, in crit's form."""

from __future__ import annotations

import argparse
import sys

from torpor.images import crit
from torpor.images.reader import Image, recognise


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="image (standard input)")
    parser.add_argument("-i", "--in", dest="input", metavar="FILE", help="same as FILE")
    parser.add_argument("-o", "--out", metavar="FILE", help="write there (standard output)")
    parser.add_argument("--pretty", action="store_true", help="for people: flags, addresses, lines")


def run(args: argparse.Namespace) -> int:
    path = args.input or args.file
    if path in (None, "-"):
        data = memoryview(sys.stdin.buffer.read())
        image = Image(data, "standard input", recognise(data, "standard input"))
    else:
        image = Image.open(path)
    with image:
        if args.out in (None, "-"):
            crit.dump(image, sys.stdout, args.pretty)
        else:
            with open(args.out, "w", encoding="ascii") as out:
                crit.dump(image, out, args.pretty)
    return 0
