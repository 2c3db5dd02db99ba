# SPDX-License-Identifier: GPL-2.0-or-later
"""Images: the table, reading, writing, JSON beside Debian's crit, live dumps."""

from __future__ import annotations

import atexit
import functools
import io
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rawimages
from box import BUILD, SOURCE, Box, Failed
from conftest import fixture_sets
from crit317 import Crit
from subjects import Subject
from torpor.images import (
    KINDS,
    Image,
    ImageError,
    ImageSet,
    Trait,
    crit,
    file_name,
    kinds,
    parse_name,
)
from torpor.images import messages as pb
from torpor.images.pages import PageMap

SETS = fixture_sets() or [pytest.param(None, marks=pytest.mark.skip("there are no image sets"))]
FRAMED = [k for k in KINDS if k.magic and k.message]
# members newer than the crit of Debian 12, which leaves them out
NEWER = {
    ("PAGEMAP", "nr_pages"), ("INVENTORY", "plugins_entry"), ("INVENTORY", "dump_criu_run_id"),
    ("INVENTORY", "allow_uprobes"), ("CORE", "cg_set"), ("CORE", "stop_signo"), ("CORE", "cet"),
    ("CORE", "membarrier_registration_mask"), ("CORE", "cap_amb"), ("CORE", "no_new_privs"),
    ("INETSK", "tcp_opts"), ("CGROUP", "is_threaded"), ("MEMFD_INODE", "mode"),
    ("NETNS", "ipv4_sysctl"),
}  # fmt: skip
# crit cannot decode these, cannot encode what it decoded, gives a member its old name (nr_pages of
# pagemaps), or they are torpor's own
FOREIGN = {
    "PAGEMAP",
    "PAGEMAP_SHMEM",
    "BINFMT_MISC",
    "BINFMT_MISC_OLD",
    "PIDFD",
    "TORPOR_STATE",
    "BPFMAP_DATA",
    "IPCNS_SHM",
}


def text_of(image: Image, pretty: bool) -> str:
    out = io.StringIO()
    crit.dump(image, out, pretty)
    return out.getvalue()


def again(image: Image) -> None:
    """Both JSON forms give the same bytes, and are one JSON text."""
    for pretty in (False, True):
        text = text_of(image, pretty)
        value = json.loads(text)
        assert json.dumps(value, indent=4 if pretty else None) + "\n" == text
        assert value == crit.image_json(image, pretty)
        assert crit.image_bytes(value) == bytes(image.data), image.name


def without_newer(kind: str, value: Any, known: Any) -> Any:
    """value without members that are new and that crit does not show."""
    if isinstance(value, dict) and isinstance(known, dict):
        return {
            k: without_newer(kind, v, known.get(k))
            for k, v in value.items()
            if k in known or (kind, k) not in NEWER
        }
    if isinstance(value, list) and isinstance(known, list) and len(value) == len(known):
        return [without_newer(kind, a, b) for a, b in zip(value, known)]
    return value


# ---------------------------------------------------------------------------------- the table


def test_names() -> None:
    for kind in KINDS:
        for number in (0, 1, 10, 31, 1 << 40) if "%" in kind.pattern else (0,):
            name = file_name(kind, number)
            found = parse_name(name)
            assert found and found[1] == number
            assert found[0].pattern == kind.pattern
    wrong = ["core-01.img", "core-+1.img", "core-.img", "core-1.img.old", "core-0x1.img", "x"]
    wrong += ["ghost-file-A.img", "core-99999999999999999999.img", "pstree.img\n", ""]
    for name in wrong:
        assert parse_name(name) is None, name


def test_format_table() -> None:
    """What the facts about the format say of every kind."""
    facts = SOURCE.parent / "shared/format/images.md"
    if not facts.exists():
        pytest.skip("the description of the format is not there")
    rows = [
        [c.strip() for c in line.split("|")[1:-1]]
        for line in facts.read_text().splitlines()
        if line.startswith("| ") and ".img |" in line or line.startswith(("| STATS", "| IRMAP"))
    ]
    rows = [r for r in rows if len(r) == 8 and r[3].startswith("0")]
    assert len(rows) > 70
    for name, pattern, _, magic, message, _, _, _ in rows:
        pattern = pattern.replace("%lu", "%d").replace("%ld", "%d").replace("%u", "%d")
        wanted = name.split(" ")[0]
        found = [k for k in KINDS if k.name == wanted and k.pattern == pattern]
        assert len(found) == 1, name
        raw = message == "-"
        assert found[0].message == ("" if raw else message.split(",")[-1])
        assert found[0].magic == (0 if raw else int(magic, 16)), name


