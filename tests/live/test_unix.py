# SPDX-License-Identifier: GPL-2.0-or-later
"""Unix sockets whose peer is outside of the tree: left out, given back, connected again, refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Failed
from subjects import Subject

NULL = os.open("/dev/null", os.O_RDWR)
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def inode(fd: int | socket.socket) -> int:
    return os.fstat(fd if isinstance(fd, int) else fd.fileno()).st_ino


def at_nine(s: Subject) -> int:
    """Inode of the socket the subject has at descriptor 9."""
    return os.stat(f"/proc/{s.pid}/fd/9").st_ino


def expect_hello(s: socket.socket) -> None:
    s.settimeout(60)
    text = s.recv(100)
    if text != b"hello":
        raise Failed(f"the peer outside received {text!r}")


def expect_end(s: socket.socket) -> None:
    """The other side went, with or without having read everything."""
    s.settimeout(60)
    try:
        text = s.recv(10)
    except ConnectionResetError:
        return
    if text != b"":
        raise Failed(f"the connection survived: {text!r}")


def dump_refused(s: Subject, *words: str) -> None:
    done = s.box.torpor(*s.dump_command())
    if done.status != 1:
        raise Failed(f"dump ended with {done.status}")
    for word in words:
        if word not in done.output:
            raise Failed(f"'{word}' is not in '{done.output}'")
    if done.output.count("\n") > 1:
        raise Failed(f"more than one sentence: {done.output}")
    s.expect_tasks()


# ----------------------------------------------------------------------------------- inherited


def inherited(box: Box, kind: int) -> None:
    """--external at the dump, --inherit-fd at the restore, with bytes in the queue."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    s = Subject(box, "unix_outside", ("-", "stream"), fds=(theirs.fileno(), NULL, NULL))
    s.start()
    theirs.close()
    s.fds = None
    number = at_nine(s)
    dump_refused(s, f"socket:[{number}]", "descriptor 9", "--inherit-fd", f"unix[{number}]")
    s.dump("--external", f"unix[{number}]")
    again, theirs = socket.socketpair(socket.AF_UNIX, kind)
    done = box.torpor(*s.restore_command())
    if done.status == 0 or f"socket[{number}]" not in done.output:
        raise Failed(f"restored without the socket: {done.output}")
    again.send(b"world")
    s.fds = (theirs.fileno(), NULL, NULL)
    s.restore("--inherit-fd", f"fd[0]:socket[{number}]")
    theirs.close()
    s.finish()
    expect_hello(again)


@pytest.mark.parametrize("kind", [STREAM, DGRAM], ids=["stream", "dgram"])
def test_inherited(boxed: Callable[..., Any], kind: int) -> None:
    boxed(inherited, kind=int(kind))


# -------------------------------------------------------------------------------------- by name


def datagram_by_name(box: Box, option: str) -> None:
    """--ext-unix-sk: connected again by the peer's name."""
    path = box.dir / "outside.sock"
    server = socket.socket(socket.AF_UNIX, DGRAM)
    server.bind(str(path))
    s = Subject(box, "unix_outside", (str(path), "dgram"))
    s.start()
    dump_refused(s, f"socket:[{at_nine(s)}]", "--ext-unix-sk")
    s.dump(option.replace("INO", str(inode(server))))
    s.restore()
    os.kill(s.pid, 15)
    expect_hello(server)
    # it has no name, so nothing can be sent to it: it is killed instead
    box.kill_all()


@pytest.mark.parametrize("option", ["--ext-unix-sk", "-xINO"])
def test_datagram_by_name(boxed: Callable[..., Any], option: str) -> None:
    boxed(datagram_by_name, option=option)


def stream_by_name(box: Box) -> None:
    path = box.dir / "outside.sock"
    server = socket.socket(socket.AF_UNIX, STREAM)
    server.bind(str(path))
    server.listen(4)
    s = Subject(box, "unix_outside", (str(path), "stream"))
    s.start()
    old = server.accept()[0]
    number = at_nine(s)
    s.dump("--external", f"unix[{number}]")
    expect_end(old)
    s.restore("--ext-unix-sk")
    server.settimeout(60)
    new = server.accept()[0]
    new.send(b"world")
    s.finish()
    expect_hello(new)


