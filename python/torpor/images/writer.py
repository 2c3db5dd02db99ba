# SPDX-License-Identifier: MIT
"""Writing image files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from torpor.images import kinds
from torpor.images.kinds import Kind
from torpor.images.messages import Message


def pack(message: Message) -> bytes:
    """An entry without payload: size word and encoded message."""
    body = message.SerializeToString()
    return struct.pack("<I", len(body)) + body


def pack_image(
    kind: Kind, entries: Iterable[Message | tuple[Message, bytes]], layout: int = 2
) -> bytes:
    """A whole image file; an entry with payload is a pair."""
    parts = [kinds.header(kind, layout)]
    for entry in entries:
        message, raw = entry if isinstance(entry, tuple) else (entry, b"")
        parts += [pack(message), raw]
    return b"".join(parts)


class ImageWriter:
    """Writes one image file, entry by entry.

    The file gets its name when everything is written: a reader never sees half of it. Use it as a
    context manager; an exception inside leaves no file behind.
    """

    def __init__(self, path: str | Path, kind: Kind, layout: int = 2) -> None:
        self.path = Path(path)
        self.kind = kind
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._out: BinaryIO = self._temporary.open("wb")
        self._out.write(kinds.header(kind, layout))

    def put(self, message: Message, payload: bytes | memoryview = b"") -> None:
        """Adds an entry with the raw bytes that follow it."""
        self._out.write(pack(message))
        self._out.write(payload)

    def put_raw(self, data: bytes | memoryview) -> None:
        """Adds bytes as they are: the content of raw kinds."""
        self._out.write(data)

    def close(self) -> None:
        """Puts the file into place."""
        self._out.close()
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Gives up: no file appears."""
        self._out.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind:
            self.discard()
        else:
            self.close()
