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
from subjects import Subject

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    AESGCM = None  # type: ignore[assignment,misc]

Fields = dict[int, list[Any]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """A protobuf message: numbers and byte strings by field."""
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = varint(data, at)
        elif tag & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise Failed(f"wire type {tag & 7}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def packed(data: bytes) -> list[int]:
    out, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        out.append(value)
    return out


def messages(image: bytes, magics: tuple[int, ...]) -> list[Fields]:
    """All messages of an image behind its magics."""
    head = struct.unpack_from(f"<{len(magics)}I", image)
    if head != magics:
        raise Failed(f"magics {head} instead of {magics}")
    at, found = 4 * len(magics), []
    while at < len(image):
        (size,) = struct.unpack_from("<I", image, at)
        found.append(fields(image[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def hkdf(key: bytes, salt: bytes, info: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info.encode()).derive(key)


def secret_key(path: Path) -> bytes:
    """From the text form, its check sum compared."""
    prefix = "torpor-secret-1:"
    line = next(t for t in path.read_text().splitlines() if t.startswith(prefix))
    data = bytes.fromhex(line[len(prefix) :])
    if hkdf(data[:32], prefix.encode(), "check sum")[:4] != data[32:]:
        raise Failed("the check sum of the key differs")
    return data[:32]


class Reader:
    """An encrypted set."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        (inventory,) = messages(files["inventory.img"], (0x58313116,))
        if inventory[1] != [0x54520001]:
            raise Failed(f"version {inventory[1]}")
        self.mark = fields(inventory[1000][0])
        self.dump_id = self.mark[2][0]
        self.envelope = fields(self.mark[4][0])
        self.key = b""

    def unwrap(self, kind: int, wrapping: Callable[[Fields], bytes]) -> None:
        for slot in map(fields, self.envelope[2]):
            if slot[1] == [kind]:
                cipher = ChaCha20Poly1305(wrapping(slot))
                aad = self.dump_id + bytes([kind])
                self.key = cipher.decrypt(bytes(12), slot[3][0], aad)
                return
        raise Failed(f"there is no slot of kind {kind}")

    def unseal(self, name: str) -> bytes:
        data = self.files[name]
        magic, version, cipher, piece = struct.unpack_from("<4I", data)
        if (magic, version, piece) != (0x54525345, 1, 65536) or data[16:32] != self.dump_id:
            raise Failed(f"{name} has another header")
        key = hkdf(self.key, data[32:64], f"torpor image {name}")
        kind = {1: AESGCM, 2: ChaCha20Poly1305}[cipher](key)
        at, i, plain = 64, 0, b""
        while at < len(data):
            part = data[at : at + piece + 16]
            at += len(part)
            nonce = struct.pack("<QB", i, at == len(data)) + bytes(3)
            plain += kind.decrypt(nonce, part, data[:64])
            i += 1
        return plain

    def inventory(self) -> Fields:
        """The real one."""
        needs, generation = self.mark[1][0], self.mark.get(3, [0])[0]
        parent = self.mark.get(5, [bytes(16)])[0]
        salt = self.files["torpor-manifest"][32:64]
        aad = struct.pack("<II", needs, generation) + parent + salt
        kind = {1: AESGCM, 2: ChaCha20Poly1305}[self.envelope[1][0]]
        cipher = kind(hkdf(self.key, self.dump_id, "torpor message inventory"))
        return fields(cipher.decrypt(bytes(8) + b"\1" + bytes(3), self.envelope[3][0], aad))

    def check_manifest(self) -> None:
        listed = messages(self.unseal("torpor-manifest"), (0x55105940, 0x5452464D))
        names = {m[1][0].decode() for m in listed}
        if names != set(self.files) - {"inventory.img", "torpor-manifest"}:
            raise Failed(f"the manifest has {names}")
        for m in listed:
            data = self.files[m[1][0].decode()]
            if m[2][0] != len(data) or (3 in m and m[3][0] != data[32:64]):
                raise Failed(f"the manifest is wrong about {m[1]}")

    def pages(self, pagemap: str, kind: int, number: int) -> dict[int, bytes]:
        """Pages by address."""
        names = [m[1][0].decode() for m in messages(self.unseal("torpor-filters"),
            (0x55105940, 0x54524654))]  # fmt: skip
        head, *entries = messages(self.unseal(pagemap), (0x54525046, 0x56084025))
        stored = self.files[f"pages-{head[1][0]}.img"]
        serial = head[1000][0] << 32
        addresses: list[int] = []
        extents: list[tuple[int, int, int, int]] = []
        for e in entries:
            count = e.get(5, e[2])[0]
            if e[4][0] & 4:
                addresses += [e[1][0] + 4096 * i for i in range(count)]
            columns = [packed(e[f][0]) if f in e else [] for f in (1000, 1001, 1002)]
            extents += list(zip(*columns, strict=True))  # type: ignore[arg-type]
        found: dict[int, bytes] = {}
        at = page = 0
        for n, size, applied in extents:  # type: ignore[misc]
            data = stored[at : at + size]
            for i in reversed(range(len(names))):
                if not applied >> i & 1:
                    continue
                identity = struct.pack("<16s3Q4I", self.dump_id, number, addresses[page], serial,
                    kind, 0, n * 4096, applied & ((1 << i) - 1))  # fmt: skip
                key = hkdf(self.key, self.dump_id, f"page filter {i + 1} {names[i]}")
                cipher = {"aes-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}[names[i]](key)
                data = cipher.decrypt(struct.pack("<QI", serial, 0), data, identity)
            for i in range(n):
                found[addresses[page + i]] = data[4096 * i : 4096 * (i + 1)]
            at, page, serial = at + size, page + n, serial + 1
        if page != len(addresses) or at != len(stored):
            raise Failed("extents do not cover the pages")
        return found


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
    mine = X25519PrivateKey.from_private_bytes(secret_key(key))
    public = mine.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )

    def by_exchange(slot: Fields) -> bytes:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(slot[2][0]))
        return hkdf(shared, slot[2][0] + public, "torpor recipient 1")

    def by_passphrase(slot: Fields) -> bytes:
        n, block, parallel = 1 << slot[4][0], slot[5][0], slot[6][0]
        return hashlib.scrypt(passphrase.strip(), salt=slot[2][0], n=n, r=block, p=parallel,
            maxmem=256 << 20, dklen=32)  # fmt: skip

    keys = set()
    for kind, wrapping in ((1, by_exchange), (2, by_passphrase),
        (3, lambda slot: hkdf(raw, slot[2][0], "torpor key 1"))):  # fmt: skip
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
        if got.keys() != want.keys() or any(got[a] != want[a] for a in want):
            raise Failed(f"{name}: the pages differ")
    if len(maps) < 3:
        raise Failed(f"only {maps}")
    s.kill()


@pytest.mark.parametrize("cipher", ["aes-gcm", "chacha20-poly1305"])
def test_described(boxed: Callable[..., Any], cipher: str) -> None:
    boxed(described, cipher=cipher)
