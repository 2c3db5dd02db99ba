# SPDX-License-Identifier: MIT
"""Socket options which the messages have no field for: how long their values are.

The tables are those of kinds/sock/; a test compares them. A restore looks at an option only if a
table of the socket has it; the first of one number counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torpor.images import messages as pb

SOCKET, IP, TCP, UDP, IPV6, UDPLITE, VSOCK, PACKET, NETLINK = 1, 0, 6, 17, 41, 136, 40, 263, 270
STREAM, DGRAM, RAW, INET6 = 1, 2, 3, 10
CONNECTED = {1, 4, 5, 8, 9, 11}
"""States of TCP of which kernel/tcp_repair.c makes a connection."""
VARIES, MOST = 0, 2048
"""Size in a table of what has any, and what it may be (bytes)."""

Table = dict[tuple[int, int], int]
"""(level, number) -> size in bytes, or VARIES."""


def _table(level: int, size: int, *names: int) -> Table:
    return {(level, name): size for name in names}


EVERY = {
    **_table(SOCKET, 4, 1, 29, 35, 40, 41, 42, 43, 44, 45, 46, 49, 60, 63, 64, 69, 70, 73, 74, 75),
    **_table(SOCKET, 4, 76, 82, 83, 84),
    **_table(SOCKET, 8, 37, 47, 61, 65),
}
IP_ANY = {
    **_table(IP, 4, 6, 7, 10, 11, 12, 13, 18, 19, 20, 21, 23, 24, 25, 26, 34, 49, 50, 51),
    **_table(IP, VARIES, 4),
}
IPV6_ANY = {
    **_table(IPV6, 4, 2, 3, 4, 5, 8, 11, 16, 19, 23, 25, 29, 30, 31, 33, 49, 51, 53, 56, 58, 60),
    **_table(IPV6, 4, 62, 66, 67, 70, 72, 73, 74, 75, 76, 77, 78),
    **_table(IPV6, VARIES, 54, 55, 57, 59),
}
IP_GROUPS, IPV6_GROUPS = _table(IP, 4, 32, 33), _table(IPV6, 4, 17, 18)
IP_RAW, IPV6_RAW = _table(IP, 4, 5), _table(IPV6, 4, 7)
TCP_ANY = _table(TCP, 4, 7, 8, 9, 16, 18, 25, 27, 34, 36, 37, 44, 45, 46)
TCP_IDLE = {**_table(TCP, 4, 2, 10, 23, 30), **_table(TCP, VARIES, 33)}
UDP_ANY = _table(UDP, 4, 1, 100, 101, 102, 103, 104)
UDPLITE_ANY = _table(UDPLITE, 4, 10, 11)
PACKETS = _table(PACKET, 4, 19, 20, 23, 24)
NETLINKS = {**_table(NETLINK, 4, 3, 4, 5, 8, 10, 11, 12), **_table(SOCKET, 4, 3)}
VSOCKS = _table(VSOCK, 8, 0, 1, 2)


def _inet(e: pb.inet_sk_entry) -> Iterator[Table]:
    """As tables_of() in kinds/sock/inet_opts.c."""
    v6 = e.family == INET6
    yield IP_ANY
    if v6:
        yield IPV6_ANY
    if e.type == STREAM:
        yield TCP_ANY
        if not (e.dst_port and e.state in CONNECTED):
            yield TCP_IDLE
        return
    yield IP_GROUPS
    if v6:
        yield IPV6_GROUPS
    if e.type == DGRAM and e.proto in (UDP, UDPLITE):
        yield UDP_ANY
        if e.proto == UDPLITE:
            yield UDPLITE_ANY
    elif e.type == RAW:
        yield IPV6_RAW if v6 else IP_RAW


def tables_of(e: pb.Message | None) -> Iterator[Table]:
    """The tables a restore of this socket goes through; what is no socket has none."""
    own: Iterable[Table]
    if isinstance(e, pb.inet_sk_entry):
        own = _inet(e)
    elif isinstance(e, pb.netlink_sk_entry):
        own = [NETLINKS]
    elif isinstance(e, pb.packet_sock_entry):
        own = [PACKETS]
    elif isinstance(e, pb.torpor_vsock_entry):
        own = [VSOCKS]
    elif isinstance(e, pb.unix_sk_entry):
        own = []
    else:
        return
    yield EVERY
    yield from own


def wrong(
    e: pb.Message | None, options: Iterable[pb.torpor_sk_option]
) -> Iterator[pb.torpor_sk_option]:
    """Those of a socket's options whose values have a length that cannot be."""
    first: dict[tuple[int, int], pb.torpor_sk_option] = {}
    for o in options:
        first.setdefault((o.level, o.name), o)
    for table in tables_of(e):
        for key in sorted(first.keys() & table.keys()):
            size, length = table[key], len(first[key].value)
            if length > MOST if size == VARIES else length != size:
                yield first[key]
