# SPDX-License-Identifier: GPL-2.0-or-later
"""Image sets that nobody can dump quickly: made of nothing, valid, as large as wanted."""

from __future__ import annotations

from pathlib import Path

from torpor.images import BY_ID, ImageWriter, file_name
from torpor.images import messages as pb
from torpor.images.writer import pack

PAGE = 4096
ROOT = 100


def put(folder: Path, kind: str, *messages: pb.Message, number: int = 0) -> None:
    """Writes an image with these messages."""
    k = BY_ID[kind]
    with ImageWriter(folder / file_name(k, number), k) as out:
        for m in messages:
            out.put(m)


def reg(id_: int, name: str, mode: int = 0o100755) -> pb.file_entry:
    """A regular file."""
    fown = pb.fown_entry(uid=0, euid=0, signum=0, pid_type=0, pid=0)
    entry = pb.reg_file_entry(id=id_, flags=0, pos=0, fown=fown, name=name, mode=mode)
    return pb.file_entry(type=pb.fd_types.REG, id=id_, reg=entry)


def _space_ids(**own: int) -> pb.task_kobj_ids_entry:
    return pb.task_kobj_ids_entry(
        pid_ns_id=1, net_ns_id=2, ipc_ns_id=3, uts_ns_id=4, time_ns_id=5, mnt_ns_id=6, user_ns_id=7,
        cgroup_ns_id=8, **own,
    )  # fmt: skip


def ids(n: int) -> pb.task_kobj_ids_entry:
    """Identities of the nth task."""
    return _space_ids(vm_id=n, files_id=n, fs_id=n, sighand_id=n)


def core(comm: str = "x") -> pb.core_entry:
    """A live leader."""
    names = [f.name for f in pb.user_x86_regs_entry.DESCRIPTOR.fields if f.label == 2]
    regs = pb.user_x86_regs_entry(**dict.fromkeys(names, 0)) if names else pb.user_x86_regs_entry()
    regs.ip, regs.sp, regs.cs, regs.ss = 0x400000, 0x7FFD00000800, 0x33, 0x2B
    fp_names = [f.name for f in pb.user_x86_fpregs_entry.DESCRIPTOR.fields if f.label == 2]
    fpregs = pb.user_x86_fpregs_entry(**dict.fromkeys(fp_names, 0))
    fpregs.st_space.extend([0] * 32)
    fpregs.xmm_space.extend([0] * 64)
    none = pb.itimer_entry(isec=0, iusec=0, vsec=0, vusec=0)
    tc = pb.task_core_entry(
        task_state=1, exit_code=0, personality=0, flags=0, blk_sigset=0, comm=comm,
        timers=pb.task_timers_entry(real=none, virt=none, prof=none),
    )  # fmt: skip
    tc.signals_s.SetInParent()
    for _ in range(16):
        tc.rlimits.rlimits.add(cur=(1 << 64) - 1, max=(1 << 64) - 1)
    for _ in range(62):
        tc.sigactions.add(sigaction=0, flags=0, restorer=0, mask=0)
    creds = pb.creds_entry(
        uid=0, gid=0, euid=0, egid=0, suid=0, sgid=0, fsuid=0, fsgid=0, secbits=0,
        cap_inh=[0, 0], cap_prm=[0, 0], cap_eff=[0, 0], cap_bnd=[0, 0],
    )  # fmt: skip
    thread = pb.thread_core_entry(
        futex_rla=0, futex_rla_len=0, sched_nice=0, creds=creds, comm=comm
    )
    info = pb.thread_info_x86(clear_tid_addr=0, gpregs=regs, fpregs=fpregs)
    return pb.core_entry(mtype=1, thread_info=info, tc=tc, thread_core=thread)


def area(start: int, pages: int, prot: int = 3, **more: int) -> pb.vma_entry:
    """A private anonymous area."""
    values = {"pgoff": 0, "shmid": 0, "prot": prot, "flags": 0x22, "status": 0x201, "fd": -1}
    return pb.vma_entry(start=start, end=start + pages * PAGE, **(values | more))


def address_space(n_areas: int, first: int = 0x10000000) -> pb.mm_entry:
    """A program, many areas with a gap between them, a stack."""
    names = [f.name for f in pb.mm_entry.DESCRIPTOR.fields if f.label == 2]
    mm = pb.mm_entry(**dict.fromkeys(names, 0))
    mm.mm_start_code, mm.mm_end_code = 0x400000, 0x400800
    mm.mm_start_data, mm.mm_end_data = 0x400800, 0x401000
    mm.mm_start_brk = mm.mm_brk = 0x1000000
    mm.mm_start_stack = mm.mm_arg_start = mm.mm_arg_end = 0x7FFD00000800
    mm.mm_env_start = mm.mm_env_end = 0x7FFD00000900
    mm.exe_file_id = 1
    mm.mm_saved_auxv.extend([0, 0])
    mm.vmas.append(area(0x400000, 1, 5, flags=2, status=0x41, shmid=1))
    at = first
    for _ in range(n_areas - 2):
        mm.vmas.append(area(at, 1))
        at += 2 * PAGE
    mm.vmas.append(area(0x7FFD00000000, 2, flags=0x122))
    return mm


def make_set(folder: Path, n_tasks: int = 1, n_areas: int = 3, n_fds: int = 3) -> Path:
    """A root with n_tasks - 1 children, each with as many areas and descriptors."""
    folder.mkdir()
    put(folder, "INVENTORY", pb.inventory_entry(
        img_version=2, fdinfo_per_id=True, ns_per_id=True, lsmtype=0, root_cg_set=1,
        root_ids=_space_ids(vm_id=1, files_id=1, fs_id=1, sighand_id=1)))  # fmt: skip
    put(folder, "PSTREE", *(
        pb.pstree_entry(pid=pid, ppid=0 if pid == ROOT else ROOT, pgid=ROOT, sid=ROOT, threads=[pid])
        for pid in range(ROOT, ROOT + n_tasks)))  # fmt: skip
    put(folder, "FILES", reg(1, "/bin/x"), reg(2, "/", 0o40755), reg(3, "/dev/null", 0o20666))
    put(folder, "SECCOMP", pb.seccomp_entry())
    head = pack(pb.pagemap_head(pages_id=1))
    space, threads = address_space(n_areas), core()
    for i in range(n_tasks):
        pid = ROOT + i
        put(folder, "CORE", threads, number=pid)
        put(folder, "IDS", ids(i + 2), number=pid)
        put(folder, "MM", space, number=pid)
        put(folder, "FS", pb.fs_entry(cwd_id=2, root_id=2, umask=18), number=pid)
        put(folder, "FDINFO", *(
            pb.fdinfo_entry(id=3, flags=0, type=pb.fd_types.REG, fd=fd) for fd in range(n_fds)
        ), number=i + 2)  # fmt: skip
        k = BY_ID["PAGEMAP"]
        with ImageWriter(folder / file_name(k, pid), k) as out:
            out.put_raw(head)
            for a in space.vmas:
                if a.status & 0x200:
                    out.put(pb.pagemap_entry(vaddr=a.start, compat_nr_pages=1, nr_pages=1, flags=4))
    # one file of pages for all: what is in them does not matter here
    with (folder / "pages-1.img").open("wb") as out_pages:
        out_pages.truncate(PAGE * (n_areas - 1))
    return folder
