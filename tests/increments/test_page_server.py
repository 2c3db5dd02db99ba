# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages over a connection: both forms of the protocol, increments, TLS, and failures."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import TORPOR, Box, Failed, mount
from pagemaps import PAGE, PARENT, PRESENT, Entry
from daemons import PATIENCE, Server, make_certificates, merge, tls_options
from dying_servers import dies_at_each_moment
from subjects import Subject

ADD_OLD, HOLE_OLD, OPEN, PARENT_ASKED, ADD, CLOSE = 1, 2, 4, 5, 6, 0x1023


# ------------------------------------------------------------------------------ dump and restore


def through_server(box: Box, name: str, header: str) -> None:
    s = Subject(box, name)
    s.start()
    server = Server(box, box.dir / "pages")
    s.dump(*server.options, "--page-header", header)
    server.end()
    if list(s.images.glob("pages-*")) or list(s.images.glob("pagemap-*")):
        raise Failed("there are pages in the images directory")
    merge(server.images, s.images)
    s.restore()
    s.finish()


@pytest.mark.parametrize(
    ("name", "header"), [("mem_private", "32"), ("mem_shared", "24"), ("tree", "32")]
)
def test_dump(boxed: Callable[..., Any], name: str, header: str) -> None:
    boxed(through_server, name=name, header=header)


def increments(box: Box, tracker: str, filters: tuple[str, ...] = ()) -> None:
    """Three pre-dumps and a dump, each to a server of its own beside the one before.

    Filtered pages go as whole files, and the servers need no parents.
    """
    s = Subject(box, "mem_private")
    s.start()
    key = str(box.dir / "key")
    if "KEY" in filters and box.torpor("keygen", "--output", key).status != 0:
        raise Failed("no key was made")
    filters = tuple(key if word == "KEY" else word for word in filters)
    sets: list[tuple[Path, Path]] = []
    for i in range(4):
        last = i == 3
        far = ["--prev-images-dir", f"../far-{i - 1}"] if i and not filters else []
        near = ["--prev-images-dir", f"../near-{i - 1}"] if i else []
        server = Server(box, box.dir / f"far-{i}", *far)
        images = box.dir / f"near-{i}"
        images.mkdir()
        command = "dump" if last else "pre-dump"
        words = [command, "-t", str(s.pid), "-D", images, "-o", "dump.log", "-v4"]
        words += ["--tracker", tracker, *near, *server.options, *filters]
        done = box.torpor(*words)
        if done.status != 0:
            raise Failed(f"{command} failed")
        server.end()
        sets.append((images, server.images))
    if filters:
        got = {p.name: p.stat().st_size for p in sets[-1][1].glob("*.img")}
        if any(name[:6] != "pages-" for name in got) or sum(got.values()) > 100 * PAGE:
            raise Failed(f"in the last step the server got {got}")
    else:
        own, parents = pagemaps.counts(sets[-1][1])
        if parents < 12000 or own > 100:
            raise Failed(f"the last step sent {own} pages, {parents} were known")
    for near, far in sets:
        merge(far, near)
    s.box.until("still there", PATIENCE, lambda: not box.tasks())
    s.forget()
    words = ["restore", "-d", "-D", str(sets[-1][0]), "-o", "restore.log"]
    if box.torpor(*words, *(["--identity", key] if key in filters else [])).status != 0:
        raise Failed("restore failed")
    s.finish()


@pytest.mark.parametrize("tracker", ["auto", "hash"])
def test_increments(boxed: Callable[..., Any], tracker: str) -> None:
    boxed(increments, tracker=tracker)


ENCRYPTED = ("--compress", "--encrypt", "--recipient", "KEY", "--identity", "KEY")


@pytest.mark.parametrize("filters", [("--compress=zstd",), ENCRYPTED], ids=["zstd", "encrypted"])
def test_filtered_increments(boxed: Callable[..., Any], filters: tuple[str, ...]) -> None:
    boxed(increments, tracker="auto", filters=filters)


def server_without_parent(box: Box) -> None:
    """The server lacks the previous images: the dump says so, and the tasks run on."""
    s = Subject(box, "mem_private")
    s.start()
    first = box.dir / "first"
    first.mkdir()
    if box.torpor("pre-dump", "-t", str(s.pid), "-D", first, "-o", "dump.log").status != 0:
        raise Failed("pre-dump failed")
    server = Server(box, box.dir / "pages")
    done = box.torpor(*s.dump_command(*server.options, "--prev-images-dir", "../first"))
    if done.status == 0 or "--prev-images-dir" not in done.output:
        raise Failed("the error does not say what to do")
    server.end(good=False)
    s.expect_tasks()
    s.finish()