# ------------------------------------------------------------------------------------ fixtures


@pytest.mark.parametrize("folder", SETS, ids=lambda p: p.parent.name if p else "none")
def test_fixture(folder: Path) -> None:
    """Every image is read to its last byte; JSON and back gives the same file."""
    with ImageSet(folder) as images:
        assert not images.others
        for found in images.images():
            with images.open(found.kind.id, found.number) as image:
                if found.kind.traits & Trait.RAW:
                    assert len(image) == 0
                    continue
                assert image.layout == 2
                read = kinds.header(found.kind)
                for entry in image:
                    assert entry.offset == len(read)
                    body = entry.message.SerializeToString()
                    read += len(body).to_bytes(4, "little") + body + bytes(entry.payload)
                assert read == bytes(image.data)
                assert [image[i].offset for i in range(len(image))] == [e.offset for e in image]
                again(image)
                if found.kind.name == "PAGEMAP":
                    pagemap = PageMap(image)
                    size = (folder / f"pages-{pagemap.pages_id}.img").stat().st_size
                    assert pagemap.stored == size


def one_of_each_kind() -> dict[str, Path]:
    """The largest image of each kind in all sets that crit can decode."""
    found: dict[str, Path] = {}
    for folder in fixture_sets():
        with ImageSet(folder) as images:
            for f in images.images():
                best = found.get(f.kind.id)
                path = folder / f.name
                if f.kind.traits & Trait.RAW or f.kind.id in FOREIGN:
                    continue
                if best is None or path.stat().st_size > best.stat().st_size:
                    found[f.kind.id] = path
    return found


@pytest.mark.parametrize(("kind", "path"), one_of_each_kind().items())
def test_like_crit(kind: str, path: Path, tmp_path: Path) -> None:
    """crit prints the same, and makes the same file of what we print."""
    with Image.open(path) as image:
        compare_with_crit(image, path, tmp_path)


def compare_with_crit(image: Image, path: Path, tmp_path: Path) -> None:
    for options in ([], ["--pretty"]):
        ours = text_of(image, bool(options))
        theirs = run_crit("decode", "-i", str(path), *options)
        known = json.loads(theirs)
        mine = without_newer(image.kind.name, json.loads(ours), known)
        assert json.dumps(mine, indent=4 if options else None) + "\n" == theirs, path
    if mine != json.loads(ours):
        return  # crit would lose the newer members
    (tmp_path / "x.json").write_text(ours)
    run_crit("encode", "-i", str(tmp_path / "x.json"), "-o", str(tmp_path / "x.img"))
    assert (tmp_path / "x.img").read_bytes() == path.read_bytes()


@functools.cache
def the_crit() -> Crit:
    crit317 = Crit()
    atexit.register(crit317.close)
    return crit317


def run_crit(*words: str) -> str:
    if not shutil.which("crit"):
        pytest.skip("crit is not installed (package criu)")
    status, text = the_crit().run(*words)
    assert status == 0, status
    return text


@pytest.mark.parametrize("kind", FRAMED, ids=lambda k: k.id)
def test_random_images(kind: Any, tmp_path: Path) -> None:
    """Images with every member there is: JSON and back; the current kinds also by crit."""
    rng = random.Random(kind.id)
    for layout in (2, 2, 1, 3):
        data = rawimages.random_image(kind, rng, layout)
        image = Image(memoryview(data), file_name(kind, 1), kind)
        assert kinds.header(kind, image.layout) == kinds.header(kind, layout)
        again(image)


# the messages of old kinds are tested in their current images
CURRENT = [
    k
    for k in FRAMED
    if k.id not in FOREIGN and not k.traits & Trait.OLD and not k.id.startswith("TORPOR_")
]


