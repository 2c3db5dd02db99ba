# SPDX-License-Identifier: MIT
"""BPF maps, network tunnels, and what only torpor-files describes: rings, message queues."""

from __future__ import annotations

import os
from collections.abc import Callable

from torpor.images import crit
from torpor.images import messages as pb
from torpor.validate.context import Context

BPF_KINDS = {1: "hash", 2: "array"}
BPF_BYTES_MAX = 1 << 30
BPF_NAME_MAX = 15

SQPOLL, NO_SQARRAY = 1 << 1, 1 << 16
RING_MAX = 1 << 17
SLOTS_MAX, BUFFERS_MAX = 1 << 20, 1 << 14
SQE, CQE, INDEX = 64, 16, 4
PRIORITY_MAX = 32768  # of a message in a queue
IFNAMSIZ = 16


def _bpf(c: Context, id_: int) -> None:
    entry = c.files[id_]
    if not entry.HasField("bpf"):
        return
    e = entry.bpf
    if e.map_type not in BPF_KINDS:
        text = f"BPF map {e.map_id} is of type {e.map_type}, neither array nor hash"
        c.about_file("bpf-type", id_, text)
    room = e.max_entries * max(e.key_size, e.value_size)
    if room > BPF_BYTES_MAX or len(e.map_name.encode()) > BPF_NAME_MAX:
        sizes = f"{e.max_entries} elements of {e.key_size} and {e.value_size} bytes"
        text = f"BPF map {e.map_id} is impossible: {sizes}, '{e.map_name:.32}'"
        c.about_file("bpf-size", id_, text)
    data = c.bpf_contents.get(e.map_id)
    if data is None:
        return
    sizes_fit = data.keys_bytes == data.count * e.key_size
    sizes_fit = sizes_fit and data.values_bytes == data.count * e.value_size
    if data.count > e.max_entries or not sizes_fit:
        text = f"BPF map {e.map_id} has {data.count} elements and place for {e.max_entries}"
        text += f"; {data.keys_bytes} bytes of keys, {data.values_bytes} of values"
        c.about_file("bpf-content", id_, text)


def _is_size(n: int) -> bool:
    return 0 < n <= RING_MAX and not n & (n - 1)


def _is_sound(c: Context, e: pb.torpor_uring_entry) -> bool:
    """What io_uring_setup(2) and the two register calls would take."""
    array = 0 if e.setup & NO_SQARRAY else e.sq_entries * INDEX
    return (
        _is_size(e.sq_entries)
        and _is_size(e.cq_entries)
        and e.sq_head == e.cq_tail
        and not e.setup & ~(SQPOLL | NO_SQARRAY)
        and len(e.sq_array) == array
        and len(e.sqes) == e.sq_entries * SQE
        and len(e.cqes) == e.cq_entries * CQE
        and e.file_slots <= SLOTS_MAX
        and e.buffer_slots <= BUFFERS_MAX
        and all(f.slot < e.file_slots and f.file in c.files for f in e.files)
        and all(b.slot < e.buffer_slots for b in e.buffers)
    )


def _uring(c: Context, id_: int) -> None:
    extra = c.file_extras.get(id_)
    if extra is None or not extra.HasField("uring") or not _is_sound(c, extra.uring):
        c.about_file("uring-state", id_, "an io_uring is not described soundly")


def _mqueue(c: Context, id_: int) -> None:
    extra = c.file_extras.get(id_)
    if extra is None or not extra.HasField("mqueue"):
        c.about_file("mqueue-missing", id_, "a message queue is not described")
        return
    name = extra.mqueue.name
    if extra.mqueue.HasField("name") and (name[:1] != "/" or "/" in name[1:]):
        c.about_file("mqueue-name", id_, f"a message queue has the name '{name:.100}'")
    queue = extra.mqueue.queue
    if id_ in c.used and queue not in c.queues:
        c.queues[queue] = c.queue_contents.get(queue)
        if c.queues[queue] is None:
            c.about_file("mqueue-content", id_, f"the message queue {queue} has no content")
    content = c.queues.get(queue)
    if content is not None and not _is_possible(content):
        text = f"message queue {queue} takes {content.maxmsg} messages of {content.msgsize} bytes"
        c.about_file("mqueue-content", id_, f"{text}, not the {len(content.messages)} it has")


def _is_possible(q: pb.torpor_mqueue_content) -> bool:
    """mq_open(3), mq_send(3)."""
    longest = max((len(m.bytes) for m in q.messages), default=0)
    highest = max((m.priority for m in q.messages), default=0)
    fits = len(q.messages) <= q.maxmsg and longest <= q.msgsize
    return bool(q.maxmsg and q.msgsize and fits and highest < PRIORITY_MAX)


def _tun(c: Context, id_: int) -> None:
    entry = c.files[id_]
    if not entry.HasField("tunf") or not entry.tunf.HasField("netdev"):
        return
    name = crit.text_of(entry.tunf.netdev)
    if not 0 < len(os.fsencode(name)) < IFNAMSIZ or "%" in name or "/" in name:
        c.about_file("tun-name", id_, f"a network tunnel: '{name:.100}' is no name of a device")


CHECKS: dict[int, Callable[[Context, int], None]] = {
    pb.fd_types.TUNF: _tun,
    pb.fd_types.BPFMAP: _bpf,
    pb.fd_types.TORPOR_URING: _uring,
    pb.fd_types.TORPOR_MQUEUE: _mqueue,
}
