# SPDX-License-Identifier: GPL-2.0-or-later
"""The dumps that are changed: live subjects, dumped now, and image sets of CRIU.

A base is called KIND:NAME: `fixture:tree` is an image set of CRIU, `live:tree` a subject of
tests/live, and any other kind one of MODES, another way to dump a subject.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from box import SOURCE, Box, Failed, mount, unshare
from subjects import BIG, NAMES, NET, OPTIONS, STOPPED, Subject

FIXTURES = Path(os.environ.get("TORPOR_FIXTURES", SOURCE.parent / "shared/fixtures"))
CLONE_NEWIPC = 0x08000000
INSTALLED = Path("/tmp/torpor-fixtures")
# in need of what one restore uses up, or what is outside: huge pages, hard links, network tunnels
USED_UP = {"hugetlb", "links", "tuns"}
# subjects that have tests of their own for what matters little here
ALSO = {"sysv", "mqueues"}


@dataclass(frozen=True)
class Mode:
    """Another way to dump: options, and how often memory is dumped before."""

    options: tuple[str, ...] = ()
    pre_dumps: int = 0
    subjects: tuple[str, ...] = ("mem_cow", "mem_shared", "threads")


MODES = {
    "chain": Mode(("--tracker", "hash"), 2),
    "lz4": Mode(("--compress",)),
    "zstd": Mode(("--compress=zstd:3,dict",)),
    "digest": Mode(("--page-filter", "digest", "--page-filter", "lz4:8"), 1),
}


def names() -> list[str]:
    """All bases there are."""
    live = sorted({*NAMES, *ALSO} - BIG - USED_UP)
    modes = [f"{mode}:{subject}" for mode, m in MODES.items() for subject in m.subjects]
    fixtures = sorted(p.parent.name for p in FIXTURES.glob("*/fixture.json"))
    return [*(f"live:{n}" for n in live), *modes, *(f"fixture:{n}" for n in fixtures)]


def needs_net(name: str) -> bool:
    """Whether it needs a network namespace of its own."""
    return name.partition(":")[2] in NET


# ------------------------------------------------------------------------------ files of the tasks


def _look(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(p.relative_to(folder)): (st.st_mode, st.st_size, st.st_mtime_ns)
        for p in folder.rglob("*")
        for st in [p.lstat()]
    }


@dataclass
class Place:
    """The files a dump needs, and how to put them back as they were."""

    folder: Path
    kept: Path
    before: dict[str, tuple[int, int, int]]

    @classmethod
    def keep(cls, folder: Path, kept: Path) -> Place:
        subprocess.run(["cp", "-a", str(folder), str(kept)], check=True)
        return cls(folder, kept, _look(folder))

    def put_back(self) -> bool:
        """Whether anything was to be put back."""
        if _look(self.folder) == self.before:
            return False
        for child in self.folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        subprocess.run(["cp", "-a", f"{self.kept}/.", str(self.folder)], check=True)
        self.before = _look(self.folder)
        return True


@dataclass
class Base:
    """A dump that is ready to be changed and restored."""

    name: str
    chain: list[Path]  # image sets, the one that is restored first
    place: Place
    restore: list[str] = field(default_factory=list)  # options
    net: bool = False


# ------------------------------------------------------------------------------------ making them


def chain_of(images: Path) -> list[Path]:
    """A set and the ones it builds on."""
    chain = [images]
    while (chain[-1] / "parent").is_symlink():
        chain.append((chain[-1] / "parent").resolve(strict=True))
    return chain


def _live(box: Box, kind: str, name: str) -> Base:
    mode = MODES.get(kind, Mode())
    unshare(CLONE_NEWIPC)
    s = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))
    s.start(stops=name in STOPPED)
    s.dump(*mode.options, *s.pre_dumps(mode.pre_dumps, *mode.options))
    s.kill()
    chain = chain_of(s.images)
    if len(chain) != 1 + mode.pre_dumps:
        raise Failed(f"{len(chain)} sets instead of {1 + mode.pre_dumps}")
    place = Place.keep(box.dir / "work", box.dir / "kept")
    return Base(f"{kind}:{name}", chain, place, list(s.options), name in NET)


def _fixture(box: Box, kind: str, name: str) -> Base:
    """Installed as their README says, in a mount of its own."""
    source = FIXTURES / name
    INSTALLED.mkdir(exist_ok=True)
    mount("tmpfs", str(INSTALLED), "tmpfs", 0, "mode=755")
    to = INSTALLED / name
    to.mkdir(mode=0o755)
    shutil.copy(source / "prog", to / "prog")
    (to / "prog").chmod(0o755)
    if (source / "files").exists():
        shutil.copytree(source / "files", to, dirs_exist_ok=True)
        for p in to.rglob("*"):
            if p.name != "prog":
                p.chmod(0o755 if p.is_dir() else 0o644)
    to.chmod(0o755)
    (to / "result").touch()
    (to / "result").chmod(0o666)
    if (source / "prepare").exists():
        subprocess.run(["sh", str(source / "prepare")], cwd=to, check=True)
    images = box.dir / "images"
    shutil.copytree(source / "images", images)
    place = Place.keep(to, box.dir / "kept")
    options = json.loads((source / "fixture.json").read_text()).get("restore_options") or []
    return Base(f"{kind}:{name}", [images], place, options)


def make(box: Box, name: str) -> Base:
    """Dumps or installs a base in a box."""
    kind, _, subject = name.partition(":")
    makers: dict[str, Callable[..., Any]] = {"fixture": _fixture}
    base = makers.get(kind, _live)(box, kind, subject)
    assert isinstance(base, Base)
    return base
