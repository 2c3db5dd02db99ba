# SPDX-License-Identifier: GPL-2.0-or-later
"""A set with one of everything: sockets, terminals, mounts, cgroups, ghosts, System V objects ...

It is made by hand, so that kinds torpor cannot dump (yet) are there, too.
"""

from __future__ import annotations

from pathlib import Path

import bigsets
from bigsets import put, reg
from torpor.images import BY_ID, ImageWriter, file_name
from torpor.images import messages as pb

ROOT, CHILD = 100, 101


def fown(pid: int = 0, type_: int = 0) -> pb.fown_entry:
    return pb.fown_entry(uid=0, euid=0, signum=0, pid_type=type_, pid=pid)


def options() -> pb.sk_opts_entry:
    names = [f.name for f in pb.sk_opts_entry.DESCRIPTOR.fields if f.label == 2]
    return pb.sk_opts_entry(**dict.fromkeys(names, 0))


def file(type_: int, id_: int, **detail: pb.Message) -> pb.file_entry:
    return pb.file_entry(type=type_, id=id_, **detail)


def unix(id_: int, ino: int, peer: int, state: int = 1, name: bytes = b"") -> pb.file_entry:
    entry = pb.unix_sk_entry(
        id=id_, ino=ino, type=1, state=state, flags=2, uflags=0, backlog=0, peer=peer, fown=fown(),
        opts=options(), name=name, ns_id=2,
    )  # fmt: skip
    return file(pb.fd_types.UNIXSK, id_, usk=entry)


def open_files() -> list[pb.file_entry]:
    t = pb.fd_types
    inet = pb.inet_sk_entry(
        id=20, ino=500, family=2, type=1, proto=6, state=1, src_port=80, dst_port=4000, flags=2,
        backlog=0, src_addr=[0x0100007F], dst_addr=[0x0100007F], fown=fown(), opts=options(), ns_id=2,
    )  # fmt: skip
    epoll = pb.eventpoll_file_entry(id=30, flags=2, fown=fown())
    epoll.tfd.add(id=0, tfd=4, events=1, data=4)
    epoll.tfd.add(id=0, tfd=77, events=1, data=4)
    handle = pb.fh_entry(bytes=8, type=1, handle=[1, 2], path="/etc/hosts", mnt_id=21)
    inotify = pb.inotify_file_entry(id=31, flags=0, fown=fown())
    inotify.wd.add(id=31, i_ino=7, mask=2, ignored_mask=0, s_dev=5, wd=1, f_handle=handle)
    fanotify = pb.fanotify_file_entry(id=32, flags=0, fown=fown(), faflags=0, evflags=0)
    bare = pb.fh_entry(bytes=8, type=1, handle=[1, 2])
    fanotify.mark.add(
        id=32, type=1, mflags=0, mask=2, ignored_mask=0, s_dev=5,
        ie=pb.fanotify_inode_mark_entry(i_ino=9, f_handle=bare),
    )  # fmt: skip
    fanotify.mark.add(
        id=32, type=2, mflags=0, mask=2, ignored_mask=0, s_dev=5,
        me=pb.fanotify_mount_mark_entry(mnt_id=21),
    )  # fmt: skip
    fs_file = reg(7, "/home/gone")
    fs_file.reg.mnt_id = 21
    external = reg(8, "file[15:abc]")
    external.reg.ext = True
    return [
        reg(1, "/bin/x"), reg(2, "/", 0o40755), reg(3, "/dev/null", 0o20666), fs_file, external,
        file(t.PIPE, 9, pipe=pb.pipe_entry(id=9, pipe_id=900, flags=0, fown=fown(CHILD, 1))),
        file(t.PIPE, 10, pipe=pb.pipe_entry(id=10, pipe_id=900, flags=1, fown=fown())),
        file(t.FIFO, 11, fifo=pb.fifo_entry(id=11, pipe_id=901, regf_id=12)), reg(12, "/run/fifo", 0o10644),
        unix(13, 600, 601), unix(14, 601, 600), unix(15, 602, 0, 10, b"/run/sock\0"),
        unix(16, 603, 602), unix(17, 604, 9999), unix(18, 605, 0, 10, b"\0abstract"),
        file(t.INETSK, 20, isk=inet),
        file(t.EVENTFD, 21, efd=pb.eventfd_file_entry(id=21, flags=2, fown=fown(), counter=3)),
        file(t.TTY, 22, tty=pb.tty_file_entry(id=22, tty_info_id=6, flags=2, fown=fown(), regf_id=24)),
        file(t.TTY, 23, tty=pb.tty_file_entry(id=23, tty_info_id=7, flags=2, fown=fown(), regf_id=25)),
        reg(24, "/dev/pts/3", 0o20620), reg(25, "/dev/ptmx", 0o20666),
        file(t.MEMFD, 26, memfd=pb.memfd_file_entry(id=26, flags=2, pos=0, fown=fown(), inode_id=1)),
        file(t.NS, 27, nsf=pb.ns_file_entry(id=27, ns_id=2, ns_cflag=0x40000000, flags=0)),
        file(t.PIDFD, 28, pidfd=pb.pidfd_entry(id=28, ino=1, flags=0, nspid=CHILD, fown=fown())),
        reg(29, "/dev/net/tun", 0o20666),
        file(t.TUNF, 29, tunf=pb.tunfile_entry(id=29, netdev="tun0", ns_id=2)),
        file(t.EVENTPOLL, 30, epfd=epoll), file(t.INOTIFY, 31, ify=inotify),
        file(t.FANOTIFY, 32, ffy=fanotify), reg(33, "/tmp/link_remap.33"),
    ]  # fmt: skip


