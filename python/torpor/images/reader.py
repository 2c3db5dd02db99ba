# SPDX-License-Identifier: MIT
"""Reading one image file.

Small files are read, large ones mapped; messages are parsed when they are asked for and not kept.
Every size is compared with what is left of the file before anything else is done with it.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from torpor.images import kinds, payload, wire
from torpor.images.errors import ImageError
from torpor.images.kinds import Kind, Trait
from torpor.images.limits import GROWTH, GROWTH_FREE, GROWTH_SPARE, MESSAGE_MAX, READ_MAX
from torpor.images.messages import Message, MessageType
from torpor.images.tables import MAGIC_COMMON, MAGIC_SERVICE, MAGIC_TORPOR

# How a file of an encrypted set begins; what opens it is in images/sealed.py.
SEALED_MAGIC = 0x54525345
SEALED = "it is encrypted: give --identity FILE"
M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=Message)
_U32 = struct.Struct("<I")
warnings.filterwarnings("ignore", "Unexpected end-group tag", RuntimeWarning)


class Entry(NamedTuple):
    """One entry of an image."""

    message: Message
    payload: memoryview  # raw bytes behind the message, padding included; empty for most kinds
    offset: int  # in the file, of the size word


class Image:
    """One image file: a sequence of entries, or raw bytes (`kind.traits & Trait.RAW`).

    Iterating and indexing parse what they return. `layout` says how the file begins
    (kinds.LAYOUT ...). Close it, or use it as a context manager.
    """

    def __init__(
        self,
        data: memoryview,
        name: str,
        kind: Kind,
        layout: int | None = None,
        growth: int = GROWTH,
    ) -> None:
        """`data` is the whole file. Without `layout` any is accepted.

        `growth`: memory a parsed message may take for each of its bytes.
        """
        self.name = name
        self.growth = growth
        self._spare = GROWTH_SPARE
        self._beyond: dict[int, int] = {}  # offset -> what the message there took of _spare
        self.kind = kind
        self.data = data
        self.layout = 2 if layout is None else layout
        self._mapped: mmap.mmap | None = None
        self._begin = self._check_header(layout)
        self._end = 0 if kind.traits & Trait.RAW else len(data)
        self._index: array[int] = array("Q")
        self._next = self._begin  # where the entry behind the last known one begins

    # ------------------------------------------------------------------------------- opening

    @classmethod
    def open(
        cls,
        path: str | Path,
        kind: Kind | None = None,
        layout: int | None = None,
        dir_fd: int | None = None,
        growth: int = GROWTH,
    ) -> Image:
        """Opens a file; without `kind` its magic numbers and its name decide what it is."""
        name = str(path)
        if "/" in name:
            name = os.path.basename(name)
        # O_NONBLOCK: a fifo of that name must not stop us
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=dir_fd)
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                raise ImageError(name, "this is no regular file")
            mapped = None
            if st.st_size <= READ_MAX:
                data = memoryview(_read(fd, st.st_size, name))
            else:
                mapped = mmap.mmap(fd, st.st_size, access=mmap.ACCESS_READ)
                data = memoryview(mapped)
        finally:
            os.close(fd)
        try:
            image = cls(data, name, kind or recognise(data, name), layout, growth)
        except BaseException:
            data.release()
            if mapped:
                mapped.close()
            raise
        image._mapped = mapped
        return image

    def close(self) -> None:
        """Lets go of the file; entries that were read stay good, payloads do not."""
        try:
            self.data.release()
            if self._mapped:
                self._mapped.close()
        except BufferError:
            pass  # somebody still looks at a payload: the mapping goes when they are done

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _check_header(self, layout: int | None) -> int:
        """Verifies the magic numbers; returns where the entries begin."""
        kind = self.kind
        if not kind.magic:
            return 0
        if not self.data and kind.traits & Trait.SERVICE:
            return 0  # readers take an empty one for none
        for candidate in kinds.LAYOUTS if layout is None else (layout,):
            head = kinds.header(kind, candidate)
            if self.data[: len(head)] == head:
                self.layout = candidate
                return len(head)
        if self.data[:4] == _U32.pack(SEALED_MAGIC):
            raise ImageError(self.name, SEALED, None, "set-encrypted")
        found = self.data[:8].hex(" ", 4)
        if len(self.data) < len(kinds.header(kind, layout or 2)):
            raise ImageError(self.name, "its header is cut off", len(self.data), "image-magic")
        wanted = kinds.header(kind, layout or 2).hex(" ", 4)
        raise ImageError(self.name, f"it starts with {found} instead of {wanted}", 0, "image-magic")

    # ------------------------------------------------------------------------------- entries

    def __len__(self) -> int:
        """Number of entries; the file is walked through for that once."""
        return len(self._offsets())

    def count(self) -> int:
        """Entries up to the first that is damaged, without remembering where they are."""
        n, at, plain = 0, self._begin, not payload.has_payload(self.kind)
        try:
            while at < self._end:
                at = at + 4 + len(self._body(at)) if plain else self._entry(at)[1]
                n += 1
        except ImageError:
            pass
        return n

    def __bool__(self) -> bool:
        """An image is there, however many entries it has."""
        return True

    def __getitem__(self, index: int) -> Entry:
        """An entry by its number; the file is walked through as far as that, once."""
        return self._entry(self._offsets(index)[index])[0]

    def __iter__(self) -> Iterator[Entry]:
        at = self._begin
        while at < self._end:
            entry, at = self._entry(at)
            yield entry

    def messages(self) -> Iterator[Message]:
        """The messages of all entries."""
        for entry in self:
            yield entry.message

    def each(self, make: type[M], skip: int = 0) -> Iterator[M]:
        """Messages of an image without payloads, all in one object that changes with every step.

        The fastest way through a million entries. `skip` entries are left out at the beginning.
        """
        if payload.has_payload(self.kind):
            raise TypeError(f"{self.kind.id} has payloads")
        at, end, data = self._begin, self._end, self.data
        for _ in range(skip):
            at += 4 + len(self._body(at)) if at < end else 0
        message = make()
        take, unpack = message.ParseFromString, _U32.unpack_from
        while at < end:
            stop = at + 4 + (unpack(data, at)[0] if at + 4 <= end else end)
            if stop > end or stop - at > GROWTH_FREE:
                stop = at + 4 + len(self._body(at))
                self._guard(data[at + 4 : stop], make.DESCRIPTOR, at)
            try:
                good = take(data[at + 4 : stop]) == stop - at - 4 and message.IsInitialized()
            except Exception:
                good = False
            short = not data[stop - 1] and wire.stops_short(message, data[at + 4 : stop])
            odd = message.UnknownFields() and wire.contradicts(message)
            if not good or short or odd:
                text = f"there is no valid {make.DESCRIPTOR.name}"
                raise ImageError(self.name, text, at, "image-message")
            yield message
            at = stop

    def one(self, make: type[M]) -> M:
        """The message of an image that has exactly one; `make` is its class."""
        entry = self._only()
        if not isinstance(entry.message, make):
            raise TypeError(f"{self.kind.id} holds {type(entry.message).__name__}")
        return entry.message

    def one_split(self, make: type[M], member: str, element: type[E]) -> tuple[M, wire.Lazy[E]]:
        """Like one(), but the named repeated member stands beside the message, unparsed."""
        view = self._body(self._begin)
        if self._begin + 4 + len(view) != self._end:
            raise ImageError(
                self.name, "there are bytes behind its only message", self._begin + 4 + len(view)
            )

        def error() -> ImageError:
            text = f"there is no valid {make.DESCRIPTOR.name}"
            return ImageError(self.name, text, self._begin, "image-message")

        rest, lazy = wire.split(view, make.DESCRIPTOR, element, member, error)
        message = make()
        self._parse(message, memoryview(rest), self._begin)
        return message, lazy

    def raw(self, index: int) -> memoryview:
        """The encoded message of an entry."""
        return self._body(self._offsets(index)[index])

    def _only(self) -> Entry:
        if self._begin >= self._end:
            raise ImageError(self.name, "it is empty", self._begin)
        entry, at = self._entry(self._begin)
        if at != self._end:
            raise ImageError(self.name, "there are bytes behind its only message", at)
        return entry

    def _offsets(self, last: int = -1) -> array[int]:
        """Where entries begin: at least up to number `last`, or all."""
        index, end = self._index, self._end
        plain = not payload.has_payload(self.kind)
        while self._next < end and not 0 <= last < len(index):
            at = self._next
            after = at + 4 + len(self._body(at)) if plain else self._entry(at)[1]
            index.append(at)
            self._next = after
        return index

    def _body(self, at: int) -> memoryview:
        """The encoded message whose size stands at `at`."""
        left = len(self.data) - at - 4
        if left < 0:
            raise ImageError(self.name, "the size of a message is cut off", at)
        (size,) = _U32.unpack_from(self.data, at)
        if size > left or size > MESSAGE_MAX:
            text = f"there is a message of {size} bytes, but only {left} are left"
            raise ImageError(self.name, text, at)
        return self.data[at + 4 : at + 4 + size]

    def _entry(self, at: int) -> tuple[Entry, int]:
        view = self._body(at)
        make = kinds.message_class(self.kind)
        if at == self._begin:
            make = kinds.head_class(self.kind) or make
        message = make()
        self._parse(message, view, at)
        after = at + 4 + len(view)
        size = payload.length(self.kind, message, self.data, after, self.name)
        if size > len(self.data) - after:
            text = f"there is a payload of {size} bytes, but only {len(self.data) - after} are left"
            raise ImageError(self.name, text, after, "image-payload")
        return Entry(message, self.data[after : after + size], at), after + size

    def _guard(self, view: memoryview, kind: MessageType, at: int) -> None:
        """ImageError if a message takes more memory than it may; it may be parsed again later."""
        self._spare += self._beyond.pop(at, 0)
        beyond = wire.guard(view, kind, self.name, at, self.growth, self._spare)
        if beyond:
            self._beyond[at] = beyond
            self._spare -= beyond

    def _parse(self, message: Message, view: memoryview, at: int) -> None:
        self._guard(view, message.DESCRIPTOR, at)
        parse(message, view, self.name, at)


def parse(message: Message, view: memoryview, name: str, at: int) -> None:
    """Fills a message from its encoded form; ImageError if that is not valid."""
    try:
        # it stops at the mark that ends a group and only warns
        good = message.ParseFromString(view) == len(view) and message.IsInitialized()
        good = good and not wire.stops_short(message, view)
    except Exception:
        good = False
    if not good:
        text = f"there is no valid {message.DESCRIPTOR.name}"
        raise ImageError(name, text, at, "image-message")


def _read(fd: int, size: int, name: str) -> bytes:
    data = b""
    while len(data) < size:
        part = os.pread(fd, size - len(data), len(data))
        if not part:
            raise ImageError(name, "it got shorter while it was read", len(data))
        data += part
    return data


def recognise(data: memoryview, name: str) -> Kind:
    """What kind of image this is, by its first bytes, then by its name."""
    by_name = kinds.parse_name(name)
    if by_name and by_name[0].traits & Trait.RAW:
        return by_name[0]
    words = [_U32.unpack_from(data, at)[0] for at in (0, 4) if at + 4 <= len(data)]
    magic = 0
    if words:
        magic = words[0]
        if magic in (MAGIC_COMMON, MAGIC_SERVICE, MAGIC_TORPOR) and len(words) > 1:
            magic = words[1]
    fits = kinds.kinds_of_magic(magic)
    if by_name and (by_name[0] in fits or not fits):
        return by_name[0]
    if not fits:
        raise ImageError(
            name, "neither its first bytes nor its name tell what image it is", 0, "image-magic"
        )
    return fits[0]
