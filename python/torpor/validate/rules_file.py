# SPDX-License-Identifier: MIT
"""Open files but sockets and terminals, and what hangs on them: pipes, locks, watches."""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import Any

from torpor.images import crit
from torpor.images import messages as pb
from torpor.images.tables import RESTORABLE
from torpor.validate import rules_extra
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
Check = Callable[[Context, int, Any], None]


def files(c: Context) -> None:
    """Rules over all open files, whoever has them."""
    for id_, entry in c.files.items():
        name = pb.fd_types(entry.type).name
        if name not in RESTORABLE:
            c.about_file("file-kind", id_, f"a file of type {name} cannot be restored")
            continue
        if entry.type in rules_extra.CHECKS:
            rules_extra.CHECKS[entry.type](c, id_)
        details = c.details(entry)
        check = CHECKS.get(entry.type)
        if check and details is not None:
            check(c, id_, details)
        if id_ in c.used:
            made = MAKING.get(entry.type)
            if made and details is not None:
                made(c, id_, details)
            _owner(c, id_, details)
            _direct(c, id_, entry.type, details)
    _queues(c)
    _locks(c)


# ------------------------------------------------------------------------------- what rooms check


def _reg(c: Context, id_: int, e: pb.reg_file_entry) -> None:
    name = crit.text_of(e.name)
    if e.ext:
        if id_ in c.used and not c.options.gives(name):
            text = f"'{name}' was external; restoring it needs --inherit-fd fd[N]:{name}"
            c.about_file("file-external", id_, text)
    elif not name.startswith("/"):
        c.about_file("file-name", id_, f"'{name}' is no absolute path")


def _pipe(c: Context, id_: int, e: pb.pipe_entry) -> None:
    if e.flags & O_ACCMODE == O_ACCMODE:
        c.about_file("pipe-mode", id_, f"pipe {e.pipe_id} has no access mode")
    extra = c.file_extras.get(id_)
    key = f"pipe[{e.pipe_id}]"
    if extra and extra.outer_end and id_ in c.used and not c.options.gives(key):
        text = f"a process outside had the other end of pipe:[{e.pipe_id}]; restoring this one "
        c.about_file("file-external", id_, f"{text}needs --inherit-fd fd[N]:{key}")


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
}


# ------------------------------------------------------- what the kernel refuses to make


# lseek(2) takes any offset of them (drivers/char/mem.c, random.c)
ANYWHERE = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}


def _make_reg(c: Context, id_: int, e: pb.reg_file_entry) -> None:
    if id_ not in c.opened or e.flags & O_PATH:
        return
    name = crit.text_of(e.name)
    if e.pos > INT64_MAX and e.pos != NO_POSITION and name not in ANYWHERE:
        c.about_file("file-position", id_, f"'{name}' is read at {e.pos}")
    if stat.S_ISFIFO(e.mode) and not c.is_given(e):
        c.about_file("file-flags", id_, f"'{name}' is a fifo, but opened as a file")


O_DIRECT = 0o40000
OUTSIDE = 1  # unix_sk_entry.uflags
NEVER_DIRECT = {
    *(pb.fd_types.EVENTFD, pb.fd_types.EVENTPOLL, pb.fd_types.SIGNALFD, pb.fd_types.TIMERFD),
    *(pb.fd_types.INOTIFY, pb.fd_types.FANOTIFY, pb.fd_types.BPFMAP, pb.fd_types.INETSK),
    *(pb.fd_types.UNIXSK, pb.fd_types.NETLINKSK, pb.fd_types.PACKETSK),
}


def _direct(c: Context, id_: int, type_: int, details: Any) -> None:
    """F_SETFL takes O_DIRECT of pipes and of files whose file system knows it."""
    if type_ not in NEVER_DIRECT or details is None or not details.flags & O_DIRECT:
        return
    if type_ == pb.fd_types.UNIXSK and details.uflags & OUTSIDE:
        return
    c.about_file("file-flags", id_, f"it has the flags 0{details.flags:o}, O_DIRECT among them")


# timerfd_create(2)
CLOCKS = {0, 1, 7, 8, 9}


def _make_timerfd(c: Context, id_: int, e: pb.timerfd_entry) -> None:
    if e.clockid not in CLOCKS:
        c.about_file("timerfd-clock", id_, f"a timerfd has clock {e.clockid}")
    if e.settime_flags & ~3:
        c.about_file("timerfd-clock", id_, f"a timerfd has the flags 0x{e.settime_flags:x}")


