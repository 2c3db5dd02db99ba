# SPDX-License-Identifier: MIT
"""Sockets: options, addresses, peers, queues, connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torpor.images import ImageError, wire
from torpor.images import messages as pb
from torpor.images.limits import PAGE
from torpor.validate import sockopts
from torpor.validate.context import INT32_MAX, Context

UINT16_MAX, INT64_MAX = 0xFFFF, (1 << 63) - 1
FILTER_MAX, DEVICE_MAX = 4096, 16
TCP_STATES = 12
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
ESTABLISHED, CLOSED, LISTEN = 1, 7, 10
UNIX_NAME_MAX, EXTERN = 108, 1
PROTOCOLS = 32
GROUP_WORDS = 2048
FRAME_MIN, FRAME_ALIGN = 52, 16
TCP_WSCALE, TCP_WSCALE_MAX = 4, 14  # tcp_stream_entry.opt_mask
GROUPS_MAX = 65536
VSOCK_ANY = 0xFFFFFFFF
INET, INET6 = 2, 10
# (type, protocol) an internet socket can have
KINDS = {(STREAM, 6), (STREAM, 262), (DGRAM, 17), (DGRAM, 136)}
ICMP = {INET: 1, INET6: 58}


def sockets(c: Context) -> None:
    """Rules over all sockets."""
    for id_, entry in c.files.items():
        check = CHECKS.get(entry.type)
        details = c.details(entry)
        if check and details is not None:
            check(c, id_, details)
    _sizes(c)
    _fanouts(c)
    _unix_pairs(c)
    _clashes(c)


def _options(c: Context, id_: int, o: pb.sk_opts_entry) -> None:
    if max(o.so_sndbuf, o.so_rcvbuf) > INT32_MAX:
        text = f"its buffers have {o.so_sndbuf} and {o.so_rcvbuf} bytes"
        c.about_file("sock-buffer", id_, text)
    micro = max(o.so_snd_tmo_usec, o.so_rcv_tmo_usec)
    if micro >= 1000000 or max(o.so_snd_tmo_sec, o.so_rcv_tmo_sec) > INT64_MAX:
        c.about_file("sock-timeout", id_, "it has a timeout that is no time")
    if len(o.so_filter) > FILTER_MAX:
        c.about_file("sock-filter", id_, f"it has a filter of {len(o.so_filter)} steps")
    if len(o.so_bound_dev) >= DEVICE_MAX:
        text = f"it is bound to a device with a name of {len(o.so_bound_dev)} bytes"
        c.about_file("sock-device", id_, text)


def _sizes(c: Context) -> None:
    """Values of options that the common message has no field for (socket(7), ip(7), tcp(7))."""
    for id_, extra in c.file_extras.items():
        details = c.details(c.files[id_]) if id_ in c.files and id_ in c.used else None
        if isinstance(details, pb.ext_file_entry) and extra.HasField("vsock"):
            details = extra.vsock
        if isinstance(details, pb.unix_sk_entry) and details.uflags & EXTERN:
            continue
        for o in sockopts.wrong(details, extra.options):
            text = f"its option {o.name} of level {o.level} has {len(o.value)} bytes"
            c.about_file("sock-option-size", id_, text)


def _inet(c: Context, id_: int, e: pb.inet_sk_entry) -> None:
    words = 1 if e.family == INET else 4
    if e.family not in (INET, INET6) or not _known(e):
        text = f"it has family {e.family}, type {e.type} and protocol {e.proto}"
        c.about_file("inet-kind", id_, text)
        return
    if len(e.src_addr) != words or (e.dst_port and len(e.dst_addr) != words):
        text = f"its addresses have {len(e.src_addr)} and {len(e.dst_addr)} words"
        c.about_file("inet-address", id_, text)
    if max(e.src_port, e.dst_port) > UINT16_MAX:
        c.about_file("inet-port", id_, f"it has ports {e.src_port} and {e.dst_port}")
    if not 1 <= e.state <= TCP_STATES or e.backlog > INT32_MAX:
        c.about_file("inet-state", id_, f"it has state {e.state} and backlog {e.backlog}")
    if len(e.ifname) >= DEVICE_MAX:
        c.about_file("inet-device", id_, f"its device has a name of {len(e.ifname)} bytes")
    if len(e.ip_opts.raw.icmpv_filter) > 8:
        text = f"it has an ICMP filter of {len(e.ip_opts.raw.icmpv_filter)} words"
        c.about_file("inet-filter", id_, text)
    _options(c, id_, e.opts)
    if e.type == STREAM and e.dst_port and id_ in c.used:
        _connection(c, id_, e)


def _known(e: pb.inet_sk_entry) -> bool:
    ping = e.type == DGRAM and e.proto == ICMP.get(e.family)
    return (e.type, e.proto) in KINDS or ping or e.type == RAW


def _connection(c: Context, id_: int, e: pb.inet_sk_entry) -> None:
    o = c.options
    if o.tcp_close or (c.inventory and c.inventory.tcp_close):
        return
    if not o.tcp_established:
        text = f"socket {e.ino} is a TCP connection; restoring it needs --tcp-established"
        c.about_file("inet-established", id_, text)
    name = f"tcp-stream-{e.ino:x}.img"
    if not c.images.has("TCP_STREAM", e.ino):
        c.about_file("inet-stream", id_, f"there is no image of the TCP connection ({name})")
        return
    try:
        with c.images.open("TCP_STREAM", e.ino) as image:
            _stream(c, id_, image.one(pb.tcp_stream_entry))
    except (ImageError, OSError) as error:
        c.about_file("inet-stream", id_, str(error))


def _after(a: int, b: int) -> bool:
    """Whether one sequence number comes after another."""
    return 0 < (a - b) % (1 << 32) < 1 << 31


def _stream(c: Context, id_: int, e: pb.tcp_stream_entry) -> None:
    """What TCP_REPAIR_OPTIONS and TCP_REPAIR_WINDOW take."""
    if e.unsq_len > e.outq_len:
        text = f"{e.unsq_len} of {e.outq_len} bytes in the queue were not sent"
        c.about_file("inet-stream", id_, text)
    if e.opt_mask & TCP_WSCALE and max(e.snd_wscale, e.rcv_wscale) > TCP_WSCALE_MAX:
        text = f"the windows are scaled by 2^{e.snd_wscale} and 2^{e.rcv_wscale}"
        c.about_file("inet-stream", id_, text)
    if e.HasField("snd_wl1") and (
        e.max_window < e.snd_wnd
        or _after(e.snd_wl1, e.inq_seq + e.rcv_wnd)
        or _after(e.rcv_wup, e.inq_seq)
    ):
        c.about_file("inet-stream", id_, "its windows and sequence numbers contradict each other")


def _netlink(c: Context, id_: int, e: pb.netlink_sk_entry) -> None:
    if e.protocol >= PROTOCOLS:
        c.about_file("netlink-protocol", id_, f"a netlink socket has protocol {e.protocol}")
    if len(e.groups) > GROUP_WORDS or e.dst_group > 32 * GROUP_WORDS:
        text = f"a netlink socket has {len(e.groups)} words of groups, sends to {e.dst_group}"
        c.about_file("netlink-groups", id_, text)
    _options(c, id_, e.opts)


def _unix(c: Context, id_: int, e: pb.unix_sk_entry) -> None:
    outside = bool(e.uflags & EXTERN)
    if e.type not in (STREAM, DGRAM, SEQPACKET):
        c.about_file("unix-type", id_, f"unix socket {e.ino} has type {e.type}")
    if e.state not in (ESTABLISHED, CLOSED, LISTEN):
        c.about_file("unix-state", id_, f"unix socket {e.ino} has state {e.state}")
    if e.state == LISTEN and not e.name and not outside:
        c.about_file("unix-listener", id_, f"unix socket {e.ino} listens but has no name")
    if len(e.name) > UNIX_NAME_MAX + 1:
        text = f"unix socket {e.ino} has a name of {len(e.name)} bytes"
        c.about_file("unix-name", id_, text)
    if e.uflags & ~EXTERN:
        c.about_file("unix-flags", id_, f"unix socket {e.ino} has the marks 0x{e.uflags:x}")
    strange = wire.unknown_value(e, "shutdown")
    if strange is not None:
        c.about_file("unix-shutdown", id_, f"unix socket {e.ino} is shut down as {strange}")
    if e.ino and e.peer == e.ino and e.type != DGRAM:
        c.about_file("unix-peer", id_, f"unix socket {e.ino} is its own peer")
    if not outside:
        _options(c, id_, e.opts)
    extra = c.file_extras.get(id_)
    if extra is not None and extra.HasField("unix_sk"):
        _unix_extra(c, id_, e, extra.unix_sk)


def _unix_extra(c: Context, id_: int, e: pb.unix_sk_entry, x: pb.torpor_unix_entry) -> None:
    if len(x.peer.groups) > GROUPS_MAX:
        text = f"the peer of unix socket {e.ino} is in {len(x.peer.groups)} groups"
        c.about_file("unix-groups", id_, text)
    if x.HasField("path") and not x.path.startswith("/"):
        c.about_file("unix-path", id_, f"unix socket {e.ino} lies at a relative path")
    if len(x.lost_name) > UNIX_NAME_MAX + 1:
        text = f"unix socket {e.ino} had a peer with a name of {len(x.lost_name)} bytes"
        c.about_file("unix-name", id_, text)
    for packet in x.packets:
        if len(packet.name) > UNIX_NAME_MAX + 1:
            text = f"unix socket {e.ino} has a packet from a name of {len(packet.name)} bytes"
            c.about_file("unix-sender", id_, text)


RING_MAX, RING_BLOCK_MAX, MEMBERS_MAX, ADDRESS_MAX = 1 << 20, 1 << 30, 1 << 16, 32
SOCK_PACKET, TPACKET_V3 = 10, 2


def ring_is_possible(r: pb.packet_ring) -> bool:
    """What the kernel makes: blocks of whole pages, full of frames."""
    if not r.block_nr:
        return not r.frame_nr
    if not FRAME_MIN <= r.frame_size <= r.block_size <= RING_BLOCK_MAX:
        return False
    counts = max(r.block_nr, r.frame_nr) <= RING_MAX
    full = r.block_size // r.frame_size * r.block_nr == r.frame_nr
    return counts and full and r.block_size % PAGE == 0 and r.frame_size % FRAME_ALIGN == 0


def _packet(c: Context, id_: int, e: pb.packet_sock_entry) -> None:
    if e.type not in (RAW, DGRAM, SOCK_PACKET):
        c.about_file("packet-type", id_, f"a packet socket has type {e.type}")
    if e.version > TPACKET_V3:
        c.about_file("packet-version", id_, f"a packet socket has version {e.version}")
    if not ring_is_possible(e.rx_ring) or not ring_is_possible(e.tx_ring):
        c.about_file("packet-ring", id_, "a packet socket has an impossible ring")
    longest = max((len(m.addr) for m in e.mclist), default=0)
    if len(e.mclist) > MEMBERS_MAX or longest > ADDRESS_MAX:
        text = f"a packet socket has {len(e.mclist)} memberships, addresses of {longest} bytes"
        c.about_file("packet-members", id_, text)
    _options(c, id_, e.opts)


FANOUT_TYPES, FANOUT_ROLLOVER, ROLLOVER, UNIQUE_ID, NO_FANOUT = 8, 3, 0x10, 0x20, 0xFFFFFFFF


def _fanouts(c: Context) -> None:
    """Groups that spread packets over sockets (packet(7)): id, type and flags in one number."""
    first: dict[int, tuple[int, int, int]] = {}
    for id_, entry in c.files.items():
        e = entry.psk
        if id_ not in c.used or not e.HasField("fanout") or e.fanout == NO_FANOUT:
            continue
        group, type_, flags = e.fanout & 0xFFFF, e.fanout >> 16 & 0xFF, e.fanout >> 24
        form = (e.fanout >> 16, e.protocol, e.ifindex)
        bad = type_ >= FANOUT_TYPES or not e.protocol
        bad = bad or (type_ == FANOUT_ROLLOVER and bool(flags & ROLLOVER))
        bad = bad or (bool(flags & UNIQUE_ID) and group != 0)
        if bad or first.setdefault(group, form) != form:
            text = f"a packet socket cannot join fanout group {group} as type {type_}, 0x{flags:x}"
            c.about_file("packet-fanout", id_, text)


def _external(c: Context, id_: int, e: pb.ext_file_entry) -> None:
    """Vsock sockets; all else of this type belongs to plugins."""
    extra = c.file_extras.get(id_)
    if extra is None or not extra.HasField("vsock"):
        c.about_file("ext-file", id_, "it was kept by a plugin")
        return
    v = extra.vsock
    if v.type not in (STREAM, SEQPACKET, DGRAM):
        c.about_file("vsock-type", id_, f"a vsock socket has type {v.type}")
    if v.listening and v.port == VSOCK_ANY:
        c.about_file("vsock-listener", id_, "a vsock socket listens but has no port")
    _options(c, id_, v.opts)


CHECKS: dict[int, Callable[[Context, int, Any], None]] = {
    pb.fd_types.PACKETSK: _packet,
    pb.fd_types.EXT: _external,
    pb.fd_types.INETSK: _inet,
    pb.fd_types.UNIXSK: _unix,
    pb.fd_types.NETLINKSK: _netlink,
}


# -------------------------------------------------------------------------------- between sockets


def _unix_pairs(c: Context) -> None:
    """Peers are there and agree. One unix socket in use brings all of them to life."""
    all_ = {id_: e.usk for id_, e in c.files.items() if e.HasField("usk")}
    if not any(id_ in c.used for id_ in all_):
        return
    by_ino: dict[int, pb.unix_sk_entry] = {}
    for id_, e in all_.items():
        if not e.ino or e.ino in by_ino:
            text = f"unix socket {e.ino} stands twice in files.img or has no number"
            c.about_file("unix-number", id_, text)
        by_ino[e.ino] = e
    for id_, e in all_.items():
        _peer(c, id_, e, by_ino)
        extra = c.file_extras.get(id_)
        waiting: set[int] = set()
        for ino in extra.unix_sk.pending if extra and e.state == LISTEN else ():
            client = by_ino.get(ino)
            again = ino in waiting
            waiting.add(ino)
            if client is None or client.peer != e.ino or again:
                text = f"unix socket {ino} does not wait in listener {e.ino}"
                c.about_file("unix-pair", id_, text)


def _peer(c: Context, id_: int, e: pb.unix_sk_entry, by_ino: dict[int, pb.unix_sk_entry]) -> None:
    if not e.peer or e.uflags & EXTERN or c.options.gives(f"socket[{e.ino}]"):
        return
    peer = by_ino.get(e.peer)
    if peer is None:
        text = f"unix socket {e.ino} has the peer {e.peer}, which is not in files.img"
        c.about_file("unix-pair", id_, text)
        return
    connected = e.type in (STREAM, SEQPACKET)
    if connected and not peer.uflags & EXTERN and peer.state != LISTEN and peer.peer != e.ino:
        text = f"unix socket {e.ino} has the peer {e.peer}, whose peer is {peer.peer}"
        c.about_file("unix-pair", id_, text)


def _clashes(c: Context) -> None:
    """Two sockets bound to one address without SO_REUSEADDR or SO_REUSEPORT."""
    bound: dict[tuple[Any, ...], int] = {}
    for id_, entry in c.files.items():
        if not entry.HasField("isk"):
            continue
        e = entry.isk
        reuse = e.opts.reuseaddr or e.opts.so_reuseport
        if not e.src_port or reuse or e.dst_port or e.state not in (CLOSED, LISTEN):
            continue
        key = (e.family, e.type, e.proto, e.ns_id, e.src_port, tuple(e.src_addr))
        if key in bound:
            text = f"sockets {bound[key]} and {e.ino} are both bound to port {e.src_port}"
            c.about_file("inet-clash", id_, text)
        bound.setdefault(key, e.ino)