def test_server_without_parent(boxed: Callable[..., Any]) -> None:
    boxed(server_without_parent)


# ------------------------------------------------------------------------------ the protocol itself


def head(size: int, cmd: int, pages: int = 0, vaddr: int = 0, obj: int = 0, flags: int = 0) -> bytes:
    word = cmd | flags << 16
    if size == 24:
        return struct.pack("<IIQQ", word, pages, vaddr, obj)
    return struct.pack("<IIQQQ", word, 0xDEADBEEF if cmd == ADD else 0, pages, vaddr, obj)


def speak(box: Box, size: int) -> None:
    """What CRIU sends, old commands as well, and what it gets."""
    base = box.dir / "base"
    base.mkdir()
    pagemaps.write(base / "pagemap-7.img", 1, [Entry(0x5000, 4, PRESENT)])
    (base / "pages-1.img").write_bytes(b"p" * 4 * PAGE)
    server = Server(box, box.dir / "pages", "--prev-images-dir", "../base")
    c = socket.create_connection(("127.0.0.1", server.port))
    c.settimeout(PATIENCE)
    task, other, shared = 7 << 8 | 1, 8 << 8 | 1, 99 << 8 | 2

    def send(*args: int, body: bytes = b"", **kw: int) -> None:
        c.sendall(head(size, *args, **kw) + body)

    def expect(what: bytes) -> None:
        got = c.recv(len(what), socket.MSG_WAITALL)
        if got != what:
            raise Failed(f"the server answers {got!r}, not {what!r}")

    send(PARENT_ASKED, obj=task)
    expect(struct.pack("<i", 1))
    send(PARENT_ASKED, obj=other)
    expect(struct.pack("<i", 0))
    send(OPEN, obj=task)
    expect(b"\1")
    send(ADD, 2, 0x1000, task, flags=PRESENT, body=b"a" * 2 * PAGE)
    send(HOLE_OLD, 1, 0x5000, task)
    send(ADD, 2, 0x6000, task, flags=PARENT)
    send(ADD_OLD, 1, 0x9000, task, body=b"b" * PAGE)
    send(OPEN, obj=shared)
    expect(b"\0")
    big = os.urandom(700 * PAGE)
    send(ADD, 700, 0, shared, flags=PRESENT, body=big)
    send(CLOSE)
    expect(struct.pack("<i", 0))
    c.close()
    server.end()
    number, runs = pagemaps.entries(server.images / "pagemap-7.img")
    wanted = [
        *(Entry(0x1000, 2, PRESENT), Entry(0x5000, 3, PARENT), Entry(0x9000, 1, PRESENT)),
    ]
    if number != 0x10001 or runs != wanted:
        raise Failed(f"pagemap-7 is {number:#x} {runs}")
    if (server.images / f"pages-{number}.img").read_bytes() != b"a" * 2 * PAGE + b"b" * PAGE:
        raise Failed("pages are not those that were sent")
    number, runs = pagemaps.entries(server.images / "pagemap-shmem-99.img")
    if (server.images / f"pages-{number}.img").read_bytes() != big:
        raise Failed("shared pages are not those that were sent")


@pytest.mark.parametrize("size", [24, 32])
def test_protocol(boxed: Callable[..., Any], size: int) -> None:
    boxed(speak, size=size)


