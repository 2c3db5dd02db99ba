# SPDX-License-Identifier: MIT
"""Open files of every type but sockets, and what hangs on them: ghosts, remaps, pipes, terminals,
locks, watches.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

from torpor.images import ImageError, crit, payload
from torpor.images import messages as pb
from torpor.resgraph.rooms_file import remap_target
from torpor.validate.context import INT32_MAX, Context

INT64_MAX = (1 << 63) - 1
NO_POSITION = (1 << 64) - 1
NS = 1000000000
IN_ALL_EVENTS = 0xFFF
O_ACCMODE, O_PATH, O_EXCL = 3, 0o10000000, 0o200
SPACES = {
    0x40000000: "net",
    0x00020000: "mnt",
    0x20000000: "pid",
    0x08000000: "ipc",
    0x04000000: "uts",
    0x10000000: "user",
    0x02000000: "cgroup",
    0x00000080: "time",
}
FAN_LASTING = 0x40 | 0x200 | 0x400  # IGNORED_SURV_MODIFY, EVICTABLE, IGNORE
WATCH_MAX = 1 << 22
FAN_FILESYSTEM = 0x100
# Types that torpor can restore; sockets have rules of their own.
RESTORABLE = {
    pb.fd_types.REG, pb.fd_types.PIPE, pb.fd_types.FIFO, pb.fd_types.INETSK, pb.fd_types.UNIXSK,
    pb.fd_types.EVENTFD, pb.fd_types.EVENTPOLL, pb.fd_types.INOTIFY, pb.fd_types.SIGNALFD,
    pb.fd_types.TTY, pb.fd_types.FANOTIFY, pb.fd_types.NETLINKSK, pb.fd_types.NS,
    pb.fd_types.TIMERFD, pb.fd_types.MEMFD, pb.fd_types.PIDFD,
}  # fmt: skip

Check = Callable[[Context, int, Any], None]


def files(c: Context) -> None:
    """Rules over all open files, whoever has them."""
    for id_, entry in c.files.items():
        if entry.type not in RESTORABLE:
            name = pb.fd_types(entry.type).name
            c.about_file("file-kind", id_, f"a file of type {name} cannot be restored")
            continue
        details = c.details(entry)
        check = CHECKS.get(entry.type)
        if check and details is not None:
            check(c, id_, details)
        if id_ in c.used:
            made = MAKING.get(entry.type)
            if made and details is not None:
                made(c, id_, details)
            _owner(c, id_, details)
    _remaps(c)
    _queues(c)
    _locks(c)


# ------------------------------------------------------------------------------- what rooms check


def _reg(c: Context, id_: int, e: pb.reg_file_entry) -> None:
    name = crit.text_of(e.name)
    if e.ext:
        if name not in c.options.inherit:
            text = f"'{name}' is external and needs --inherit-fd"
            c.about_file("file-external", id_, text)
    elif not name.startswith("/"):
        c.about_file("file-name", id_, f"'{name}' is no absolute path")


def _pipe(c: Context, id_: int, e: pb.pipe_entry) -> None:
    if e.flags & O_ACCMODE == O_ACCMODE:
        c.about_file("pipe-mode", id_, f"pipe {e.pipe_id} has no access mode")


def _fifo(c: Context, id_: int, e: pb.fifo_entry) -> None:
    name = c.files.get(e.regf_id) if e.HasField("regf_id") else None
    if name is None or not name.HasField("reg"):
        c.about_file("fifo-name", id_, "a fifo has no name")


def _memfd(c: Context, id_: int, e: pb.memfd_file_entry) -> None:
    if not e.inode_id:
        c.about_file("memfd-inode", id_, "a memory file has no inode")


def _timerfd(c: Context, id_: int, e: pb.timerfd_entry) -> None:
    if max(e.vnsec, e.insec) >= NS or max(e.vsec, e.isec) > INT64_MAX:
        c.about_file("timerfd-time", id_, "a timerfd has no valid times")


def _epoll(c: Context, id_: int, e: pb.eventpoll_file_entry) -> None:
    for w in e.tfd:
        if w.tfd > INT32_MAX:
            c.about_file("epoll-number", id_, f"an epoll file watches descriptor {w.tfd}")


def _inotify(c: Context, id_: int, e: pb.inotify_file_entry) -> None:
    numbers = set()
    for w in e.wd:
        if not 0 < w.wd <= WATCH_MAX or w.wd in numbers:
            what = "stands twice" if w.wd in numbers else "is out of range"
            c.about_file("inotify-wd", id_, f"the watch number {w.wd} {what}")
        if not w.mask & IN_ALL_EVENTS:
            c.about_file("inotify-mask", id_, f"watch {w.wd} waits for nothing")
        numbers.add(w.wd)


def _fanotify(c: Context, id_: int, e: pb.fanotify_file_entry) -> None:
    for i, m in enumerate(e.mark):
        of_mount = m.type == pb.mark_type.MOUNT
        known = m.HasField("me") and m.me.HasField("path") if of_mount else m.HasField("ie")
        if not known:
            c.about_file("fanotify-mark", id_, f"mark {i} does not say of what")
        if m.mflags & ~(FAN_LASTING | (FAN_FILESYSTEM if of_mount else 0)):
            c.about_file("fanotify-flags", id_, f"mark {i} has the flags 0x{m.mflags:x}")


def _pidfd(c: Context, id_: int, e: pb.pidfd_entry) -> None:
    if e.nspid == -1:
        return
    leader = e.nspid in c.by_pid
    thread = e.nspid in c.tids and bool(e.flags & O_EXCL)
    if not leader and not thread:
        text = f"a pidfd refers to process {e.nspid}, which is not among those saved"
        c.about_file("pidfd-pid", id_, text)


def _ns(c: Context, id_: int, e: pb.ns_file_entry) -> None:
    space = SPACES.get(e.ns_cflag)
    live = [c.inventory.root_ids] if c.inventory else []
    live += list(c.ids.values())
    if not space or not any(e.ns_id and getattr(i, f"{space}_ns_id") == e.ns_id for i in live):
        text = f"it is a {space or 'strange'} namespace ({e.ns_id}) in which no task lives"
        c.about_file("nsfile-id", id_, text)


def _tty(c: Context, id_: int, e: pb.tty_file_entry) -> None:
    info = c.ttys.get(e.tty_info_id)
    if info is None:
        c.about_file("tty-info", id_, "a terminal is not described")
        return
    pty = info.type == pb.TtyType.PTY
    if pty and (not info.HasField("pty") or info.pty.index > 1 << 20):
        c.about_file("tty-index", id_, "a pseudoterminal has no number")
    name = c.files.get(e.regf_id) if e.HasField("regf_id") else None
    good = name is not None and crit.text_of(name.reg.name).startswith("/")
    if not good:
        c.about_file("tty-name", id_, "a terminal has no name")
    if not pb.TtyType.PTY <= info.type <= pb.TtyType.SERIAL:
        c.about_file("tty-type", id_, f"a terminal is of type {info.type}")


CHECKS: dict[int, Check] = {
    pb.fd_types.REG: _reg,
    pb.fd_types.PIPE: _pipe,
    pb.fd_types.FIFO: _fifo,
    pb.fd_types.MEMFD: _memfd,
    pb.fd_types.TIMERFD: _timerfd,
    pb.fd_types.EVENTPOLL: _epoll,
    pb.fd_types.INOTIFY: _inotify,
    pb.fd_types.FANOTIFY: _fanotify,
    pb.fd_types.PIDFD: _pidfd,
    pb.fd_types.NS: _ns,
    pb.fd_types.TTY: _tty,
}


# --------------------------------------------------------- what the kernel refuses when they are made


def _make_reg(c: Context, id_: int, e: pb.reg_file_entry) -> None:
    if id_ in c.opened and e.pos > INT64_MAX and e.pos != NO_POSITION and not e.flags & O_PATH:
        name = crit.text_of(e.name)
        c.about_file("file-position", id_, f"'{name}' is read at {e.pos}")


# timerfd_create(2)
CLOCKS = {0, 1, 7, 8, 9}


def _make_timerfd(c: Context, id_: int, e: pb.timerfd_entry) -> None:
    if e.clockid not in CLOCKS:
        c.about_file("timerfd-clock", id_, f"a timerfd has clock {e.clockid}")
    if e.settime_flags & ~3:
        c.about_file("timerfd-clock", id_, f"a timerfd has the flags 0x{e.settime_flags:x}")


MEMFD_NAME_MAX = 249
ZERO = "/dev/zero"  # shared anonymous memory, which has no seals
SEALS = 0x3F


def _make_memfd(c: Context, id_: int, e: pb.memfd_file_entry) -> None:
    inode = c.memfds.get(e.inode_id)
    if inode is None:
        if e.inode_id:
            text = f"memfd.img has no inode {e.inode_id}"
            c.about_file("memfd-missing", id_, text)
        return
    if e.pos > INT64_MAX:
        c.about_file("file-position", id_, f"a memory file is read at {e.pos}")
    name = crit.text_of(inode.name)
    sealed = inode.seals if name != ZERO else 0
    if inode.size > INT64_MAX or sealed & ~SEALS or len(name.encode()) > MEMFD_NAME_MAX:
        text = f"the memory file '{name}' has {inode.size} bytes and seals 0x{inode.seals:x}"
        c.about_file("memfd-make", id_, text)


def _make_epoll(c: Context, id_: int, e: pb.eventpoll_file_entry) -> None:
    """Some task has the epoll file and everything it watches; each of that can be watched."""
    wanted = {w.tfd for i, w in enumerate(e.tfd) if (id_, i) not in c.watched}
    tables = [
        {fd.fd: fd.id for fd in table}
        for table in c.tables.values()
        if any(fd.id == id_ for fd in table)
    ]
    table = next((t for t in tables if wanted <= t.keys()), None)
    if table is None:
        lost = sorted(wanted - (tables[0].keys() if tables else set()))[:5]
        text = f"no task has all it watches: descriptors {lost}"
        c.about_file("epoll-target", id_, text)
        return
    seen = set()
    for i, w in enumerate(e.tfd):
        target = c.watched.get((id_, i), table.get(w.tfd, 0))
        if w.tfd in seen and (id_, i) not in c.watched:
            c.about_file("epoll-kind", id_, f"it watches descriptor {w.tfd} twice")
        seen.add(w.tfd)
        file = c.files.get(target)
        plain = file is not None and file.HasField("reg") and file.reg.HasField("mode")
        if target == id_ or (plain and file and _never_waits(file.reg.mode)):
            c.about_file("epoll-kind", id_, f"it watches file {target}, which is always ready")


def _never_waits(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


MAKING: dict[int, Check] = {
    pb.fd_types.EVENTPOLL: _make_epoll,
    pb.fd_types.REG: _make_reg,
    pb.fd_types.TIMERFD: _make_timerfd,
    pb.fd_types.MEMFD: _make_memfd,
}


def _owner(c: Context, id_: int, details: Any) -> None:
    """fcntl(F_SETSIG) and fcntl(F_SETOWN_EX)."""
    fown = getattr(details, "fown", None)
    if fown is None or getattr(details, "flags", 0) & O_PATH or id_ not in c.opened:
        return
    if fown.signum > 64:
        c.about_file("file-owner", id_, f"its owner gets signal {fown.signum}")
    elif fown.pid and fown.pid_type > 2:
        text = f"its owner is {fown.pid} of type {fown.pid_type}"
        c.about_file("file-owner", id_, text)


# ------------------------------------------------------------------------------- around the files


def _remaps(c: Context) -> None:
    for id_, remap in c.remaps.items():
        file = c.files.get(id_)
        if id_ not in c.used or file is None or not file.HasField("reg"):
            continue
        kind, number = remap_target(remap)
        if remap.HasField("remap_type") and remap.remap_type not in (0, 1, 2):
            c.about_file("file-remap", id_, f"it is found in the unknown way {remap.remap_type}")
        elif kind == "ghost":
            _ghost(c, id_, file.reg, number)
        elif kind == "file":
            c.about_file("file-remap", id_, "it was saved by another name (--link-remap)")
        elif number <= 1 or number in c.tids or (c.here and number in c.here.taken):
            text = f"it belongs to process {number}, which has ended but cannot be made again"
            c.about_file("file-remap", id_, text)


def _ghost(c: Context, id_: int, reg: pb.reg_file_entry, number: int) -> None:
    name = f"ghost-file-{number:x}.img"
    image = None
    try:
        image = c.images.get("GHOST_FILE", number)
        if image is None:
            c.about_file("ghost-missing", id_, f"there is no image of the deleted file ({name})")
            return
        entry = next(iter(image), None)
        if entry is None:
            c.about_file("ghost-missing", id_, f"'{name}' is empty")
            return
        assert isinstance(entry.message, pb.ghost_file_entry)
        g = entry.message
        if reg.HasField("mode") and stat.S_IFMT(reg.mode) != stat.S_IFMT(g.mode):
            text = f"'{name}' has mode 0{g.mode:o}, the file 0{reg.mode:o}"
            c.about_file("ghost-make", id_, text)
        _ghost_content(c, id_, g, entry.payload, name)
    except ImageError as e:
        c.about_file("ghost-content", id_, str(e))
    finally:
        if image:
            image.close()


def _ghost_content(
    c: Context, id_: int, g: pb.ghost_file_entry, content: memoryview, name: str
) -> None:
    if not stat.S_ISREG(g.mode) or not g.chunks:
        return
    if not g.HasField("size") or g.size > INT64_MAX:
        c.about_file("ghost-content", id_, f"'{name}' has chunks but no sane size")
        return
    for chunk in payload.ghost_chunks(g, content, name):
        if chunk.offset > g.size or len(chunk.data) > g.size - chunk.offset:
            c.about_file("ghost-content", id_, f"'{name}' has a chunk beyond its end")
            return


PIPE_MAX = 1 << 31


def _queues(c: Context) -> None:
    """Data that wait in pipes."""
    pipes = {e.pipe.pipe_id for e in c.files.values() if e.HasField("pipe")}
    for entry in c.all(pb.pipe_data_entry, "PIPES_DATA"):
        if entry.pipe_id not in pipes and entry.bytes:
            text = f"{entry.bytes} bytes wait in pipe {entry.pipe_id}, which no file refers to"
            node = c.graph.find("pipe", entry.pipe_id)
            c.add("pipe-ends", text, 0, "pipes-data.img", node)


LOCK_KINDS = {1, 2, 4}


def _locks(c: Context) -> None:
    some = False
    for i, e in enumerate(c.all(pb.file_lock_entry, "FILE_LOCKS")):
        node = c.graph.find("lock", i)
        number = node
        if not some and not c.options.file_locks:
            text = "the images hold file locks; restoring them needs --file-locks"
            c.add("lock-option", text, 0, "filelocks.img", number)
        some = True
        table = c.table_of.get(e.pid)
        if table is None:
            text = f"a file lock belongs to task {e.pid}, which is not there: nobody holds it"
            c.add("lock-lost", text, 0, "filelocks.img", number)
            continue
        if e.flag not in LOCK_KINDS or e.type not in (0, 1):
            text = f"task {e.pid}, descriptor {e.fd}: a file lock of kind {e.flag}, type {e.type}"
            c.add("lock-kind", text, e.pid, "filelocks.img", number)
        if e.fd not in {fd.fd for fd in c.tables[table]}:
            text = f"task {e.pid} holds a lock by descriptor {e.fd}, which it does not have"
            c.add("lock-holder", text, e.pid, "filelocks.img", number)
