# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/FORMAT-filters.md and FORMAT-stream.md are enough to read an encrypted set.

Nothing of torpor is used here but a dump: keys are unwrapped, files unsealed, extents decrypted and
compared with a plain dump of the same stopped tasks, all after the description.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Failed, Skipped
from sealed_sets import AESGCM, PAGE, Fields, Reader, hkdf, messages
from subjects import Subject


def plain_pages(images: Path, pagemap: str) -> dict[int, bytes]:
    head, *entries = messages((images / pagemap).read_bytes(), (0x54564319, 0x56084025))
    stored = (images / f"pages-{head[1][0]}.img").read_bytes()
    found: dict[int, bytes] = {}
    at = 0
    for e in entries:
        for i in range(e.get(5, e[2])[0] if e[4][0] & 4 else 0):
            found[e[1][0] + 4096 * i] = stored[at : at + 4096]
            at += 4096
    return found


def take_stream(data: bytes) -> dict[str, bytes]:
    """One stream into files, after docs/FORMAT-stream.md."""
    if data[:8] != b"TORPORS1":
        raise Failed("no stream")
    names: list[str] = []
    files: dict[str, bytes] = {}
    at = 8
    while True:
        number, length = struct.unpack_from("<II", data, at)
        body, at = data[at + 8 : at + 8 + length], at + 8 + length
        if number:
            files[names[number - 1]] += body
        elif length:
            names.append(body[4:].decode())
            files[names[-1]] = b""
        else:
            break
    if at != len(data):
        raise Failed("something stands behind the end")
    return files


def dump(s: Subject, *options: str, fds: tuple[int, ...] = ()) -> Path:
    words = [TORPOR, *s.dump_command("-s", *options)]
    done = subprocess.run(words, pass_fds=fds, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Failed(f"dump failed: {options}")
    return s.images


def described(box: Box, cipher: str) -> None:
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    key, passphrase, raw = box.dir / "key", b"a word\n", os.urandom(32)
    box.torpor("keygen", "--output", key)
    s = Subject(box, "mem_shared")
    # on another processor the kernel would write its number into the memory of the threads (rseq)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    s.start()
    plain = dump(s)
    pipes = [os.pipe() for _ in range(2)]
    for (_, end), text in zip(pipes, (passphrase, raw), strict=True):
        os.write(end, text)
        os.close(end)
    fds = (pipes[0][0], pipes[1][0])
    with (box.dir / "stream").open("wb") as out:
        dump(s, f"--encrypt={cipher}", "--recipient", str(key), "--passphrase-fd", str(fds[0]),
            "--key-fd", str(fds[1]), "--stream-fd", str(out.fileno()),
            fds=(*fds, out.fileno()))  # fmt: skip
    r = Reader(take_stream((box.dir / "stream").read_bytes()))

    def by_passphrase(slot: Fields) -> bytes:
        n, block, parallel = 1 << slot[4][0], slot[5][0], slot[6][0]
        return hashlib.scrypt(passphrase.strip(), salt=slot[2][0], n=n, r=block, p=parallel,
            maxmem=256 << 20, dklen=32)  # fmt: skip

    r.unwrap_by(key)
    keys = {r.key}
    for kind, wrapping in ((2, by_passphrase), (3, lambda slot: hkdf(raw, slot[2][0], "torpor key 1"))):
        r.unwrap(kind, wrapping)
        keys.add(r.key)
    if len(keys) != 1 or len(r.key) != 32:
        raise Failed("slots have different keys")
    if r.inventory()[1] != [2]:
        raise Failed("the real inventory is not one of version 2")
    r.check_manifest()
    maps = sorted(n for n in r.files if n.startswith("pagemap-"))
    for name in maps:
        kind = 2 if "shmem" in name else 1
        got = r.pages(name, kind, int(name.split("-")[-1].split(".")[0]))
        want = plain_pages(plain, name)
        different = [
            f"{a:#x}+{i}: {want[a][i]} is {got[a][i]}"
            for a in want
            if got.get(a) != want[a]
            for i in range(PAGE)
            if a in got and got[a][i] != want[a][i]
        ]
        if got.keys() != want.keys() or different:
            raise Failed(f"{name}: pages differ: {different[:20]}")
    if len(maps) < 3:
        raise Failed(f"only {maps}")
    s.kill()


@pytest.mark.parametrize("cipher", ["aes-gcm", "chacha20-poly1305"])
def test_described(boxed: Callable[..., Any], cipher: str) -> None:
    boxed(described, cipher=cipher)
