# SPDX-License-Identifier: MIT
"""Kinds of image files: finding one by its name, by the name of a file, by magic numbers."""

from __future__ import annotations

import functools
import re
import struct

from torpor.images import messages
from torpor.images.tables import KINDS, MAGIC_COMMON, MAGIC_SERVICE, MAGIC_TORPOR, Kind, Trait

__all__ = [
    "BY_ID",
    "KINDS",
    "Kind",
    "Trait",
    "file_name",
    "first_magic",
    "head_class",
    "header",
    "kinds_of_magic",
    "message_class",
    "parse_name",
]

BY_ID: dict[str, Kind] = {k.id: k for k in KINDS}
"""The table by unique id."""

# Images whose first entry is another message than the rest.
HEADS: dict[str, type[messages.Message]] = dict.fromkeys(
    ("PAGEMAP", "TORPOR_PAGEMAP"), messages.pagemap_head
)


def file_name(kind: Kind, number: int = 0) -> str:
    """Name of the file in the images directory."""
    return kind.pattern % number if "%" in kind.pattern else kind.pattern


def _number_pattern(kind: Kind) -> re.Pattern[str] | None:
    """Matches the one spelling file_name() makes: no sign, no leading zeros."""
    before, percent, rest = kind.pattern.partition("%")
    if not percent:
        return None
    digits = r"(0|[1-9a-f][0-9a-f]*)" if rest[0] == "x" else r"(0|[1-9][0-9]*)"
    return re.compile(re.escape(before) + digits + re.escape(rest[1:]) + r"\Z")


_FIXED = {k.pattern: k for k in reversed(KINDS) if "%" not in k.pattern}
_NUMBERED = [(p, k) for k in KINDS if (p := _number_pattern(k))]


def parse_name(name: str) -> tuple[Kind, int] | None:
    """The kind and number a file name stands for; None if it is no image's name."""
    if name in _FIXED:
        return _FIXED[name], 0
    for pattern, kind in _NUMBERED:
        match = pattern.match(name)
        if match:
            number = int(match[1], 16 if "%x" in kind.pattern else 10)
            return (kind, number) if number < 1 << 64 else None
    return None


def kinds_of_magic(magic: int) -> list[Kind]:
    """Kinds with this magic number of their own, current ones first; several may share it."""
    found = [k for k in KINDS if k.magic == magic and k.magic]
    return sorted(found, key=lambda k: bool(k.traits & Trait.OLD))


def message_class(kind: Kind) -> type[messages.Message]:
    """Class of the entries; KeyError for raw kinds."""
    return messages.BY_NAME[kind.message]


def head_class(kind: Kind) -> type[messages.Message] | None:
    """Class of the first entry where it differs from the rest."""
    return HEADS.get(kind.name)


def first_magic(kind: Kind) -> int:
    """The magic number that stands before the kind's own one; 0 if there is none."""
    if kind.id == "INVENTORY" or not kind.magic:
        return 0
    service = kind.traits & (Trait.SERVICE | Trait.SERVICE_MAGIC)
    return MAGIC_SERVICE if service else MAGIC_COMMON


# How image files begin. OLD: no common magic number; TORPOR: one that other programs refuse.
LAYOUT_OLD, LAYOUT, LAYOUT_TORPOR = 1, 2, 3
LAYOUTS = (LAYOUT, LAYOUT_OLD, LAYOUT_TORPOR)


@functools.cache
def header(kind: Kind, layout: int = LAYOUT) -> bytes:
    """The bytes every file of this kind begins with."""
    if not kind.magic:
        return b""
    first = first_magic(kind)
    if not first or (layout == LAYOUT_OLD and not kind.traits & Trait.SERVICE_MAGIC):
        return struct.pack("<I", kind.magic)
    if layout == LAYOUT_TORPOR and first == MAGIC_COMMON:
        first = MAGIC_TORPOR
    return struct.pack("<II", first, kind.magic)
