# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages over several connections to a page server, good and bad."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed
from daemons import PATIENCE, Server, make_certificates, merge, tls_options
from dying_servers import dies_at_each_moment
from subjects import Subject

FILES = struct.pack("<I", 0x31505054)
FILE, DATA, HOLE, END, ALL, JOIN, AT = 1, 2, 3, 4, 5, 6, 7
TOKEN = 0xABCDEF


def frame(kind: int, number: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, number)


# ------------------------------------------------------------------------------ dump and restore


def dump(box: Box, name: str, options: tuple[str, ...], tls: bool) -> None:
    """A pre-dump and a dump onto it, each over several connections."""
    words: list[str] = []
    if tls:
        make_certificates(box.dir / "tls")
        words = tls_options(box.dir / "tls", "good")
    s = Subject(box, name)
    s.start()
    first = box.dir / "first"
    first.mkdir()
    server = Server(box, box.dir / "pages-first", *words)
    done = box.torpor(
        *("pre-dump", "-t", str(s.pid), "-D", first, "-o", "dump.log", *server.options),
        *(*words, *options),
    )
    if done.status != 0:
        raise Failed("pre-dump failed")
    server.end()
    merge(server.images, first)
    server = Server(box, box.dir / "pages", *words)
    s.dump(*server.options, *words, *options, "--prev-images-dir", "../first")
    server.end()
    if list(s.images.glob("pages-*")):
        raise Failed("there are pages in the images directory")
    merge(server.images, s.images)
    s.restore()
    s.finish()


@pytest.mark.parametrize(
    ("name", "options", "tls"),
    [
        ("mem_private", ("--connections", "3"), False),
        ("mem_cow", ("--connections", "16", "--compress=zstd"), False),
        ("mem_shared", ("--connections", "2", "--compress"), True),
        ("tree", ("--connections", "4"), True),
    ],
)
def test_dump(
    boxed: Callable[..., Any], name: str, options: tuple[str, ...], tls: bool
) -> None:
    boxed(dump, name=name, options=options, tls=tls)


def refused(box: Box) -> None:
    s = Subject(box, "mem_stack_brk")
    s.start()
    for words, word in (
        (("--connections", "2"), "--page-server"),
        (("--connections", "17", "--page-server", "--port", "7"), "16"),
        (("--connections", "2", "--page-server", "--ps-socket", "0"), "--ps-socket"),
    ):
        done = box.torpor(*s.dump_command(*words))
        if done.status == 0 or word not in done.output:
            raise Failed(f"{words}: {done}")
    s.expect_tasks()
    s.finish()


def test_refused(boxed: Callable[..., Any]) -> None:
    boxed(refused)


# ------------------------------------------------------------------------------------------ failures


def test_server_dies(boxed: Callable[..., Any]) -> None:
    boxed(dies_at_each_moment, options=("--connections", "4"))


def speak(port: int, *parts: bytes) -> list[socket.socket]:
    """One connection for each part, in their order, or up to the one that the server refused."""
    found: list[socket.socket] = []
    try:
        for part in parts:
            found.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
            found[-1].sendall(part)
    except ConnectionError:
        if not found:
            raise
    return found


def answer(c: socket.socket) -> tuple[int, bytes]:
    try:
        data = c.recv(8, socket.MSG_WAITALL)
    except ConnectionError:  # there was more that was not read
        return -1, b""
    if len(data) < 8:
        return -1, b""
    number, length = struct.unpack("<II", data)
    return number, c.recv(length, socket.MSG_WAITALL)


