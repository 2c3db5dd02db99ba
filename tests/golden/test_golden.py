# SPDX-License-Identifier: GPL-2.0-or-later
"""Image sets that CRIU wrote (TORPOR_FIXTURES): decoded to the last byte and encoded again equally.

Every set is copied twice by tests/tools/image-copy: image by image, and through the world as a dump
would save it. The copies have the same bytes, and Debian's crit decodes and encodes them.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from box import BUILD, SOURCE
from crit317 import of_317, reencode

FOLDER = Path(os.environ.get("TORPOR_FIXTURES", SOURCE.parent / "shared/fixtures"))
NAMES = sorted(p.parent.name for p in FOLDER.glob("*/fixture.json"))
COPY = BUILD / "tests/tools/image-copy"
MAGICS = (0x54564319, 0x55105940)  # common, service

each_set = pytest.mark.parametrize("name", NAMES or [pytest.param("", id="none")])


@pytest.fixture
def images(name: str) -> Path:
    """The images of one fixture."""
    if not name:
        pytest.skip(f"there are no image sets in {FOLDER}")
    return FOLDER / name / "images"


def copy(how: str, source: Path, target: Path) -> str:
    """'' or what image-copy says."""
    target.mkdir()
    done = subprocess.run(
        [COPY, how, source, target], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode not in (0, 1):
        pytest.fail(f"image-copy ended with {done.returncode}\n{done.stderr}", pytrace=False)
    return done.stderr.strip()


def zombies(images: Path) -> set[int]:
    """Tasks of a set that are dead, as fixture.json says."""
    return set(json.loads((images.parent / "fixture.json").read_text())["zombies"])


def differences(old: Path, new: Path) -> list[str]:
    """Files that are in only one folder or have other bytes."""
    names = {p.name for p in old.iterdir()} | {p.name for p in new.iterdir()}
    return sorted(
        n
        for n in names
        if not ((old / n).exists() and (new / n).exists())
        or (old / n).read_bytes() != (new / n).read_bytes()
    )


def crit(*words: str | Path) -> str:
    """Runs crit and returns what it prints."""
    done = subprocess.run(["crit", *words], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.fail(f"crit {words}: {done.stderr[-500:]}", pytrace=False)
    return done.stdout


@each_set
def test_each_image(images: Path, tmp_path: Path) -> None:
    """Nothing unknown, nothing left over, the same bytes."""
    assert copy("each", images, tmp_path / "copy") == ""
    assert differences(images, tmp_path / "copy") == []


@each_set
def test_through_world(images: Path, tmp_path: Path) -> None:
    """The world holds everything; only what stands in a zombie's list of threads is ours."""
    assert copy("world", images, tmp_path / "copy") == ""
    dead = zombies(images)
    changed = differences(images, tmp_path / "copy")
    assert changed == (["pstree.img"] if "pstree.img" in changed and dead else [])
    if changed and shutil.which("crit"):
        trees = []
        for folder in (images, tmp_path / "copy"):
            tree = json.loads(crit("decode", "-i", folder / "pstree.img"))["entries"]
            trees.append([t | {"threads": [0]} if t["pid"] in dead else t for t in tree])
        assert trees[0] == trees[1]


@each_set
def test_first_layout(images: Path, tmp_path: Path) -> None:
    """Sets of the first layout, without the common magic, give the same copy."""
    old = tmp_path / "old"
    shutil.copytree(images, old)
    for image in old.iterdir():
        data = image.read_bytes()
        if data[:4] in (struct.pack("<I", m) for m in MAGICS):
            image.write_bytes(data[4:])
    inventory = bytearray((old / "inventory.img").read_bytes())
    assert inventory[8:10] == b"\x08\x02"  # img_version, the first field
    inventory[9] = 1
    (old / "inventory.img").write_bytes(inventory)
    assert copy("each", old, tmp_path / "copy") == ""
    assert differences(images, tmp_path / "copy") == ["inventory.img"]


@each_set
def test_crit(images: Path, tmp_path: Path) -> None:
    """crit makes the same bytes from what torpor wrote, but for fields it does not know."""
    if not shutil.which("crit"):
        pytest.skip("crit is not installed (package criu)")
    assert copy("world", images, tmp_path / "copy") == ""
    made = [i for i in (tmp_path / "copy").iterdir() if not i.name.startswith("pages-")]
    assert reencode(made) == ""
    for image in made:
        again = image.with_name(image.name + ".again").read_bytes()
        assert again == of_317(image.name, image.read_bytes()), image.name


# what can be missing without a trace: lists which may be empty, and what the loader does not read
MAY_MISS = ("pages-", "pagemap-", "stats-", "seccomp", "timens", "ghost-", "pipes-data", "fifo-data")


@each_set
def test_missing(images: Path, tmp_path: Path) -> None:
    """A missing image is named; a list that is missing is an empty list."""
    for image in sorted(images.iterdir()):
        if image.name.startswith((*MAY_MISS, "memfd", "remap-fpath", "files")):
            continue
        broken = tmp_path / "broken"
        shutil.copytree(images, broken, copy_function=os.link)
        (broken / image.name).unlink()
        said = copy("world", broken, tmp_path / "copy")
        assert image.name in said, f"{image.name}: '{said}'"
        shutil.rmtree(broken)
        assert not list((tmp_path / "copy").iterdir())
        (tmp_path / "copy").rmdir()


def lengths(size: int) -> list[int]:
    """Where image-copy cuts: at each of the first bytes, and at some sixty more."""
    step = size // 60
    return [at for at in range(size) if at < 24 or step < 2 or (at - 24) % step == 0]


@each_set
def test_cut(images: Path, tmp_path: Path) -> None:
    """Cut at any byte: a sentence that names the image, or one message less; nothing stays."""
    broken = tmp_path / "broken"
    shutil.copytree(images, broken)
    names = [
        i.name
        for i in sorted(broken.glob("*.img"))
        if not i.name.startswith(("pages-", "ghost-", "pagemap-"))
    ]
    for name in names:
        (broken / name).chmod(0o600)
    (tmp_path / "copy").mkdir()
    done = subprocess.run(
        [COPY, "cuts", broken, tmp_path / "copy", *names],
        capture_output=True, text=True, errors="replace", timeout=3000, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{done.returncode} at {lines[-1:]}: {done.stderr}"
    said = [line.split("\t") for line in lines]
    for name, length, sentence in said:
        assert not sentence or "image" in sentence or ".img" in sentence, (name, length, sentence)
    for name in names:
        cuts = {int(length): sentence for n, length, sentence in said if n == name}
        assert sorted(cuts) == lengths((images / name).stat().st_size), name
        assert all(cuts[length] for length in range(1, 8)), name
    assert not differences(images, broken)
