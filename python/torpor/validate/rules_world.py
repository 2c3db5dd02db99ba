# SPDX-License-Identifier: MIT
"""Identity, tree, references: what concerns more than one object of the dump."""

from __future__ import annotations

import stat

from torpor.images import messages as pb
from torpor.resgraph.rooms_task import SPACES
from torpor.validate.births import Births
from torpor.validate.context import INT32_MAX, Context, TaskView

NAMES = {"mnt": "mount"}


def world(c: Context) -> None:
    """Rules over all tasks."""
    _tids(c)
    _groups(c)
    _spaces_alone(c)
    for entry in c.tree:
        _ids(c, entry)
        _zombie(c, entry)
    _sessions(c)
    _queues(c)


def _tids(c: Context) -> None:
    """One number, one thread; no group has the number of a thread that is no leader."""
    owner: dict[int, int] = {}
    for entry in c.tree:
        alive = c.states.get(entry.pid) in (1, 3)
        for tid in [entry.pid, *(entry.threads[1:] if alive else ())]:
            if tid in owner:
                text = f"tasks {owner[tid]} and {entry.pid} both have a thread {tid}"
                c.add("id-twice", text, entry.pid, "pstree.img")
            owner[tid] = entry.pid
    c.tids = set(owner)
    for entry in c.tree:
        for what, number in (("process group", entry.pgid), ("session", entry.sid)):
            task = owner.get(number)
            if task is not None and task != number:
                text = f"task {entry.pid} is in {what} {number}, which is a thread of task {task}"
                c.add("id-twice", text, entry.pid, "pstree.img")


def _groups(c: Context) -> None:
    first: dict[int, pb.pstree_entry] = {}
    for entry in c.tree:
        if not entry.pgid:
            continue
        other = first.setdefault(entry.pgid, entry)
        if other.sid != entry.sid:
            text = (
                f"tasks {other.pid} and {entry.pid} are in process group {entry.pgid} but in the "
                f"sessions {other.sid} and {entry.sid}"
            )
            c.add("tree-group-session", text, entry.pid, "pstree.img")
    for entry in c.tree:
        leader = c.by_pid.get(entry.pgid)
        if leader is not None and leader.sid != entry.sid and leader.pgid != entry.pgid:
            text = (
                f"task {entry.pid} is in process group {entry.pgid} of session {entry.sid}, but "
                f"task {leader.pid} is in session {leader.sid}"
            )
            c.add("tree-group-session", text, entry.pid, "pstree.img")
    _rings(c)


def _rings(c: Context) -> None:
    """Leaders who joined each other's groups, in which nobody is left to be joined."""
    movers = {e.pid: e.pgid for e in c.tree if e.pgid != e.pid and e.pgid in c.by_pid}
    done: set[int] = set()
    members: dict[int, list[int]] = {}
    for entry in c.tree:
        members.setdefault(entry.pgid, []).append(entry.pid)
    for pid in movers:
        way: list[int] = []
        seen: set[int] = set()
        while pid in movers and pid not in done:
            done.add(pid)
            seen.add(pid)
            way.append(pid)
            pid = movers[pid]
        if pid not in seen:
            continue
        ring = way[way.index(pid) :]
        if all(len(members[movers[p]]) == 1 for p in ring):
            text = f"tasks {ring[:5]} are in each other's process groups, and nobody else is"
            c.add("tree-group-ring", text, pid, "pstree.img")


def _spaces_alone(c: Context) -> None:
    seen: dict[int, int] = {}
    for pid, ids in c.ids.items():
        if ids.vm_id in seen:
            text = f"tasks {seen[ids.vm_id]} and {pid} share one address space"
            c.add("vm-shared", text, pid, f"ids-{pid}.img")
        seen[ids.vm_id] = pid


def _ids(c: Context, entry: pb.pstree_entry) -> None:
    pid, image = entry.pid, "pstree.img"
    if entry.sid == pid and entry.pgid != pid:
        text = f"task {pid} leads a session but is in process group {entry.pgid}"
        c.add("tree-leader-group", text, pid, image)
    extra = c.extras.get(pid)
    if extra and extra.leader_dead and len(entry.threads) < 2:
        c.add("tree-dead-leader", f"task {pid} has a dead leader and no other thread", pid, image)


# CHLD CONT STOP TSTP TTIN TTOU URG WINCH
SPARES = {17, 18, 19, 20, 21, 22, 23, 28}


def _zombie(c: Context, entry: pb.pstree_entry) -> None:
    """A zombie dies again: by exit, or by a signal that kills."""
    signal = c.exit_codes.get(entry.pid, 0) & 0x7F
    if signal > 64 or signal in SPARES:
        text = f"task {entry.pid} was ended by signal {signal}, which ends nobody"
        c.add("zombie-status", text, entry.pid, f"core-{entry.pid}.img")


def _sessions(c: Context) -> None:
    root = c.tree[0]
    if root.sid != root.pid and not c.options.shell_job:
        text = f"task {root.pid} belongs to session {root.sid}, whose leader is outside the tree"
        c.add("tree-shell-job", text, root.pid, "pstree.img")
    broken = ("tree-parent", "tree-root", "task-twice", "tree-numbers", "tree-group-session")
    if c.findings.has(*broken) or root.ppid:
        return
    for entry, sid in Births(c.tree).problems():
        text = (
            f"task {entry.pid} was born in session {sid}, which its parent {entry.ppid} cannot "
            "have given it"
        )
        c.add("tree-session", text, entry.pid, "pstree.img")