HELLO = FILES + frame(JOIN, TOKEN << 8 | 3)
NOTHING = HELLO + frame(ALL)
ONE = frame(FILE, 1) + frame(AT, 4096) + frame(DATA, 3) + b"abc"
# what the first one says, the second one, the third one
BAD: dict[str, tuple[bytes, ...]] = {
    "one is missing": (HELLO, NOTHING),
    "too many": (FILES + frame(JOIN, TOKEN << 8 | 200),),
    "only one": (FILES + frame(JOIN, TOKEN << 8 | 1),),
    "no length": (HELLO + frame(FILE, 1) + frame(ALL), HELLO + ONE + frame(ALL), NOTHING),
    "too short": (HELLO + frame(FILE, 1) + frame(END, 4098) + frame(ALL),
                  HELLO + ONE + frame(ALL), NOTHING),
    "ends twice": (HELLO + frame(FILE, 1) + (frame(END, 9) + frame(FILE, 1)) * 2 + frame(ALL),
                   NOTHING, NOTHING),
    "huge": (HELLO + frame(FILE, 1) + frame(END, 1 << 63) + frame(ALL), NOTHING, NOTHING),
    "data of no file": (HELLO + frame(ALL), HELLO + frame(DATA, 3) + b"abc" + frame(ALL), NOTHING),
    "file 0": (HELLO + frame(ALL), HELLO + frame(FILE, 0) + frame(ALL), NOTHING),
    "beyond all": (HELLO + frame(ALL),
                   HELLO + frame(FILE, 1) + frame(AT, (1 << 63) - 1) + frame(DATA, 3) + b"abc"
                   + frame(ALL), NOTHING),
    "too much at once": (HELLO, HELLO + frame(FILE, 1) + frame(DATA, 1 << 40), NOTHING),
    "half of data": (HELLO, HELLO + frame(FILE, 1) + frame(DATA, 100) + b"x", NOTHING),
    "unknown frame": (HELLO, HELLO + frame(99), NOTHING),
    "data on the first": (HELLO + frame(FILE, 1) + frame(DATA, 3) + b"abc", NOTHING, NOTHING),
}  # fmt: skip


# in which the sender goes away, and cannot be told
GONE = {"one is missing", "half of data"}


def hostile(box: Box) -> None:
    """Whatever is sent, the server says what was wrong, at both ends, and keeps nothing."""
    for name, parts in BAD.items():
        server = Server(box, box.dir / name.replace(" ", "-"))
        ends = speak(server.port, *parts)
        sentence = b""
        if name not in GONE:
            number, sentence = answer(ends[0])
            if number <= 0 or len(sentence) < 20:
                raise Failed(f"{name}: the server answers {number}, {sentence!r}")
        for c in ends:
            c.close()
        # however far it came: what was wrong is seen, and the server says it
        text = server.end(good=False)
        left = [p.name for p in server.images.iterdir() if p.name != "server.log"]
        if left or len(text.strip().splitlines()[-1]) < 20 or sentence.decode() not in text:
            raise Failed(f"{name}: left {left}, said '{text}', answered {sentence!r}")


def test_hostile(boxed: Callable[..., Any]) -> None:
    boxed(hostile)


STRANGERS = (
    FILES + frame(JOIN, 77 << 8 | 3),
    FILES + frame(FILE, 1),
    struct.pack("<IIQQQ", 4, 0, 0, 0, 7 << 8 | 1),
    b"GET / HTTP/1.0\r\n\r\n" + bytes(40),
    b"",
)


def good(box: Box) -> None:
    """In whatever order pieces come, files are what was sent, with holes between.

    Strangers who come meanwhile are told so, and are all that is refused.
    """
    server = Server(box, box.dir / "good")
    big = os.urandom(1 << 20)
    first = HELLO + frame(FILE, 3) + frame(END, (3 << 20) + 5) + frame(FILE, 4) + frame(END)
    second = HELLO + frame(FILE, 3) + frame(AT, 2 << 20) + frame(DATA, len(big)) + big
    third = HELLO + frame(FILE, 3) + frame(DATA, 5) + b"hello" + frame(DATA, 1) + b"!"
    ends = speak(server.port, first)
    for stranger in STRANGERS:
        (other,) = speak(server.port, stranger)
        with contextlib.suppress(OSError):  # it may have been refused already
            other.shutdown(socket.SHUT_WR)
        number, sentence = answer(other)
        words = (b"does not belong to the dump at", b"has closed the connection")
        if number <= 0 or not any(w in sentence for w in words):
            raise Failed(f"{stranger!r} is answered {number}, {sentence!r}")
        other.close()
    ends += speak(server.port, second + frame(ALL), third + frame(ALL))
    ends[0].sendall(frame(ALL))
    if len(ends) != 3 or any(answer(c) != (0, b"") for c in ends):
        raise Failed("a bad answer")
    for c in ends:
        c.close()
    server.end()
    want = b"hello!" + bytes((2 << 20) - 6) + big + bytes(5)
    if (server.images / "pages-3.img").read_bytes() != want:
        raise Failed("pages-3.img is not what was sent")
    if (server.images / "pages-4.img").read_bytes():
        raise Failed("pages-4.img is not empty")
    if sorted(p.name for p in Path(server.images).glob("*.img")) != ["pages-3.img", "pages-4.img"]:
        raise Failed("there is something else")


def test_good(boxed: Callable[..., Any]) -> None:
    boxed(good)
