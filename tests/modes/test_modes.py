# SPDX-License-Identifier: GPL-2.0-or-later
"""Live subjects again, with memory going other ways than from a task into plain files.

`make check` runs SAMPLE, `make check-modes` every subject in every mode.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from box import SOURCE, Box, Failed
from daemons import Daemon, Server, make_certificates, merge, tls_options
from elsewhere import Network, move, start_high
from subjects import BIG, HUGE, NAMES, NET, OPTIONS, STOPPED, Subject

EXAMPLE = SOURCE / "examples/page-filter-xor"


@dataclass(frozen=True)
class Mode:
    """One way: what is said to dump and to restore."""

    dump: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    needs: str = "torpor-filters"  # an image that shows that the mode was in effect
    plugin: bool = False  # needs the example filter, whose path is XOR
    pre_dumps: int = 0  # before each dump, with the same options
    server: bool = False  # pages go to a page server
    tls: bool = False  # and inside of TLS
    lazy: bool = False  # memory is restored by lazy-pages
    moves: bool = False  # elsewhere, from a dump that keeps the memory


MODES = {
    "lz4": Mode(("--compress",)),
    "zstd": Mode(("--compress=zstd",)),
    "zstd-dict": Mode(("--compress=zstd:3,dict",)),
    "digest-lz4": Mode(("--page-filter", "digest", "--page-filter", "lz4:8")),
    "lz4-aes-gcm": Mode(
        ("--compress", "--encrypt", "--recipient", "KEY"), ("--identity", "KEY"), "torpor-manifest"
    ),
    "chacha": Mode(
        ("--encrypt=chacha20-poly1305", "--recipient", "KEY"),
        ("--identity", "KEY"),
        "torpor-manifest",
    ),
    "plugin-zstd": Mode(
        ("--page-filter", "XOR:7", "--compress=zstd"), ("--page-filter", "XOR"), plugin=True
    ),
    "plugin": Mode(("--page-filter", "xor", "-L", "DIR"), ("-L", "DIR"), plugin=True),
    "pre-dumps": Mode(("--tracker", "auto"), (), "parent", pre_dumps=3),
    "pre-dumps-hash-zstd": Mode(("--tracker", "hash", "--compress=zstd"), (), "parent", pre_dumps=3),
    "pre-dumps-encrypted": Mode(
        ("--compress", "--encrypt", "--recipient", "KEY", "--identity", "KEY"),
        ("--identity", "KEY"),
        "parent",
        pre_dumps=2,
    ),
    "server": Mode(needs="inventory.img", server=True),
    "server-tls-zstd": Mode(("--compress=zstd",), server=True, tls=True),
    "lazy": Mode((), ("--lazy-pages",), "inventory.img", lazy=True),
    "lazy-zstd-pre-dump": Mode(
        ("--compress=zstd",), ("--lazy-pages",), "parent", pre_dumps=1, lazy=True
    ),
    "remote-lazy": Mode(moves=True),
    "mmap": Mode((), ("--mmap",), "inventory.img"),
}

# what a mode cannot keep: pages that tasks have in common are brought to each of them, and two areas
# side by side become one when all their pages are there; as long as pages lack, areas have a flag more
LAZY_LIMITS = {"mem_cow", "mem_private", "mlock_madvise"}
# what two computers do not have in common, but both sides of this one: fifos and their bytes, locks
# and leases, pseudoterminals, ports of vsock; what is another one behind --mount-proc; and persistent
# network tunnels, which somebody has to make over there
BOTH_SIDES = {"fifos", "filelocks", "ptys", "vsocks", "watches", "pidfds", "tuns"}
# a call made by syscall(3) that was interrupted before, by a pre-dump, ends with EINTR
STOPPED_LIMITS = {"restarts"}
# looks at the names of its areas: mapped ones have that of the pages file
MMAP_LIMITS = {"mem_private"}
LIMITS = {
    "mmap": MMAP_LIMITS,
    "lazy": LAZY_LIMITS,
    "lazy-zstd-pre-dump": LAZY_LIMITS,
    "remote-lazy": LAZY_LIMITS | BOTH_SIDES,
}

SAMPLE = [
    ("lz4", "mem_private"),
    ("lz4", "mem_cow"),
    ("lz4", "mem_shared"),
    ("lz4", "hugetlb"),
    ("zstd", "tree"),
    ("zstd", "mem_args"),
    ("zstd-dict", "mem_private"),
    ("digest-lz4", "vdso"),
    ("digest-lz4", "deleted"),
    ("lz4-aes-gcm", "mem_cow"),
    ("lz4-aes-gcm", "deleted"),
    ("chacha", "tree"),
    ("plugin-zstd", "mem_private"),
    ("plugin", "mem_cow"),
    ("pre-dumps", "mem_cow"),
    ("pre-dumps", "mem_files"),
    ("pre-dumps", "threads"),
    ("pre-dumps-hash-zstd", "mem_private"),
    ("pre-dumps-hash-zstd", "mem_shared"),
    ("pre-dumps-encrypted", "mem_private"),
    ("server", "mem_cow"),
    ("server", "deleted"),
    ("server-tls-zstd", "mem_shared"),
    ("server-tls-zstd", "mem_private"),
    ("lazy", "hugetlb"),
    ("lazy", "vdso"),
    ("lazy-zstd-pre-dump", "mem_stack_brk"),
    ("remote-lazy", "hugetlb"),
    ("remote-lazy", "mem_shared"),
    ("remote-lazy", "pipes"),
    ("mmap", "mem_files"),
    ("mmap", "mem_args"),
]


def cases() -> Iterator[Any]:
    everything = os.environ.get("TORPOR_MODES") == "all"
    for mode in MODES:
        for name in NAMES:
            limits = LIMITS.get(mode, set()) | (STOPPED_LIMITS if MODES[mode].pre_dumps else set())
            wanted = (everything and name not in limits) or (mode, name) in SAMPLE
            if wanted:
                yield pytest.param(mode, name, id=f"{mode}-{name}")


def prepare(box: Box, m: Mode) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is said to dump and restore, with files in place of their names."""
    files = {"KEY": str(box.dir / "key"), "XOR": str(box.dir / "xor.so"), "DIR": str(box.dir)}
    if "KEY" in m.dump and box.torpor("keygen", "--output", files["KEY"]).status != 0:
        raise Failed("no key was made")
    if m.plugin:
        done = box.run(["make", "-C", EXAMPLE, f"OUT={box.dir}", "check"])
        if done.status != 0:
            raise Failed(str(done))

    def named(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(":".join(files.get(part, part) for part in w.split(":")) for w in words)

    return named(m.dump), named(m.restore)


def dump_to_server(s: Subject, tls: list[str], *options: str) -> None:
    server = Server(s.box, s.box.dir / f"pages-{s.rounds}", *tls)
    s.dump(*options, *server.options, *tls)
    server.end()
    if list(s.images.glob("pages-*")):
        raise Failed("there are pages in the images directory")
    merge(server.images, s.images)


def run_move(box: Box, name: str) -> None:
    """Once: it finishes in a network and with pids of its own, while it stands still here."""
    s = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))
    start_high(box, s, stops=name in STOPPED)
    move(box, s, net=Network(box))