@pytest.mark.parametrize("kind", CURRENT, ids=lambda k: k.id)
def test_random_like_crit(kind: Any, tmp_path: Path) -> None:
    """crit decodes what we encode, as people read it."""
    path = tmp_path / file_name(kind, 1)
    path.write_bytes(rawimages.random_image(kind, random.Random(f"{kind.id} 3")))
    with Image.open(path) as image:
        known = json.loads(run_crit("decode", "-i", str(path), "--pretty"))
        assert prune(crit.image_json(image, pretty=True), known) == known


def prune(value: Any, known: Any) -> Any:
    """value without members crit does not show; here any may be new."""
    if isinstance(value, dict) and isinstance(known, dict):
        return {k: prune(v, known[k]) for k, v in value.items() if k in known}
    if isinstance(value, list) and isinstance(known, list) and len(value) == len(known):
        return [prune(a, b) for a, b in zip(value, known)]
    return value


# ------------------------------------------------------------------------ what crit's form lacks


def test_kept_raw() -> None:
    """Unknown fields, odd encodings and names that are no UTF-8 come back byte for byte."""
    pid = pb.pstree_entry(pid=1, ppid=0, pgid=1, sid=1, threads=[1]).SerializeToString()
    for body in (
        pid + rawimages.field(99, b"from the future"),
        pid + b"\x08\x01",  # a member twice
        pid.replace(b"\x08\x01", b"\x08\x81\x00"),  # a number longer than it needs to be
    ):
        image = Image(memoryview(rawimages.framed("PSTREE", body)), "x", kinds.BY_ID["PSTREE"])
        value = crit.image_json(image)
        assert crit.RAW in value["entries"][0]
        again(image)
        value["entries"][0]["sid"] = 7
        changed = Image(memoryview(crit.image_bytes(value)), "x", kinds.BY_ID["PSTREE"])
        entry = changed[0].message
        assert isinstance(entry, pb.pstree_entry)
        assert (entry.sid, entry.pid) == (7, 1)


def test_names_not_utf8() -> None:
    name = b"/tmp/\xff\xfe\xc3"
    body = b"\x08\x01\x10\x02" + rawimages.field(3, name)
    image = Image(
        memoryview(rawimages.framed("IRMAP_CACHE", body)), "x", kinds.BY_ID["IRMAP_CACHE"]
    )
    # irmap-cache is a service image
    data = kinds.header(kinds.BY_ID["IRMAP_CACHE"]) + bytes(image.data[8:])
    image = Image(memoryview(data), "x", kinds.BY_ID["IRMAP_CACHE"])
    value = crit.image_json(image)
    assert value["entries"][0]["path"].encode("utf-8", "surrogateescape") == name
    assert crit.RAW not in value["entries"][0]
    again(image)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("magic"), "no kind of image"),
        (lambda v: v.update(magic="NEVER"), "no kind of image 'NEVER'"),
        (lambda v: v.update(entries={}), "'entries'"),
        (lambda v: v["entries"].append(7), "entries[1]: an object"),
        (lambda v: v["entries"][0].update(more=1), "entries[0].more: pstree_entry has no such"),
        (lambda v: v["entries"][0].update(pid="x"), "entries[0].pid: 'x' is no number"),
        (lambda v: v["entries"][0].update(pid=-1), "entries[0].pid: '-1' does not fit"),
        (lambda v: v["entries"][0].update(pid=1 << 32), "does not fit"),
        (lambda v: v["entries"][0].pop("pid"), "entries[0]: "),
        (lambda v: v["entries"][0].update(threads=4), "entries[0].threads: a list"),
        (lambda v: v["entries"][0].update(extra="QQ=="), "has no 'extra'"),
        (lambda v: v.update(layout=4), "layout: 1, 2 or 3"),
    ],
)
def test_bad_json(change: Callable[[Any], Any], words: str) -> None:
    value = {
        "magic": "PSTREE",
        "entries": [{"pid": 1, "ppid": 0, "pgid": 1, "sid": 1, "threads": [1]}],
    }
    change(value)
    with pytest.raises(crit.FormError) as e:
        crit.image_bytes(value)
    assert words in str(e.value)


# -------------------------------------------------------------------------------- command line


def torpor(*words: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [BUILD / "torpor", *words], input=data, capture_output=True, timeout=300, check=False
    )


