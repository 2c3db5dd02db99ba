# SPDX-License-Identifier: GPL-2.0-or-later
"""Images for tests: random messages of any type, and one image of every kind with a payload."""

from __future__ import annotations

import random
import struct
from typing import Any

from torpor.images import BY_ID, Kind, hints, kinds
from torpor.images import messages as pb
from torpor.images.writer import pack

MESSAGE, STRING, BYTES, ENUM, BOOL, REPEATED, REQUIRED = 11, 9, 12, 14, 8, 3, 2
# smallest and largest number of each type of field
RANGES = {
    3: (-(1 << 63), (1 << 63) - 1),
    4: (0, (1 << 64) - 1),
    5: (-(1 << 31), (1 << 31) - 1),
    6: (0, (1 << 64) - 1),
    7: (0, (1 << 32) - 1),
    13: (0, (1 << 32) - 1),
    17: (-(1 << 31), (1 << 31) - 1),
    18: (-(1 << 63), (1 << 63) - 1),
}
DEEPEST = 4


def value_of(field: pb.Field, rng: random.Random) -> Any:
    """A value for a field that is no message."""
    if field.type == STRING:
        return "".join(rng.choice('ab/é \n"=\\') for _ in range(rng.randrange(12)))
    if field.type == BYTES:
        return rng.randbytes(rng.randrange(90))
    if field.type == ENUM and field.enum_type:
        return rng.choice(sorted(field.enum_type.values_by_number))
    if field.type == BOOL:
        return rng.random() < 0.5
    low, high = RANGES[field.type]
    return rng.choice([low, high, 0, 1, rng.randrange(low, high), rng.randrange(300)])


def fill_random(message: pb.Message, rng: random.Random, depth: int = 0) -> None:
    """Sets all required and some optional members."""
    for field in message.DESCRIPTOR.fields:
        required = field.label == REQUIRED
        if not required and (depth > DEEPEST or rng.random() < 0.4):
            continue
        times = rng.randrange(4) if field.label == REPEATED else 1
        if (message.DESCRIPTOR.full_name, field.name) in hints.ADDRESSES:
            times = rng.choice([1, 4])
        for _ in range(times):
            if field.type == MESSAGE:
                member = getattr(message, field.name)
                inner = member.add() if field.label == REPEATED else member
                inner.SetInParent()
                fill_random(inner, rng, depth + 1)
            elif field.label == REPEATED:
                getattr(message, field.name).append(value_of(field, rng))
            else:
                setattr(message, field.name, value_of(field, rng))


def _ipc_queue(n: int, rng: random.Random) -> bytes:
    parts = []
    for _ in range(n):
        text = rng.randbytes(rng.randrange(20))
        head = pb.ipc_msg(mtype=rng.randrange(9), msize=len(text))
        parts += [pack(head), text, b"\0" * (-len(text) % 8)]
    return b"".join(parts)


def _ghost(message: pb.ghost_file_entry, rng: random.Random) -> bytes:
    if not message.chunks:
        return rng.randbytes(rng.randrange(50))
    parts, at = [], 0
    for _ in range(rng.randrange(4)):
        data = rng.randbytes(rng.randrange(1, 40))
        at += rng.randrange(5000)
        chunk = pb.ghost_chunk_entry(len=len(data), off=at)
        if rng.randrange(4) == 0:  # went through a page filter
            chunk.len, chunk.extent_bytes, chunk.extent_filters = 4096, len(data), 1
        parts += [pack(chunk), data]
        at += chunk.len
    return b"".join(parts)


def payload_for(message: pb.Message, rng: random.Random) -> bytes:
    """A payload that fits the message, whose sizes are made small."""
    n, m = rng.randrange(200), rng.randrange(200)
    if isinstance(message, pb.pipe_data_entry):
        message.bytes = n
    elif isinstance(message, pb.sk_packet_entry):
        message.length = n
    elif isinstance(message, pb.tcp_stream_entry):
        message.inq_len, message.outq_len = n, m
        n += m
    elif isinstance(message, pb.bpfmap_data_entry):
        message.keys_bytes, message.values_bytes = n, m
        n += m
    elif isinstance(message, pb.ipc_shm_entry):
        message.size = n
        return b"" if message.in_pagemaps else rng.randbytes(n) + b"\0" * (-n % 4)
    elif isinstance(message, pb.ipc_sem_entry):
        message.nsems = n
        return rng.randbytes(2 * n) + b"\0" * (-2 * n % 8)
    elif isinstance(message, pb.ipc_msg_entry):
        message.qnum = n % 4
        return _ipc_queue(message.qnum, rng)
    elif isinstance(message, pb.ghost_file_entry):
        return _ghost(message, rng)
    else:
        return b""
    return rng.randbytes(n)


def random_image(kind: Kind, rng: random.Random, layout: int = 2) -> bytes:
    """A valid image file."""
    single = bool(kind.traits & kinds.Trait.ONE)
    parts = [kinds.header(kind, layout)]
    for i in range(1 if single else rng.randrange(5)):
        make = (kinds.head_class(kind) if i == 0 else None) or kinds.message_class(kind)
        message = make()
        fill_random(message, rng)
        raw = payload_for(message, rng)
        parts += [pack(message), raw]
    return b"".join(parts)


def framed(kind: str, *bodies: bytes) -> bytes:
    """An image file with these encoded messages."""
    parts = [kinds.header(BY_ID[kind])]
    for body in bodies:
        parts += [struct.pack("<I", len(body)), body]
    return b"".join(parts)


def field(number: int, body: bytes) -> bytes:
    """An encoded member with a length."""
    size, length = len(body), bytearray()
    for n in (number << 3 | 2, size):
        while n >= 0x80:
            length.append(n & 0x7F | 0x80)
            n >>= 7
        length.append(n)
    return bytes(length) + body