TASK = 7 << 8 | 1
BAD = {
    "unknown command": head(32, 77, obj=TASK),
    "unknown object": head(32, OPEN, obj=7 << 8 | 200),
    "not begun": head(32, OPEN, obj=TASK)
    + head(32, ADD, 1, 0x1000, TASK + 256, PRESENT)
    + b"x" * PAGE,
    "odd address": head(32, OPEN, obj=TASK) + head(32, ADD, 1, 0x1001, TASK, PARENT),
    "no pages": head(32, OPEN, obj=TASK) + head(32, ADD, 0, 0x1000, TASK, PARENT),
    "too many": head(32, OPEN, obj=TASK) + head(32, ADD, 1 << 60, 0x1000, TASK, PARENT),
    "disorder": head(32, OPEN, obj=TASK)
    + head(32, ADD, 1, 0x5000, TASK, PRESENT)
    + b"x" * PAGE
    + head(32, ADD, 1, 0x4000, TASK, PRESENT)
    + b"x" * PAGE,
    "no parent": head(32, OPEN, obj=TASK) + head(32, ADD, 1, 0x5000, TASK, PARENT),
    "odd flags": head(32, OPEN, obj=TASK) + head(32, ADD, 1, 0x5000, TASK, 64),
    "half a head": head(32, OPEN, obj=TASK)[:20],
    "half a page": head(32, OPEN, obj=TASK) + head(32, ADD, 1, 0, TASK, PRESENT) + b"x" * 99,
    "no close": head(32, OPEN, obj=TASK) + head(32, ADD, 1, 0, TASK, PRESENT) + b"x" * PAGE,
}


def hostile(box: Box) -> None:
    """Whatever is sent, the server says what was wrong and keeps nothing."""
    for name, data in BAD.items():
        server = Server(box, box.dir / name.replace(" ", "-"))
        c = socket.create_connection(("127.0.0.1", server.port))
        c.settimeout(PATIENCE)
        c.sendall(data)
        answer = b""
        if not name.startswith(("half", "no close", "unknown command")):
            c.sendall(head(32, CLOSE))
            # one byte answers "open"
            answer = c.recv(5, socket.MSG_WAITALL)[-4:]
        c.close()
        text = server.end(good=False)
        left = [p.name for p in server.images.iterdir() if p.name != "server.log"]
        if left or not text.strip():
            raise Failed(f"{name}: left {left}, said '{text}'")
        # a connection that is reset may swallow the answer, or all of it but the first byte
        if len(answer) == 4 and struct.unpack("<i", answer)[0] >= 0:
            raise Failed(f"{name}: the server answers {answer!r}")


def frame(kind: int, number: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, number)


FILES = struct.pack("<I", 0x31505054)
FILE, DATA, HOLE, END, ALL = 1, 2, 3, 4, 5
BAD_FILES = {
    "half a frame": frame(FILE, 1)[:9],
    "half of data": frame(FILE, 1) + frame(DATA, 100) + b"x" * 99,
    "no file": frame(DATA, 3) + b"abc" + frame(ALL),
    "hole in nothing": frame(HOLE, 3) + frame(ALL),
    "end of nothing": frame(END) + frame(ALL),
    "file in a file": frame(FILE, 1) + frame(FILE, 2) + frame(ALL),
    "number 0": frame(FILE) + frame(ALL),
    "number too big": frame(FILE, 1 << 32) + frame(ALL),
    "no end": frame(FILE, 1) + frame(ALL),
    "unknown frame": frame(FILE, 1) + frame(9) + frame(ALL),
    "too much data": frame(FILE, 1) + frame(DATA, 1 << 40),
    "too large a hole": frame(FILE, 1) + frame(HOLE, 1 << 63) + frame(ALL),
    "holes beyond the end": frame(FILE, 1) + frame(HOLE, 1 << 62) * 5 + frame(ALL),
    "nothing said": b"",
    "nothing more": frame(FILE, 1) + frame(DATA, 3) + b"abc" + frame(END),
}


def files(box: Box) -> None:
    """torpor's own form, good and bad."""
    server = Server(box, box.dir / "good")
    c = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
    big = os.urandom(3 << 20)
    c.sendall(FILES + frame(FILE, 3) + frame(DATA, len(big)) + big + frame(HOLE, 8192))
    c.sendall(frame(DATA, 2) + b"ab" + frame(HOLE, 100) + frame(END) + frame(FILE, 5))
    c.sendall(frame(END) + frame(ALL))
    if c.recv(8, socket.MSG_WAITALL) != bytes(8):
        raise Failed("no answer, or a bad one")
    c.close()
    server.end()
    want = big + bytes(8192) + b"ab" + bytes(100)
    if (server.images / "pages-3.img").read_bytes() != want:
        raise Failed("pages-3.img is not what was sent")
    if (server.images / "pages-5.img").read_bytes():
        raise Failed("pages-5.img is not empty")
    for name, data in BAD_FILES.items():
        server = Server(box, box.dir / name.replace(" ", "-"))
        c = socket.create_connection(("127.0.0.1", server.port))
        c.settimeout(PATIENCE)
        c.sendall(FILES + data)
        if data.endswith(frame(ALL)):
            number, length = struct.unpack("<II", c.recv(8, socket.MSG_WAITALL))
            sentence = c.recv(length, socket.MSG_WAITALL)
            if not number or len(sentence) < 20 or len(sentence) != length:
                raise Failed(f"{name}: the server answers {number}, {sentence!r}")
        c.close()
        text = server.end(good=False)
        left = [p.name for p in server.images.iterdir() if p.name != "server.log"]
        if left or not text.strip():
            raise Failed(f"{name}: left {left}, said '{text}'")


