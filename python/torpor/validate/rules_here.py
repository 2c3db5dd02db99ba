# SPDX-License-Identifier: MIT
"""The computer a dump is to be restored on: numbers, files, processor, kernel, limits, network."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterable, Set

from torpor.images import crit, hints
from torpor.images import messages as pb
from torpor.resgraph.rooms_file import remap_target
from torpor.validate import buildid, features
from torpor.validate.context import INT32_MAX, Context, TaskView
from torpor.validate.facts import CAP_SYS_RESOURCE, Facts, FileFacts
from torpor.validate.rules_thread import PARTS

NOFILE = 7
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
TYPES = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFSOCK: "socket",
}
O_ACCMODE, O_DIRECT, O_DIRECTORY, O_PATH = 3, 0o40000, 0o200000, 0o10000000
MACHINES = {"x86_64": pb.core_entry_march.X86_64, "aarch64": pb.core_entry_march.AARCH64}
# component of XSAVE -> flag of /proc/cpuinfo
COMPONENTS = {2: "avx", 5: "avx512f", 6: "avx512f", 7: "avx512f", 9: "pku"}


def here(c: Context, facts: Facts) -> None:
    """Rules over the set as a whole on a computer."""
    _numbers(c, facts)
    _files(c, facts)
    _kernel(c, facts)
    _network(c, facts)
    _memory(c, facts)
    _labels(c, facts)
    _mounts(c, facts)
    _cgroups(c, facts)


# ------------------------------------------------------------------------------------- numbers


def _numbers(c: Context, facts: Facts) -> None:
    """Every number of the dump must be free; some stand for leaders that are gone."""
    wanted: dict[int, tuple[int, str]] = {}
    for e in c.tree:
        wanted[e.pid] = (e.pid, "task")
        if c.states.get(e.pid) in (1, 3):
            for tid in e.threads[1:]:
                wanted[tid] = (e.pid, "thread")
    outer = c.tree[0].sid if c.tree and c.tree[0].sid != c.tree[0].pid else 0
    for e in c.tree:
        for number, what in ((e.pgid, "process group"), (e.sid, "session")):
            outside = outer and number in (outer, c.tree[0].pgid)
            if number and not outside:
                wanted.setdefault(number, (e.pid, what))
    for remap in c.remaps.values():
        kind, number = remap_target(remap)
        number &= INT32_MAX
        if kind == "task" and remap.orig_id in c.used and number not in wanted:
            pid = c.user_of(remap.orig_id)
            wanted[number] = (pid, "process that had ended")
    taken = facts.taken_of(wanted)
    for number, (pid, what) in wanted.items():
        if number in taken:
            text = f"the number {number} of a {what} is taken by {taken[number]}"
            c.add("here-pid", text, pid, "pstree.img")
        elif facts.pid_max and number >= facts.pid_max:
            text = f"the number {number} of a {what} is not below pid_max ({facts.pid_max})"
            c.add("here-pid", text, pid, "pstree.img")


# --------------------------------------------------------------------------------------- files


def paths(c: Context) -> list[str]:
    """Paths a restore opens."""
    found = (_path(c, id_, e) for id_, e in c.files.items())
    return [path for path in found if path]


def _path(c: Context, id_: int, entry: pb.file_entry) -> str:
    """By which a file is opened; "" if by none."""
    if not entry.HasField("reg") or id_ not in c.used or c.is_given(entry.reg):
        return ""
    if id_ in c.file_extras and c.file_extras[id_].mount_point:
        return ""  # another mount hides it
    remap = c.remaps.get(id_)
    if remap is None:
        path = crit.text_of(entry.reg.name)
        parts = path.split("/", 3)
        # what belongs to a process of the dump is there when the process is
        own = parts[1:2] == ["proc"] and parts[2:] and parts[2].isdigit()
        return "" if own and int(parts[2]) in c.tids else path
    kind, number = remap_target(remap)
    link = c.files.get(number) if kind == "file" else None
    return crit.text_of(link.reg.name) if link is not None else ""


def _files(c: Context, facts: Facts) -> None:
    for id_, entry in c.files.items():
        path = _path(c, id_, entry)
        found = facts.file(path) if path.startswith("/") else None
        if found is not None:
            _file(c, id_, entry.reg, path, found)
        for mark in entry.ffy.mark if id_ in c.used else ():
            path = crit.text_of(mark.me.path)
            found = facts.file(path) if path else None
            if found is not None and not found.mode:
                c.about_file("here-file", id_, f"'{path}', which is marked: {found.error}")


def _file(c: Context, id_: int, e: pb.reg_file_entry, path: str, found: FileFacts) -> None:
    if not found.mode:
        c.about_file("here-file", id_, f"'{path}': {found.error}")
        return
    is_, was = stat.S_IFMT(found.mode), stat.S_IFMT(e.mode)
    if e.HasField("mode") and was == stat.S_IFLNK and e.flags & O_PATH:
        if not found.link:
            text = f"'{path}' is a {TYPES.get(is_)} now, a symbolic link at the dump"
            c.about_file("here-file-type", id_, text)
        return
    if is_ == stat.S_IFLNK:
        c.about_file("here-file", id_, f"the link '{path}' leads nowhere")
        return
    if e.HasField("mode") and is_ != was:
        text = f"'{path}' is a {TYPES.get(is_)} now, a {TYPES.get(was, 'strange file')} at the dump"
        c.about_file("here-file-type", id_, text)
        return
    if e.HasField("mode") and not c.options.skip_file_rwx_check:
        now, then = found.mode & 0o7777, e.mode & 0o7777
        if now != then:
            text = f"'{path}' has mode {now:04o} now, {then:04o} at the dump"
            c.about_file("here-file-mode", id_, text)
    if is_ == stat.S_IFREG:
        if e.HasField("size") and found.size != e.size:
            text = f"'{path}' has {found.size} bytes now, {e.size} at the dump"
            c.about_file("here-file-size", id_, text)
        extra = c.file_extras.get(id_)
        if extra and extra.HasField("mtime_ns") and found.mtime_ns not in (0, extra.mtime_ns):
            c.about_file("here-file-time", id_, f"'{path}' was changed since the dump")
        if len(e.build_id) and c.options.file_validation != "filesize":
            if buildid.packed(bytes.fromhex(found.build_id)) != list(e.build_id):
                c.about_file("here-file-build", id_, f"'{path}' is another build than at the dump")
    _flags(c, id_, e, path, is_)


def _flags(c: Context, id_: int, e: pb.reg_file_entry, path: str, type_: int) -> None:
    """Flags a file of this type cannot be opened with."""
    if e.flags & O_PATH or id_ not in c.opened:
        return
    writes = e.flags & O_ACCMODE != 0
    shown = hints.OPEN.show(e.flags)
    if type_ == stat.S_IFDIR and writes:
        c.about_file("file-flags", id_, f"the directory '{path}' is opened with {shown}")
    elif type_ == stat.S_IFIFO and not stat.S_ISFIFO(e.mode):
        c.about_file("file-flags", id_, f"'{path}' is a fifo, but opened as a file")
    elif type_ in (stat.S_IFDIR, stat.S_IFCHR) and e.flags & O_DIRECT:
        c.about_file("file-flags", id_, f"'{path}' is opened with {shown}, but has no pages")
    elif type_ != stat.S_IFDIR and e.flags & O_DIRECTORY:
        c.about_file("file-flags", id_, f"'{path}' is opened with {shown}, but is no directory")


# ----------------------------------------------------------------------------- kernel, network


def _kernel(c: Context, facts: Facts) -> None:
    machine = MACHINES.get(facts.arch)
    if facts.arch and machine != pb.core_entry_march.X86_64:
        text = f"this computer is {facts.arch}; restoring works on x86_64"
        c.add("here-arch", text)
    for feature in features.missing(c, facts.features):
        c.add("here-kernel", f"'{feature}' is not there: see 'torpor check --all'")


def _network(c: Context, facts: Facts) -> None:
    ports = {(p[0], p[1]) for p in facts.ports}
    local = {ipaddress.ip_address(a) for a in facts.addresses}
    for id_, entry in c.files.items():
        if not entry.HasField("isk") or id_ not in c.used:
            continue
        e = entry.isk
        device = crit.text_of(e.opts.so_bound_dev)
        if device and facts.devices and device not in facts.devices:
            c.about_file("here-device", id_, f"the network device '{device}' is not there")
        address = hints.show_address(list(e.src_addr)) if len(e.src_addr) in (1, 4) else None
        if address and local and not _is_local(address, local):
            c.about_file("here-address", id_, f"the address {address} is not there")
        if e.src_port and (e.proto, e.src_port) in ports:
            c.about_file("here-port", id_, f"port {e.src_port} is in use")


def _is_local(address: str, local: Set[Address]) -> bool:
    wanted = ipaddress.ip_address(address)
    if wanted.is_unspecified or wanted.is_loopback or wanted.is_multicast:
        return True
    return wanted in local


def _memory(c: Context, facts: Facts) -> None:
    pages = sum(c.images.size(f) for f in c.images.images("PAGES"))
    if facts.memory and pages > facts.memory:
        text = f"the pages take {pages >> 20} MiB, {facts.memory >> 20} MiB are available"
        c.add("here-space", text)


def _labels(c: Context, facts: Facts) -> None:
    lsm = c.inventory.lsmtype if c.inventory else 0
    name = {1: "selinux", 2: "apparmor"}.get(lsm)
    if name and facts.lsm and name not in facts.lsm.split(","):
        c.add("creds-label", f"tasks had labels of {name}, which is not active here")


def _mounts(c: Context, facts: Facts) -> None:
    """External mounts have to be provided; the others are made where their points are."""
    for node in c.graph.nodes("mount"):
        e = node.message
        if not isinstance(e, pb.mnt_entry):
            continue
        point = crit.text_of(e.mountpoint)
        if e.HasField("ext_key"):
            text = f"the mount '{point}' is external: '{crit.text_of(e.ext_key)}'"
            c.add("mount-external", text, 0, node.image, node)
        found = facts.file(point) if point != "/" and not c.options.root else None
        if found is not None and not found.mode:
            c.add("mount-point", f"the mount point '{point}' is not there", 0, node.image, node)


def _cgroups(c: Context, facts: Facts) -> None:
    if not facts.cgroups:
        return
    there = {line.split(":", 2)[1] for line in facts.cgroups if line.count(":") >= 2}
    for node in c.graph.nodes("cgroup"):
        assert isinstance(node.key, tuple)
        controllers = str(node.key[0])
        if controllers not in there:
            text = f"there is no hierarchy of control groups '{controllers}'"
            c.add("cgroup-here", text, 0, "cgroup.img", node)


# -------------------------------------------------------------------------------------- by task


def task(c: Context, t: TaskView, facts: Facts) -> None:
    """Rules over one live task on a computer."""
    for th in t.running():
        if th.core is None:
            continue
        part = th.part
        if part is not None and part.HasField("creds"):
            _creds(c, t, th.tid, part.creds, facts)
        _processor(c, t, th.tid, th.core, facts)
    if t.core is not None and t.core.HasField("tc"):
        _limits(c, t, t.core.tc, facts)
    if t.owns_table and facts.hard_limits:
        highest = max((fd.fd for fd in c.tables[c.table_of[t.pid]]), default=0)
        if highest >= facts.hard_limits[NOFILE] and not facts.may(CAP_SYS_RESOURCE):
            text = f"task {t.pid} has descriptor {highest}, but no more than "
            text += f"{facts.hard_limits[NOFILE]} are allowed here"
            c.add("fd-limit", text, t.pid)


def _limits(c: Context, t: TaskView, tc: pb.task_core_entry, facts: Facts) -> None:
    may = facts.may(CAP_SYS_RESOURCE)
    for i, (limit, hard) in enumerate(zip(tc.rlimits.rlimits, facts.hard_limits)):
        if limit.max > hard and not may:
            text = f"task {t.pid} had the hard limit {i} = {limit.max}, but here it is {hard}"
            c.add("rlimits-raise", text, t.pid, f"core-{t.pid}.img")
        elif i == NOFILE and facts.nr_open and limit.max > facts.nr_open:
            text = f"task {t.pid} may open {limit.max} files, here nobody more than {facts.nr_open}"
            c.add("rlimits-raise", text, t.pid, f"core-{t.pid}.img")


def _word(words: Iterable[int]) -> int:
    found = list(words)[:2]
    return sum(w << 32 * i for i, w in enumerate(found))


def _creds(c: Context, t: TaskView, tid: int, creds: pb.creds_entry, facts: Facts) -> None:
    caps = facts.capabilities
    if "permitted" in caps:
        last = caps.get("last", 63)
        known = (1 << last + 1) - 1
        permitted, inheritable = _word(creds.cap_prm), _word(creds.cap_inh)
        missing = permitted & ~caps["permitted"]
        missing |= inheritable & ~(caps["inheritable"] | caps["bounding"]) & known
        if missing:
            text = f"thread {tid} has capabilities 0x{missing:x}, which cannot be given here"
            c.add("creds-give", text, t.pid, f"core-{tid}.img")
    for what, numbers, map_ in (
        ("user", (creds.uid, creds.euid, creds.suid), facts.uid_map),
        ("group", (creds.gid, creds.egid, creds.sgid, *creds.groups), facts.gid_map),
    ):
        for number in numbers:
            if map_ and number != 0xFFFFFFFF and not _is_mapped(number, map_):
                text = f"the {what} id {number} of thread {tid} does not exist here"
                c.add("creds-ids", text, t.pid, f"core-{tid}.img")
                break


def _is_mapped(number: int, map_: Iterable[list[int]]) -> bool:
    return any(first <= number < first + count for first, _, count in map_)


def _processor(c: Context, t: TaskView, tid: int, core: pb.core_entry, facts: Facts) -> None:
    fp = core.thread_info.fpregs
    if not facts.cpu_flags or not fp.HasField("xsave"):
        return
    for component, flag in COMPONENTS.items():
        member, words = PARTS[component]
        if not fp.xsave.xstate_bv >> component & 1 or flag in facts.cpu_flags:
            continue
        if any(list(getattr(fp.xsave, member))[:words]):
            text = f"thread {tid} uses {member}, which this processor lacks ({flag})"
            c.add("here-cpu", text, t.pid, f"core-{tid}.img")
