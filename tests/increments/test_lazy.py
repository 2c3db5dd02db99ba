# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy restores: from images, and from tasks that stand still elsewhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import TORPOR, Box, Failed, read_task
from daemons import PATIENCE, Daemon, make_certificates, tls_options
from elsewhere import go_elsewhere, move, start_dump, start_high
from storms import stop_all
from subjects import Subject

# the daemon stops itself when all tasks run, before it brings what nobody has touched
STOPS = {"TORPOR_FAULT": "lazy-pages:run=stop"}


def stands(box: Box, daemon: Daemon) -> None:
    def is_stopped() -> bool:
        task = read_task(daemon.pid)
        return task is not None and task.state == "T"

    box.until("the daemon does not stop itself", PATIENCE, is_stopped)


def restored_lazily(box: Box, s: Subject, *options: str) -> dict[str, int]:
    daemon = Daemon(box, s.images, *options)
    s.restore("--lazy-pages")
    return daemon.end()


def local(box: Box, name: str, work: bool) -> dict[str, int]:
    """Everything comes, in whatever order; then it is dumped and restored again."""
    s = Subject(box, name)
    s.start()
    s.dump()
    if not work:
        found = restored_lazily(box, s)
        s.dump()
        s.restore()
        s.finish()
        return found
    # while everything is still coming
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    s.finish()
    return daemon.end()


# pages that tasks had in common are brought to each of them: mem_cow would see that
NAMES = ["mem_shared", "mem_files", "mem_stack_brk", "threads", "tree"]


@pytest.mark.parametrize("name", NAMES)
def test_all_comes(boxed: Callable[..., Any], name: str) -> None:
    boxed(local, name=name, work=False)


# mem_private compares its areas: the kernel merges two of them when both have become equal, which
# happens when all pages are there
@pytest.mark.parametrize("name", ["mem_private", *NAMES])
def test_works_meanwhile(boxed: Callable[..., Any], name: str) -> None:
    found = boxed(local, name=name, work=True)
    if name == "mem_private":
        assert found["pages_on_fault"] + found["pages_ahead"] > 12000


def many_decode(box: Box) -> None:
    """Several threads bring pages of one compressed set at the same time."""
    s = Subject(box, "mem_cow")
    s.start()
    s.dump("--compress=zstd")
    for _ in range(12):
        daemon = Daemon(box, s.images)
        s.restore("--lazy-pages")
        daemon.end()
        s.kill()


def test_many_decode(boxed: Callable[..., Any]) -> None:
    boxed(many_decode)


# -------------------------------------------------------------------------------------- the storm


def storm(box: Box, seed: int) -> dict[str, int]:
    """Memory that is mapped, moved, dropped and forked while it is still coming."""
    s = Subject(box, "storm", (str(seed),))
    s.start()
    time.sleep(0.2)
    stop_all(box)
    s.before = box.tasks()
    s.dump()
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    for t in box.tasks():
        os.kill(t.pid, signal.SIGCONT)
    time.sleep(0.3)
    s.finish()
    return daemon.end()


@pytest.mark.parametrize("seed", range(1, int(os.environ.get("INCREMENT_SEEDS", "3")) + 1))
def test_storm(boxed: Callable[..., Any], huge_pages: None, seed: int) -> None:
    boxed(storm, seed=seed)


def huge(box: Box, far: bool) -> dict[str, int]:
    """Huge pages come as a whole, those that are empty, too."""
    s = Subject(box, "hugetlb")
    if far:
        start_high(box, s)
        return move(box, s)
    s.start()
    s.dump()
    runs = pagemaps.entries(s.images / f"pagemap-{s.pid}.img")[1]
    lazy = sum(r.pages for r in runs if r.flags & pagemaps.LAZY and r.pages % 512 == 0)
    if lazy < 1024:
        raise Failed(f"the huge pages are not marked: {runs}")
    found = restored_lazily(box, s)
    s.dump()
    s.restore()
    s.finish()
    return found


@pytest.mark.parametrize("far", [False, True], ids=["here", "elsewhere"])
def test_huge(boxed: Callable[..., Any], huge_pages: None, far: bool) -> None:
    found = boxed(huge, far=far)
    assert found["pages_on_fault"] + found["pages_ahead"] >= 1024