def test_files(boxed: Callable[..., Any]) -> None:
    boxed(files)


def test_hostile(boxed: Callable[..., Any]) -> None:
    boxed(hostile)


# ----------------------------------------------------------------------------------------- failure


@pytest.mark.parametrize("options", [(), ("--compress",)], ids=["plain", "filtered"])
def test_server_dies(boxed: Callable[..., Any], options: tuple[str, ...]) -> None:
    boxed(dies_at_each_moment, options=options)


def server_is_full(box: Box, filters: tuple[str, ...] = ()) -> None:
    """No room there: the sender is told why."""
    s = Subject(box, "mem_private")
    s.start()
    images = box.dir / "pages"
    images.mkdir()
    mount("none", str(images), "tmpfs", 0, "size=4m")
    server = Server(box, images)
    done = box.torpor(*s.dump_command(*server.options, *filters))
    if done.status == 0 or "No space left" not in done.output:
        raise Failed("the sender does not say why")
    server.end(good=False)
    s.expect_tasks()
    s.finish()


@pytest.mark.parametrize("filters", [(), ("--page-filter", "digest")], ids=["plain", "filtered"])
def test_server_is_full(boxed: Callable[..., Any], filters: tuple[str, ...]) -> None:
    boxed(server_is_full, filters=filters)


def told_early(box: Box, connections: str) -> int:
    """A server says that it fails as soon as it does; the rest is not sent. Returns what was."""
    s = Subject(box, "mem_private")
    s.start()
    port = socket.create_server(("127.0.0.1", 0), backlog=16)
    words = ["--page-server", "--address", "127.0.0.1", "--port", str(port.getsockname()[1])]
    # no pages become smaller
    words += ["--page-filter", "digest", "--connections", connections]
    dump = box.start([TORPOR, *s.dump_command(*words)], out=box.dir / "dump.out")
    box.aside.add(dump)
    ends = [port.accept()[0] for _ in range(1 + int(connections) * (connections != "1"))]
    got = len(ends[-1].recv(1 << 20, socket.MSG_WAITALL))
    sentence = b"the disk has melted"
    ends[0].sendall(struct.pack("<II", 28, len(sentence)) + sentence)
    for c in ends[1:] + ends[:1]:
        with contextlib.suppress(ConnectionError):
            while part := c.recv(1 << 20):
                got += len(part)
        c.close()
    status, said = box.wait(dump, PATIENCE), (box.dir / "dump.out").read_text()
    if status != 1 or "says: the disk has melted" not in said:
        raise Failed(f"the dump ended with {status}: {said}")
    s.expect_tasks()
    s.finish()
    return got


@pytest.mark.parametrize("connections", ["1", "2"])
def test_told_early(boxed: Callable[..., Any], connections: str) -> None:
    # of some 50 MB; buffers of the kernel take up to 10
    assert boxed(told_early, connections=connections) < 35 << 20


def sender_dies(box: Box) -> None:
    """The server keeps nothing of a dump that was not finished."""
    s = Subject(box, "mem_private")
    s.start()
    server = Server(box, box.dir / "pages")
    done = box.torpor(
        *s.dump_command(*server.options), env={"TORPOR_FAULT": "dump:memory=kill"}
    )
    if done.status != -9:
        raise Failed("the fault had no effect")
    server.end(good=False)
    if [p.name for p in server.images.iterdir()] != ["server.log"]:
        raise Failed("the server has kept something")
    s.expect_tasks()
    s.finish()


def test_sender_dies(boxed: Callable[..., Any]) -> None:
    boxed(sender_dies)


