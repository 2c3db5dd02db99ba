# SPDX-License-Identifier: MIT
"""What opens encrypted images: secret keys, a passphrase, a key of 32 bytes; and the opening.

After docs/FORMAT-filters.md, section 4. Secrets come from files and descriptors, never from a
command line. They stay in the memory of the process until it ends.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torpor.images import messages as pb
from torpor.images.errors import ImageError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    AVAILABLE = True
except ImportError:  # pragma: no cover
    AVAILABLE = False

MISSING = (
    "opening encrypted images needs the Python package 'cryptography' (python3-cryptography), "
    "which is not installed"
)
SECRET = "torpor-secret-1:"
KEY, TAG, SUM = 32, 16, 4  # bytes
FILE_MAX, PASSPHRASE_MAX = 4096, 1024
SLOTS_MAX = 64
X25519, PASSPHRASE, RAW_KEY = 1, 2, 3  # torpor_key_slot_entry.kind
SALTS = {X25519: KEY}
SALT = 16  # of the other kinds
# What scrypt may be asked for (base/kdf.c).
LOG_N_MAX, R_MAX, P_MAX, SCRYPT_MEMORY = 20, 32, 64, 256 << 20
NAME = "inventory.img"


class WrongKeyError(ImageError):
    """What was given opens no slot of the set."""


class SecretError(ValueError):
    """A secret that cannot be had from where it should come from, for this reason."""


def hkdf(key: bytes, salt: bytes, info: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) to 32 bytes, which is one step."""
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info.encode() + b"\1", "sha256")


class Cipher:
    """Authenticated encryption by one of the two ciphers: 1 AES-256-GCM, 2 ChaCha20-Poly1305."""

    def __init__(self, kind: int, key: bytes) -> None:
        self._cipher: AESGCM | ChaCha20Poly1305
        self._cipher = AESGCM(key) if kind == 1 else ChaCha20Poly1305(key)

    def open(self, nonce: bytes, sealed: bytes | memoryview, aad: bytes) -> bytes | None:
        """What was sealed; None if it, the nonce, the key or the additional data is another."""
        if len(sealed) < TAG:
            return None
        try:
            return self._cipher.decrypt(nonce, bytes(sealed), aad)
        except InvalidTag:
            return None


# ---------------------------------------------------------------------------------- what is given


def _secret_of(line: str) -> bytes:
    digits = line.removeprefix(SECRET).rstrip()
    try:
        data = bytes.fromhex(digits) if len(digits) == 2 * (KEY + SUM) else b""
    except ValueError:
        data = b""
    if not data:
        raise SecretError(f"a key that does not have {2 * (KEY + SUM)} hex digits")
    if hkdf(data[:KEY], SECRET.encode(), "check sum")[:SUM] != data[KEY:]:
        raise SecretError("a key that is not what it was: its check sum differs")
    return data[:KEY]


def read_identity(path: Path) -> bytes:
    """The first secret key in a file of `torpor keygen`; SecretError if there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_MAX).decode("latin-1")
    except OSError as e:
        raise SecretError(f"cannot read the key file '{path}': {e.strerror}") from None
    for line in text.split("\n"):
        if line.lstrip("# \t").startswith(SECRET):
            try:
                return _secret_of(line.lstrip("# \t"))
            except SecretError as e:
                raise SecretError(f"'{path}' has {e}") from None
    raise SecretError(f"'{path}' has no line '{SECRET}...'")


def _bytes_of(fd: int) -> Iterator[bytes]:
    """One after the other: what stands behind the secret is somebody else's."""
    while part := os.read(fd, 1):
        yield part


def read_passphrase(fd: int) -> bytes:
    """The first line of a descriptor, which is closed; SecretError if there is none."""
    word = bytearray()
    try:
        for part in _bytes_of(fd):
            if part == b"\n":
                break
            word += part
            if len(word) == PASSPHRASE_MAX:
                raise SecretError(f"the passphrase from descriptor {fd} is too long")
        os.close(fd)
    except OSError as e:
        raise SecretError(f"cannot read a passphrase from descriptor {fd}: {e.strerror}") from None
    if not word:
        raise SecretError(f"the passphrase from descriptor {fd} is empty")
    return bytes(word.partition(b"\0")[0])  # it is a string