MEMFD_NAME_MAX = 249
MFD_HUGETLB, HUGE_SIZE = 4, 0x3F << 26  # the size as a power of 2; 0: the usual one
HUGE = {0, 21, 30}
ZERO = "/dev/zero"  # shared anonymous memory, which has no seals
SEALS = 0x3F


def _make_memfd(c: Context, id_: int, e: pb.memfd_file_entry) -> None:
    inode = c.memfds.get(e.inode_id)
    if inode is None:
        if e.inode_id:
            text = f"memfd.img has no inode {e.inode_id}"
            c.about_file("memfd-missing", id_, text)
        return
    if e.pos > INT64_MAX and id_ in c.opened:
        c.about_file("file-position", id_, f"a memory file is read at {e.pos}")
    name = crit.text_of(inode.name)
    sealed = inode.seals if name != ZERO else 0
    huge = inode.hugetlb_flag
    if huge and name != ZERO and (huge & ~HUGE_SIZE != MFD_HUGETLB or huge >> 26 not in HUGE):
        text = f"the memory file '{name}' has huge pages 0x{huge:x}"
        c.about_file("memfd-make", id_, text)
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


PIPE_MAX = 1 << 31


def _queues(c: Context) -> None:
    """Data that wait in pipes."""
    pipes = {e.pipe.pipe_id for e in c.files.values() if e.HasField("pipe")}
    for entry in c.all(pb.pipe_data_entry, "PIPES_DATA"):
        if entry.pipe_id not in pipes and entry.bytes:
            text = f"{entry.bytes} bytes wait in pipe {entry.pipe_id}, which no file refers to"
            node = c.graph.find("pipe", entry.pipe_id)
            c.add("pipe-ends", text, 0, "pipes-data.img", node)


POSIX, FLOCK, OFD, LEASE = 1, 2, 4, 8
EXCLUSIVE, NONE, BREAKING = 1, 2, 4
RDONLY, WRONLY, RDWR = 0, 1, 2


def _is_known(e: pb.file_lock_entry) -> bool:
    if e.flag == LEASE:
        return e.type & ~BREAKING <= NONE
    return e.flag in (POSIX, FLOCK, OFD) and e.type <= EXCLUSIVE


def _can_lock(e: pb.file_lock_entry, mode: int) -> bool:
    """Shared locks of fcntl(2) are for readers, exclusive ones for writers; flock(2) is for all."""
    if e.flag in (POSIX, OFD):
        return mode == RDWR or mode == (WRONLY if e.type == EXCLUSIVE else RDONLY)
    return e.flag != FLOCK or mode != O_ACCMODE


def _locks(c: Context) -> None:
    numbers = {t: {fd.fd for fd in fds} for t, fds in c.tables.items()}
    modes: dict[tuple[int, int], int] = {}
    for number, fds in c.tables.items():
        for fd in fds:
            file = c.files.get(fd.id)
            if file is not None and file.HasField("reg"):
                modes[number, fd.fd] = file.reg.flags & O_ACCMODE
    for i, e in enumerate(c.all(pb.file_lock_entry, "FILE_LOCKS")):
        node = c.graph.find("lock", i)
        if not i and not c.options.file_locks:
            text = "the images hold file locks; restoring them needs --file-locks"
            c.add("lock-option", text, 0, "filelocks.img", node)
        if not _is_known(e):
            text = f"task {e.pid}, descriptor {e.fd}: a file lock of kind {e.flag}, type {e.type}"
            c.add("lock-kind", text, e.pid, "filelocks.img", node)
        table = c.table_of.get(e.pid)
        if e.flag in (POSIX, OFD) and not (0 <= e.start and 0 <= e.len <= INT64_MAX - e.start):
            text = f"task {e.pid}, descriptor {e.fd}: a lock of {e.len} bytes from {e.start} on"
            c.add("lock-range", text, e.pid, "filelocks.img", node)
        mode = modes.get((table, e.fd)) if table is not None else None
        if mode is not None and not _can_lock(e, mode):
            text = f"task {e.pid}, descriptor {e.fd}: a lock that its mode {mode} does not allow"
            c.add("lock-mode", text, e.pid, "filelocks.img", node)
        if table is None or e.fd not in numbers.get(table, ()):
            text = f"a file lock belongs to descriptor {e.fd} of task {e.pid}, which is not there"
            c.add("lock-owner", text, 0 if table is None else e.pid, "filelocks.img", node)