def test_commands(tmp_path: Path) -> None:
    data = rawimages.random_image(kinds.BY_ID["PSTREE"], random.Random(5))
    (tmp_path / "pstree.img").write_bytes(data)
    for options in ([], ["--pretty"]):
        done = torpor("decode", tmp_path / "pstree.img", *options)
        assert done.returncode == 0 and json.loads(done.stdout)["magic"] == "PSTREE"
        assert torpor("decode", *options, data=data).stdout == done.stdout
        assert torpor("encode", data=done.stdout).stdout == data
    assert torpor("decode", "-i", tmp_path / "pstree.img", "-o", tmp_path / "j").returncode == 0
    assert torpor("encode", "-i", tmp_path / "j", "-o", tmp_path / "i").returncode == 0
    assert (tmp_path / "i").read_bytes() == data


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["decode", "/nowhere"], 1, "torpor decode: '/nowhere': No such file or directory"),
        (["decode", "/dev/null"], 1, "regular file"),
        (["decode", "a", "b"], 2, "unrecognized arguments: b"),
        (["validate"], 2, "torpor validate DIR"),
        (["validate", "a", "-D", "b"], 2, "'b' and 'a'"),
        (["validate", ".", "--bogus"], 2, "Try 'torpor validate --help'."),
        (["validate", ".", "--target", "/nowhere"], 2, "--target /nowhere: No such file"),
        (["encode"], 1, "torpor encode: standard input is not JSON: Expecting value"),
        (["decode"], 1, "neither its first bytes nor its name"),
    ],
)
def test_command_errors(words: list[str], status: int, text: str) -> None:
    done = torpor(*words)
    assert done.returncode == status
    assert text in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_help_names_python_commands() -> None:
    done = torpor("help", "decode")
    assert done.returncode == 0 and b"--pretty" in done.stdout
    assert b"  decode " in torpor("--help").stdout


# ---------------------------------------------------------------------------------- live dumps


def live(box: Box, name: str, options: list[str]) -> None:
    """Every image of a dump: JSON and back, pages files as long as their pagemaps say."""
    s = Subject(box, name)
    s.start()
    s.dump(*options)
    with ImageSet(s.images) as images:
        for found in images.images():
            if found.kind.traits & Trait.RAW:
                continue
            with images.open(found.kind.id, found.number) as image:
                for pretty in (False, True):
                    value = json.loads(text_of(image, pretty))
                    if crit.image_bytes(value) != bytes(image.data):
                        raise Failed(f"{found.name} comes back differently")
                    if crit.RAW in json.dumps(value):
                        raise Failed(f"{found.name} is not what protobuf would write")
                if found.kind.name == "PAGEMAP":
                    pagemap = PageMap(image)
                    size = (s.images / f"pages-{pagemap.pages_id}.img").stat().st_size
                    if pagemap.stored != size or pagemap.filtered != bool(options):
                        raise Failed(f"{found.name} says {pagemap.stored} bytes, it has {size}")
    s.restore()
    s.finish()


@pytest.mark.parametrize("name", ["deleted", "eventfds", "mem_shared", "pipes", "threads"])
def test_live(boxed: Callable[..., Any], name: str) -> None:
    boxed(live, name=name, options=[])


def test_live_compressed(boxed: Callable[..., Any]) -> None:
    boxed(live, name="mem_shared", options=["--compress=lz4"])


def encrypted(box: Box) -> None:
    """What is encrypted says so; only the inventory can be read."""
    s = Subject(box, "pipes")
    s.start()
    key = box.dir / "key"
    box.torpor("keygen", "--output", key)
    s.dump("--encrypt", "--recipient", str(key))
    with ImageSet(s.images) as images:
        if not images.encrypted:
            raise Failed("the set does not say that it is encrypted")
        try:
            images.open("PSTREE")
        except ImageError as e:
            if "encrypted" not in str(e):
                raise Failed(str(e)) from None
        else:
            raise Failed("an encrypted image was read")


def test_live_encrypted(boxed: Callable[..., Any]) -> None:
    boxed(encrypted)


def test_not_an_image() -> None:
    with pytest.raises(ImageError):
        Image(memoryview(b"\0" * 8), "pstree.img", kinds.BY_ID["PSTREE"])
