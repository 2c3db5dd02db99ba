# SPDX-License-Identifier: MIT
"""An encrypted set that was opened: its files, its manifest, the keys of its pages.

After docs/FORMAT-filters.md, section 4. Whatever was changed, cut, moved or taken from another dump
is an ImageError of the rule set-sealed.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from torpor.images import kinds
from torpor.images import messages as pb
from torpor.images.errors import ImageError
from torpor.images.keys import Cipher, Keys, hkdf
from torpor.images.reader import SEALED_MAGIC, Image

MANIFEST = "torpor-manifest"
RULE = "set-sealed"
HEADER = struct.Struct("<4I16s32s")
VERSION, PIECE = 1, 65536
TAG, SALT, ID = 16, 32, 16
TORPOR_FIELD = b"\xc2\x3e"  # tag of inventory_entry.torpor
CIPHERS = {"aes-gcm": 1, "chacha20-poly1305": 2}  # page filters


class Listed(NamedTuple):
    """What the manifest says of a file."""

    size: int  # on the disk
    salt: bytes | None  # of its key; None: pages, which their filters protect


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Sealed:
    """The files of an encrypted set, opened with its key."""

    def __init__(self, dir_fd: int, mark: pb.torpor_set_entry, keys: Keys) -> None:
        """`dir_fd` stays the caller's. ImageError if the set is not what was written."""
        self._dir = dir_fd
        self.dump_id = mark.dump_id
        self.generation = mark.generation
        self.files: dict[str, Listed] = {}
        if len(self.dump_id) != ID or len(mark.parent_id) not in (0, ID):
            text = "its ids do not have 16 bytes"
            raise ImageError("inventory.img", text, None, "inventory-set")
        if not mark.HasField("envelope") or mark.envelope.cipher not in (1, 2):
            text = "it does not say how the set is encrypted"
            raise ImageError("inventory.img", text, None, RULE)
        self._cipher = mark.envelope.cipher
        self._key = keys.unwrap(self.dump_id, mark.envelope)
        salt = self._manifest_salt()
        self.inventory = self._open_inventory(mark, salt)
        """The real inventory as a file, with the mark of the set but not its keys."""
        self.files[MANIFEST] = Listed(0, salt)
        self._read_manifest()

    # ------------------------------------------------------------------------------------- opening

    def _manifest_salt(self) -> bytes:
        head = b""
        try:
            fd = os.open(MANIFEST, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._dir)
            try:
                head = os.pread(fd, HEADER.size, 0)
            finally:
                os.close(fd)
        except OSError:
            pass
        if len(head) < HEADER.size:
            raise ImageError(MANIFEST, "it is missing or too short", None, RULE)
        return head[-SALT:]

    def _open_inventory(self, mark: pb.torpor_set_entry, salt: bytes) -> bytes:
        aad = struct.pack("<II", mark.needs, mark.generation)
        aad += (mark.parent_id or bytes(ID)) + salt
        cipher = Cipher(self._cipher, self.key("torpor message inventory"))
        real = cipher.open(bytes(8) + b"\1\0\0\0", mark.envelope.inventory, aad)
        if real is None:
            text = f"it and {MANIFEST} were changed or do not belong together"
            raise ImageError("inventory.img", text, None, RULE)
        seen = pb.torpor_set_entry()
        seen.CopyFrom(mark)
        seen.ClearField("envelope")
        body = seen.SerializeToString()
        real += TORPOR_FIELD + _number(len(body)) + body
        head = kinds.header(kinds.BY_ID["INVENTORY"])
        return head + struct.pack("<I", len(real)) + real

    def _read_manifest(self) -> None:
        kind = kinds.BY_ID["TORPOR_MANIFEST"]
        with Image(memoryview(self.content(MANIFEST)), MANIFEST, kind) as image:
            for e in image.messages():
                assert isinstance(e, pb.torpor_manifest_entry)
                self._take(e)

    def _take(self, e: pb.torpor_manifest_entry) -> None:
        if "/" in e.name or (e.HasField("salt") and len(e.salt) != SALT):
            raise ImageError(MANIFEST, f"it has an impossible entry '{e.name}'", None, RULE)
        try:
            size = os.stat(e.name, dir_fd=self._dir, follow_symlinks=False).st_size
        except FileNotFoundError:
            text = "it is missing, though it belongs to the set"
            raise ImageError(e.name, text, None, RULE) from None
        except OSError as problem:
            raise ImageError(e.name, problem.strerror or str(problem), None, RULE) from None
        if size != e.size:
            raise ImageError(e.name, f"it has {size} bytes instead of {e.size}", None, RULE)
        self.files[e.name] = Listed(size, e.salt if e.HasField("salt") else None)

    # --------------------------------------------------------------------------------------- using

    def key(self, purpose: str) -> bytes:
        """The key for a single purpose."""
        return hkdf(self._key, self.dump_id, purpose)

    def length(self, name: str) -> int:
        """Bytes of the content of a file that is sealed, if it is what was written."""
        body = max(0, self.files[name].size - HEADER.size)
        return max(0, body - -(-body // (PIECE + TAG)) * TAG)

    def content(self, name: str) -> bytes:
        """What a sealed file holds, all of it verified; FileNotFoundError if it is not listed."""
        listed = self.files.get(name)
        if listed is None or listed.salt is None:
            raise FileNotFoundError(2, "it is not in the manifest", name)
        # O_NONBLOCK: a fifo of that name must not stop us
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._dir)
        try:
            return b"".join(self._pieces(name, fd, listed.salt))
        finally:
            os.close(fd)

    def _pieces(self, name: str, fd: int, salt: bytes) -> Iterator[bytes]:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            raise ImageError(name, "this is no regular file", None, RULE)
        if st.st_size < HEADER.size + TAG:
            raise ImageError(name, f"it is too short: {st.st_size} bytes", None, RULE)
        head = os.pread(fd, HEADER.size, 0)
        wanted = (SEALED_MAGIC, VERSION, self._cipher, PIECE, self.dump_id, salt)
        if head != HEADER.pack(*wanted):
            text = "it is not the one that was written: it belongs to another dump or was changed"
            raise ImageError(name, text, None, RULE)
        cipher = Cipher(self._cipher, hkdf(self._key, salt, f"torpor image {name}"))
        for i, at in enumerate(range(HEADER.size, st.st_size, PIECE + TAG)):
            nonce = struct.pack("<QB3x", i, at + PIECE + TAG >= st.st_size)
            part = cipher.open(nonce, os.pread(fd, PIECE + TAG, at), head)
            if part is None:
                raise ImageError(name, "it was changed", i * PIECE, RULE)
            yield part

    def page_cipher(self, place: int, name: str) -> Cipher | None:
        """The page filter at a place of the chain, from 0; None if it is no cipher."""
        if name not in CIPHERS:
            return None
        return Cipher(CIPHERS[name], self.key(f"page filter {place + 1} {name}"))
