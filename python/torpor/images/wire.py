# SPDX-License-Identifier: MIT
"""The encoding of messages, as far as it must be looked at before protobuf may see it.

A message of two bytes can stand for an object of a hundred, and a million of them in one file for
a hundred megabytes. `guard()` bounds what the parsed form of a message will take; `split()` takes
a long list of small messages out of a big one, so that they can be parsed one at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from torpor.images.errors import ImageError
from torpor.images.limits import DEPTH_MAX, GROWTH, GROWTH_FREE
from torpor.images.messages import Field, Message, MessageType

M = TypeVar("M", bound=Message)

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_TYPE_MESSAGE, _TYPE_STRING, _TYPE_BYTES, _TYPE_ENUM, _TYPE_BOOL = 11, 9, 12, 14, 8
_WIDE = {1, 3, 4, 6, 16, 18}  # types of 64 bits
_FIXED = {1: 8, 6: 8, 16: 8, 2: 4, 7: 4, 15: 4}
_GOES_ON = bytes(range(0x80, 0x100))
_REPEATED, _REQUIRED = 3, 2
# Memory of the parsed form, measured with protobuf 3.21: an object, one of its members, an element
# of a repeated member, a string. Lists grow by doubling.
_OBJECT, _MEMBER, _ELEMENT, _STRING = 56, 8, 16, 40
# Looked at before the first verdict, so that a normal message whose lists come first passes.
_RUN_UP = 1 << 20


@dataclass(frozen=True)
class _Cost:
    """What one more value of a field takes."""

    each: int
    inner: MessageType | None = None
    width: int = 0  # of an element of a packed list; 0: varints, -1: there are no packed ones


def _has_lists(kind: MessageType) -> bool:
    """Whether the parsed form can outgrow the members every object of the type has."""
    return any(f.type == _TYPE_MESSAGE or f.label == _REPEATED for f in kind.fields)


@cache
def _costs(kind: MessageType) -> dict[int, _Cost]:
    return {f.number: _cost(f) for f in kind.fields}


def _cost(field: Field) -> _Cost:
    if field.type == _TYPE_MESSAGE and field.message_type:
        inner = field.message_type
        each = _OBJECT + _MEMBER * len(inner.fields) + _ELEMENT
        return _Cost(each, inner if _has_lists(inner) else None, -1)
    if field.type in (_TYPE_STRING, _TYPE_BYTES):
        return _Cost(_STRING, None, -1)
    each = _ELEMENT if field.type in _WIDE else _ELEMENT // 2
    return _Cost(each, None, _FIXED.get(field.type, 0))


def _packed(data: memoryview, at: int, end: int, width: int) -> int:
    """Elements of a packed list; every varint ends with a byte below 0x80."""
    if width:
        return (end - at) // width
    return len(bytes(data[at:end]).translate(None, _GOES_ON))


def varint(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """The number at `at` and the place behind it; ValueError if it is cut off or too long."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift >= 70:
            break
    raise ValueError("bad varint")


