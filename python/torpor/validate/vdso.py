# SPDX-License-Identifier: MIT
"""Is this a vdso? As far as restore must read one that is not the kernel's own: its symbols.

Only what is mapped is there, so section headers are not used (System V ABI, gABI chapter 5).
"""

from __future__ import annotations

import struct
from typing import Any

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_GNU_HASH = 0, 4, 5, 6, 0x6FFFFEF5
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SYMBOL_SIZE = 24
_WRAP = 1 << 64


class _Image:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.base = 0  # address it was linked at

    def take(self, form: struct.Struct, address: int) -> tuple[Any, ...] | None:
        """What stands at a linked address; None if it is not all inside."""
        at = (address - self.base) % _WRAP
        return form.unpack_from(self.data, at) if at + form.size <= len(self.data) else None


def _dynamic(image: _Image) -> tuple[int, int] | None:
    """Address and size of the dynamic section."""
    head = image.take(_HEADER, 0)
    if head is None:
        return None
    ident, table, entry_size, n = head[0], head[5], head[9], head[10]
    if ident[:4] != b"\x7fELF" or ident[4] != 2 or entry_size != _PROGRAM.size:
        return None
    found, loaded = None, False
    for i in range(n):
        entry = image.take(_PROGRAM, table + i * _PROGRAM.size)
        if entry is None:
            return None
        kind, _, offset, address, _, _, size, _ = entry
        if kind == PT_LOAD and not loaded:
            image.base = (address - offset) % _WRAP
            table += image.base
            loaded = True
        elif kind == PT_DYNAMIC:
            found = address, size
    return found if loaded and found and found[1] else None


def _tags(image: _Image, address: int, size: int) -> dict[int, int] | None:
    """The dynamic section; None if it has no end or no symbols."""
    form = struct.Struct("<QQ")
    tags: dict[int, int] = {}
    for i in range(min(size, len(image.data)) // form.size):
        entry = image.take(form, address + i * form.size)
        if entry is None:
            return None
        if entry[0] == DT_NULL:
            return tags if tags.get(DT_SYMTAB) and tags.get(DT_STRTAB) else None
        tags[entry[0]] = entry[1]
    return None


def _count_gnu(image: _Image, table: int) -> int:
    word = struct.Struct("<I")
    head = image.take(struct.Struct("<IIII"), table)
    if head is None:
        return 0
    buckets = table + 16 + 8 * head[2]
    most = 0
    for i in range(head[0]):
        index = image.take(word, buckets + 4 * i)
        if index is None:
            return 0
        most = max(most, index[0])
    if most < head[1]:
        return int(head[1])
    while True:
        value = image.take(word, buckets + 4 * head[0] + 4 * (most - head[1]))
        if value is None:
            return 0
        most += 1
        if value[0] & 1:
            return int(most)


def is_vdso(data: bytes) -> bool:
    """Whether restore can find the functions in it."""
    image = _Image(data)
    place = _dynamic(image)
    tags = _tags(image, *place) if place else None
    if tags is None:
        return False
    table = tags.get(DT_HASH)
    head = image.take(struct.Struct("<II"), table) if table else None
    if head:
        count = int(head[1])
    else:
        count = _count_gnu(image, tags[DT_GNU_HASH]) if tags.get(DT_GNU_HASH) else 0
    return bool(count <= len(data) // _SYMBOL_SIZE)
