# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved memory as a reader of images sees it: pages of a task or object, through parent images."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
PARENT, LAZY, PRESENT = 1, 2, 4


@dataclass(frozen=True)
class Entry:
    """One run of a pagemap."""

    vaddr: int
    pages: int
    flags: int


def fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Number and value of the varint fields of a message; others are skipped."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            at += size
        else:
            at += 8 if key & 7 == 1 else 4


def messages(path: Path) -> Iterator[bytes]:
    """The messages of an image without payload."""
    data = path.read_bytes()
    at = 4 if path.name == "inventory.img" else 8
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def entries(path: Path) -> tuple[int, list[Entry]]:
    """Number of the pages file, and the runs."""
    head, *rest = messages(path)
    runs = []
    for message in rest:
        f = dict(fields(message))
        flags = f.get(4, 0) | (PARENT if f.get(3) else 0)
        runs.append(Entry(f[1], f.get(5) or f[2], flags or PRESENT))
    return dict(fields(head))[1], runs


@dataclass(frozen=True)
class Page:
    """Where the bytes of a page are."""

    file: Path
    offset: int

    def read(self) -> bytes:
        with self.file.open("rb") as f:
            f.seek(self.offset)
            return f.read(PAGE)


def pages(images: Path, name: str) -> dict[int, Page]:
    """Address -> page, of the pagemap `name` of a set, and of its parents where it says so."""
    number, runs = entries(images / name)
    file = images / f"pages-{number}.img"
    found: dict[int, Page] = {}
    parent: dict[int, Page] | None = None
    offset = 0
    for run in runs:
        for at in range(run.vaddr, run.vaddr + run.pages * PAGE, PAGE):
            if run.flags & PRESENT:
                found[at] = Page(file, offset)
                offset += PAGE
            elif run.flags & PARENT:
                if parent is None:
                    parent = pages(images / "parent", name)
                if at not in parent:
                    raise ValueError(f"{images / name}: the parent has no page {at:#x}")
                found[at] = parent[at]
    return found


def counts(images: Path) -> tuple[int, int]:
    """How many pages a set has itself, and how many it leaves to its parent."""
    own = parents = 0
    for path in images.glob("pagemap-*.img"):
        for run in entries(path)[1]:
            own += run.pages if run.flags & PRESENT else 0
            parents += run.pages if run.flags == PARENT else 0
    return own, parents


def differences(one: Path, other: Path) -> list[str]:
    """What differs between the memory of two sets of the same moment."""
    found = []
    names = [sorted(p.name for p in d.glob("pagemap-*.img")) for d in (one, other)]
    if names[0] != names[1]:
        found.append(f"images {names[0]} and {names[1]}")
    for name in names[0]:
        a, b = pages(one, name), pages(other, name)
        files: dict[Path, bytes] = {}
        for at in sorted(a.keys() | b.keys()):
            if at not in a or at not in b:
                found.append(f"{name}: page {at:#x} is only in {one if at in a else other}")
                continue
            for page in (a[at], b[at]):
                if page.file not in files:
                    files[page.file] = page.file.read_bytes()
            x, y = (files[p.file][p.offset : p.offset + PAGE] for p in (a[at], b[at]))
            if x != y:
                where = [i for i in range(PAGE) if x[i] != y[i]]
                found.append(
                    f"{name}: page {at:#x} of {a[at].file} differs in {len(where)} bytes from "
                    f"{where[0]} on: {x[where[0]:][:16].hex()} is {y[where[0]:][:16].hex()}"
                )
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(fields: list[tuple[int, int]]) -> bytes:
    body = b"".join(_varint(number << 3) + _varint(value) for number, value in fields)
    return struct.pack("<I", len(body)) + body


def write(path: Path, number: int, runs: list[Entry], *, legacy: bool = False) -> None:
    """Writes a pagemap; legacy: PARENT is said as old writers did, and there is no field 5."""
    parts = [struct.pack("<II", 0x54564319, 0x56084025), _message([(1, number)])]
    for run in runs:
        if legacy and run.flags == PARENT:
            parts.append(_message([(1, run.vaddr), (2, run.pages), (3, 1)]))
        elif legacy:
            parts.append(_message([(1, run.vaddr), (2, run.pages)]))
        else:
            parts.append(
                _message([(1, run.vaddr), (2, run.pages), (4, run.flags), (5, run.pages)])
            )
    path.write_bytes(b"".join(parts))
