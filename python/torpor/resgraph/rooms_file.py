# SPDX-License-Identifier: MIT
"""Rooms of files: descriptors, open files of every type, what they lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torpor.images import crit, wire
from torpor.images import messages as pb
from torpor.images.imageset import Found
from torpor.images.reader import Image
from torpor.resgraph.builder import Builder, read
from torpor.resgraph.store import Key

LISTEN = 10
SPACE_OF_FLAG = {
    0x00020000: "mnt",
    0x02000000: "cgroup",
    0x04000000: "uts",
    0x08000000: "ipc",
    0x10000000: "user",
    0x20000000: "pid",
    0x40000000: "net",
    0x00000080: "time",
}
OWNERS = {0: "thread", 1: "task", 2: "group"}  # fown_entry.pid_type

Detail = Callable[[Builder, int, Found, int, str, Any], None]


def path_key(mount: int, path: str) -> Key:
    """Key of a path: the path itself where there is only one set of mounts."""
    return path if mount == -1 else (mount, path)


def _path(b: Builder, node: int, mount: int, path: str | bytes) -> None:
    b.refer(node, "path", path_key(mount, crit.text_of(path)), "at")
    if mount != -1:
        b.may_refer(node, "mount", mount, "lies on")


# ------------------------------------------------------------------------- open files by type


def _reg(b: Builder, node: int, f: Found, i: int, m: str, e: pb.reg_file_entry) -> None:
    if e.ext:
        b.refer(node, "external", crit.text_of(e.name), "provided as")
    else:
        _path(b, node, e.mnt_id, e.name)


def _pipe(b: Builder, node: int, f: Found, i: int, m: str, e: pb.pipe_entry) -> None:
    b.refer(node, "pipe", e.pipe_id, "end of")


def _fifo(b: Builder, node: int, f: Found, i: int, m: str, e: pb.fifo_entry) -> None:
    b.refer(node, "fifo", e.pipe_id, "end of")
    if e.HasField("regf_id"):
        b.refer(node, "file", e.regf_id, "opened as")


def _tty(b: Builder, node: int, f: Found, i: int, m: str, e: pb.tty_file_entry) -> None:
    b.refer(node, "tty", e.tty_info_id, "is")
    if e.HasField("regf_id"):
        b.refer(node, "file", e.regf_id, "opened as")


def _memfd(b: Builder, node: int, f: Found, i: int, m: str, e: pb.memfd_file_entry) -> None:
    b.refer(node, "memfd", e.inode_id, "end of")


def _bpf(b: Builder, node: int, f: Found, i: int, m: str, e: pb.bpfmap_file_entry) -> None:
    b.may_refer(node, "bpfmap", e.map_id, "is")


def _ns(b: Builder, node: int, f: Found, i: int, m: str, e: pb.ns_file_entry) -> None:
    b.refer(node, "ns", (SPACE_OF_FLAG.get(e.ns_cflag, "unknown"), e.ns_id), "is")


def _pidfd(b: Builder, node: int, f: Found, i: int, m: str, e: pb.pidfd_entry) -> None:
    if e.nspid > 0:
        b.refer(node, "task", e.nspid, "is")


def _tun(b: Builder, node: int, f: Found, i: int, m: str, e: pb.tunfile_entry) -> None:
    b.refer(node, "file", ("node of tun", e.id), "opened as")
    _in_net(b, node, e)


def _in_net(b: Builder, node: int, e: Any) -> None:
    if e.HasField("ns_id"):
        b.refer(node, "ns", ("net", e.ns_id), "lives in")


def _socket(b: Builder, node: int, f: Found, i: int, m: str, e: Any) -> None:
    _in_net(b, node, e)


def _inet(b: Builder, node: int, f: Found, i: int, m: str, e: pb.inet_sk_entry) -> None:
    _in_net(b, node, e)
    b.sockets.setdefault(e.ino, node)


def _unix(b: Builder, node: int, f: Found, i: int, m: str, e: pb.unix_sk_entry) -> None:
    _in_net(b, node, e)
    b.sockets.setdefault(e.ino, node)
    if e.state == LISTEN:
        b.listeners.add(node)
    if e.peer:
        b.peers.append((node, e.peer))
    if e.name and not e.name.startswith(b"\0"):
        _path(b, node, e.mnt_id, e.name.rstrip(b"\0"))


def _epoll(b: Builder, node: int, f: Found, i: int, m: str, e: pb.eventpoll_file_entry) -> None:
    for k, w in enumerate(e.tfd):
        watch = b.add("watch", (e.id, k), f, i, f"{m}tfd", k)
        b.edge(watch, node, "in")
        b.watches.append((watch, e.id, w.tfd))


def _handle(b: Builder, watch: int, device: int, inode: int, handle: pb.fh_entry) -> None:
    if handle.HasField("path"):
        mount = handle.mnt_id if handle.HasField("mnt_id") else -1
        b.refer(watch, "path", path_key(mount, crit.text_of(handle.path)), "at")
    else:
        b.refer(watch, "inode", (device, inode), "at")


def _inotify(b: Builder, node: int, f: Found, i: int, m: str, e: pb.inotify_file_entry) -> None:
    for k, w in enumerate(e.wd):
        watch = b.add("watch", (e.id, k), f, i, f"{m}wd", k)
        b.edge(watch, node, "in")
        _handle(b, watch, w.s_dev, w.i_ino, w.f_handle)


def _fanotify(b: Builder, node: int, f: Found, i: int, m: str, e: pb.fanotify_file_entry) -> None:
    for k, mark in enumerate(e.mark):
        watch = b.add("watch", (e.id, k), f, i, f"{m}mark", k)
        b.edge(watch, node, "in")
        if mark.HasField("ie"):
            _handle(b, watch, mark.s_dev, mark.ie.i_ino, mark.ie.f_handle)
        if mark.HasField("me"):
            b.may_refer(watch, "mount", mark.me.mnt_id, "watches")


def _plain(b: Builder, node: int, f: Found, i: int, m: str, e: Any) -> None:
    """Nothing else is referred to."""


# fd_types value: member of file_entry with the details, old image of its own, room
TYPES: dict[int, tuple[str, str, Detail]] = {
    pb.fd_types.REG: ("reg", "REG_FILES", _reg),
    pb.fd_types.PIPE: ("pipe", "PIPES", _pipe),
    pb.fd_types.FIFO: ("fifo", "FIFO", _fifo),
    pb.fd_types.INETSK: ("isk", "INETSK", _inet),
    pb.fd_types.UNIXSK: ("usk", "UNIXSK", _unix),
    pb.fd_types.EVENTFD: ("efd", "EVENTFD_FILE", _plain),
    pb.fd_types.EVENTPOLL: ("epfd", "EVENTPOLL_FILE", _epoll),
    pb.fd_types.INOTIFY: ("ify", "INOTIFY_FILE", _inotify),
    pb.fd_types.SIGNALFD: ("sgfd", "SIGNALFD", _plain),
    pb.fd_types.PACKETSK: ("psk", "PACKETSK", _socket),
    pb.fd_types.TTY: ("tty", "TTY_FILES", _tty),
    pb.fd_types.FANOTIFY: ("ffy", "FANOTIFY_FILE", _fanotify),
    pb.fd_types.NETLINKSK: ("nlsk", "NETLINK_SK", _socket),
    pb.fd_types.NS: ("nsf", "NS_FILES", _ns),
    pb.fd_types.TUNF: ("tunf", "TUNFILE", _tun),
    pb.fd_types.EXT: ("ext", "EXT_FILES", _plain),
    pb.fd_types.TIMERFD: ("tfd", "TIMERFD", _plain),
    pb.fd_types.MEMFD: ("memfd", "", _memfd),
    pb.fd_types.BPFMAP: ("bpf", "BPFMAP_FILE", _bpf),
    pb.fd_types.PIDFD: ("pidfd", "PIDFD", _pidfd),
}
TYPE_OF_OLD = {old: type_ for type_, (_, old, _) in TYPES.items() if old}
OLD_OF_TYPE = {type_: old for type_, (_, old, _) in TYPES.items() if old}


def _add_file(b: Builder, found: Found, i: int, id_: int, type_: int) -> int:
    """The node of a file. Only a tun has its id in common with another one, its device node."""
    old = b.get("file", id_)
    if old is not None and b.store.has_message(old):
        other = b.store.notes.get(old, {}).get("type")
        if type_ == pb.fd_types.TUNF and other == pb.fd_types.REG:
            b.store.rename(old, "file", ("node of tun", id_))
        elif type_ == pb.fd_types.REG and other == pb.fd_types.TUNF:
            return b.add("file", ("node of tun", id_), found, i)
    node = b.add("file", id_, found, i)
    if type_ in (pb.fd_types.TUNF, pb.fd_types.REG):
        b.note(node, "type", type_)
    return node


def _details(b: Builder, found: Found, i: int, type_: int, member: str, details: Any) -> None:
    node = _add_file(b, found, i, details.id, type_)
    TYPES[type_][2](b, node, found, i, member, details)
    fown = getattr(details, "fown", None)
    if fown is not None and fown.pid and fown.pid_type in OWNERS:
        b.may_refer(node, OWNERS[fown.pid_type], fown.pid, "signals")


def files(b: Builder, image: Image, found: Found) -> None:
    """files.img"""
    for i, entry in enumerate(read(image, pb.file_entry)):
        known = TYPES.get(entry.type)
        if known and entry.HasField(known[0]):
            details = getattr(entry, known[0])
            if details.id == entry.id:
                _details(b, found, i, entry.type, f"{known[0]}.", details)
                continue
        b.add("file", entry.id, found, i)


def old_files(b: Builder, image: Image, found: Found) -> None:
    """Images of one type of file, from old releases."""
    for i, details in enumerate(image.messages()):
        _details(b, found, i, TYPE_OF_OLD[found.kind.id], "", details)


# --------------------------------------------------------------------------- around the files


def fdinfo(b: Builder, image: Image, found: Found) -> None:
    """fdinfo-ID.img"""
    table = b.need("fdtable", found.number)
    b.note(table, "image", found.name)
    for i, entry in enumerate(read(image, pb.fdinfo_entry)):
        node = b.add("fd", (found.number, entry.fd), found, i)
        b.edge(node, table, "in")
        b.refer(node, "file", entry.id, "refers")


def fs(b: Builder, image: Image, found: Found) -> None:
    """fs-PID.img"""
    entry = image.one(pb.fs_entry)
    node = b.add("fs", found.number, found)
    b.refer(node, "task", found.number, "of")
    b.refer(node, "file", entry.cwd_id, "works in")
    b.refer(node, "file", entry.root_id, "rooted in")


def remaps(b: Builder, image: Image, found: Found) -> None:
    """remap-fpath.img"""
    for i, entry in enumerate(read(image, pb.remap_file_path_entry)):
        node = b.add("remap", entry.orig_id, found, i)
        b.refer(b.need("file", entry.orig_id), "remap", entry.orig_id, "found by")
        kind, number = remap_target(entry)
        b.refer(node, kind, number, "kept in")


REMAPS = {0: "file", 1: "ghost", 2: "task"}


def remap_target(entry: pb.remap_file_path_entry) -> tuple[str, int]:
    """What leads to the file: kind and key of the node. Old releases have a bit for a type."""
    number = entry.remap_id
    if entry.HasField("remap_type"):
        return REMAPS.get(entry.remap_type, "ghost"), number
    if wire.unknown_value(entry, "remap_type") is not None:
        return "ghost", number
    return "ghost" if number >> 31 else "file", number & 0x7FFFFFFF


def ghost(b: Builder, image: Image, found: Found) -> None:
    """ghost-file-ID.img"""
    b.add("ghost", found.number, found)


def pipe_data(b: Builder, image: Image, found: Found) -> None:
    """pipes-data.img, fifo-data.img"""
    kind = "pipe" if found.kind.id == "PIPES_DATA" else "fifo"
    for i, entry in enumerate(read(image, pb.pipe_data_entry)):
        b.add(kind, entry.pipe_id, found, i)


def sk_queues(b: Builder, image: Image, found: Found) -> None:
    """sk-queues.img"""
    for i, entry in enumerate(read(image, pb.sk_packet_entry)):
        node = b.add("packet", i, found, i)
        b.refer(node, "file", entry.id_for, "queued in")
        for scm in entry.scm:
            for right in scm.rights:
                b.refer(node, "file", right, "carries")


def tcp_stream(b: Builder, image: Image, found: Found) -> None:
    """tcp-stream-INO.img"""
    image.one(pb.tcp_stream_entry)
    b.add("stream", found.number, found)


def finish_sockets(b: Builder) -> None:
    """Sockets know each other by their inodes."""
    for inode, node in b.sockets.items():
        stream = b.get("stream", inode)
        if stream is not None:
            b.edge(stream, node, "connection of")
    for node, inode in b.peers:
        peer = b.sockets.get(inode)
        if peer is None:
            b.refer(node, "socket", inode, "peer")
        else:
            b.edge(node, peer, "waits at" if peer in b.listeners else "peer")


def finish_watches(b: Builder) -> None:
    """An epoll file knows what it watches by the descriptor in the table it was made in."""
    if not b.watches:
        return
    tables: dict[int, list[int]] = {}
    store = b.store
    refers = store.reasons.index("refers")
    of_fd: dict[int, int] = {
        s: t for s, t, r in zip(store.source, store.target, store.reason) if r == refers
    }
    for key, node in store.by_key.get("fd", {}).items():
        assert isinstance(key, tuple)
        file = store.keys[of_fd[node]] if node in of_fd else None
        if isinstance(file, int):
            tables.setdefault(file, []).append(key[0])
    for watch, file, fd in b.watches:
        known = b.watched.get(cast("tuple[int, int]", store.keys[watch]))
        if known is not None:
            b.refer(watch, "file", known, "watches")
            continue
        for table in tables.get(file, ()):
            target = b.get("fd", (table, fd))
            if target is not None and target in of_fd:
                b.edge(watch, of_fd[target], "watches")
                break


def tty_info(b: Builder, image: Image, found: Found) -> None:
    """tty-info.img"""
    for i, entry in enumerate(read(image, pb.tty_info_entry)):
        node = b.add("tty", entry.id, found, i)
        if entry.sid:
            b.refer(node, "session", entry.sid, "controls")
        if entry.pgrp:
            b.refer(node, "group", entry.pgrp, "foreground")
        if entry.type == pb.TtyType.PTY and not entry.id & 1:
            b.may_refer(node, "tty", entry.id | 1, "slave of")


def tty_data(b: Builder, image: Image, found: Found) -> None:
    """tty-data.img"""
    for i, entry in enumerate(read(image, pb.tty_data_entry)):
        b.attach(b.need("tty", entry.tty_id), "data", found, i)


def bpfmap(b: Builder, image: Image, found: Found) -> None:
    """bpfmap-data.img"""
    for i, entry in enumerate(read(image, pb.bpfmap_data_entry)):
        b.add("bpfmap", entry.map_id, found, i)


def more_of_files(b: Builder, image: Image, found: Found) -> None:
    """torpor-files"""
    for i, entry in enumerate(read(image, pb.torpor_file_entry)):
        b.attach(b.need("file", entry.id), "torpor", found, i)


ROOMS = {
    "TORPOR_FILES": more_of_files,
    "FILES": files,
    "FDINFO": fdinfo,
    "FS": fs,
    "REMAP_FPATH": remaps,
    "GHOST_FILE": ghost,
    "PIPES_DATA": pipe_data,
    "FIFO_DATA": pipe_data,
    "SK_QUEUES": sk_queues,
    "TCP_STREAM": tcp_stream,
    "TTY_INFO": tty_info,
    "TTY_DATA": tty_data,
    "BPFMAP_DATA": bpfmap,
} | dict.fromkeys(TYPE_OF_OLD, old_files)
FINISHERS = (finish_sockets, finish_watches)