def mount(id_: int, parent: int, where: str, **more: object) -> pb.mnt_entry:
    values: dict[str, object] = {
        "fstype": 0, "root_dev": 5, "flags": 0, "root": "/", "source": "x", "options": "",
    }  # fmt: skip
    return pb.mnt_entry(mnt_id=id_, parent_mnt_id=parent, mountpoint=where, **(values | more))  # type: ignore[arg-type]


def desc(id_: int) -> pb.ipc_desc_entry:
    return pb.ipc_desc_entry(key=1, id=id_, uid=0, gid=0, cuid=0, cgid=0, mode=0o600)


def make_zoo(folder: Path) -> Path:
    """Writes the set; there are two tasks, and nothing is missing on purpose."""
    bigsets.make_set(folder, 2, 3, 0)
    files = open_files()
    put(folder, "FILES", *files)
    fds = [
        pb.fdinfo_entry(id=f.id, flags=0, type=f.type, fd=i)
        for i, f in enumerate({f.id: f for f in files}.values())
    ]
    put(folder, "FDINFO", *fds, number=2)
    put(folder, "REMAP_FPATH", pb.remap_file_path_entry(orig_id=7, remap_id=1, remap_type=1),
        pb.remap_file_path_entry(orig_id=12, remap_id=33, remap_type=0))  # fmt: skip
    with ImageWriter(folder / "ghost-file-1.img", BY_ID["GHOST_FILE"]) as out:
        out.put(pb.ghost_file_entry(uid=0, gid=0, mode=0o100644, dev=5, ino=8), b"content")
    for kind, id_ in (("PIPES_DATA", 900), ("FIFO_DATA", 901)):
        with ImageWriter(folder / BY_ID[kind].pattern, BY_ID[kind]) as out:
            out.put(pb.pipe_data_entry(pipe_id=id_, bytes=3, size=65536), b"abc")
    with ImageWriter(folder / "sk-queues.img", BY_ID["SK_QUEUES"]) as out:
        packet = pb.sk_packet_entry(id_for=13, length=2)
        packet.scm.add(type=1, rights=[9, 21])
        out.put(packet, b"hi")
    with ImageWriter(folder / file_name(BY_ID["TCP_STREAM"], 500), BY_ID["TCP_STREAM"]) as out:
        out.put(pb.tcp_stream_entry(inq_len=0, inq_seq=1, outq_len=0, outq_seq=1, opt_mask=0,
                                    snd_wscale=0, mss_clamp=1400, unsq_len=0))  # fmt: skip
    tty = {"locked": False, "exclusive": False, "packet_mode": False, "rdev": 0x8803}
    put(folder, "TTY_INFO",
        pb.tty_info_entry(id=6, type=pb.TtyType.PTY, sid=ROOT, pgrp=ROOT, **tty, pty=pb.tty_pty_entry(index=3)),
        pb.tty_info_entry(id=7, type=pb.TtyType.PTY, sid=0, pgrp=0, **tty, pty=pb.tty_pty_entry(index=3)))  # fmt: skip
    put(folder, "TTY_DATA", pb.tty_data_entry(tty_id=6, data=b"typed"))
    put(folder, "MEMFD_INODE", pb.memfd_inode_entry(
        name="m", uid=0, gid=0, size=4096, shmid=70, seals=0, inode_id=1))  # fmt: skip
    with ImageWriter(folder / "pagemap-shmem-70.img", BY_ID["PAGEMAP"]) as out:
        out.put(pb.pagemap_head(pages_id=2))
        out.put(pb.pagemap_entry(vaddr=0, compat_nr_pages=1, nr_pages=1, flags=4))
    (folder / "pages-2.img").write_bytes(bytes(4096))
    put(folder, "FILE_LOCKS", pb.file_lock_entry(flag=1, type=1, pid=ROOT, fd=0, start=0, len=0))
    put(folder, "MNTS", mount(22, 21, "/proc", fstype=1, root_dev=6, shared_id=4),
        mount(23, 21, "/mnt", master_id=4, ext_key="disk"), mount(21, 1, "/", shared_id=4), number=16)  # fmt: skip
    put(folder, "NETDEV", pb.net_device_entry(type=1, ifindex=1, mtu=65536, flags=1, name="lo"),
        pb.net_device_entry(type=2, ifindex=2, mtu=1500, flags=1, name="eth0", peer_ifindex=3, master=3),
        pb.net_device_entry(type=6, ifindex=3, mtu=1500, flags=1, name="br0"), number=12)  # fmt: skip
    put(folder, "NETNS", pb.netns_entry(), number=12)
    (folder / "route-12.img").write_bytes(b"\x24\x12\x31\x45")
    put(folder, "UTSNS", pb.utsns_entry(nodename="host", domainname=""), number=14)
    put(folder, "TIMENS", pb.timens_entry(monotonic=pb.timespec(tv_sec=1, tv_nsec=0),
        boottime=pb.timespec(tv_sec=1, tv_nsec=0)))  # fmt: skip
    cgroup = pb.cgroup_entry()
    cgroup.sets.add(id=2).ctls.add(name="cpu,cpuacct", path="/a/b")
    controller = cgroup.controllers.add(cnames=["cpu", "cpuacct"])
    above = controller.dirs.add(dir_name="a")
    above.children.add(dir_name="b").properties.add(name="cpu.shares", value="7")
    put(folder, "CGROUP", cgroup)
    core = bigsets.core("child")
    core.thread_core.cg_set = 2
    core.thread_core.seccomp_mode, core.thread_core.seccomp_filter = 2, 1
    core.tc.timers.real.vsec = 5
    core.tc.timers.posix.add(
        it_id=0, clock_id=1, si_signo=14, it_sigev_notify=0, sival_ptr=0, overrun=0, isec=0, insec=0,
        vsec=1, vnsec=0,
    )  # fmt: skip
    core.tc.signals_s.signals.add(siginfo=b"\x0a" + bytes(127))
    core.thread_core.signals_p.signals.add(siginfo=b"\x0c" + bytes(127))
    put(folder, "CORE", core, number=CHILD)
    filters = pb.seccomp_entry()
    filters.seccomp_filters.add(filter=bytes(8), flags=0)
    filters.seccomp_filters.add(filter=bytes(8), flags=0, prev=0)
    put(folder, "SECCOMP", filters)
    put(folder, "IPCNS_SHM", pb.ipc_shm_entry(desc=desc(1), size=4096, in_pagemaps=True), number=3)
    put(folder, "IPCNS_MSG", pb.ipc_msg_entry(desc=desc(2), qbytes=9, qnum=0), number=3)
    with ImageWriter(folder / "ipcns-sem-3.img", BY_ID["IPCNS_SEM"]) as out:
        out.put(pb.ipc_sem_entry(desc=desc(3), nsems=1), bytes(8))
    put(folder, "BINFMT_MISC", pb.binfmt_misc_entry(name="j", enabled=True, interpreter="/x"))
    state = pb.torpor_task_entry(pid=ROOT, ksm_any=True)
    state.watched.add(epoll=30, index=1, number=77, file=21)
    put(folder, "TORPOR_STATE", state)
    put(folder, "TORPOR_FILES", pb.torpor_file_entry(id=13))
    touched = pb.torpor_touched_entry(pid=ROOT, vaddr=0x400000, pages=1)
    put(folder, "TORPOR_WORKING_SET", touched)
    with ImageWriter(folder / "torpor-pagemap-100", BY_ID["TORPOR_PAGEMAP"]) as out:
        out.put(pb.pagemap_head(pages_id=1))
        out.put(pb.pagemap_entry(vaddr=0x400000, compat_nr_pages=1, flags=4))
    with ImageWriter(folder / "torpor-digest-100", BY_ID["TORPOR_DIGEST"]) as out:
        out.put(pb.torpor_digest_head(run_id="x", digest="xxh3-128", seed=1), bytes(32))
    put(folder, "RLIMIT", pb.rlimit_entry(cur=1, max=2), number=CHILD)
    return folder