# ---------------------------------------------------------------------------------------- elsewhere

def remote(box: Box, name: str, pre: bool, pause: float) -> dict[str, int]:
    """Post-copy: the tasks run elsewhere before their memory is there."""
    s = Subject(box, name)
    start_high(box, s)
    options = s.pre_dumps(1) if pre else ()
    return move(box, s, *options, pause=pause)


@pytest.mark.parametrize(
    ("name", "pre", "pause"),
    [
        *(("mem_files", False, 0.0), ("mem_shared", True, 0.0), ("mem_stack_brk", False, 0.0)),
        *(("tree", False, 0.2), ("threads", True, 0.0)),
    ],
)
def test_remote(boxed: Callable[..., Any], name: str, pre: bool, pause: float) -> None:
    found = boxed(remote, name=name, pre=pre, pause=pause)
    assert found["pages_on_fault"] + found["pages_ahead"] > 0


def by_tls(box: Box) -> dict[str, int]:
    """Pages come inside of TLS, to somebody with a certificate."""
    make_certificates(box.dir / "tls")
    s = Subject(box, "mem_stack_brk")
    start_high(box, s)
    return move(box, s, both=tls_options(box.dir / "tls", "good"))


def test_tls(boxed: Callable[..., Any]) -> None:
    found = boxed(by_tls)
    assert found["pages_on_fault"] + found["pages_ahead"] > 0


def foreign(box: Box) -> None:
    """Whoever has no certificate of ours gets no page, and others are still served meanwhile."""
    where = box.dir / "tls"
    make_certificates(where)
    s = Subject(box, "mem_stack_brk")
    start_high(box, s)
    dump, port = start_dump(box, s, *tls_options(where, "good"))
    at = ("--address", "127.0.0.1", "--port", str(port))
    log = s.images / "dump.log"
    silent = socket.create_connection(("127.0.0.1", port), PATIENCE)
    daemon = Daemon(box, s.images, *at, *tls_options(where, "foreign"))
    box.until(
        "a foreign certificate is taken", PATIENCE, lambda: "cannot be trusted" in log.read_text()
    )
    os.kill(daemon.pid, signal.SIGKILL)
    box.wait(daemon.pid, PATIENCE)
    (s.images / "lazy-pages.socket").unlink()
    # a plain connection gets nothing for its question
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as c:
        c.sendall(struct.pack("<IIQQQ", 7, 0, 1, 0, s.pid))
        with contextlib.suppress(ConnectionResetError):
            if len(c.recv(pagemaps.PAGE, socket.MSG_WAITALL)) > 100:
                raise Failed("a page was given away without TLS")
    status = go_elsewhere(box, s, port, more=" ".join(tls_options(where, "good")))
    if status != 0 or s.answer() != "PASS" or box.wait(dump, PATIENCE) != 0:
        raise Failed(f"ended with {status}, '{s.answer()}'")
    silent.close()


def test_foreign(boxed: Callable[..., Any]) -> None:
    boxed(foreign)


def never_fetched(box: Box) -> None:
    """The dump is ended before anybody asked: the tasks run on."""
    s = Subject(box, "mem_private")
    start_high(box, s)
    dump, _ = start_dump(box, s)
    os.kill(dump, signal.SIGKILL)
    box.wait(dump, PATIENCE)
    s.expect_tasks()
    s.finish()


def test_never_fetched(boxed: Callable[..., Any]) -> None:
    boxed(never_fetched)


def restore_at_once(box: Box) -> None:
    """Without --lazy-pages such a set is refused by a sentence; with it, without a daemon, too."""
    s = Subject(box, "mem_private")
    start_high(box, s)
    dump, _ = start_dump(box, s)
    os.kill(dump, signal.SIGKILL)
    box.wait(dump, PATIENCE)
    s.kill()
    s.forget()
    for option, word in (("", "--lazy-pages"), ("--lazy-pages", "daemon")):
        words = ["restore", "-d", "-D", str(s.images), "-o", "restore.log"]
        done = box.torpor(*words, *([option] if option else []))
        if done.status == 0 or word not in done.output or box.tasks():
            raise Failed(f"restore {option} ended with {done.status}")


def test_restore_at_once(boxed: Callable[..., Any]) -> None:
    boxed(restore_at_once)


# ------------------------------------------------------------------------------------------ mapped


