# SPDX-License-Identifier: MIT
"""Options by which commands get the keys of encrypted images; the same as those of restore."""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

from torpor.cli import UsageError
from torpor.images import ImageError, ImageSet, keys
from torpor.images.kinds import Kind, parse_name
from torpor.images.keys import Keys, WrongKeyError
from torpor.images.reader import Image


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares them. Secrets themselves never stand on a command line."""
    group = parser.add_argument_group("what opens encrypted images")
    group.add_argument(
        "--identity", action="append", default=[], type=Path, metavar="FILE",
        help="file with a secret key of 'torpor keygen'; repeatable",
    )  # fmt: skip
    group.add_argument("--passphrase-fd", type=int, metavar="FD", help="descriptor with it")
    group.add_argument("--key-fd", type=int, metavar="FD", help="descriptor with 32 bytes")


def of(args: argparse.Namespace) -> Keys | None:
    """Reads what was given; None if nothing was. UsageError if it cannot be had."""
    if not args.identity and args.passphrase_fd is None and args.key_fd is None:
        return None
    if not keys.AVAILABLE:
        raise UsageError(keys.MISSING)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no secret gets into a core file
    try:
        return Keys(
            tuple(keys.read_identity(path) for path in args.identity),
            None if args.passphrase_fd is None else keys.read_passphrase(args.passphrase_fd),
            None if args.key_fd is None else keys.read_key(args.key_fd),
        )
    except keys.SecretError as e:
        raise UsageError(str(e)) from None


def open_set(path: Path, given: Keys | None) -> ImageSet:
    """A set of which everything is to be read; ImageError, with the path, if it does not open."""
    images = ImageSet(path, keys=given)
    try:
        why = images.locked
    except ImageError:
        return images  # there is more wrong with it, which its reader finds
    if why:
        images.close()
        text = why.text if given else "the set is encrypted: give --identity FILE"
        raise ImageError(str(path / why.name), text, None, why.rule)
    return images


def open_image(path: Path, given: Keys | None, kind: Kind | None = None) -> Image:
    """An image by its path; if it is encrypted, its set lies around it."""
    known = parse_name(path.name)
    if given and known:
        with open_set(path.parent, given) as images:
            if images.sealed:
                return images.open(known[0].id, known[1])
    return Image.open(path, kind)


def refuse_wrong(images: ImageSet) -> None:
    """Raises WrongKeyError where keys were given that are not those of the set."""
    try:
        why = images.locked
    except ImageError:
        return  # there is more wrong with it, which a report tells
    if isinstance(why, WrongKeyError):
        raise why
