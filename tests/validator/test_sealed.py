# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted sets: with the key the validator says what a restore with that key does.

Every file of a set is flipped, cut, lengthened, taken away, or replaced by that of another dump for
the same key; so are its extents of pages. One change of each file; all of them with
TORPOR_MODES=all (make check-modes).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, TORPOR, Box, Failed, Skipped, pipe_with
from sealed_sets import AESGCM, Extent, Reader
from subjects import Subject

sys.path[:0] = [str(Path(__file__).parent), str(BUILD / "python")]

from bases import Base, Place, chain_of
from cases import Outcome, run_case
from mutate import copy_sets
from torpor.cli import UsageError, keys

EVERYTHING = os.environ.get("TORPOR_MODES") == "all"
ASIDE = ("dump.log", "restore.log", "stats-dump", "stats-restore", "parent")
WORD = b"correct horse"
KINDS = {
    "aes-gcm": ("deleted", 0, ("--encrypt", "--compress")),
    "chain": ("extents", 1, ("--encrypt=chacha20-poly1305", "--tracker", "hash")),
    "cipher-inside": ("extents", 0, ("--encrypt", "--page-filter", "aes-gcm", "--compress")),
}
if EVERYTHING:
    KINDS |= {
        "shared": ("mem_shared", 0, ("--encrypt", "--compress=zstd")),
        "copies": ("mem_cow", 2, ("--encrypt", "--compress", "--tracker", "hash")),
    }

Change = tuple[str, str, bytes | None]  # file, what, new content