def mapped(box: Box, name: str, filtered: bool) -> int:
    """restore --mmap: the images are the memory, until something is written."""
    s = Subject(box, name)
    s.start()
    s.dump(*(["--compress"] if filtered else []))
    s.restore("--mmap")
    maps = Path(f"/proc/{s.pid}/maps").read_text()
    count = maps.count("/pages-")
    s.finish()
    return count


@pytest.mark.parametrize(
    ("name", "filtered"),
    [
        *(("mem_cow", False), ("mem_files", False), ("mem_stack_brk", False)),
        *(("tree", False), ("threads", False), ("mem_stack_brk", True)),
    ],
)
def test_mapped(boxed: Callable[..., Any], name: str, filtered: bool) -> None:
    count = boxed(mapped, name=name, filtered=filtered)
    if name in ("mem_cow", "mem_stack_brk"):
        assert (count > 0) != filtered


def mapped_chain(box: Box) -> None:
    """From a chain of increments; what was restored is dumped and restored again."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    s.dump(*s.pre_dumps(2))
    s.restore("--mmap")
    s.dump()
    s.restore()
    s.finish()


def test_mapped_chain(boxed: Callable[..., Any]) -> None:
    boxed(mapped_chain)


# ------------------------------------------------------------------------------------- working set


# reads one page of another process: pid, address
READER = """
import ctypes, sys
class Piece(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("len", ctypes.c_size_t)]
pid, at = int(sys.argv[1]), int(sys.argv[2])
page = ctypes.create_string_buffer(4096)
here, there = Piece(ctypes.addressof(page), 4096), Piece(at, 4096)
call = ctypes.CDLL(None).process_vm_readv
assert call(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 4096
sys.stdout.buffer.write(page.raw)
"""


def touch(box: Box, s: Subject) -> tuple[int, Path, bytes]:
    """Somebody waits for a page that is still missing; who, where he puts it, and what it shall be."""
    number, runs = pagemaps.entries(s.images / f"pagemap-{s.pid}.img")
    before = 0
    for run in runs:
        if run.flags & pagemaps.LAZY:
            break
        before += run.pages * pagemaps.PAGE
    data = (s.images / f"pages-{number}.img").read_bytes()
    out = box.dir / "touched"
    out.unlink(missing_ok=True)
    pid = box.start(["/usr/bin/python3", "-c", READER, str(s.pid), str(run.vaddr)], out=out)
    box.aside.add(pid)
    box.until(
        "nobody waits for a page",
        PATIENCE,
        lambda: "userfault" in Path(f"/proc/{pid}/wchan").read_text(),
    )
    return pid, out, data[before : before + pagemaps.PAGE]


def recalled(box: Box) -> tuple[dict[str, int], dict[str, int]]:
    """What an earlier restore touched is brought first; the set stays as it was."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    s.dump()
    daemon = Daemon(box, s.images, env=STOPS)
    s.restore("--lazy-pages")
    stands(box, daemon)
    reader, got, page = touch(box, s)
    os.kill(daemon.pid, signal.SIGCONT)
    first = daemon.end()
    if box.wait(reader, PATIENCE) != 0 or got.read_bytes() != page:
        raise Failed("what was read meanwhile is not what was saved")
    working_set = s.images / "torpor-working-set"
    if not working_set.exists() or not first["faults"]:
        raise Failed(f"no working set after {first}")
    before = working_set.read_bytes()
    s.kill()
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    second = daemon.end()
    if working_set.read_bytes() != before:
        raise Failed("the working set has changed by being used")
    s.finish()
    # one that is damaged is no more than a hint that is not there
    s2 = Subject(box, "mem_stack_brk")
    for damage in (before[:30], before[:12] + os.urandom(60), b""):
        working_set.write_bytes(damage)
        s.result.unlink(missing_ok=True)
        s2.pid, s2.rounds, s2.before = s.pid, s.rounds, s.before
        daemon = Daemon(box, s2.images)
        s2.restore("--lazy-pages")
        daemon.end()
        s2.finish()
    return first, second


def test_working_set(boxed: Callable[..., Any]) -> None:
    first, second = boxed(recalled)
    total = first["pages_on_fault"] + first["pages_ahead"]
    assert second["pages_on_fault"] + second["pages_ahead"] == total


# ------------------------------------------------------------------------- out of images elsewhere


def ask_twice(port: int, pid: int, at: int, page: bytes) -> None:
    """Two questions at once, as criu puts them: each has its answer."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as c:
        c.sendall(struct.pack("<IIQQQ", 7, 0, 1, at, pid) * 2)
        for _ in range(2):
            head = struct.unpack("<IIQQQ", c.recv(32, socket.MSG_WAITALL))
            got = c.recv(pagemaps.PAGE, socket.MSG_WAITALL)
            if head[2:4] != (1, at) or got != page:
                raise Failed(f"the server answers {head}, another page")


def from_server(box: Box) -> dict[str, int]:
    """The images stay where they are; a page server gives their pages away."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    s.dump()
    far = box.dir / "far"
    shutil.copytree(s.images, far)
    out = box.dir / "server.out"
    words = ["page-server", "-D", far, "-o", "server.log", "--lazy-pages", "--address", "127.0.0.1"]
    server = box.start([TORPOR, *words], out=out)
    box.aside.add(server)
    box.until("no server", PATIENCE, lambda: out.exists() and out.read_text().endswith("\n"))
    port = out.read_text().split("port ")[1].split()[0]
    # whoever breaks off or talks nonsense is no reason to end, whoever is silent none to wait; when
    # there are too many, they make room
    silent = [socket.create_connection(("127.0.0.1", int(port)), PATIENCE) for _ in range(20)]
    for words in (b"", struct.pack("<IIQQ", 7, 0, 1, 0)[:20], b"x" * 32):
        with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as c:
            c.sendall(words)
    # what may come later is not here
    path = s.images / f"pagemap-{s.pid}.img"
    number, runs = pagemaps.entries(path)
    data = (s.images / f"pages-{number}.img").read_bytes()
    kept, here, at = [], b"", 0
    for run in runs:
        size = run.pages * pagemaps.PAGE
        if run.flags & pagemaps.LAZY:
            missing = run.vaddr, data[at : at + pagemaps.PAGE]
            kept.append(pagemaps.Entry(run.vaddr, run.pages, pagemaps.LAZY))
        else:
            kept.append(run)
            here += data[at : at + size]
        at += size
    pagemaps.write(path, number, kept)
    (s.images / f"pages-{number}.img").write_bytes(here)
    ask_twice(int(port), s.pid, *missing)
    daemon = Daemon(box, s.images, "--address", "127.0.0.1", "--port", port)
    s.restore("--lazy-pages")
    found = daemon.end()
    s.finish()
    if box.wait(server, PATIENCE) != 0:
        raise Failed(f"the server ended with {box.statuses.get(server)}")
    for c in silent:
        c.close()
    if (far / "server.log").read_text().count("asks nothing") < 4:
        raise Failed("nobody made room")
    return found


def test_from_server(boxed: Callable[..., Any]) -> None:
    found = boxed(from_server)
    assert found["pages_on_fault"] + found["pages_ahead"] > 200


def lost(box: Box) -> None:
    """Pages that nobody can bring any more: who needs them gets SIGBUS, nobody gets zeros."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    s.dump()
    path = s.images / f"pagemap-{s.pid}.img"
    number, runs = pagemaps.entries(path)
    size = sum(r.pages for r in runs if r.flags & pagemaps.PRESENT) * pagemaps.PAGE
    daemon = Daemon(box, s.images, env=STOPS)
    s.restore("--lazy-pages")
    stands(box, daemon)
    # all tasks run; the daemon finds the images cut when it reads them
    with (s.images / f"pages-{number}.img").open("r+b") as f:
        f.truncate(size // 2 // pagemaps.PAGE * pagemaps.PAGE)
    os.kill(daemon.pid, signal.SIGCONT)
    os.kill(s.pid, signal.SIGTERM)
    said = daemon.end(good=False)
    text = (s.images / "lazy.log").read_text()
    if "are lost" not in text or said:
        raise Failed(f"lazy-pages says: {text}")
    status = box.wait(s.pid, PATIENCE)
    if s.answer() == "PASS" or status == 0:
        raise Failed(f"the subject ended with {status} and says '{s.answer()}'")


def test_lost_pages(boxed: Callable[..., Any]) -> None:
    boxed(lost)
