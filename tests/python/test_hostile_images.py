# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that lie: only ImageError comes of them, and little memory is used."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rawimages
from conftest import PACKAGE
from rawimages import field, framed
from torpor.images import KINDS, Image, ImageError, ImageSet, file_name, kinds
from torpor.images import messages as pb
from torpor.images.limits import GROWTH_STRICT
from torpor.images.pages import PageMap

FRAMED = [k for k in KINDS if k.magic and k.message]
MIB = 1 << 20


def read_all(data: bytes, kind: kinds.Kind, growth: int = GROWTH_STRICT) -> int:
    """Reads every entry and payload; the number of entries."""
    n = 0
    with Image(memoryview(data), file_name(kind, 1), kind, growth=growth) as image:
        for entry in image:
            n += 1
            bytes(entry.payload)
    return n


def read_pagemap(data: bytes) -> PageMap:
    return PageMap(Image(memoryview(data), "pagemap-1.img", kinds.BY_ID["PAGEMAP"]))


@pytest.mark.parametrize("kind", FRAMED, ids=lambda k: k.id)
def test_cut_and_flipped(kind: kinds.Kind) -> None:
    """Every cut, and hundreds of bits: an error that says where, or other entries."""
    rng = random.Random(kind.id)
    good = max((rawimages.random_image(kind, rng) for _ in range(5)), key=len)
    whole = read_all(good, kind, 160)
    for at in range(len(good)) if len(good) < 600 else rng.sample(range(len(good)), 300):
        try:
            assert read_all(good[:at], kind, 160) <= whole
        except ImageError as e:
            assert e.name == file_name(kind, 1) and str(e)
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            read_all(bytes(bad), kind, 160)
        except ImageError as e:
            assert str(e)


def refused(kind: str, data: bytes, words: str, growth: int = GROWTH_STRICT) -> None:
    begin = time.process_time()
    with pytest.raises(ImageError, match=words):
        read_all(data, kinds.BY_ID[kind], growth)
    assert time.process_time() - begin < 60  # it takes 0.02


def test_sizes() -> None:
    head = kinds.header(kinds.BY_ID["PSTREE"])
    refused("PSTREE", head + b"\1", "size of a message is cut off at byte 8")
    refused(
        "PSTREE", head + struct.pack("<I", 0xFFFFFFFF), "message of 4294967295 bytes, but only 0"
    )
    refused("PSTREE", head + struct.pack("<I", 1), "but only 0 are left")
    refused("PSTREE", b"", "header is cut off")
    refused("PSTREE", b"\0" * 8, "starts with")
    refused("PSTREE", struct.pack("<I", 0x50273030)[:3], "cut off")
    pipe = pb.pipe_data_entry(pipe_id=1, bytes=0xFFFFFFFF, size=1).SerializeToString()
    refused("PIPES_DATA", framed("PIPES_DATA", pipe), "payload of 4294967295 bytes, but only 0")
    tcp = pb.tcp_stream_entry(
        inq_len=0xFFFFFFFF, outq_len=0xFFFFFFFF, inq_seq=1, outq_seq=1, opt_mask=0, snd_wscale=0,
        mss_clamp=0,
    ).SerializeToString()  # fmt: skip
    refused("TCP_STREAM", framed("TCP_STREAM", tcp), "payload of 8589934590 bytes")


def test_runs_beyond_the_address_space() -> None:
    head = pb.pagemap_head(pages_id=1).SerializeToString()
    run = pb.pagemap_entry(vaddr=4096, compat_nr_pages=0, nr_pages=(1 << 64) - 1)
    with pytest.raises(ImageError, match="leaves the address space"):
        read_pagemap(framed("PAGEMAP", head, run.SerializeToString()))


def test_end_of_group() -> None:
    """A mark protobuf stops at without an error: what follows would be lost."""
    good = pb.pstree_entry(pid=1, ppid=0, pgid=1, sid=1).SerializeToString()
    refused("PSTREE", framed("PSTREE", good + b"\x0c\x08\x02"), "no valid pstree_entry")


def test_growth() -> None:
    """A hundred megabytes of objects in a file of two."""
    empty = field(14, b"") * MIB
    refused("MM", framed("MM", empty), "takes too much memory")
    refused("CORE", framed("CORE", field(3, field(15, b"") * MIB)), "takes too much memory")
    words = b"\x6a" + b"\x80\x80\x80\x01" + b"\1" * (2 << 20)  # a packed list
    refused("MM", framed("MM", words), "takes too much memory")
    refused("SECCOMP", framed("SECCOMP", field(1, b"") * MIB), "takes too much memory")


def test_nesting() -> None:
    parts, size = [], 0
    for _ in range(40000):
        parts.append(field(3, bytes(size))[: -size or None])
        size += len(parts[-1])
    body = b"".join(reversed(parts))
    refused("APPARMOR", framed("APPARMOR", field(1, body)), "nested too deeply|no valid", 160)


def test_garbage() -> None:
    rng = random.Random(1)
    for kind in FRAMED:
        for size in (1, 10, 1000, 200000):
            try:
                read_all(framed(kind.id, rng.randbytes(size)), kind)
            except ImageError:
                pass


# --------------------------------------------------------------------------------------- files


