# SPDX-License-Identifier: MIT
"""Runs all rules over a set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torpor.images import ImageError, ImageSet
from torpor.images import messages as pb
from torpor.resgraph import Graph, explain, explain_text
from torpor.validate import (
    proportion,
    rules_file,
    rules_here,
    rules_ipc,
    rules_load,
    rules_memory,
    rules_remap,
    rules_sealed,
    rules_sock,
    rules_space,
    rules_thread,
    rules_tty,
    rules_world,
)
from torpor.validate.context import Context, Options
from torpor.validate.facts import Facts
from torpor.validate.findings import Finding, Findings
from torpor.validate.rule import Severity


@dataclass
class Report:
    """What came out."""

    path: str
    findings: Findings
    graph: Graph
    seconds: float
    target: str = ""
    """Kernel and architecture it was judged for; "" if for none."""
    ways: dict[int, str] = field(default_factory=dict)

    @property
    def restorable(self) -> bool:
        """Whether nothing of severity error was found."""
        worst = self.findings.worst()
        return worst is None or worst < Severity.ERROR

    @property
    def warned(self) -> bool:
        """Whether there are warnings."""
        return any(f.severity == Severity.WARNING for f in self.findings.found)

    def rules(self, severity: Severity = Severity.ERROR) -> set[str]:
        """Ids of broken rules of at least this severity."""
        return {f.rule_id for f in self.findings.found if f.severity >= severity}

    def way(self, finding: Finding) -> str:
        """How the task of a finding and the object it is about hang together; "" if they do not."""
        if finding.node is None or not finding.task:
            return ""
        task = self.graph.find("task", finding.task)
        node = self.graph.node(finding.node)
        if task is None or task == node:
            return ""
        if finding.node not in self.ways:
            steps = explain(self.graph, task, node)
            self.ways[finding.node] = explain_text(task, steps) if steps else ""
        return self.ways[finding.node]


def _used_files(c: Context) -> None:
    """Open files that restore makes: those a live task, a queue or another such file refers to."""
    for fds in c.tables.values():
        c.opened.update(fd.id for fd in fds)
    for packet in c.all(pb.sk_packet_entry, "SK_QUEUES"):
        for scm in packet.scm:
            c.opened.update(scm.rights)
    for extra in c.extras.values():
        c.opened.update(w.file for w in extra.watched)
        c.watched.update({(w.epoll, w.index): w.file for w in extra.watched})
    c.used |= c.opened


def _names(c: Context) -> None:
    """What other files are opened by, and what areas and tasks refer to."""
    for node in c.graph.nodes("file"):
        if not isinstance(node.key, int):
            continue
        # chdir(2) and chroot(2) go through descriptors
        if any(True for _ in node.into("works in", "rooted in")):
            c.opened.add(node.key)
            c.used.add(node.key)
        elif any(True for _ in node.into("maps", "runs")):
            c.used.add(node.key)
    for id_ in list(c.used):
        entry = c.files.get(id_)
        if entry is not None and entry.HasField("fifo") and entry.fifo.HasField("regf_id"):
            c.used.add(entry.fifo.regf_id)
        if entry is not None and entry.HasField("tty") and rules_tty.by_name(c, entry.tty):
            c.used.add(entry.tty.regf_id)


def _shared_lists(c: Context) -> None:
    """Lists that rules look things up in."""
    for edge in (e for n in c.graph.nodes("mm") for e in n.out("runs")):
        if isinstance(edge.target.key, int):
            c.programs.add(edge.target.key)
    for inode in c.all(pb.memfd_inode_entry, "MEMFD_INODE"):
        c.memfds[inode.inode_id & 0xFFFFFFFF] = inode  # files have 32 bits of it
    for data in c.all(pb.bpfmap_data_entry, "BPFMAP_DATA"):
        c.bpf_contents.setdefault(data.map_id, data)
    for info in c.all(pb.tty_info_entry, "TTY_INFO"):
        c.ttys[info.id] = info
    for extra in c.file_extras.values():
        if extra.HasField("mqueue") and extra.mqueue.HasField("content"):
            c.queue_contents.setdefault(extra.mqueue.queue, extra.mqueue.content)
    for entry in c.all(pb.seccomp_entry, "SECCOMP"):
        c.filters.extend(entry.seccomp_filters)


def _tasks(c: Context) -> None:
    owners: set[int] = set()
    for entry in c.tree:
        t = c.view(entry)
        if not t.alive:
            continue
        table = c.table_of.get(t.pid)
        t.owns_table = table is not None and table not in owners
        if table is not None:
            owners.add(table)
        rules_world.task(c, t)
        rules_thread.task(c, t)
        rules_memory.task(c, t)
        if c.here is not None:
            rules_here.task(c, t, c.here)


def validate(
    images: ImageSet, options: Options | None = None, target: Facts | None = None
) -> Report:
    """Can the set be restored? With `target` also: on that computer?

    Everything that is wrong in the images is a finding; OSError is only raised when the directory
    itself cannot be read.
    """
    begin = time.monotonic()
    excess = proportion.problem(images)
    graph = Graph(images, ("INVENTORY",) if excess else None)
    c = Context(images, graph, options or Options(), target)
    if excess:
        c.add("image-memory", excess)
    elif rules_load.load(c):
        _shared_lists(c)
        _used_files(c)
        _names(c)
        rules_world.world(c)
        _tasks(c)
        rules_memory.shared(c)
        rules_file.files(c)
        rules_remap.remaps(c)
        rules_tty.terminals(c)
        rules_ipc.objects(c)
        rules_sock.sockets(c)
        rules_space.spaces(c)
        rules_load.unknown(c)
        rules_sealed.sealed(c)
        if target is not None:
            rules_here.here(c, target)
            rules_ipc.here(c, target)
    for extra in c.chain[1:]:
        extra.close()
    name = f"{target.kernel} {target.arch}".strip() or "that computer" if target else ""
    return Report(str(images.path), c.findings, graph, time.monotonic() - begin, name)


def paths_of(images: ImageSet) -> list[str]:
    """Paths a restore of the set would open."""
    excess = proportion.problem(images)
    if excess:
        raise ImageError(str(images.path), excess, None, "image-memory")
    c = Context(images, Graph(images), Options())
    if rules_load.load(c):
        _shared_lists(c)
        _used_files(c)
        _names(c)
    return rules_here.paths(c)


__all__: Sequence[str] = ["Report", "paths_of", "validate"]