def read_key(fd: int) -> bytes:
    """The 32 bytes of a descriptor, which is closed; SecretError if there are fewer."""
    key = b""
    try:
        for part in _bytes_of(fd):
            key += part
            if len(key) == KEY:
                break
        os.close(fd)
    except OSError as e:
        raise SecretError(f"cannot read a key from descriptor {fd}: {e.strerror}") from None
    if len(key) < KEY:
        text = f"cannot read a key of {KEY} bytes from descriptor {fd}: there are fewer"
        raise SecretError(text)
    return key


# ------------------------------------------------------------------------------------- the opening


@dataclass(frozen=True)
class Keys:
    """What somebody gave to open encrypted sets."""

    identities: tuple[bytes, ...] = field(default=(), repr=False)
    passphrase: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return bool(self.identities or self.passphrase is not None or self.key is not None)

    def unwrap(self, dump_id: bytes, envelope: pb.torpor_envelope_entry) -> bytes:
        """The key of a set; WrongKeyError if nothing opens it, ImageError if slots are damaged."""
        if not AVAILABLE:
            raise SecretError(MISSING)
        _check_slots(envelope)
        for slot in envelope.slots:
            for wrapping in self._wrappings(slot):
                aad = dump_id + bytes([slot.kind & 0xFF])
                found = Cipher(2, wrapping).open(bytes(12), slot.wrapped, aad)
                if found is not None:
                    return found
        text = "what was given does not open it: it is not the key of the set, or it was changed"
        raise WrongKeyError(NAME, text, None, "set-encrypted")

    def _wrappings(self, slot: pb.torpor_key_slot_entry) -> Iterator[bytes]:
        """Keys that a slot may have been wrapped with."""
        if slot.kind == X25519:
            yield from (_exchange(secret, slot.salt) for secret in self.identities)
        elif slot.kind == RAW_KEY and self.key is not None:
            yield hkdf(self.key, slot.salt, "torpor key 1")
        elif slot.kind == PASSPHRASE and self.passphrase is not None:
            yield _scrypt(self.passphrase, slot)


def _check_slots(envelope: pb.torpor_envelope_entry) -> None:
    n = len(envelope.slots)
    if not 0 < n <= SLOTS_MAX:
        raise ImageError(NAME, f"it has {n} keys", None, "set-sealed")
    for slot in envelope.slots:
        if len(slot.wrapped) != KEY + TAG or len(slot.salt) != SALTS.get(slot.kind, SALT):
            text = f"it has a key of {len(slot.wrapped)} bytes with a salt of {len(slot.salt)}"
            raise ImageError(NAME, text, None, "set-sealed")


def _exchange(secret: bytes, sender: bytes) -> bytes:
    mine = X25519PrivateKey.from_private_bytes(secret)
    public = mine.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    try:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(sender))
    except ValueError:
        raise ImageError(NAME, "an X25519 key is not valid", None, "set-sealed") from None
    return hkdf(shared, sender + public, "torpor recipient 1")


def _scrypt(word: bytes, slot: pb.torpor_key_slot_entry) -> bytes:
    log_n, r, p = slot.scrypt_log_n, slot.scrypt_r, slot.scrypt_p
    good = 0 < log_n <= LOG_N_MAX and 0 < r <= R_MAX and 0 < p <= P_MAX
    if not good or 128 * r << log_n > SCRYPT_MEMORY:
        text = f"the passphrase is protected by absurd parameters ({log_n}, {r}, {p})"
        raise ImageError(NAME, text, None, "set-sealed")
    return hashlib.scrypt(
        word, salt=slot.salt, n=1 << log_n, r=r, p=p, maxmem=SCRYPT_MEMORY + (64 << 20), dklen=KEY
    )
