# SPDX-License-Identifier: MIT
"""What people call a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torpor.images import ImageError, crit, hints
from torpor.images import messages as pb
from torpor.resgraph.store import Key

if TYPE_CHECKING:
    from torpor.resgraph.graph import Node

MAX = 120


def _key_text(key: Key) -> str:
    if isinstance(key, tuple):
        return " ".join(str(k) for k in key)
    return str(key)


def _plain(node: Node) -> str:
    return f"{node.kind} {_key_text(node.key)}"


def _task(node: Node) -> str:
    thread = node.graph.find("thread", node.key)
    core = thread.message if thread else None
    comm = core.tc.comm if isinstance(core, pb.core_entry) and core.HasField("tc") else ""
    return f"task {node.key}" + (f" '{crit.text_of(comm)}'" if comm else "")


def _thread(node: Node) -> str:
    core = cast(pb.core_entry, node.message)
    comm = core.thread_core.comm or core.tc.comm if core else ""
    return f"thread {node.key}" + (f" '{crit.text_of(comm)}'" if comm else "")


def _area(node: Node) -> str:
    area = cast(pb.vma_entry, node.message)
    rights = "".join(c if area.prot & 1 << i else "-" for i, c in enumerate("rwx"))
    pid = cast("tuple[int, int]", node.key)[0]
    return f"area 0x{area.start:x}-0x{area.end:x} {rights} of task {pid}"


def _run(node: Node) -> str:
    owner, number, index = cast("tuple[str, int, int]", node.key)
    run = node.graph.pagemap(owner, number)[index]
    flags = hints.RUN.show(run.flags)
    pages = "1 page" if run.pages == 1 else f"{run.pages} pages"
    return f"{pages} at 0x{run.address:x} of {owner} {number} ({flags})"


def _file(node: Node) -> str:
    details: Any = node.details
    name = getattr(details, "name", "")
    if isinstance(name, bytes):
        name = name.decode("utf-8", "backslashreplace").rstrip("\0").replace("\0", "@")
    text = f" '{name}'" if name else ""
    return f"file {_key_text(node.key)} {node.type or '?'}{text}"


def _fd(node: Node) -> str:
    table, number = cast("tuple[int, int]", node.key)
    return f"descriptor {number} of table {table}"


def _timer(node: Node) -> str:
    pid, number = cast("tuple[int, object]", node.key)
    return f"timer {number} of task {pid}"


def _signal(node: Node) -> str:
    owner, index = cast("tuple[int, int]", node.key)
    message: Any = node.message
    number = int.from_bytes(message.siginfo[:4], "little") if message else "?"
    whose = f"task {-owner}" if owner < 0 else f"thread {owner}"
    return f"signal {number} ({index}) pending for {whose}"


def _named(member: str) -> Callable[[Node], str]:
    def make(node: Node) -> str:
        name = crit.text_of(getattr(node.message, member, ""))
        return f"{node.kind} {_key_text(node.key)} '{name}'"

    return make


def _watch(node: Node) -> str:
    file, index = cast("tuple[int, int]", node.key)
    return f"watch {index} of file {file}"


def _pagemap(node: Node) -> str:
    owner, number = cast("tuple[str, int]", node.key)
    whose = owner.replace("shmem", "shared memory").replace("elsewhere", "on a page server")
    return f"pages of {whose} {number}"


LABELS: dict[str, Callable[[Node], str]] = {
    "task": _task,
    "thread": _thread,
    "area": _area,
    "run": _run,
    "file": _file,
    "fd": _fd,
    "timer": _timer,
    "signal": _signal,
    "watch": _watch,
    "pagemap": _pagemap,
    "mm": lambda n: f"address space of task {n.key}",
    "fs": lambda n: f"directories of task {n.key}",
    "fdtable": lambda n: f"descriptor table {n.key}",
    "pages": lambda n: f"pages-{n.key}.img",
    "group": lambda n: f"process group {n.key}",
    "ghost": lambda n: f"deleted file {n.key}",
    "path": lambda n: f"'{_key_text(n.key)}'",
    "memfd": _named("name"),
    "mount": _named("mountpoint"),
    "device": _named("name"),
    "layer": lambda n: "parent images" if n.key == 1 else f"parent images {n.key}",
    "inventory": lambda n: "inventory",
}


def label(node: Node) -> str:
    """One line; what the images lack says so."""
    if node.missing:
        return f"{_plain(node)} (not in the images)"
    try:
        text = LABELS.get(node.kind, _plain)(node)
    except (ImageError, OSError, LookupError):
        text = _plain(node)
    text = text.encode("utf-8", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= MAX else text[: MAX - 3] + "..."