def test_stream_by_name(boxed: Callable[..., Any]) -> None:
    boxed(stream_by_name)


# ------------------------------------------------------------------------------------- unharmed


def cut_off(box: Box, how: str) -> None:
    """torpor fails or dies while options of a socket are different: they are put back."""
    s = Subject(box, "unix_pairs")
    s.start()
    done = box.torpor(*s.dump_command(), env={"TORPOR_FAULT": f"peek{how}"})
    if done.status != (-9 if how else 1):
        raise Failed(f"dump ended with {done.status}")
    s.expect_tasks()
    s.finish()


@pytest.mark.parametrize("how", ["", "=kill"], ids=["fails", "dies"])
def test_cut_off(boxed: Callable[..., Any], how: str) -> None:
    boxed(cut_off, how=how)


# -------------------------------------------------------------------------------------- refused


def waiting_bytes(box: Box) -> None:
    """Bytes sent before anybody accepted the connection cannot be read."""
    path = box.dir / "outside.sock"
    server = socket.socket(socket.AF_UNIX, STREAM)
    server.bind(str(path))
    server.listen(4)
    s = Subject(box, "unix_outside", (str(path), "stream", "wait"))
    s.start()
    dump_refused(s, "descriptor 9", "has sent something", "nobody has accepted")
    s.finish()
    if server.accept()[0].recv(10) != b"early":
        raise Failed("the refused dump took bytes")


def waiting_closed(box: Box) -> None:
    """A client that went before it was accepted may have left bytes."""
    path = box.dir / "inside.sock"
    s = Subject(box, "unix_outside", (str(path), "stream", "listen"))
    s.start()
    with socket.socket(socket.AF_UNIX, STREAM) as client:
        client.connect(str(path))
        client.send(b"left")
    dump_refused(s, "descriptor 9", "closed before it was accepted")
    s.finish()


def waiting_stranger(box: Box) -> None:
    """A client outside waits to be accepted: refused, or closed by --ext-unix-sk."""
    path = box.dir / "inside.sock"
    s = Subject(box, "unix_outside", (str(path), "stream", "listen"))
    s.start()
    client = socket.socket(socket.AF_UNIX, STREAM)
    client.connect(str(path))
    dump_refused(s, "descriptor 9", f"socket:[{inode(client)}]", "--ext-unix-sk")
    s.dump("--ext-unix-sk")
    expect_end(client)
    s.restore()
    client = socket.socket(socket.AF_UNIX, STREAM)
    client.connect(str(path))
    s.finish()


def name_in_use(box: Box) -> None:
    """A restore neither takes a name from somebody nor leaves one behind."""
    path = box.dir / "inside.sock"
    s = Subject(box, "unix_outside", (str(path), "stream", "listen"))
    s.start()
    s.dump()
    path.unlink()
    other = socket.socket(socket.AF_UNIX, STREAM)
    other.bind(str(path))
    other.listen(1)
    done = box.torpor(*s.restore_command())
    if done.status == 0 or "in use" not in done.output or str(path) not in done.output:
        raise Failed(f"the name was taken from its owner: {done.output}")
    socket.socket(socket.AF_UNIX, STREAM).connect(str(path))
    other.close()
    path.unlink()
    path.write_text("no socket")
    done = box.torpor(*s.restore_command())
    if done.status == 0 or path.read_text() != "no socket":
        raise Failed("a file was replaced by a socket")
    path.unlink()
    s.restore()
    s.finish()


@pytest.mark.parametrize("case", [waiting_bytes, waiting_closed, waiting_stranger, name_in_use])
def test_refused(boxed: Callable[..., Any], case: Callable[..., Any]) -> None:
    boxed(case)