def keeps_listening(box: Box, options: tuple[str, ...]) -> None:
    """Whoever says nothing, fails or dies: the server keeps nothing, and takes the dump that succeeds."""
    s = Subject(box, "mem_private")
    s.start()
    done = box.torpor("page-server", "-D", box.dir, "--ps-socket", "0", "--keep-listening")
    if done.status != 1 or "--keep-listening needs --address and --port" not in done.output:
        raise Failed("a connection that is given cannot come again")
    server = Server(box, box.dir / "pages", "--keep-listening")
    box.aside.add(server.pid)
    log = server.images / "server.log"

    def waits(times: int) -> None:
        box.until(
            f"not {times} failures in {log.read_text()}",
            PATIENCE,
            lambda: log.read_text().count("waiting for the next dump") == times,
        )
        left = [p.name for p in server.images.iterdir() if p.name != "server.log"]
        if left or server.pid in box.statuses:
            raise Failed(f"after {times} failures the server has {left}")

    socket.create_connection(("127.0.0.1", server.port), PATIENCE).close()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as c:
        c.sendall(head(32, OPEN, obj=TASK) + head(32, 77, obj=TASK))
    waits(1)
    for times, fault, status in ((2, "dump:memory", 1), (3, "dump:memory=kill", -9)):
        words = s.dump_command(*server.options, *options)
        if box.torpor(*words, env={"TORPOR_FAULT": fault}).status != status:
            raise Failed("the fault had no effect")
        waits(times)
        s.expect_tasks()
    s.dump(*server.options, *options)
    server.end()
    merge(server.images, s.images)
    s.restore()
    s.finish()


@pytest.mark.parametrize("options", [(), ("--connections", "3", "--compress")], ids=["one", "many"])
def test_keeps_listening(boxed: Callable[..., Any], options: tuple[str, ...]) -> None:
    boxed(keeps_listening, options=options)


def connect(port: int, said: bytes = b"") -> socket.socket:
    c = socket.create_connection(("127.0.0.1", port), PATIENCE)
    c.sendall(said)
    return c


def strangers(box: Box, how: str) -> None:
    """Who connects first and is silent, breaks off or talks nonsense beside others does no harm."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    words: list[str] = []
    options: tuple[str, ...] = ()
    if how == "tls":
        make_certificates(box.dir / "tls")
        words = tls_options(box.dir / "tls", "good")
    elif how == "connections":
        options = ("--connections", "3", "--compress")
    server = Server(box, box.dir / "pages", *words)
    # more than the server lets wait
    silent = [connect(server.port) for _ in range(3 if how == "tls" else 70)]
    connect(server.port).close()
    reset = connect(server.port)
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("<ii", 1, 0))
    reset.close()
    talker = connect(server.port, b"GET / HTTP/1.0\r\n\r\n" + bytes(40))
    silent.append(connect(server.port, head(32, OPEN, obj=TASK)[:9]))
    s.dump(*server.options, *words, *options)
    server.end()
    talker.close()
    for c in silent:
        c.close()
    merge(server.images, s.images)
    s.restore()
    s.finish()


@pytest.mark.parametrize("how", ["plain", "tls", "connections"])
def test_strangers(boxed: Callable[..., Any], how: str) -> None:
    boxed(strangers, how=how)


def goes_early(box: Box) -> None:
    """The server of a dump that fails before it has sent anything ends with it."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    server = Server(box, box.dir / "pages")
    done = box.torpor(*s.dump_command(*server.options), env={"TORPOR_FAULT": "dump:seize"})
    if done.status != 1:
        raise Failed("the fault had no effect")
    server.end()
    if [p.name for p in server.images.iterdir()] != ["server.log"]:
        raise Failed("the server has kept something")
    s.expect_tasks()
    s.finish()


def test_goes_early(boxed: Callable[..., Any]) -> None:
    boxed(goes_early)