SCM_RIGHTS = 1


def _queues(c: Context) -> None:
    for i, packet in enumerate(c.all(pb.sk_packet_entry, "SK_QUEUES")):
        node = c.graph.find("packet", i)
        lost = [f for scm in packet.scm for f in scm.rights if f not in c.files]
        if packet.id_for not in c.files:
            lost.append(packet.id_for)
        if any(scm.type != SCM_RIGHTS for scm in packet.scm):
            text = f"a packet for file {packet.id_for} brings something other than descriptors"
            c.add("queue-part", text, 0, "sk-queues.img", node)
        for id_ in lost:
            text = (
                f"a packet of {packet.length} bytes for file {packet.id_for} needs file {id_}, "
                "which is not in files.img"
            )
            c.add("queue-dangling", text, 0, "sk-queues.img", node)


# ------------------------------------------------------------------------------------- by task


def task(c: Context, t: TaskView) -> None:
    """Rules over one live task and what it refers to."""
    _own_spaces(c, t)
    _references(c, t)
    if t.owns_table:
        _table(c, t)
    for i, th in enumerate(t.threads):
        _thread(c, t, i, th.tid, th.core)


def _own_spaces(c: Context, t: TaskView) -> None:
    if t.ids is None or c.inventory is None:
        return
    root = c.inventory.root_ids
    for space in SPACES:
        name = f"{space}_ns_id"
        if not t.ids.HasField(name) or not root.HasField(name):
            continue
        if getattr(t.ids, name) != getattr(root, name):
            text = f"task {t.pid} ({t.comm}) has a {NAMES.get(space, space)} namespace of its own"
            c.add("ns-own", text, t.pid, f"ids-{t.pid}.img")


def _references(c: Context, t: TaskView) -> None:
    found = []
    if t.mm is not None:
        found.append((t.mm.exe_file_id, "program", f"mm-{t.pid}.img"))
    if t.fs is not None:
        found.append((t.fs.cwd_id, "working directory", f"fs-{t.pid}.img"))
        found.append((t.fs.root_id, "root directory", f"fs-{t.pid}.img"))
    for id_, what, image in found:
        file = c.files.get(id_)
        if file is None:
            text = f"task {t.pid}: its {what} is file {id_}, which is not in files.img"
            c.add("file-dangling", text, t.pid, image)
        elif what == "program" and not _is_program(file):
            text = f"task {t.pid}: its program is file {id_}, which cannot be run"
            c.add("mm-program", text, t.pid, image)
        elif what != "program" and not _is_folder(file):
            text = f"task {t.pid}: its {what} is file {id_}, which is no directory"
            c.add("fs-folder", text, t.pid, image)


def _is_program(file: pb.file_entry) -> bool:
    """A regular file that somebody may execute."""
    if not file.HasField("reg"):
        return file.type == pb.fd_types.MEMFD
    mode = file.reg.mode
    return not file.reg.HasField("mode") or (stat.S_ISREG(mode) and bool(mode & 0o111))


def _is_folder(file: pb.file_entry) -> bool:
    if not file.HasField("reg"):
        return False
    return not file.reg.HasField("mode") or stat.S_ISDIR(file.reg.mode)


def _table(c: Context, t: TaskView) -> None:
    table = c.table_of[t.pid]
    image = f"fdinfo-{table}.img"
    seen = set()
    for fd in c.tables[table]:
        file = c.files.get(fd.id)
        node = c.graph.find("fd", (table, fd.fd))
        number = node
        if file is None:
            text = f"task {t.pid}: descriptor {fd.fd} is file {fd.id}, which is not in files.img"
            c.add("file-dangling", text, t.pid, image, number)
        elif file.type != fd.type:
            text = (
                f"task {t.pid}: descriptor {fd.fd} has type {fd.type}, file {fd.id} has {file.type}"
            )
            c.add("file-type", text, t.pid, image, number)
        if fd.fd > INT32_MAX or fd.fd in seen:
            c.add("fd-twice", f"task {t.pid} has descriptor {fd.fd} twice", t.pid, image, number)
        seen.add(fd.fd)


def _thread(c: Context, t: TaskView, index: int, tid: int, core: pb.core_entry | None) -> None:
    if core is None:
        return
    image = f"core-{tid}.img"
    if core.mtype != pb.core_entry_march.X86_64:
        text = f"thread {tid} was saved on another architecture ({core.mtype})"
        c.add("core-arch", text, t.pid, image)
    if index == 0 and t.leader_dead:
        return
    if not core.HasField("thread_info") or not core.thread_info.HasField("gpregs"):
        c.add("core-regs", f"thread {tid} has no registers", t.pid, image)
    if not core.HasField("thread_core"):
        c.add("core-thread", f"thread {tid} has no thread part", t.pid, image)
    if index and core.HasField("tc"):
        c.add("core-tc", f"thread {tid} is no leader but has a task part", t.pid, image)
