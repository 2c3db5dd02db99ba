# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted and filtered sets, read after docs/FORMAT-filters.md and nothing else.

Needs python3-cryptography: AESGCM is None without.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box import Failed

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError:
    AESGCM = None  # type: ignore[assignment,misc]

Fields = dict[int, list[Any]]
PAGE = 4096


@dataclass(frozen=True)
class Extent:
    """Where it lies in a pages file, and whose pages it has."""

    file: str
    at: int
    size: int
    applied: int
    serial: int
    addresses: tuple[int, ...]


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
        if inventory[1] not in ([0x54520001], [0]):  # a pre-dump has 0
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

    def unwrap_by(self, path: Path) -> None:
        """With a secret key in its text form."""
        mine = X25519PrivateKey.from_private_bytes(secret_key(path))
        public = mine.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

        def by_exchange(slot: Fields) -> bytes:
            shared = mine.exchange(X25519PublicKey.from_public_bytes(slot[2][0]))
            return hkdf(shared, slot[2][0] + public, "torpor recipient 1")

        self.unwrap(1, by_exchange)

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

    def extents(self, pagemap: str) -> list[Extent]:
        """The index of a pages file."""
        head, *entries = messages(self.unseal(pagemap), (0x54525046, 0x56084025))
        addresses: list[int] = []
        found: list[Extent] = []
        columns: list[tuple[int, int, int]] = []
        for e in entries:
            count = e.get(5, e[2])[0]
            if e[4][0] & 4:
                addresses += [e[1][0] + PAGE * i for i in range(count)]
            parts = [packed(e[f][0]) if f in e else [] for f in (1000, 1001, 1002)]
            columns += list(zip(*parts, strict=True))  # type: ignore[arg-type]
        at = page = 0
        for i, (n, size, applied) in enumerate(columns):
            serial = (head[1000][0] << 32) + i
            own = tuple(addresses[page : page + n])
            found.append(Extent(f"pages-{head[1][0]}.img", at, size, applied, serial, own))
            at, page = at + size, page + n
        if page != len(addresses) or (found and at != len(self.files[found[0].file])):
            raise Failed("extents do not cover the pages")
        return found

    def pages(self, pagemap: str, kind: int, number: int) -> dict[int, bytes]:
        """Pages by address; all filters must be ciphers."""
        names = [m[1][0].decode() for m in messages(self.unseal("torpor-filters"),
            (0x55105940, 0x54524654))]  # fmt: skip
        found: dict[int, bytes] = {}
        for x in self.extents(pagemap):
            data = self.files[x.file][x.at : x.at + x.size]
            for i in reversed(range(len(names))):
                if not x.applied >> i & 1:
                    continue
                identity = struct.pack("<16s3Q4I", self.dump_id, number, x.addresses[0], x.serial,
                    kind, 0, len(x.addresses) * PAGE, x.applied & ((1 << i) - 1))  # fmt: skip
                key = hkdf(self.key, self.dump_id, f"page filter {i + 1} {names[i]}")
                cipher = {"aes-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}[names[i]](key)
                data = cipher.decrypt(struct.pack("<QI", x.serial, 0), data, identity)
            for i, address in enumerate(x.addresses):
                found[address] = data[PAGE * i : PAGE * (i + 1)]
        return found