def background(box: Box) -> None:
    """--daemon, --pidfile, --status-fd, --ps-socket."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    images = box.dir / "pages"
    images.mkdir()
    words = ["page-server", "-D", images, "-o", "server.log", "--daemon", "--pidfile", "pid"]
    done = box.torpor(*words, "--address", "127.0.0.1", "--json")
    port = done.output.split('"port": ')[1].split("}")[0]
    pid = int((images / "pid").read_text())
    if done.status != 0 or box.wait(pid, 0.05) is not None:
        raise Failed(f"the server {pid} does not run in the background")
    s.dump("--page-server", "--address", "127.0.0.1", "--port", port)
    box.until("the server does not end", PATIENCE, lambda: box.wait(pid, 0) == 0)
    merge(images, s.images)
    s.restore()
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    for fd in (theirs.fileno(), write_end):
        os.set_inheritable(fd, True)
    images = box.dir / "pages-2"
    images.mkdir()
    words = ["page-server", "-D", images, "-o", "server.log"]
    words += ["--ps-socket", str(theirs.fileno()), "--status-fd", str(write_end)]
    server = box.start([TORPOR, *words])
    os.close(write_end)
    theirs.close()
    if os.read(read_end, 2) != b"\0" or os.read(read_end, 1) != b"":
        raise Failed("--status-fd does not get its byte")
    os.set_inheritable(ours.fileno(), True)
    words = s.dump_command("--page-server", "--ps-socket", str(ours.fileno()))
    if box.torpor(*words).status != 0:
        raise Failed("dump failed")
    ours.close()
    if box.wait(server, PATIENCE) != 0:
        raise Failed("the server with a given socket failed")
    merge(images, s.images)
    s.restore()
    s.finish()


def test_background(boxed: Callable[..., Any]) -> None:
    boxed(background)


# --------------------------------------------------------------------------------------------- TLS


def with_tls(box: Box) -> None:
    where = box.dir / "tls"
    make_certificates(where)
    s = Subject(box, "mem_private")
    s.start()
    good = tls_options(where, "good")
    knows_revoked = tls_options(where, "good", crl=True)
    # server, client, whether it works
    cases = {
        "client is foreign": (good, tls_options(where, "foreign"), False),
        "server is foreign": (tls_options(where, "foreign"), good, False),
        "client is revoked": (knows_revoked, tls_options(where, "revoked"), False),
        "server is revoked": (tls_options(where, "revoked"), knows_revoked, False),
        "server has another name": (tls_options(where, "elsewhere"), good, False),
        "client does not speak TLS": (good, [], False),
        "server does not speak TLS": ([], good, False),
        "name does not matter": (
            tls_options(where, "elsewhere"),
            [*good, "--tls-no-cn-verify"],
            True,
        ),
        "good": (good, good, True),
        "good and filtered": (good, good, True),
    }
    for name, (server_options, client_options, works) in cases.items():
        server = Server(box, box.dir / name.replace(" ", "-"), *server_options)
        filters = ["--compress=zstd"] if name == "good and filtered" else []
        command = s.dump_command(*server.options, *client_options, *filters, "-R")
        done = box.torpor(*command)
        if (done.status == 0) != works:
            raise Failed(f"{name}: the dump ended with {done.status}: {done.output}")
        text = server.end(good=works)
        # each end names the other
        if not works and ("the page server at 1" not in done.output or "the dump at 1" not in text):
            raise Failed(f"{name}: '{done.output}', the server: '{text}'")
        if name == "server does not speak TLS" and "--tls" not in text:
            raise Failed(f"{name}: '{text}' does not say what to do")
        if works:
            merge(server.images, s.images)
        s.expect_tasks()
    s.kill()
    s.restore()
    s.finish()


def test_tls(boxed: Callable[..., Any]) -> None:
    boxed(with_tls)


def unusable_tls(box: Box) -> None:
    """Certificates that cannot be used are named before anybody waits for a connection."""
    where = box.dir / "tls"
    make_certificates(where)
    images = box.dir / "images"
    images.mkdir()
    s = Subject(box, "mem_stack_brk")
    s.start()
    good = tls_options(where, "good")
    cases = {
        "no such file": ([*good, "--tls-cacert", str(where / "none")], "No such file"),
        "relative": ([*good, "--tls-cert", "none"], "relative to the work directory"),
        "no certificate": ([*good, "--tls-cacrl", str(where / "number")], "list of revoked"),
        "another's key": ([*good, "--tls-key", str(where / "foreign.key")], "private key"),
        "not asked for": (good[1:], "--tls-cacert needs --tls"),
    }
    dump = ("dump", "-t", str(s.pid), "--lazy-pages", "--address", "127.0.0.1")
    for name, (options, text) in cases.items():
        for words in (("page-server", "--address", "127.0.0.1"), dump):
            done = box.torpor(*words, "-D", images, *options)
            if done.status != 1 or text not in done.output or "listening" in done.output:
                raise Failed(f"{name}: {done}")
    box.notes.clear()
    s.expect_tasks()
    s.finish()


def test_unusable_tls(boxed: Callable[..., Any]) -> None:
    boxed(unusable_tls)
