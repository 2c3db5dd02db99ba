# SPDX-License-Identifier: MIT
"""Build ids of programs and libraries: the note the linker leaves in an ELF file.

Any file may come here, so every number in it is doubted; bad ones mean that there is none.
"""

from __future__ import annotations

import os
import struct

NOTES_MAX, HEADERS_MAX, ID_MAX = 64 << 10, 512, 64
_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3


def read(fd: int) -> bytes:
    """The build id behind a descriptor that can be read; b"" if there is none."""
    try:
        head = os.pread(fd, 64, 0)
        if len(head) < 52 or head[:4] != b"\x7fELF" or head[5] != 1 or head[4] not in (1, 2):
            return b""
        for offset, size in _note_segments(fd, head, wide=head[4] == 2):
            if 0 < size <= NOTES_MAX and offset < 1 << 62:
                found = _in_notes(os.pread(fd, size, offset))
                if found:
                    return found
    except (OSError, struct.error, OverflowError):
        pass
    return b""


def _note_segments(fd: int, head: bytes, wide: bool) -> list[tuple[int, int]]:
    """(offset, size) of the segments with notes."""
    if wide:
        (phoff,) = struct.unpack_from("<Q", head, 32)
        entry_size, n = struct.unpack_from("<HH", head, 54)
        wanted = 56
    else:
        (phoff,) = struct.unpack_from("<I", head, 28)
        entry_size, n = struct.unpack_from("<HH", head, 42)
        wanted = 32
    if entry_size != wanted or n > HEADERS_MAX or phoff >= 1 << 62:
        return []
    table = os.pread(fd, n * wanted, phoff)
    found = []
    for at in range(0, len(table) - wanted + 1, wanted):
        if wide:
            kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", table, at)
        else:
            kind, offset, _, _, size = struct.unpack_from("<IIIII", table, at)
        if kind == _PT_NOTE:
            found.append((offset, size))
    return found


def _in_notes(notes: bytes) -> bytes:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, at)
        name_at = at + 12
        desc_at = name_at + (name_size + 3 & ~3)
        if desc_at + size > len(notes):
            return b""
        if kind == _NT_GNU_BUILD_ID and notes[name_at : name_at + 4] == b"GNU\0":
            if 0 < size <= ID_MAX:
                return notes[desc_at : desc_at + size]
        at = desc_at + (size + 3 & ~3)
    return b""


def packed(build_id: bytes) -> list[int]:
    """As images keep it: words, the last one padded with zeros."""
    padded = build_id + bytes(-len(build_id) % 4)
    return list(struct.unpack(f"<{len(padded) // 4}I", padded))
