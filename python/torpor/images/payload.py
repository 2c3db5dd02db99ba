# SPDX-License-Identifier: MIT
"""The raw bytes some images keep behind their messages: how many there are, what is in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from torpor.images import messages as pb
from torpor.images import wire
from torpor.images.errors import ImageError
from torpor.images.kinds import Kind
from torpor.images.limits import MESSAGE_MAX

Length = Callable[[pb.Message, memoryview, int, str], int]


def padded(size: int, unit: int) -> int:
    """size, rounded up to a multiple of unit."""
    return (size + unit - 1) // unit * unit


def _shm(message: pb.Message, data: memoryview, at: int, name: str) -> int:
    entry = cast(pb.ipc_shm_entry, message)
    return 0 if entry.in_pagemaps else padded(entry.size, 4)


def _messages(message: pb.Message, data: memoryview, at: int, name: str) -> int:
    begin = at
    for m in ipc_messages(cast(pb.ipc_msg_entry, message), data[at:], name):
        at = begin + m.end
    return at - begin


# By crit's name of the kind: bytes of payload behind a message that stands before `at` in data.
_LENGTHS: dict[str, Length] = {
    "PIPES_DATA": lambda m, d, a, n: cast(pb.pipe_data_entry, m).bytes,
    "FIFO_DATA": lambda m, d, a, n: cast(pb.pipe_data_entry, m).bytes,
    "SK_QUEUES": lambda m, d, a, n: cast(pb.sk_packet_entry, m).length,
    "TCP_STREAM": lambda m, d, a, n: (
        cast(pb.tcp_stream_entry, m).inq_len + cast(pb.tcp_stream_entry, m).outq_len
    ),
    # no other entry can follow: what is left is content, chunks or not
    "GHOST_FILE": lambda m, d, a, n: len(d) - a,
    "TORPOR_DIGEST": lambda m, d, a, n: len(d) - a,
    "BPFMAP_DATA": lambda m, d, a, n: (
        cast(pb.bpfmap_data_entry, m).keys_bytes + cast(pb.bpfmap_data_entry, m).values_bytes
    ),
    "IPCNS_SHM": _shm,
    "IPCNS_SEM": lambda m, d, a, n: padded(cast(pb.ipc_sem_entry, m).nsems * 2, 8),
    "IPCNS_MSG": _messages,
}


def has_payload(kind: Kind) -> bool:
    """Whether raw bytes can follow the messages of this kind."""
    return kind.name in _LENGTHS


def length(kind: Kind, message: pb.Message, data: memoryview, at: int, name: str) -> int:
    """Bytes behind the message that ends at `at`, padding included; not yet compared with data."""
    tell = _LENGTHS.get(kind.name)
    return tell(message, data, at, name) if tell else 0


# ------------------------------------------------------------------------------ what is in them


class Chunk(NamedTuple):
    """A part of a sparse ghost file."""

    entry: pb.ghost_chunk_entry
    data: memoryview  # as long, unless page filters have made something else of it
    end: int  # of the chunk in the payload


class QueuedMessage(NamedTuple):
    """One message of a System V queue."""

    head: pb.ipc_msg
    text: memoryview  # without padding
    end: int  # of the message and its padding in the payload


def _framed(view: memoryview, at: int, name: str) -> tuple[memoryview, int]:
    if len(view) - at < 4:
        raise ImageError(name, "the size of a message in a payload is cut off", at, "image-payload")
    (size,) = struct.unpack_from("<I", view, at)
    if size > min(len(view) - at - 4, MESSAGE_MAX):
        raise ImageError(name, "a message in a payload is cut off", at, "image-payload")
    return view[at + 4 : at + 4 + size], at + 4 + size


def _part(view: memoryview, at: int, size: int, name: str) -> memoryview:
    if size > len(view) - at:
        raise ImageError(name, "the bytes of a payload are cut off", at, "image-payload")
    return view[at : at + size]


def _fill(message: pb.Message, body: memoryview, name: str, at: int) -> None:
    try:
        good = message.ParseFromString(body) == len(body) and message.IsInitialized()
        good = good and not wire.stops_short(message, body)
    except Exception:
        good = False
    if not good:
        text = f"there is no valid {message.DESCRIPTOR.name} in a payload"
        raise ImageError(name, text, at, "image-payload")


def stored_bytes(chunk: pb.ghost_chunk_entry) -> int:
    """Bytes of a ghost's chunk behind its message: those of the file, or of an extent of it."""
    return chunk.extent_bytes if chunk.HasField("extent_bytes") else chunk.len


def ghost_chunks(entry: pb.ghost_file_entry, view: memoryview, name: str) -> Iterator[Chunk]:
    """The parts of a ghost file's content; between them are holes. Offsets count in bytes."""
    if not entry.chunks:
        if len(view):
            yield Chunk(pb.ghost_chunk_entry(len=len(view), off=0), view, len(view))
        return
    at = 0
    while at < len(view):
        begin = at
        body, at = _framed(view, at, name)
        chunk = pb.ghost_chunk_entry()
        _fill(chunk, body, name, begin)
        data = _part(view, at, stored_bytes(chunk), name)
        at += len(data)
        yield Chunk(chunk, data, at)


def ipc_messages(entry: pb.ipc_msg_entry, view: memoryview, name: str) -> Iterator[QueuedMessage]:
    """The messages of a queue; view begins with them and may be longer."""
    at = 0
    for _ in range(entry.qnum):
        begin = at
        body, at = _framed(view, at, name)
        head = pb.ipc_msg()
        _fill(head, body, name, begin)
        text = _part(view, at, padded(head.msize, 8), name)
        at += padded(head.msize, 8)
        yield QueuedMessage(head, text[: head.msize], at)


def semaphores(entry: pb.ipc_sem_entry, view: memoryview) -> tuple[int, ...]:
    """Values of a set's semaphores."""
    return struct.unpack_from(f"<{entry.nsems}H", view)