def made(box: Box, kind: str) -> tuple[Base, Path]:
    """A dump for the key in `key`, and another one of the same tasks."""
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    name, pre_dumps, options = KINDS[kind]
    for key in ("key", "stranger"):
        if box.torpor("keygen", "--output", box.dir / key).status != 0:
            raise Failed("no key was made")
    options = (*options, "--recipient", str(box.dir / "key"))
    s = Subject(box, name)
    if pre_dumps:
        options += ("--identity", str(box.dir / "key"))
    s.start()
    s.dump("-R", *options)
    other = s.images
    s.dump(*options, *s.pre_dumps(pre_dumps, *options))
    s.kill()
    place = Place.keep(box.dir / "work", box.dir / "kept")
    return Base(kind, chain_of(s.images), place, ["--identity", str(box.dir / "key")]), other


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.iterdir()) if p.name not in ASIDE and p.is_file())
    return {p.name: p.read_bytes() for p in files}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def changes(files: dict[str, bytes], other: dict[str, bytes]) -> Iterator[Change]:
    """Of whole files; without EVERYTHING one of each of them, in turn."""
    for i, (name, data) in enumerate(files.items()):
        found: list[Change] = [
            (name, f"flipped at {at}", flipped(data, at))
            for at in sorted({0, len(data) // 3, len(data) // 2, len(data) - 1})
            if 0 <= at < len(data)
        ]
        found += [
            (name, "cut by one byte", data[:-1]),
            (name, "cut to a half", data[: len(data) // 2]),
            (name, "lengthened", data + b"\0"),
            (name, "taken away", None),
        ]
        if name in other:
            found.append((name, "replayed", other[name]))
        found = [c for c in found if c[2] != data]
        yield from found if EVERYTHING else [found[i % len(found)]]


def of_pages(reader: Reader, files: dict[str, bytes], other: dict[str, bytes]) -> Iterator[Change]:
    """Extents that are flipped, exchanged with the next one, or replayed."""
    for name in files:
        if not name.startswith("pagemap-"):
            continue
        found = reader.extents(name)
        step = 1 if EVERYTHING else max(1, len(found) // 2)
        for x, y in list(zip(found, found[1:]))[::step]:
            data = files[x.file]
            yield x.file, f"flipped in the extent at {x.at}", flipped(data, x.at + x.size // 2)
            between = exchanged(data, x, y)
            if between != data:
                yield x.file, f"extents at {x.at} and {y.at} exchanged", between
            old = other.get(x.file, b"")[x.at : x.at + x.size]
            if len(old) == x.size and old != data[x.at : x.at + x.size]:
                yield x.file, f"replayed at {x.at}", data[: x.at] + old + data[x.at + x.size :]


def exchanged(data: bytes, x: Extent, y: Extent) -> bytes:
    return data[: x.at] + data[y.at : y.at + y.size] + data[x.at : y.at] + data[y.at + y.size :]


class Comparison:
    """Both verdicts about one dump after the other."""

    def __init__(self, box: Box, base: Base) -> None:
        self.box, self.base = box, base
        self.refused = self.accepted = 0
        self.different: list[str] = []
        self.missed: list[str] = []

    def ask(self, what: str, layer: int = 0, change: Change | None = None) -> Outcome:
        sets = copy_sets(self.base.chain, self.box.dir / "changed")
        if change:
            path = sets[layer] / change[0]
            path.unlink()
            if change[2] is not None:
                path.write_bytes(change[2])
        out = run_case(self.box, self.base, sets[0])
        self.base.place.put_back()
        if out.crash or out.left:
            raise Failed(f"{what}: {out}")
        if bool(out.rules) != bool(out.status):
            self.different.append(f"{what}: {out.rules} {out.texts} {out.status} {out.reason}")
        self.refused += bool(out.rules)
        self.accepted += not out.rules
        return out


def attacks(c: Comparison, other: Path) -> None:
    for layer, folder in enumerate(c.base.chain):
        files = contents(folder)
        reader = Reader(files)
        reader.unwrap_by(c.box.dir / "key")
        theirs = contents(other)
        for change in (*changes(files, theirs), *of_pages(reader, files, theirs)):
            what = f"{layer} {change[0]} {change[1]}"
            out = c.ask(what, layer, change)
            if layer == 0 and not out.rules:
                c.missed.append(what)


def compared(box: Box, kind: str) -> str:
    base, other = made(box, kind)
    c = Comparison(box, base)
    if c.ask("unchanged").rules:
        raise Failed(f"an encrypted set is refused: {c.ask('unchanged')}")
    base.restore[1] = str(box.dir / "stranger")
    if c.ask("the key of a stranger").rules != ["set-encrypted"]:
        raise Failed("another key is not refused as such")
    base.restore[1] = str(box.dir / "key")
    attacks(c, other)
    if c.different:
        raise Failed(f"{len(c.different)} disagreements: {c.different[:10]}")
    if c.missed:
        raise Failed(f"changes of the set itself were accepted: {c.missed[:10]}")
    if c.refused < 20:
        raise Failed(f"only {c.refused} changes were refused")
    return f"{c.refused} refused, {c.accepted} accepted"


@pytest.mark.parametrize("kind", KINDS)
def test_like_restore(boxed: Callable[..., Any], kind: str) -> None:
    print(boxed(compared, kind=kind, timeout=6000 if EVERYTHING else 600))


# ---------------------------------------------------------------------------- the command line


def looks(box: Box, images: Path, key: Path, stranger: Path) -> None:
    """diff and decode, of whole sets and of single images."""
    other = box.dir / "other"
    shutil.copytree(images, other, symlinks=True)

    def run(status: int, text: str, *words: str | Path) -> None:
        done = box.torpor(*words)
        if done.status != status or text not in done.output or "Traceback" in done.output:
            raise Failed(f"{words} should end with {status} and say '{text}': {done}")
        if text.startswith(("give", "it is")) and len(done.output.splitlines()) != 1:
            raise Failed(f"more than one sentence: {done}")

    for a, b, status, text in (
        (images, other, 1, "not compared"),
        (images / "pstree.img", other / "pstree.img", 0, ""),
    ):
        run(status, text, "diff", a, b, "--identity", key)
        run(1, "give --identity FILE", "diff", a, b)
        run(1, "it is not the key of the set", "diff", "--identity", stranger, a, b)
    image = images / "pstree.img"
    run(0, '{"magic": "PSTREE"', "decode", image, "--identity", key)
    run(0, '{"magic": "INVENTORY"', "decode", images / "inventory.img")
    run(1, "give --identity FILE", "decode", image)
    run(1, "it is not the key of the set", "decode", image, "--identity", stranger)
    changed = other / "pstree.img"
    changed.write_bytes(flipped(changed.read_bytes(), 80))
    run(1, "pstree.img", "diff", images, other, "--identity", key)


def commands(box: Box) -> None:
    """Keys of all kinds, right and wrong, for all commands that take them."""
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    raw, key, stranger = os.urandom(32), box.dir / "key", box.dir / "stranger"
    for path in (key, stranger):
        box.torpor("keygen", "--output", path)
    (box.dir / "odd").write_text(key.read_text().replace("1:", "1:00"))
    last = key.read_text().rstrip()
    (box.dir / "typo").write_text(last[:-1] + ("0" if last[-1] != "0" else "1") + "\n")
    s = Subject(box, "tree")
    s.start()
    fds = [str(pipe_with(data)) for data in (WORD, raw)]
    s.dump("--encrypt", "--recipient", str(key), "--passphrase-fd", fds[0], "--key-fd", fds[1])

    def run(status: int, text: str, *words: str | Path, data: bytes | None = None) -> None:
        fd = [] if data is None else [str(pipe_with(data))]
        done = box.torpor(words[0], s.images, *words[1:], *fd)
        if fd:
            os.close(int(fd[0]))
        if done.status != status or text not in done.output or "Traceback" in done.output:
            raise Failed(f"{words} should end with {status} and say '{text}': {done}")
        if status and text and len(done.output.splitlines()) != 1:
            raise Failed(f"more than one sentence: {done}")

    def unusable(text: str, option: str, value: str | Path | bytes) -> None:
        parser = argparse.ArgumentParser()
        keys.arguments(parser)
        given = str(pipe_with(value) if isinstance(value, bytes) else value)
        try:
            keys.of(parser.parse_args([option, given]))
        except UsageError as e:
            if text not in str(e):
                raise Failed(f"{option} should say '{text}', not '{e}'") from None
        else:
            raise Failed(f"{option} is no error: {text}")

    wrong = "it is not the key of the set"
    run(0, "", "facts", "--identity", key)
    run(1, wrong, "graph", "--identity", stranger)
    run(0, "can be restored", "validate", "--identity", stranger, "--identity", key)
    run(1, wrong, "validate", "--identity", stranger)
    run(0, "can be restored", "validate", "--passphrase-fd", data=WORD + b"\nmore")
    run(0, "can be restored", "validate", "--key-fd", data=raw + b"more")
    run(1, wrong, "validate", "--passphrase-fd", data=b"correct horst")
    run(1, wrong, "validate", "--json", "--key-fd", data=os.urandom(32))
    run(2, "there are fewer", "validate", "--key-fd", data=raw[:31])
    unusable("is empty", "--passphrase-fd", b"\n")
    unusable("too long", "--passphrase-fd", b"x" * 2000)
    unusable("Bad file descriptor", "--key-fd", "999999")
    unusable("cannot read the key file", "--identity", box.dir / "none")
    unusable("has no line", "--identity", TORPOR)
    unusable("hex digits", "--identity", box.dir / "odd")
    unusable("check sum", "--identity", box.dir / "typo")
    looks(box, s.images, key, stranger)
    done = box.torpor("validate", s.images)
    if done.status != 1 or "[set-encrypted]" not in done.output:
        raise Failed(f"without a key: {done}")
    box.notes.clear()


def test_commands(boxed: Callable[..., Any]) -> None:
    boxed(commands)