def test_odd_files(tmp_path: Path) -> None:
    """A fifo, a folder, a link to nowhere, an empty and a sparse file in place of an image."""
    os.mkfifo(tmp_path / "pstree.img")
    (tmp_path / "files.img").mkdir()
    (tmp_path / "seccomp.img").symlink_to("nowhere")
    (tmp_path / "fs-1.img").touch()
    with (tmp_path / "inventory.img").open("wb") as out:
        out.truncate(1 << 40)
    with ImageSet(tmp_path) as images:
        for kind, number, error in (
            ("INVENTORY", 0, ImageError),
            ("PSTREE", 0, ImageError),
            ("FILES", 0, ImageError),
            ("SECCOMP", 0, FileNotFoundError),
            ("FS", 1, ImageError),
            ("FDINFO", 1, FileNotFoundError),
        ):
            images._layout = 2
            with pytest.raises(error):
                images.open(kind, number)
        assert images.get("FDINFO", 1) is None


def test_parents(tmp_path: Path) -> None:
    """Chains: straight, hanging, and in a circle."""
    for name in "abc":
        (tmp_path / name).mkdir()
    (tmp_path / "a/parent").symlink_to("../b")
    (tmp_path / "b/parent").symlink_to("../c")
    with ImageSet(tmp_path / "a") as images:
        assert [s.path.resolve().name for s in images.chain()] == ["a", "b", "c"]
        (tmp_path / "c/parent").symlink_to("../a")
        with pytest.raises(ImageError, match="leads back"):
            images.chain()
        (tmp_path / "c/parent").unlink()
        (tmp_path / "c/parent").symlink_to("../gone")
        with pytest.raises(FileNotFoundError):
            images.chain()
        (tmp_path / "c/parent").unlink()
        (tmp_path / "c/parent").mkdir()
        with pytest.raises(ImageError, match="no link"):
            images.chain()


# -------------------------------------------------------------------------------------- memory

MEASURE = """
import ctypes, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages: they make memory jump
sys.path.insert(0, sys.argv[1])
from torpor.images import Image, ImageError, kinds
from torpor.images import messages as pb
from torpor.images.limits import GROWTH_STRICT

def used(word):
    for line in open("/proc/self/status"):
        if line.startswith(word):
            return int(line.split()[1])

before = used("VmRSS:")
try:
    with Image.open(sys.argv[2], kinds.BY_ID[sys.argv[3]], growth=GROWTH_STRICT) as image:
        if sys.argv[3] == "MM":
            message, areas = image.one_split(pb.mm_entry, "vmas", pb.vma_entry)
            sum(a.end - a.start for a in areas.each())
        n = len(image)
        for entry in image:
            pass
except ImageError as e:
    n = str(e)
print(used("VmHWM:") - before, n)
"""


def peak(path: Path, kind: str) -> tuple[int, str]:
    """KiB above what the interpreter takes anyway, and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(PACKAGE), str(path), kind],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    kib, _, rest = done.stdout.partition(" ")
    return int(kib), rest.strip()


def least_area() -> bytes:
    return pb.vma_entry(
        start=0, end=0, pgoff=0, shmid=0, prot=0, flags=0, status=0, fd=0
    ).SerializeToString()


@pytest.mark.parametrize(
    ("kind", "body", "many"),
    [
        ("PSTREE", lambda: struct.pack("<I", 0) * (2 * MIB), "no valid"),
        ("FILES", lambda: struct.pack("<I", 4) + b"\x08\x01\x10\x01", ""),
        ("MM", lambda: _one(field(14, b"") * (4 * MIB)), "no valid"),
        ("MM", lambda: _one(mm_head() + field(14, least_area()) * (MIB // 2)), "takes too much"),
        ("SECCOMP", lambda: _one(field(1, b"\x0a\x00\x10\x00") * (3 * MIB)), "takes too much"),
        ("REMAP_FPATH", lambda: (struct.pack("<I", 4) + b"\x08\x01\x10\x01") * (MIB // 2), ""),
    ],
    ids=["empty", "one", "areas", "least-areas", "filters", "many"],
)
def test_memory(tmp_path: Path, kind: str, body: object, many: str) -> None:
    """At most four times the file, above 8 MiB that protobuf and Python take for themselves."""
    path = tmp_path / file_name(kinds.BY_ID[kind], 1)
    assert callable(body)
    path.write_bytes(kinds.header(kinds.BY_ID[kind]) + body())
    kib, end = peak(path, kind)
    assert many in end
    assert kib * 1024 <= 4 * path.stat().st_size + 8 * MIB, end


def _one(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def mm_head() -> bytes:
    names = [f.name for f in pb.mm_entry.DESCRIPTOR.fields if f.label == 2]
    return pb.mm_entry(**dict.fromkeys(names, 0)).SerializeToString()


def test_tag_zero() -> None:
    """protobuf takes a tag 0 for the end of a message; every other reader refuses it."""
    message = pb.fdinfo_entry(id=1, flags=0, type=pb.fd_types.REG, fd=5).SerializeToString()
    kind = kinds.BY_ID["FDINFO"]
    head = kinds.header(kind)
    assert read_all(head + _one(message), kind) == 1
    with pytest.raises(ImageError):
        read_all(head + _one(message + b"\0"), kind)
    with pytest.raises(ImageError):
        read_all(head + _one(message + b"\0\0"), kind)
    # an odd but valid encoding that ends with the value 0
    odd = b"\x08\x81\x00\x18\x01\x20\x05\x10\x00"
    assert read_all(head + _one(odd), kind) == 1
