# SPDX-License-Identifier: GPL-2.0-or-later
"""A sample of mutated images (`make check-validator` tries thousands), and the harness itself."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, Box, Failed

sys.path[:0] = [str(Path(__file__).parent), str(BUILD / "python")]

import bases
import harness
from cases import Outcome, run_case
from entries import Folder, leaves
from matrix import SLOWEST, Case, Matrix, disagreements, good, slow
from mutate import WEIGHTS, copy_sets, mutate
from torpor.images import ImageSet

SAMPLE = [
    *("live:epolls", "live:fd_sharing", "live:inet_options", "live:mem_cow", "live:ptys"),
    *("live:posix_timers", "live:sysv", "live:tcp_streams", "live:threads", "live:unix_pairs"),
    *("live:filelocks", "live:zombies", "chain:mem_shared", "digest:threads"),
    *("fixture:files", "fixture:pipes", "fixture:stopped", "fixture:tree"),
]
CASES = 200
FIRST = 1000  # not the cases of `make check-validator`


def test_sample(torpor: Path) -> None:
    """Few cases of some dumps: both agree, nothing crashes, hangs or stays behind."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    names = [n for n in SAMPLE if n in bases.names()]
    cases, skipped = harness.run(CASES, names, FIRST)
    text = harness.text_of(cases, skipped)
    print(text)
    assert len(cases) + len(skipped) * (CASES // len(names) + 1) >= CASES, text
    # live dumps differ a little each time: one of 200 may be a case that was never seen before, and
    # `make check-validator` has the rates; those that are known to remain are no news
    news = [c for c in disagreements(cases) if not c.known]
    assert len(news) <= 1 and not any(c.wrong for c in cases), text
    assert len(disagreements(cases)) - len(news) <= CASES // 20, text


# ------------------------------------------------------------------------------------ page filters


def no_such_filter(folder: Folder, filters: Any, pagemaps: list[Any]) -> None:
    entries = folder.load(filters)
    entries[0].message.name += "x"
    folder.store(filters, entries)


def filters_nobody_names(folder: Folder, filters: Any, pagemaps: list[Any]) -> None:
    folder.store(filters, folder.load(filters)[:0])


def pages_of_another(folder: Folder, filters: Any, pagemaps: list[Any]) -> None:
    heads = [folder.load(p)[0].message.pages_id for p in pagemaps[:2]]
    entries = folder.load(pagemaps[1])
    assert entries[0].message.pages_id == heads[1] != heads[0]
    entries[0].message.pages_id = heads[0]
    folder.store(pagemaps[1], entries)


BROKEN = [
    (no_such_filter, "set-filters"),
    (filters_nobody_names, "set-filters"),
    (pages_of_another, "pages-shared"),
]


def filters(box: Box) -> None:
    """Sets with filtered pages which no restore could read: the validator says so by its rules."""
    base = bases.make(box, "lz4:mem_cow")
    for change, rule in BROKEN:
        images = copy_sets(base.chain, box.dir / "changed")[0]
        folder = Folder(images)
        of_tasks = [f for f in folder.found if f.kind.id == "PAGEMAP"]
        change(folder, next(f for f in folder.found if f.kind.id == "TORPOR_FILTERS"), of_tasks)
        out = run_case(box, base, images)
        if rule not in out.rules or not out.status:
            raise Failed(f"{change.__name__}: {out}")


def test_filters(boxed: Callable[..., Any]) -> None:
    boxed(filters)


# ------------------------------------------------------------------------------------------ fifos


def fifo_as_file(box: Box) -> None:
    """A fifo as program, folder or descriptor: a restore that opened it would wait forever."""
    base = bases.make(box, "live:fifos")
    for kind, member in (("MM", "exe_file_id"), ("FS", "cwd_id"), ("FDINFO", "id")):
        folder = Folder(copy_sets(base.chain, box.dir / "changed")[0])
        files = folder.load(next(f for f in folder.found if f.kind.id == "FILES"))
        regs = [e.message for e in files if e.message.HasField("reg")]
        fifo = next(m.id for m in regs if stat.S_ISFIFO(m.reg.mode))
        image = next(f for f in folder.found if f.kind.id == kind)
        entries = folder.load(image)
        setattr(entries[0].message, member, fifo)
        folder.store(image, entries)
        out = run_case(box, base, folder.path)
        if not out.rules or out.status != 1 or out.crash:
            raise Failed(f"{kind}: {out}")


def test_fifo_as_file(boxed: Callable[..., Any]) -> None:
    boxed(fifo_as_file)


# ---------------------------------------------------------------------------------------- stacks


def no_stack(box: Box) -> None:
    """An alternate stack of no bytes is none, in leaders and other threads, whatever its mode."""
    base = bases.make(box, "live:threads")
    for mode in (0, 1, 1 << 31, 2):
        folder = Folder(copy_sets(base.chain, box.dir / "changed")[0])
        for image in (f for f in folder.found if f.kind.id == "CORE"):
            entries = folder.load(image)
            sas = entries[0].message.thread_core.sas
            sas.ss_sp, sas.ss_size, sas.ss_flags = 0x1000, 0, mode
            folder.store(image, entries)
        out = run_case(box, base, folder.path)
        if out.rules or out.status or out.crash:
            raise Failed(f"mode 0x{mode:x}: {out}")


def test_no_stack(boxed: Callable[..., Any]) -> None:
    boxed(no_stack)


# ------------------------------------------------------------------------------ the harness itself


def case(rules: int, status: int, **more: object) -> Case:
    return Case("x", 0, "how: what", Outcome(["r"] * rules, status=status, **more))  # type: ignore[arg-type]


def test_matrix() -> None:
    """What counts as what."""
    both = [case(1, 1)] * 98 + [case(0, 0)]
    assert Matrix.of(both) == Matrix(98, 1, 0, 0)
    assert good(both)
    assert Matrix.of([*both, case(1, 0), case(1, 0)]).precision == 0.98
    assert Matrix.of([*both, case(0, 1), case(0, 1)]).recall == 0.98
    assert not good([*both, case(0, 1), case(0, 1)])
    for wrong in ({"crash": "it did"}, {"left": ["task 5"]}, {"seconds": 40.0}):
        assert not good([*both, case(1, 1, **wrong)])
    assert slow([*both, case(1, 1, restore_seconds=2 * SLOWEST)]) and not slow(both)


def test_known() -> None:
    """Which disagreements are known to remain, and that nothing else hides among them."""
    said = "page filter 'digest' finds damaged bytes, while decoding the extent of page 0x1000"
    assert case(0, 1, reason=said).known
    assert case(0, 1, reason="page filters make 8 bytes of it, not 4096: it is damaged").known
    for news in (
        case(1, 0, reason=said),
        case(0, 1, reason=said, crash="it did"),
        case(0, 1, reason="cannot open '/x': No such file or directory"),
        case(0, 1),
    ):
        assert news in disagreements([news]) and not news.known


def fixture_set() -> Path:
    found = bases.FIXTURES / "tree/images"
    if not found.exists():
        pytest.skip("there are no fixtures")
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_numbers_decide(tmp_path: Path) -> None:
    """The same number makes the same change, and every mutation changes something."""
    source = fixture_set()
    before = {f"images/{name}": data for name, data in content(source).items()}
    done = set()
    for number in range(150):
        folder, first = mutate([source], tmp_path / "a", "x", number)
        again = mutate([source], tmp_path / "b", "x", number)
        assert (tmp_path / "b/images", first) == again
        changed = content(tmp_path / "a")
        assert changed == content(tmp_path / "b")
        assert changed != before, first
        assert folder.name == "images"
        done.add(first.partition(":")[0])
    assert content(source) == {name.partition("/")[2]: data for name, data in before.items()}
    chains = {"replace_parent"}  # these images have no parent
    assert {f.__name__ for f in WEIGHTS} - chains <= done


def test_leaves() -> None:
    """Every value of a message can be reached by its place."""
    with ImageSet(fixture_set()) as images:
        found = {leaf.place: leaf.value for m in images.messages("FILES") for leaf in leaves(m)}
    assert found["id"] > 0
    assert found["reg.name"].startswith("/")
