# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties that hold for every image there can be (hypothesis).

The same examples each time; with PROPERTIES=N (`make check-properties`) N others for each property.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import rawimages

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torpor.images import KINDS, Image, ImageError, ImageSet, ImageWriter, crit, file_name, kinds
from torpor.images import messages as pb
from torpor.images.pages import Layer, PageMap, Segment, resolve

FRAMED = [k for k in KINDS if k.magic and k.message]
PAGE = 4096
MANY = int(os.environ.get("PROPERTIES", "0"))
settings.register_profile(
    "torpor", max_examples=MANY or 150, deadline=None, derandomize=not MANY, database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("torpor")
some_kind = st.sampled_from(FRAMED)
seeds = st.integers(0, 1 << 32)


@given(some_kind, seeds, st.sampled_from([1, 2]))
def test_read_and_write(tmp_path: Path, kind: kinds.Kind, seed: int, layout: int) -> None:
    """What is written is read again; what is read is written again, byte for byte."""
    data = rawimages.random_image(kind, random.Random(seed), layout)
    image = Image(memoryview(data), file_name(kind, 1), kind, layout)
    path = tmp_path / file_name(kind, 1)
    with ImageWriter(path, kind, layout) as out:
        for entry in image:
            out.put(entry.message, entry.payload)
    assert path.read_bytes() == data
    with Image.open(path) as again:
        assert again.kind.message == kind.message and len(again) == len(image)


@given(some_kind, seeds, st.booleans())
def test_json(kind: kinds.Kind, seed: int, pretty: bool) -> None:
    data = rawimages.random_image(kind, random.Random(seed))
    image = Image(memoryview(data), file_name(kind, 1), kind)
    assert crit.image_bytes(crit.image_json(image, pretty)) == data


@given(some_kind, st.binary(max_size=300))
def test_any_bytes(kind: kinds.Kind, body: bytes) -> None:
    """Whatever follows the header: entries or an ImageError; what can be read comes back."""
    data = kinds.header(kind) + body
    image = Image(memoryview(data), file_name(kind, 1), kind)
    try:
        value = crit.image_json(image)
    except ImageError:
        return
    assert crit.image_bytes(value) == data


@given(st.text(max_size=40))
def test_any_name(name: str) -> None:
    found = kinds.parse_name(name)
    assert found is None or file_name(*found) == name


# ---------------------------------------------------------------------------- chains of memory

runs = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from([1, 2, 4, 6])))


def write_layer(
    folder: Path, spec: list[tuple[int, int, int]], parent: str | None
) -> dict[int, int]:
    """A pagemap of these (gap, pages, flags); page number to flags."""
    folder.mkdir(exist_ok=True)
    if parent and not (folder / "parent").is_symlink():
        (folder / "parent").symlink_to(parent)
    messages: list[pb.Message] = [pb.pagemap_head(pages_id=1)]
    at, pages = 0, {}
    for gap, n, flags in spec:
        at += gap
        messages.append(pb.pagemap_entry(vaddr=at * PAGE, compat_nr_pages=n, flags=flags))
        pages.update(dict.fromkeys(range(at, at + n), flags))
        at += n
    with ImageWriter(folder / "pagemap-1.img", kinds.BY_ID["PAGEMAP"]) as out:
        for m in messages:
            out.put(m)
    return pages


@given(st.lists(runs, min_size=1, max_size=4))
def test_chain(tmp_path: Path, specs: list[list[tuple[int, int, int]]]) -> None:
    """Every page is in the first layer that has it, as looking for it page by page says."""
    maps = [
        write_layer(tmp_path / str(i), spec, f"../{i + 1}" if i + 1 < len(specs) else None)
        for i, spec in enumerate(specs)
    ]
    if (tmp_path / str(len(specs) - 1) / "parent").is_symlink():
        (tmp_path / str(len(specs) - 1) / "parent").unlink()
    with ImageSet(tmp_path / "0") as images:
        chain = images.chain()
        layers = [Layer(s, PageMap(s.open("PAGEMAP", 1))) for s in chain]
        found = {}
        for segment in resolve(layers):
            for i in range(segment.pages):
                found[segment.address // PAGE + i] = (segment, i)
        for parent in chain[1:]:
            parent.close()
    assert sorted(found) == sorted(maps[0])
    for page, (segment, i) in found.items():
        assert expected(maps, page) == actual(layers, segment, i)


def expected(maps: list[dict[int, int]], page: int) -> tuple[int | None, int]:
    for level, pages in enumerate(maps):
        flags = pages.get(page)
        if flags is None:
            return None, 0
        if flags & 4:
            before = sum(1 for p, f in pages.items() if f & 4 and p < page)
            return level, before * PAGE
        if not flags & 1:
            return None, 0
    return None, 0


def actual(layers: list[Layer], segment: Segment, i: int) -> tuple[int | None, int]:
    if segment.layer is None:
        return None, 0
    return segment.layer, segment.offset + i * PAGE
