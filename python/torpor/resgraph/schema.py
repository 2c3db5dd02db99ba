# SPDX-License-Identifier: MIT
"""What nodes and edges there can be: two tables.

An edge reads "SOURCE reason TARGET": "descriptor 3 of table 1 refers file 7". Where `needs` is set
the source cannot be made before the target is there; that gives the order of a restore.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Origin(enum.Enum):
    """Where nodes of a kind come from."""

    ENTRY = "entry"  # an entry of an image; without one it is missing
    IMPLIED = "implied"  # the images only refer to it, by a number
    OUTSIDE = "outside"  # belongs to the computer, not to the images


class NodeKind(NamedTuple):
    """A kind of node: what its key is, and what people call it."""

    name: str
    origin: Origin
    key: str
    about: str


class Reason(NamedTuple):
    """A kind of edge."""

    name: str
    needs: bool
    about: str


_E, _I, _O = Origin.ENTRY, Origin.IMPLIED, Origin.OUTSIDE

NODE_KINDS: dict[str, NodeKind] = {
    k.name: k
    for k in (
        NodeKind("inventory", _E, "0", "the head of the image set"),
        NodeKind("task", _E, "pid", "process"),
        NodeKind("thread", _E, "tid", "thread; the leader has the number of its task"),
        NodeKind("session", _I, "sid", "session"),
        NodeKind("group", _I, "pgid", "process group"),
        NodeKind("mm", _E, "pid", "address space"),
        NodeKind("area", _E, "(pid, start)", "memory area"),
        NodeKind("aio", _E, "(pid, address)", "ring of asynchronous I/O"),
        NodeKind("pagemap", _E, "('task', pid), ('shmem', id)", "list of page runs"),
        NodeKind("run", _E, "(*pagemap, index)", "consecutive pages"),
        NodeKind("touched", _E, "index", "pages touched after a lazy restore"),
        NodeKind("pages", _E, "pages id", "file with page contents"),
        NodeKind("layer", _O, "number in the chain", "image set this one builds on"),
        NodeKind("shmem", _I, "shmem id", "shared anonymous memory"),
        NodeKind("fdtable", _I, "files_id", "descriptor table"),
        NodeKind("fd", _E, "(files_id, number)", "descriptor"),
        NodeKind("fs", _E, "pid", "working and root directory"),
        NodeKind("file", _E, "file id", "open file"),
        NodeKind("path", _O, "(mount id, path)", "path of the file system"),
        NodeKind("remap", _E, "file id", "where a file without a name is found"),
        NodeKind("ghost", _E, "ghost id", "content of a deleted file"),
        NodeKind("memfd", _E, "inode id", "file in memory"),
        NodeKind("pipe", _I, "pipe id", "pipe"),
        NodeKind("fifo", _I, "inode", "named pipe"),
        NodeKind("packet", _E, "index", "data queued in a socket"),
        NodeKind("stream", _E, "inode", "state of a TCP connection"),
        NodeKind("socket", _O, "inode", "socket of somebody else"),
        NodeKind("tty", _E, "tty id", "terminal side"),
        NodeKind(
            "watch", _E, "(file id, index)", "what an epoll, inotify or fanotify file watches"
        ),
        NodeKind("inode", _O, "(device, inode)", "inode known by its number"),
        NodeKind("lock", _E, "index", "file lock"),
        NodeKind("timer", _E, "(pid, id)", "timer: real, virtual, profiling or a posix id"),
        NodeKind("signal", _E, "(tid or -pid, index)", "pending signal"),
        NodeKind("creds", _I, "digest", "credentials that threads have in common"),
        NodeKind("filter", _E, "index", "seccomp filter"),
        NodeKind("ns", _I, "(type, id)", "namespace"),
        NodeKind("mount", _E, "mount id", "mount"),
        NodeKind("peers", _I, "peer group", "mounts that propagate to each other"),
        NodeKind("superblock", _I, "device", "file system instance"),
        NodeKind("device", _E, "(net ns id, index)", "network device"),
        NodeKind("cgset", _E, "set id", "set of control groups"),
        NodeKind("cgroup", _I, "(controllers, path)", "control group"),
        NodeKind("shm", _E, "(ipc ns id, id)", "System V shared memory"),
        NodeKind("sem", _E, "(ipc ns id, id)", "System V semaphores"),
        NodeKind("msg", _E, "(ipc ns id, id)", "System V message queue"),
        NodeKind("bpfmap", _E, "map id", "BPF map"),
        NodeKind("external", _O, "name", "resource that the caller of the restore provides"),
    )
}

REASONS: dict[str, Reason] = {
    r.name: r
    for r in (
        Reason("child of", True, "task to the task that made it"),
        Reason("thread of", True, "thread to its task"),
        Reason("in session", True, "task to its session"),
        Reason("in group", True, "task to its process group"),
        Reason("leads", False, "task to its own session or group"),
        Reason("made by", True, "session or group to the task that leads it"),
        Reason("in", True, "part to what it is part of: area, ring, descriptor, timer, lock ..."),
        Reason("of", True, "what a task or an object has to it"),
        Reason("shares", True, "task to the descriptor table of another task"),
        Reason("runs", True, "address space to the program file"),
        Reason("maps", True, "area to file, shared memory or socket"),
        Reason("content in", True, "memory to the list of its pages"),
        Reason("fills", False, "page run to the areas it lies in"),
        Reason("stored in", True, "pagemap to the file with its pages"),
        Reason("builds on", True, "pagemap to the image set that holds some of its pages"),
        Reason("refers", True, "descriptor to open file"),
        Reason("works in", True, "task's directories to the working directory"),
        Reason("rooted in", True, "task's directories to the root directory"),
        Reason("opened as", True, "fifo, terminal or tun to the file that names it"),
        Reason("at", True, "file to its path, watch to what it watches by name"),
        Reason("lies on", True, "file to mount"),
        Reason("found by", True, "file without a name to what leads to it"),
        Reason("kept in", True, "what leads to a file to ghost, link or dead task"),
        Reason("end of", True, "file to pipe, fifo or memory file"),
        Reason("peer", False, "socket to the socket it is connected with"),
        Reason("waits at", True, "connection to the listener that has not accepted it"),
        Reason("queued in", True, "data to the socket that will receive them"),
        Reason("carries", True, "data to a file in flight"),
        Reason("connection of", True, "state of a TCP connection to its socket"),
        Reason("is", True, "file to terminal, BPF map, namespace or task"),
        Reason(
            "slave of", True, "terminal side to its master, mount to the group it receives from"
        ),
        Reason("controls", False, "terminal to its session"),
        Reason("foreground", False, "terminal to its foreground group"),
        Reason("watches", True, "watch to file"),
        Reason("locks", True, "lock to descriptor"),
        Reason("held by", True, "lock to task"),
        Reason("notifies", True, "timer to thread"),
        Reason("signals", False, "file to the task or group that gets its signals"),
        Reason("runs as", True, "thread to credentials"),
        Reason("filtered by", True, "thread to its newest filter"),
        Reason("behind", True, "filter to the older one"),
        Reason("lives in", True, "task, socket or object to namespace"),
        Reason("mounted on", True, "mount to mount"),
        Reason("shares with", False, "mount to its peer group"),
        Reason("view of", True, "mount to file system instance"),
        Reason("port of", True, "network device to its master"),
        Reason("in cgroups", True, "thread to its set of control groups"),
        Reason("holds", True, "set to control group"),
        Reason("provided as", True, "object to the external resource that stands for it"),
    )
}
