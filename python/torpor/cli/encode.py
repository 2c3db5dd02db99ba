# SPDX-License-Identifier: MIT
"""`encode`: an image from JSON, in crit's form."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from torpor.images import crit


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="JSON (standard input)")
    parser.add_argument("-i", "--in", dest="input", metavar="FILE", help="same as FILE")
    parser.add_argument("-o", "--out", metavar="FILE", help="write there (standard output)")


def run(args: argparse.Namespace) -> int:
    path = args.input or args.file
    inside = path in (None, "-")
    text = sys.stdin.read() if inside else Path(path).read_text(encoding="utf-8")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except json.JSONDecodeError as e:
        raise ValueError(f"{'standard input' if inside else repr(path)} is not JSON: {e}") from None
    data = crit.image_bytes(value)
    if args.out in (None, "-"):
        sys.stdout.buffer.write(data)
    else:
        Path(args.out).write_bytes(data)
    return 0
