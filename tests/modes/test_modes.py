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
from subjects import NAMES, NET, OPTIONS, Subject

EXAMPLE = SOURCE / "examples/page-filter-xor"


@dataclass(frozen=True)
class Mode:
    """One way: what is said to dump and to restore."""

    dump: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    needs: str = "torpor-filters"  # an image that shows that the mode was in effect
    plugin: bool = False  # needs the example filter, whose path is XOR
    pre_dumps: int = 0  # before each dump, with the same options


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
]


def cases() -> Iterator[Any]:
    everything = os.environ.get("TORPOR_MODES") == "all"
    for mode in MODES:
        for name in NAMES:
            if everything or (mode, name) in SAMPLE:
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


def run_mode(box: Box, mode: str, name: str) -> None:
    """Twice, so that what was restored is saved again."""
    m = MODES[mode]
    dump, restore = prepare(box, m)
    s = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))
    s.restore_options = restore
    s.start(stops=name == "stopped_root")
    for _ in range(2):
        previous = s.pre_dumps(m.pre_dumps, *dump)
        s.dump(*dump, *previous)
        if not (s.images / m.needs).exists():
            raise Failed(f"there is no image {m.needs}: the mode was not in effect")
        s.restore()
    s.finish()


@pytest.mark.parametrize(("mode", "name"), cases())
def test_mode(boxed: Callable[..., Any], huge_pages: None, mode: str, name: str) -> None:
    boxed(run_mode, net=name in NET, mode=mode, name=name)
