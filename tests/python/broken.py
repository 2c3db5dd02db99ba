# SPDX-License-Identifier: GPL-2.0-or-later
"""The golden corpus: sets that break one rule each, made by changing one thing in a good set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bigsets
from bigsets import ROOT, area, put
from torpor.images import BY_ID, ImageSet, kinds
from torpor.images import messages as pb
from torpor.images.tables import RESTORABLE
from torpor.images.writer import pack
from zoo import fown, mount, options, unix

CHILD = ROOT + 1
PAGE = 4096
Change = Callable[[Path], None]


def edit(kind: str, number: int, change: Callable[[Any], None]) -> Change:
    """Changes the messages of an image, which come as a list; payloads go along."""

    def apply(folder: Path) -> None:
        with ImageSet(folder) as images, images.open(kind, number) as image:
            entries = [(e.message, bytes(e.payload)) for e in image]
            name = image.name
        messages = [m for m, _ in entries]
        change(messages)
        payloads = {id(m): p for m, p in entries}
        parts = [kinds.header(BY_ID[kind])]
        for m in messages:
            body = m.SerializePartialToString()
            parts += [len(body).to_bytes(4, "little"), body, payloads.get(id(m), b"")]
        (folder / name).write_bytes(b"".join(parts))

    return apply


def core(change: Callable[[pb.core_entry], Any], pid: int = CHILD) -> Change:
    return edit("CORE", pid, lambda m: change(m[0]))


def mm(change: Callable[[pb.mm_entry], Any], pid: int = CHILD) -> Change:
    return edit("MM", pid, lambda m: change(m[0]))


def tree(change: Callable[[list[pb.pstree_entry]], Any]) -> Change:
    return edit("PSTREE", 0, change)


def runs(change: Callable[[list[Any]], Any], pid: int = CHILD) -> Change:
    return edit("PAGEMAP", pid, change)


def ids(**values: int) -> Change:
    return edit("IDS", CHILD, lambda m: _set(m[0], **values))


def _set(message: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(message, name, value)


def inventory(**values: Any) -> Change:
    return edit("INVENTORY", 0, lambda m: _set(m[0], **values))


def write(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data) and None  # type: ignore[func-returns-value]


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int = -1) -> Change:
    return lambda folder: write(name, (folder / name).read_bytes()[:size])(folder)


def both(*changes: Change) -> Change:
    def apply(folder: Path) -> None:
        for change in changes:
            change(folder)

    return apply


def file(entry: pb.file_entry, opened: bool = True) -> Change:
    """One more open file, which the child has as descriptor 50."""
    add = edit("FILES", 0, lambda m: m.append(entry))
    fd = pb.fdinfo_entry(id=entry.id, flags=0, type=entry.type, fd=50)
    return both(add, edit("FDINFO", 3, lambda m: m.append(fd))) if opened else add


def of(type_: int, id_: int = 60, **detail: pb.Message) -> pb.file_entry:
    return pb.file_entry(type=type_, id=id_, **detail)


def inet(**values: Any) -> pb.file_entry:
    base: dict[str, Any] = {
        "id": 60, "ino": 900, "family": 2, "type": 2, "proto": 17, "state": 7, "src_port": 53,
        "dst_port": 0, "flags": 2, "backlog": 0, "src_addr": [0], "dst_addr": [0], "fown": fown(),
        "opts": options(),
    }  # fmt: skip
    return of(pb.fd_types.INETSK, isk=pb.inet_sk_entry(**(base | values)))


def sock_option(**values: Any) -> Change:
    opts = options()
    _set(opts, **values)
    return file(inet(opts=opts))


def socket(change: Callable[[pb.unix_sk_entry], Any]) -> Change:
    entry = unix(60, 900, 0, 7)
    change(entry.usk)
    return file(entry)


def timer(**values: int) -> Change:
    base = dict.fromkeys(
        ("it_id", "clock_id", "it_sigev_notify", "sival_ptr", "overrun", "isec", "insec", "vsec",
         "vnsec"), 0,
    )  # fmt: skip
    entry = pb.posix_timer_entry(**({**base, "si_signo": 14, "vsec": 1} | values))
    return core(lambda m: m.tc.timers.posix.append(entry))


def tty(info: pb.tty_info_entry | None, regf_id: int | None = 3) -> Change:
    number = info.id if info else 6
    entry = pb.tty_file_entry(id=60, tty_info_id=number, flags=2, fown=fown())
    if regf_id:
        entry.regf_id = regf_id
    change = file(of(pb.fd_types.TTY, tty=entry))
    if info is None:
        return change
    return both(change, lambda folder: put(folder, "TTY_INFO", info))


def info(type_: int = 1, index: int = 3, sid: int = 0, number: int = 6) -> pb.tty_info_entry:
    return pb.tty_info_entry(
        id=number, type=type_, locked=False, exclusive=False, packet_mode=False, sid=sid, pgrp=0,
        rdev=0x8803, pty=pb.tty_pty_entry(index=index),
    )  # fmt: skip


def twice(folder: Path) -> None:
    """The last file a second time, as descriptor 51."""

    def again(m: list[pb.file_entry]) -> None:
        copy = pb.file_entry()
        copy.CopyFrom(m[-1])
        copy.id = copy.tty.id = 61
        m.append(copy)

    edit("FILES", 0, again)(folder)
    fd = pb.fdinfo_entry(id=61, flags=0, type=pb.fd_types.TTY, fd=51)
    edit("FDINFO", 3, lambda m: m.append(fd))(folder)


def outside() -> pb.file_entry:
    entry = pb.reg_file_entry(id=60, flags=0, pos=0, fown=fown(), name="file[1:2]", ext=True)
    return pb.file_entry(type=1, id=60, reg=entry)


def packet(**values: Any) -> Change:
    base: dict[str, Any] = dict.fromkeys(
        ("protocol", "flags", "ifindex", "version", "reserve", "aux_data", "orig_dev", "vnet_hdr",
         "loss", "timestamp", "copy_thresh"), 0,
    )  # fmt: skip
    base |= {"id": 60, "type": 3, "fown": fown(), "opts": options()}
    return file(of(pb.fd_types.PACKETSK, psk=pb.packet_sock_entry(**(base | values))))


def ring(frames: int = 1) -> pb.packet_ring:
    """One block of a page; more than one frame of that size does not fit."""
    return pb.packet_ring(
        block_size=PAGE, block_nr=1, frame_size=PAGE * frames, frame_nr=1, retire_tmo=0,
        sizeof_priv=0, features=0,
    )  # fmt: skip


def vsock(**values: Any) -> Change:
    base = {"type": 1, "flags": 2, "cid": 3, "port": 0xFFFFFFFF, "listening": False}
    entry = pb.torpor_vsock_entry(opts=options(), **(base | values))
    more = pb.torpor_file_entry(id=60, vsock=entry)
    ext = pb.ext_file_entry(id=60, fown=fown())
    change = file(of(pb.fd_types.EXT, ext=ext))
    return both(change, lambda folder: put(folder, "TORPOR_FILES", more))


def desc(number: int = 5, key: int = 7) -> pb.ipc_desc_entry:
    return pb.ipc_desc_entry(key=key, uid=0, gid=0, cuid=0, cgid=0, mode=0o600, id=number)


def ipc(kind: str, name: str, message: pb.Message, payload: bytes) -> Change:
    data = kinds.header(BY_ID[kind]) + pack(message) + payload
    return write(f"ipcns-{name}-7.img", data)


def segment(**values: Any) -> Change:
    base: dict[str, Any] = {"desc": desc(), "size": PAGE, "in_pagemaps": True}
    entry = pb.ipc_shm_entry(**(base | values))
    return ipc("IPCNS_SHM", "shm", entry, b"" if entry.in_pagemaps else bytes(PAGE))


def semaphores(value: int = 1) -> Change:
    """One of them."""
    entry = pb.ipc_sem_entry(desc=desc(), nsems=1)
    return ipc("IPCNS_SEM", "sem", entry, value.to_bytes(2, "little") + bytes(6))


def queue(type_: int) -> Change:
    """One message."""
    entry = pb.ipc_msg_entry(desc=desc(), qbytes=16384, qnum=1)
    return ipc("IPCNS_MSG", "msg", entry, pack(pb.ipc_msg(mtype=type_, msize=3)) + b"abc\0\0\0\0\0")


def aio(m: pb.mm_entry) -> None:
    """A ring of two pages, made for more requests than that."""
    m.vmas.insert(1, area(0x800000, 2, 3, flags=1, status=0x2000))
    m.aios.add(id=0x800000, nr_req=1000, ring_len=PAGE * 2)


def ghost(message: pb.ghost_file_entry | None, payload: bytes = b"", kind: int = 1) -> Change:
    """Descriptor 50 is a deleted file."""

    def apply(folder: Path) -> None:
        file(bigsets.reg(60, "/gone", 0o100644))(folder)
        put(
            folder, "REMAP_FPATH", pb.remap_file_path_entry(orig_id=60, remap_id=1, remap_type=kind)
        )
        if message is not None:
            data = kinds.header(BY_ID["GHOST_FILE"]) + pack(message) + payload
            (folder / "ghost-file-1.img").write_bytes(data)

    return apply


def gone(mode: int = 0o100644, **more: Any) -> pb.ghost_file_entry:
    return pb.ghost_file_entry(uid=0, gid=0, mode=mode, dev=5, ino=1, **more)


def memfd(inode: pb.memfd_inode_entry | None, inode_id: int = 1, pos: int = 0) -> Change:
    entry = pb.memfd_file_entry(id=60, flags=2, pos=pos, fown=fown(), inode_id=inode_id)
    change = file(of(pb.fd_types.MEMFD, memfd=entry))
    if inode is None:
        return change
    return both(change, lambda folder: put(folder, "MEMFD_INODE", inode))


def inode(**values: Any) -> pb.memfd_inode_entry:
    base: dict[str, Any] = {
        "name": "m", "uid": 0, "gid": 0, "size": PAGE, "shmid": 70, "seals": 0, "inode_id": 1,
    }  # fmt: skip
    return pb.memfd_inode_entry(**(base | values))


def seccomp(*codes: bytes, newest: int = 0) -> Change:
    def apply(folder: Path) -> None:
        filters = pb.seccomp_entry()
        for i, code in enumerate(codes):
            filters.seccomp_filters.add(filter=code, flags=0, **({"prev": i - 1} if i else {}))
        put(folder, "SECCOMP", filters)

        def use(m: pb.core_entry) -> None:
            m.thread_core.seccomp_mode, m.thread_core.seccomp_filter = 2, newest

        core(use)(folder)

    return apply


def lock(**values: int) -> Change:
    base = {"flag": 1, "type": 0, "pid": CHILD, "fd": 0, "start": 0, "len": 0}
    return lambda folder: put(folder, "FILE_LOCKS", pb.file_lock_entry(**(base | values)))


def mounts(*entries: pb.mnt_entry) -> Change:
    return lambda folder: put(folder, "MNTS", *entries, number=16)


def torpor_unix(**values: Any) -> Change:
    x = pb.torpor_unix_entry(**values)
    more = pb.torpor_file_entry(id=60, unix_sk=x)
    return both(file(unix(60, 900, 0, 7)), lambda folder: put(folder, "TORPOR_FILES", more))


def inotify(wd: int = 1, mask: int = 2) -> Change:
    entry = pb.inotify_file_entry(id=60, flags=0, fown=fown())
    handle = pb.fh_entry(bytes=8, type=1, handle=[1, 2], path="/")
    entry.wd.add(id=60, i_ino=7, mask=mask, ignored_mask=0, s_dev=5, wd=wd, f_handle=handle)
    return file(of(pb.fd_types.INOTIFY, ify=entry))


def fanotify(mflags: int = 0, known: bool = True) -> Change:
    entry = pb.fanotify_file_entry(id=60, flags=0, fown=fown(), faflags=0, evflags=0)
    mark = entry.mark.add(id=60, type=1, mflags=mflags, mask=2, ignored_mask=0, s_dev=5)
    if known:
        mark.ie.i_ino = 9
        mark.ie.f_handle.CopyFrom(pb.fh_entry(bytes=8, type=1, handle=[1, 2]))
    return file(of(pb.fd_types.FANOTIFY, ffy=entry))


def netlink(**values: Any) -> Change:
    base: dict[str, Any] = {
        "id": 60, "ino": 900, "protocol": 0, "state": 7, "flags": 2, "portid": 1, "dst_portid": 0,
        "dst_group": 0, "fown": fown(), "opts": options(),
    }  # fmt: skip
    entry = pb.netlink_sk_entry(**(base | values))
    return file(of(pb.fd_types.NETLINKSK, nlsk=entry))


def epoll(tfd: int) -> Change:
    entry = pb.eventpoll_file_entry(id=60, flags=0, fown=fown())
    entry.tfd.add(id=0, tfd=tfd, events=1, data=0)
    return file(of(pb.fd_types.EVENTPOLL, epfd=entry))


def timerfd(**values: int) -> Change:
    base = dict.fromkeys(
        ("clockid", "ticks", "settime_flags", "vsec", "vnsec", "isec", "insec", "flags"), 0
    )
    entry = pb.timerfd_entry(id=60, fown=fown(), **(base | values))
    return file(of(pb.fd_types.TIMERFD, tfd=entry))


def bpf(values: bytes = b"12345678", **more: Any) -> Change:
    base = {
        "id": 60, "flags": 2, "map_type": 2, "key_size": 4, "value_size": 8, "map_id": 5,
        "max_entries": 1, "map_flags": 0, "memlock": 4096, "frozen": False, "fown": fown(),
        "pos": 0, "map_name": "m", "ifindex": 0,
    }  # fmt: skip
    entry = pb.bpfmap_file_entry(**(base | more))
    data = pb.bpfmap_data_entry(map_id=5, keys_bytes=4, values_bytes=len(values), count=1)
    content = kinds.header(BY_ID["BPFMAP_DATA"]) + pack(data) + b"key0" + values
    return both(file(of(pb.fd_types.BPFMAP, bpf=entry)), write("bpfmap-data.img", content))


def described(type_: int, extra: pb.torpor_file_entry) -> Change:
    """A file of which torpor-files has everything."""
    return both(file(of(type_)), lambda folder: put(folder, "TORPOR_FILES", extra))


def uring(sq_entries: int) -> Change:
    zero = dict.fromkeys(
        ("setup", "flags", "sq_head", "sq_tail", "cq_head", "cq_tail", "sq_dropped", "cq_overflow",
         "cq_flags"), 0,
    )  # fmt: skip
    entry = pb.torpor_uring_entry(
        sq_entries=sq_entries, cq_entries=8, sq_array=bytes(4 * sq_entries),
        sqes=bytes(64 * sq_entries), cqes=bytes(128), **zero,
    )  # fmt: skip
    return described(pb.fd_types.TORPOR_URING, pb.torpor_file_entry(id=60, uring=entry))


def mqueue(name: str, size: int = 100) -> Change:
    entry = pb.torpor_mqueue_entry(queue=1, name=name, flags=2, fown=fown())
    content = pb.torpor_mqueue_content(maxmsg=10, msgsize=size, mode=0o600, uid=0, gid=0)
    entry.content.CopyFrom(content)
    return described(pb.fd_types.TORPOR_MQUEUE, pb.torpor_file_entry(id=60, mqueue=entry))


def anonymous(**more: int) -> Change:
    """One more area, of a special kind."""
    return mm(lambda m: m.vmas.insert(1, area(0x800000, 2, **more)))


def vdso(m: pb.mm_entry) -> None:
    m.vmas.insert(len(m.vmas) - 1, area(0x7FFC00000000, 2, 5, status=0x209))


def extent(m: list[Any]) -> None:
    m[1].extent_pages.append(1)


def chained(*, there: bool, circle: bool = False) -> Change:
    """The last run is in the parent images."""

    def apply(folder: Path) -> None:
        runs(lambda m: _set(m[-1], flags=1))(folder)
        (folder / "pages-1.img").write_bytes(bytes(PAGE * 2))
        runs(lambda m: None, ROOT)(folder)
        if circle:
            (folder / "parent").symlink_to(".")
        elif there:
            shutil.copytree(folder, folder.parent / "below")
            (folder / "parent").symlink_to("../below")
            runs(lambda m: m.pop())(folder.parent / "below")

    return apply


def own_pages(folder: Path) -> None:
    """The child gets a pages file of its own."""
    runs(lambda m: _set(m[0], pages_id=2))(folder)
    shutil.copy(folder / "pages-1.img", folder / "pages-2.img")


def shuffled(*changes: Change) -> Change:
    return both(own_pages, *changes)


def tcp(folder: Path) -> None:
    entry = inet(type=1, proto=6, state=1, dst_port=80)
    file(entry)(folder)


# rule -> how to break it; what restore is told in each case: OPTIONS. A second way to break a rule
# stands behind its name with a space.
CASES: dict[str, Change] = {
    # container
    "image-missing": remove(f"fs-{CHILD}.img"),
    "image-magic": write(f"fs-{CHILD}.img", b"\0" * 30),
    "image-framing": cut(f"fs-{CHILD}.img", 11),
    "image-message": edit("FS", CHILD, lambda m: m[0].ClearField("root_id")),
    "image-payload": lambda f: write("pipes-data.img", kinds.header(BY_ID["PIPES_DATA"]) + pack(
        pb.pipe_data_entry(pipe_id=1, bytes=9, size=1)))(f),
    "image-ancient": both(
        remove("files.img"),
        lambda f: put(f, "EVENTPOLL_TFD", pb.eventpoll_tfd_entry(id=1, tfd=1, events=1, data=0)),
    ),
    "inventory-version": inventory(img_version=7),
    "inventory-predump": inventory(img_version=0),
    "inventory-set": edit("INVENTORY", 0, lambda m: m[0].torpor.CopyFrom(
        pb.torpor_set_entry(needs=0, dump_id=b"x"))),
    "inventory-old": inventory(fdinfo_per_id=False),
    "inventory-ids": edit("INVENTORY", 0, lambda m: m[0].ClearField("root_ids")),
    "chain-link": chained(there=False),
    "chain-other": both(chained(there=True), edit("INVENTORY", 0, lambda m: m[0].torpor.CopyFrom(
        pb.torpor_set_entry(needs=0, dump_id=bytes(16), parent_id=b"x" * 16)))),
    "chain-circle": chained(there=False, circle=True),
    "page-lost": chained(there=True),
    # identity and tree
    "id-twice": tree(lambda m: m[1].threads.append(7) or _set(m[1], pgid=7)),
    "vm-shared": ids(vm_id=2),
    "task-twice": tree(lambda m: m.append(m[1])),
    "file-twice": edit("FILES", 0, lambda m: m.append(m[0])),
    "state-task": lambda f: put(f, "TORPOR_STATE", pb.torpor_task_entry(pid=7)),
    "tree-empty": tree(lambda m: m.clear()),
    "tree-root": tree(lambda m: _set(m[1], ppid=0)),
    "tree-parent": tree(lambda m: _set(m[1], ppid=7)),
    "tree-numbers": tree(lambda m: _set(m[1], pgid=1 << 31)),
    "tree-threads": tree(lambda m: m[1].ClearField("threads")),
    "tree-group-session": tree(lambda m: _set(m[1], sid=7)),
    "tree-group-ring": tree(lambda m: _set(m[1], pgid=m[2].pid) or _set(m[2], pgid=m[1].pid)),
    "tree-leader-group": tree(lambda m: _set(m[1], sid=CHILD)),
    "tree-dead-leader": lambda f: put(
        f, "TORPOR_STATE", pb.torpor_task_entry(pid=CHILD, leader_dead=True)
    ),
    "tree-session": tree(lambda m: _set(m[1], sid=CHILD, pgid=CHILD) or _set(
        m[2], ppid=ROOT, sid=ROOT, pgid=ROOT) or _set(m[3], ppid=ROOT + 2, sid=CHILD, pgid=CHILD)),
    "tree-shell-job": tree(lambda m: [_set(e, sid=7, pgid=7) for e in m]),
    "zombie-status": core(lambda m: _set(m.tc, task_state=2, exit_code=17)),
    "core-state": core(lambda m: _set(m.tc, task_state=9)),
    "core-task": core(lambda m: m.ClearField("tc")),
    # memory
    "vma-range": mm(lambda m: _set(m.vmas[1], end=m.vmas[1].start)),
    "vma-order": mm(lambda m: m.vmas.append(area(0x500000, 1))),
    "vma-kind": anonymous(status=0x8000),
    "vma-file": mm(lambda m: _set(m.vmas[0], shmid=2)),
    "vma-rights": mm(lambda m: _set(m.vmas[0], prot=8)),
    "vma-flags": mm(lambda m: _set(m.vmas[0], flags=0x102)),
    "vma-flags ": mm(lambda m: m.vmas.insert(
        1, area(0x800000, 2, 3, flags=0x12A, status=0x201))),
    "vma-vdso": mm(vdso),
    "mm-limits": mm(lambda m: _set(m, mm_start_code=m.mm_end_code)),
    "mm-program": mm(lambda m: _set(m, exe_file_id=3)),
    "pagemap-head": lambda f: write(
        f"pagemap-{CHILD}.img", kinds.header(BY_ID["PAGEMAP"]))(f),
    "pagemap-flags": runs(lambda m: _set(m[1], flags=0x14)),
    "pagemap-address": runs(lambda m: _set(m[1], vaddr=m[1].vaddr + 8)),
    "pagemap-range": runs(lambda m: _set(m[1], nr_pages=0)),
    "pagemap-order": runs(lambda m: m.reverse() or m.insert(0, m.pop())),
    "pagemap-extents": runs(extent),
    "pages-length": lambda f: write("pages-1.img", bytes(PAGE))(f),
    "pages-rest": shuffled(lambda f: write("pages-2.img", bytes(PAGE * 9))(f)),
    "page-outside": shuffled(runs(lambda m: m.append(
        pb.pagemap_entry(vaddr=0x7FFE00000000, compat_nr_pages=1, flags=4))),
        write("pages-2.img", bytes(PAGE * 4))),
    "page-shared": shuffled(
        mm(lambda m: m.vmas.insert(1, area(0x800000, 1, flags=1, status=0x81, shmid=1, prot=1))),
        runs(lambda m: m.insert(1, pb.pagemap_entry(vaddr=0x800000, compat_nr_pages=1, flags=4))),
        write("pages-2.img", bytes(PAGE * 4)),
    ),
    "page-behind": shuffled(
        edit("FILES", 0, lambda m: _set(m[0].reg, size=100)),
        mm(lambda m: m.vmas.insert(1, area(0x800000, 2, flags=2, status=0x41, shmid=1))),
        runs(lambda m: m.insert(1, pb.pagemap_entry(vaddr=0x801000, compat_nr_pages=1, flags=4))),
        write("pages-2.img", bytes(PAGE * 4)),
    ),
    "page-lazy": runs(lambda m: _set(m[1], flags=2)),
    # threads
    "core-arch": core(lambda m: _set(m, mtype=3)),
    "core-regs": core(lambda m: m.ClearField("thread_info")),
    "core-thread": core(lambda m: m.ClearField("thread_core")),
    "core-tc": both(
        tree(lambda m: m[1].threads.append(7)),
        lambda f: put(f, "CORE", bigsets.core(), number=7),
    ),
    "core-fpu": core(lambda m: m.thread_info.fpregs.st_space.pop()),
    "core-segments": core(lambda m: _set(m.thread_info.gpregs, cs=0x10)),
    "sigactions-number": core(lambda m: m.tc.sigactions.pop()),
    "signal-bad": core(lambda m: m.tc.signals_s.signals.add(siginfo=b"\x09" + bytes(127))),
    "prctl-value": lambda f: put(f, "TORPOR_STATE", pb.torpor_task_entry(pid=CHILD, mdwe=2)),
    "sched-ioprio": lambda f: put(f, "TORPOR_STATE", pb.torpor_task_entry(
        pid=CHILD, threads=[pb.torpor_thread_entry(tid=CHILD, ioprio=7 << 13)])),
    "sched-nice": core(lambda m: _set(m.thread_core, sched_nice=20)),
    "sched-priority": core(lambda m: _set(m.thread_core, sched_prio=100)),
    "sched-policy": core(lambda m: _set(m.thread_core, sched_policy=4)),
    "stack-alternate": core(lambda m: m.thread_core.sas.CopyFrom(
        pb.thread_sas_entry(ss_sp=0x10000000, ss_size=100, ss_flags=0))),
    "rseq-bad": core(lambda m: m.thread_core.rseq_entry.CopyFrom(
        pb.rseq_entry(rseq_abi_pointer=0x10000001, rseq_abi_size=32, signature=1))),
    "robust-bad": core(lambda m: _set(m.thread_core, futex_rla=0x10000000, futex_rla_len=7)),
    # files
    "file-dangling": edit("FS", CHILD, lambda m: _set(m[0], cwd_id=77)),
    "file-type": edit("FDINFO", 3, lambda m: _set(m[0], type=2)),
    "fd-twice": edit("FDINFO", 3, lambda m: m.append(m[0])),
    "file-details": edit("FILES", 0, lambda m: _set(m[2].reg, id=9)),
    "file-name": file(bigsets.reg(60, "relative")),
    "file-external": file(outside()),
    "file-position": both(file(bigsets.reg(60, "/some", 0o100644)), edit(
        "FILES", 0, lambda m: _set(m[-1].reg, pos=1 << 63))),
    "file-owner": edit("FILES", 0, lambda m: _set(m[2].reg.fown, signum=65)),
    "file-remap": ghost(None, kind=2),
    "remap-link": ghost(None, kind=0),
    "ext-file": file(of(pb.fd_types.EXT, ext=pb.ext_file_entry(id=60, fown=fown()))),
    "ghost-missing": ghost(None),
    "ghost-content": ghost(gone(chunks=True, size=2),
                           pack(pb.ghost_chunk_entry(len=3, off=0)) + b"abc"),
    "ghost-make": ghost(gone(0o010644)),
    "fs-folder": edit("FS", CHILD, lambda m: _set(m[0], cwd_id=3)),
    "fifo-name": file(of(pb.fd_types.FIFO, fifo=pb.fifo_entry(id=60, pipe_id=1))),
    "pipe-mode": file(of(pb.fd_types.PIPE, pipe=pb.pipe_entry(
        id=60, pipe_id=1, flags=3, fown=fown()))),
    "pipe-ends": lambda f: write("pipes-data.img", kinds.header(BY_ID["PIPES_DATA"]) + pack(
        pb.pipe_data_entry(pipe_id=1, bytes=1, size=4096)) + b"x")(f),
    "memfd-inode": memfd(None, 0),
    "memfd-missing": memfd(None),
    "memfd-make": memfd(inode(seals=0x1000)),
    "timerfd-time": timerfd(vnsec=1000000000),
    "timerfd-clock": timerfd(clockid=4),
    "pidfd-pid": file(of(pb.fd_types.PIDFD, pidfd=pb.pidfd_entry(
        id=60, ino=1, flags=0, nspid=7, fown=fown()))),
    "nsfile-id": file(of(pb.fd_types.NS, nsf=pb.ns_file_entry(
        id=60, ns_id=77, ns_cflag=0x40000000, flags=0))),
    "bpf-type": bpf(map_type=6),
    "bpf-size": bpf(map_name="x" * 16),
    "bpf-content": bpf(values=b"123"),
    "uring-state": uring(sq_entries=3),
    "mqueue-missing": file(of(pb.fd_types.TORPOR_MQUEUE)),
    "mqueue-name": mqueue("no slash"),
    "mqueue-content": mqueue("/queue", size=0),
    "tun-name": file(of(pb.fd_types.TUNF, tunf=pb.tunfile_entry(id=60, netdev="tun%d"))),
    "inotify-wd": inotify(wd=0),
    "inotify-mask": inotify(mask=0),
    "fanotify-mark": fanotify(known=False),
    "fanotify-flags": fanotify(mflags=1),
    # sockets
    "queue-dangling": lambda f: write("sk-queues.img", kinds.header(BY_ID["SK_QUEUES"]) + pack(
        pb.sk_packet_entry(id_for=99, length=1)) + b"x")(f),
    "queue-part": lambda f: write("sk-queues.img", kinds.header(BY_ID["SK_QUEUES"]) + pack(
        pb.sk_packet_entry(id_for=3, length=1, scm=[pb.scm_entry(type=9)])) + b"x")(f),
    "sock-buffer": sock_option(so_sndbuf=1 << 31),
    "sock-timeout": sock_option(so_snd_tmo_usec=1000000),
    "sock-option-size": both(file(inet()), lambda f: put(f, "TORPOR_FILES", pb.torpor_file_entry(
        id=60, options=[pb.torpor_sk_option(level=1, name=1, value=b"abc")]))),
    "sock-filter": both(file(inet()), edit(
        "FILES", 0, lambda m: m[-1].isk.opts.so_filter.extend([6] * 4097))),
    "sock-device": sock_option(so_bound_dev="a" * 16),
    "inet-kind": file(inet(proto=99)),
    "inet-address": file(inet(src_addr=[0, 0])),
    "inet-port": file(inet(src_port=65536)),
    "inet-state": file(inet(state=0)),
    "inet-device": file(inet(ifname="a" * 16)),
    "inet-filter": file(inet(ip_opts=pb.ip_opts_entry(
        raw=pb.ip_opts_raw_entry(icmpv_filter=[0] * 9)))),
    "inet-established": tcp,
    "inet-stream": tcp,
    "inet-clash": both(file(inet()), edit("FILES", 0, lambda m: m.append(
        of(pb.fd_types.INETSK, 61, isk=_again(m[-1].isk))))),
    "netlink-protocol": netlink(protocol=32),
    "netlink-groups": netlink(groups=[0] * 2049),
    "unix-type": socket(lambda e: _set(e, type=4)),
    "unix-state": socket(lambda e: _set(e, state=3)),
    "unix-listener": socket(lambda e: _set(e, state=10)),
    "unix-name": socket(lambda e: _set(e, name=b"/" + b"a" * 109)),
    "unix-flags": socket(lambda e: _set(e, uflags=2)),
    "unix-shutdown": socket(lambda e: e.MergeFromString(b"\x60\x07")),
    "unix-peer": socket(lambda e: _set(e, peer=900)),
    "unix-groups": torpor_unix(peer=pb.torpor_maker(pid=1, uid=0, gid=0, groups=[1 << 31] * 65537)),
    "unix-path": torpor_unix(path="relative"),
    "unix-sender": torpor_unix(packets=[pb.torpor_packet(name=b"a" * 110)]),
    "unix-number": socket(lambda e: _set(e, ino=0)),
    "unix-pair": socket(lambda e: _set(e, state=1, peer=77)),
    "epoll-number": epoll(1 << 31),
    "epoll-target": epoll(77),
    "epoll-kind": epoll(50),
    "packet-type": packet(type=1),
    "packet-version": packet(version=3),
    "packet-ring": packet(rx_ring=ring(2)),
    "file-flags": packet(flags=0o40002),
    "packet-fanout": packet(fanout=0x00FF0001),
    "packet-fanout ": packet(fanout=0x20000001, protocol=768),
    "packet-fanout  ": packet(fanout=1, protocol=0),
    "packet-members": packet(mclist=[pb.packet_mclist(index=1, type=0, addr=bytes(33))]),
    "vsock-type": vsock(type=4),
    "vsock-listener": vsock(listening=True),
    # System V objects
    "ipc-segment": segment(in_pagemaps=False),
    "ipc-semaphores": semaphores(0x8000),
    "ipc-queue": queue(0),
    "ipc-number": both(semaphores(), edit("IPCNS_SEM", 7, lambda m: _set(m[0].desc, id=1 << 31))),
    "ipc-owner": both(semaphores(), edit("IPCNS_SEM", 7, lambda m: _set(m[0].desc, uid=0xFFFFFFFF))),
    "ipc-undo": both(semaphores(), lambda f: put(f, "TORPOR_STATE", pb.torpor_task_entry(
        pid=CHILD, sem_undos=[pb.torpor_sem_undo(id=5, num=1, adjust=1)]))),
    "aio-ring": mm(aio),
    # terminals, locks
    "tty-session": both(
        tty(info(4, sid=ROOT + 2)), tree(lambda m: _set(m[2], sid=ROOT + 2, pgid=ROOT + 2)),
        core(lambda m: _set(m.tc, task_state=2), ROOT + 2)),
    "tty-master": both(tty(info(number=7)), twice),
    "tty-info": tty(None),
    "tty-index": tty(info(index=1 << 21)),
    "tty-name": tty(info(), None),
    "tty-type": tty(info(type_=0)),
    "lock-kind": lock(flag=3),
    "lock-owner": lock(fd=77),
    "lock-mode": lock(type=1),
    "lock-range": lock(start=-1),
    "lock-option": lock(),
    # namespaces, control groups
    "ns-own": ids(net_ns_id=99),
    "mount-parent": mounts(mount(21, 1, "/"), mount(22, 77, "/a")),
    "mount-circle": mounts(mount(21, 1, "/"), mount(22, 23, "/a"), mount(23, 22, "/a/b")),
    "mount-root": mounts(mount(22, 1, "/a")),
    "mount-master": mounts(mount(21, 1, "/", master_id=9)),
    "device-master": lambda f: put(f, "NETDEV", pb.net_device_entry(
        type=1, ifindex=1, mtu=1, flags=1, name="a", master=7), number=12),
    "cgroup-set": both(core(lambda m: _set(m.thread_core, cg_set=7)), lambda f: put(
        f, "CGROUP", pb.cgroup_entry())),
    "cgroup-path": both(core(lambda m: _set(m.thread_core, cg_set=7)), lambda f: put(
        f, "CGROUP", pb.cgroup_entry(sets=[pb.cg_set_entry(
            id=7, ctls=[pb.cg_member_entry(name="cpu", path="/a")])]))),
    "inventory-options": inventory(tcp_close=True),
    # credentials, timers, filters
    "creds-caps": core(lambda m: m.thread_core.creds.cap_eff.__setitem__(0, 1)),
    "creds-groups": core(lambda m: m.thread_core.creds.groups.append(0xFFFFFFFF)),
    "creds-secbits": core(lambda m: _set(m.thread_core.creds, secbits=1 << 20)),
    "rlimits-number": core(lambda m: m.tc.rlimits.rlimits.add(cur=0, max=0)),
    "rlimits-order": core(lambda m: _set(m.tc.rlimits.rlimits[0], max=0)),
    "oom-score": core(lambda m: _set(m.tc, oom_score_adj=1001)),
    "task-setting": core(lambda m: _set(m.thread_core, pdeath_sig=65)),
    "itimer-time": core(lambda m: _set(m.tc.timers.real, vusec=1000000)),
    "timer-bad": timer(vnsec=1000000000),
    "timer-bad ": timer(it_sigev_notify=5, notify_thread_id=CHILD),
    "itimer-time ": core(lambda m: _set(m.tc.timers.real, isec=1 << 63)),
    "timer-thread": timer(it_sigev_notify=4, notify_thread_id=7),
    "timer-clock": timer(clock_id=4),
    "seccomp-chain": seccomp(b"\6\0\0\0\0\0\0\0", newest=7),
    "seccomp-code": seccomp(b"\0" * 8),
}  # fmt: skip
# As long as there is a type that is known but that torpor cannot restore.
if "TUNF" not in RESTORABLE:
    CASES["file-kind"] = file(of(pb.fd_types.TUNF, tunf=pb.tunfile_entry(id=60)))
OPTIONS = {
    "inet-stream": {"tcp_established": True},
    "lock-kind": {"file_locks": True},
    "lock-mode": {"file_locks": True},
    "lock-range": {"file_locks": True},
    "lock-owner": {"file_locks": True},
}


def _again(e: pb.inet_sk_entry) -> pb.inet_sk_entry:
    copy = pb.inet_sk_entry()
    copy.CopyFrom(e)
    copy.id, copy.ino = 61, 901
    return copy


TASKS = {"tree-session": 4, "tree-group-ring": 3, "tty-session": 3}


def make(rule: str, folder: Path) -> Path:
    """A set that breaks one rule."""
    bigsets.make_set(folder, TASKS.get(rule, 2), 4, 1)
    CASES[rule](folder)
    return folder