def fields(data: bytes | memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, wire type, start of the field, start of its value, end) of each field.

    ValueError for what is no message. Groups do not exist in image files.
    """
    while at < end:
        start = at
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = varint(data, start, end)
        wire = tag & 7
        value = at
        if wire == VARINT:
            while at < end and data[at] >= 0x80:
                at += 1
            at += 1
        elif wire == DELIMITED:
            if at >= end:
                raise ValueError("no length")
            size = data[at]
            at += 1
            if size >= 0x80:
                size, at = varint(data, at - 1, end)
            value = at
            at += size
        elif wire == FIXED64:
            at += 8
        elif wire == FIXED32:
            at += 4
        else:
            raise ValueError("unknown wire type")
        if at > end or tag < 8:
            raise ValueError("field is cut off")
        yield tag >> 3, wire, start, value, at


class _Meter:
    """Counts what the parsed form of a message takes and stops what outgrows its allowance."""

    def __init__(self, growth: int, spare: int) -> None:
        self.growth = growth
        self.ahead = _RUN_UP + spare
        self.used = 0

    def walk(self, data: memoryview, at: int, end: int, kind: MessageType, depth: int) -> None:
        """Adds up one message; OverflowError if it is too much."""
        if depth > DEPTH_MAX:
            raise OverflowError("is nested too deeply")
        costs = _costs(kind)
        free = _Cost(0, None, -1)
        for number, wire, start, value, stop in fields(data, at, end):
            cost = costs.get(number, free)
            if wire == DELIMITED and cost.width >= 0:
                self.used += _packed(data, value, stop, cost.width) * cost.each
            else:
                self.used += cost.each
            if cost.inner and wire == DELIMITED:
                self.walk(data, value, stop, cost.inner, depth + 1)
            if self.used > self.ahead + self.growth * start:
                raise OverflowError("takes too much memory")


def guard(
    view: memoryview,
    kind: MessageType,
    name: str,
    offset: int,
    growth: int = GROWTH,
    spare: int = 0,
) -> int:
    """Raises ImageError if the parsed form of this message would be out of all proportion.

    Returns how much of `spare`, in bytes, it takes.
    """
    if len(view) <= GROWTH_FREE:
        return 0
    meter = _Meter(growth, spare)
    try:
        meter.walk(view, 0, len(view), kind, 0)
    except OverflowError as e:
        raise ImageError(name, f"the message {e}", offset, "image-memory") from None
    except ValueError:
        raise ImageError(name, f"there is no valid {kind.name}", offset, "image-message") from None
    beyond = max(0, meter.used - GROWTH_FREE - growth * len(view))
    if beyond > spare:
        raise ImageError(name, "the message takes too much memory", offset, "image-memory")
    return beyond


def stops_short(message: Message, view: memoryview) -> bool:
    """Whether the encoded form ends with a tag 0, which protobuf takes for an end (others do not).

    `message` is what was parsed from it.
    """
    if not len(view) or view[-1] or message.ByteSize() == len(view):
        return False
    try:
        for _ in fields(view, 0, len(view)):
            pass
    except ValueError:
        return True
    return False


def contradicts(message: Message) -> bool:
    """Whether the message itself (not one inside it) has a known member in a wrong encoding.

    protobuf takes that for a member it does not know; other readers refuse the message.
    """
    unknown = message.UnknownFields()
    if not len(unknown):
        return False
    known = message.DESCRIPTOR.fields_by_number
    return any(
        f.field_number in known and not _is_new_value(known[f.field_number], f.wire_type)
        for f in unknown
    )


def _is_new_value(field: Field, wire_type: int) -> bool:
    """An enumeration with a value of a newer release is no contradiction.

    Nor is a switch in any encoding: the C side (protobuf-c 1.4) takes it, and for what it likes.
    """
    return field.type == _TYPE_BOOL or (field.type == _TYPE_ENUM and wire_type == VARINT)


def unknown_value(message: Message, member: str) -> int | None:
    """Number of an enumeration that has a value this version does not know."""
    number = message.DESCRIPTOR.fields_by_name[member].number
    for f in message.UnknownFields():
        if f.field_number == number and f.wire_type == VARINT:
            return int(f.data)
    return None


def contradicts_deep(message: Message) -> bool:
    """The same for messages inside it, too."""
    if contradicts(message):
        return True
    for field, value in message.ListFields():
        if field.type == _TYPE_MESSAGE:
            inner = value if field.label == _REPEATED else (value,)
            if any(contradicts_deep(m) for m in inner):
                return True
    return False


class Lazy(Generic[M]):
    """The elements of a repeated member, each parsed when it is asked for."""

    def __init__(self, make: type[M], view: memoryview, error: Callable[[], ImageError]) -> None:
        self._make = make
        self._view = view
        self._error = error
        self._at = array("Q")
        self._end = array("Q")

    def place(self, at: int, end: int) -> None:
        """Adds the element that lies there in the view."""
        self._at.append(at)
        self._end.append(end)

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> M:
        message = self._make()
        self._parse(message, self._at[index], self._end[index])
        return message

    def __iter__(self) -> Iterator[M]:
        for at, end in zip(self._at, self._end):
            message = self._make()
            self._parse(message, at, end)
            yield message

    def each(self) -> Iterator[M]:
        """Like iterating, but in one object that changes with every step: faster."""
        message = self._make()
        for at, end in zip(self._at, self._end):
            self._parse(message, at, end)
            yield message

    def _parse(self, message: M, at: int, end: int) -> None:
        try:
            done = message.ParseFromString(self._view[at:end])
        except Exception:
            raise self._error() from None
        if done != end - at or not message.IsInitialized():
            raise self._error()
        if message.UnknownFields() and contradicts(message):
            raise self._error()
        if not self._view[end - 1] and stops_short(message, self._view[at:end]):
            raise self._error()


def split(
    view: memoryview, kind: MessageType, make: type[M], member: str, error: Callable[[], ImageError]
) -> tuple[bytes, Lazy[M]]:
    """(the message without the repeated member, the elements of the member)."""
    number = kind.fields_by_name[member].number
    lazy = Lazy(make, view, error)
    # every required member takes two bytes: shorter elements would cost more than they say
    least = 2 * sum(f.label == _REQUIRED for f in make.DESCRIPTOR.fields)
    rest = bytearray()
    try:
        for found, wire, start, value, stop in fields(view, 0, len(view)):
            if found == number and wire == DELIMITED:
                if stop - value < least:
                    raise ValueError("an element lacks members")
                lazy.place(value, stop)
            else:
                rest += view[start:stop]
    except ValueError:
        raise error() from None
    return bytes(rest), lazy
