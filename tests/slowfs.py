# SPDX-License-Identifier: GPL-2.0-or-later
"""A file system of FUSE that can stop to answer: what a disk or server that hangs looks like.

It is served by a child of the test, which speaks the kernel's protocol itself (linux/fuse.h), and
has a directory with one file in it. Nothing is kept by the kernel, so every look at it is a question.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

from box import Box, Skipped, mount

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = (
    25, 26, 27, 28, 29, 34, 36, 38, 42,
)  # fmt: skip
ENOENT, ENOSYS = 2, 38
PR_SET_PDEATHSIG = 1
NAME, CONTENT = b"file", b"x" * 5000


def _attributes(node: int) -> bytes:
    """struct fuse_attr."""
    mode, links, size = (0o40755, 2, 0) if node == 1 else (0o100644, 1, len(CONTENT))
    return struct.pack("=6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
    """Error and content."""
    if opcode == INIT:
        return 0, struct.pack("=4I2H2I2H8I", 7, 23, 0, 0, 0, 0, 4096, 1, *([0] * 10))
    if opcode == LOOKUP:
        if body.rstrip(b"\0") != NAME:
            return -ENOENT, b""
        return 0, struct.pack("=4Q2I", 2, 0, 0, 0, 0, 0) + _attributes(2)
    if opcode == GETATTR:
        return 0, struct.pack("=Q2I", 0, 0, 0) + _attributes(node)
    if opcode in (OPEN, OPENDIR):
        return 0, struct.pack("=Q2I", 1, 0, 0)
    if opcode == READ:
        offset, size = struct.unpack_from("=8xQI", body)
        return 0, CONTENT[offset : offset + size]
    if opcode == STATFS:
        return 0, struct.pack("=5Q10I", 1, 1, 1, 1, 1, 4096, 255, 4096, *([0] * 7))
    if opcode in (FLUSH, RELEASE, RELEASEDIR, READDIR, ACCESS, DESTROY):
        return 0, b""
    return -ENOSYS, b""


def _serve(fuse: int) -> None:
    deaf = [False]
    signal.signal(signal.SIGUSR1, lambda *_: deaf.__setitem__(0, True))
    while True:
        try:
            request = os.read(fuse, 1 << 17)
        except OSError:
            os._exit(0)
        _, opcode, unique, node = struct.unpack_from("=2I2Q", request)
        if deaf[0] or opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        error, content = _answer(opcode, node, request[40:])
        os.write(fuse, struct.pack("=IiQ", 16 + len(content), error, unique) + content)


@dataclass
class SlowFs:
    """The mount; `path` has the file."""

    dir: Path
    server: int

    @property
    def path(self) -> Path:
        return self.dir / NAME.decode()

    def stop(self) -> None:
        """From now on nobody reads the questions: who asks can still be killed."""
        os.kill(self.server, signal.SIGSTOP)

    def go_deaf(self) -> None:
        """From now on questions are read but not answered: who asks cannot even be killed."""
        os.kill(self.server, signal.SIGUSR1)

    def end(self) -> None:
        """All who wait get an error."""
        os.kill(self.server, signal.SIGKILL)


def start(box: Box, where: Path) -> SlowFs:
    """Mounts it; skips where there is no FUSE."""
    where.mkdir()
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR)
        mount("slow", str(where), "fuse", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0")
    except OSError as e:
        raise Skipped(f"no FUSE here: {e}") from None
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _serve(fuse)
    os.close(fuse)
    box.aside.add(pid)
    fs = SlowFs(where, pid)
    # who has answered heeds signals
    fs.path.stat()
    return fs
