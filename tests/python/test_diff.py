# SPDX-License-Identifier: GPL-2.0-or-later
"""torpor diff: every kind of difference is found and named, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from box import BUILD
from conftest import FIXTURES
from torpor.images import ImageSet, ImageWriter, Kind, kinds, writer
from torpor.images import messages as pb


def torpor_diff(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [BUILD / "torpor", "diff", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    source = FIXTURES / "tree/images"
    if not source.exists():
        pytest.skip("there are no image sets")
    for name in "ab":
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def rewrite(folder: Path, kind: str, number: int, change: object) -> None:
    """Changes the list of messages of an image."""
    with ImageSet(folder) as images, images.open(kind, number) as image:
        messages = list(image.messages())
        assert callable(change)
        change(messages)
        path = folder / image.name
    path.write_bytes(writer.pack_image(kinds.BY_ID[kind], messages))


def test_nothing(pair: tuple[Path, Path]) -> None:
    assert torpor_diff(*pair) == (0, "")
    (pair[1] / "stats-dump").unlink()
    assert torpor_diff(*pair) == (0, "")
    assert torpor_diff(*pair, "--all")[0] == 1


def test_members(pair: tuple[Path, Path]) -> None:
    def change(messages: list[pb.pstree_entry]) -> None:
        messages[0].sid = 7
        del messages[2]
        messages.append(pb.pstree_entry(pid=9, ppid=20300, pgid=9, sid=9, threads=[9]))
        messages.reverse()

    rewrite(pair[1], "PSTREE", 0, change)
    status, text = torpor_diff(*pair)
    lines = text.splitlines()
    assert status == 1 and len(lines) == 3
    assert "pstree.img [20300].sid: 20300 -> 7" in lines
    assert any(x.startswith("pstree.img [20302]: {") and x.endswith("-> nothing") for x in lines)
    assert any(x.startswith("pstree.img [9]: nothing -> {") for x in lines)
    status, text = torpor_diff(*pair, "--json")
    found = json.loads(text)["differences"]
    assert {"image": "pstree.img", "at": "[20300].sid", "old": 20300, "new": 7} in found


def test_images(pair: tuple[Path, Path]) -> None:
    (pair[0] / "fs-20301.img").unlink()
    (pair[1] / "ids-20302.img").unlink()
    assert torpor_diff(*pair) == (
        1,
        "fs-20301.img: nothing -> there\nids-20302.img: there -> nothing\n",
    )
    assert torpor_diff(pair[0] / "core-20300.img", pair[1] / "core-20300.img") == (0, "")
    assert torpor_diff(pair[0], pair[1] / "core-20300.img")[0] == 2


def test_areas_and_registers(pair: tuple[Path, Path]) -> None:
    def protect(messages: list[pb.mm_entry]) -> None:
        messages[0].vmas[1].prot = 7

    def move(messages: list[pb.core_entry]) -> None:
        messages[0].thread_info.gpregs.ip = 0x1000

    rewrite(pair[1], "MM", 20300, protect)
    rewrite(pair[1], "CORE", 20300, move)
    status, text = torpor_diff(*pair)
    assert status == 1 and len(text.splitlines()) == 2
    assert 'PROT_EXEC" -> "PROT_READ | PROT_WRITE | PROT_EXEC"' in text
    assert 'core-20300.img thread_info.gpregs.ip: "0x' in text and '-> "0x1000"' in text


def test_pages(pair: tuple[Path, Path]) -> None:
    """One page changed, one that only one side has; and the same pages seen through a parent."""
    path = pair[1] / "pages-1.img"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    status, text = torpor_diff(*pair)
    assert status == 1
    assert "of the pages 1 differ, 0 are gone, 0 are new" in text and len(text.splitlines()) == 1
    data[5000] ^= 1
    path.write_bytes(data)

    def cut(messages: list[pb.pagemap_entry]) -> None:
        messages[-1].nr_pages -= 1

    rewrite(pair[1], "PAGEMAP", 20300, cut)
    status, text = torpor_diff(*pair)
    assert "0 differ, 1 are gone, 0 are new" in text


def test_pages_in_parent(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / "c")
    (tmp_path / "c/parent").symlink_to("../b")

    def defer(messages: list[pb.pagemap_entry]) -> None:
        for m in messages[1:]:
            m.flags = 1

    rewrite(tmp_path / "c", "PAGEMAP", 20300, defer)
    (tmp_path / "c/pages-1.img").write_bytes(b"")
    status, text = torpor_diff(pair[0], tmp_path / "c")
    assert status == 1 and "of the pages" not in text  # the runs differ, their contents do not
    assert "pagemap-20300.img" in text


def test_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    kind: Kind = kinds.BY_ID["PSTREE"]
    with pytest.raises(RuntimeError), ImageWriter(tmp_path / "pstree.img", kind) as out:
        out.put(pb.pstree_entry(pid=1, ppid=0, pgid=1, sid=1))
        raise RuntimeError
    assert not list(tmp_path.iterdir())