def run_mode(box: Box, mode: str, name: str) -> None:
    """Twice, so that what was restored is saved again."""
    m = MODES[mode]
    if m.moves:
        run_move(box, name)
        return
    dump, restore = prepare(box, m)
    if m.tls:
        make_certificates(box.dir / "tls")
    tls = tls_options(box.dir / "tls", "good") if m.tls else []
    s = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))
    s.restore_options = restore
    s.start(stops=name in STOPPED)
    daemon = None
    for _ in range(2):
        if daemon:
            daemon.end()
        previous = s.pre_dumps(m.pre_dumps, *dump)
        if m.server:
            dump_to_server(s, tls, *dump, *previous)
        else:
            s.dump(*dump, *previous)
        if not (s.images / m.needs).exists():
            raise Failed(f"there is no image {m.needs}: the mode was not in effect")
        daemon = Daemon(box, s.images) if m.lazy else None
        s.restore()
    s.finish()
    if daemon:
        daemon.end()


@pytest.mark.parametrize(("mode", "name"), cases())
def test_mode(boxed: Callable[..., Any], request: Any, mode: str, name: str) -> None:
    if name in HUGE:
        request.getfixturevalue("huge_pages")
    limit = {"timeout": 400} if name in BIG else {}
    boxed(run_mode, mode=mode, name=name, net=name in NET or MODES[mode].moves, **limit)
