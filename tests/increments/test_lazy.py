# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy restores: from images, and from tasks that stand still elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pagemaps
import pytest
from box import TORPOR, Box, Failed
from daemons import Daemon
from subjects import Subject


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
@pytest.mark.parametrize("name", ["mem_private", "mem_cow", *NAMES])
def test_works_meanwhile(boxed: Callable[..., Any], name: str) -> None:
    found = boxed(local, name=name, work=True)
    if name == "mem_private":
        assert found["pages_on_fault"] + found["pages_ahead"] > 12000


# -------------------------------------------------------------------------------------- the storm


def storm(box: Box, seed: int) -> dict[str, int]:
    """Memory that is mapped, moved, dropped and forked while it is still coming."""
    s = Subject(box, "storm", (str(seed),))
    s.start()
    time.sleep(0.2)
    for t in box.tasks():
        os.kill(t.pid, signal.SIGSTOP)
    box.until("not stopped", 10, lambda: all(t.state in "TZ" for t in box.tasks()))
    time.sleep(0.02)
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
def test_storm(boxed: Callable[..., Any], seed: int) -> None:
    boxed(storm, seed=seed)


# ---------------------------------------------------------------------------------------- elsewhere

ELSEWHERE = """
"$torpor" lazy-pages -D . -o lazy.log -v4 --json --address 127.0.0.1 --port $port $more >lazy.out 2>&1 &
daemon=$!
while [ ! -S lazy-pages.socket ]; do sleep 0.01; kill -0 $daemon || exit 3; done
"$torpor" restore -d -D . -o restore.log -v4 --lazy-pages >restore.out 2>&1 || exit 4
sleep $pause
kill -TERM $pid
for i in $(seq 3000); do grep -q 'PASS\\|FAIL' "$result" && break; sleep 0.01; done
wait $daemon || exit 5
"""


def start_dump(box: Box, s: Subject, *options: str) -> tuple[int, int]:
    """A dump that keeps the memory; its process and port."""
    out = box.dir / "lazy-dump.out"
    words = s.dump_command("--lazy-pages", "--address", "127.0.0.1", *options)
    dump = box.start([TORPOR, *words], out=out)
    box.aside.add(dump)
    box.until("no inventory", 30, (s.images / "inventory.img").exists)
    return dump, int(out.read_text().split("port ")[1].split()[0])


def go_elsewhere(box: Box, s: Subject, port: int, pause: float = 0.2, more: str = "") -> int:
    """Restores it in a pid namespace of its own; what the script above says."""
    env = {"torpor": str(TORPOR), "port": str(port), "pid": str(s.pid), "pause": str(pause)}
    env |= {"result": str(s.result), "more": more}
    words = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", ELSEWHERE]
    return box.run(words, cwd=s.images, env=env, timeout=90).status


def started_high(box: Box, name: str) -> Subject:
    """With pids that the helpers in another namespace do not take."""
    Path("/proc/sys/kernel/ns_last_pid").write_text("500")
    s = Subject(box, name)
    s.start()
    return s


def remote(box: Box, name: str, pre: bool, pause: float) -> dict[str, int]:
    """Post-copy: the tasks run elsewhere before their memory is there."""
    s = started_high(box, name)
    options = s.pre_dumps(1) if pre else ()
    dump, port = start_dump(box, s, *options)
    flags = {e.flags for p in s.images.glob("pagemap-*") for e in pagemaps.entries(p)[1]}
    if pagemaps.LAZY not in flags or pagemaps.LAZY | pagemaps.PRESENT in flags:
        raise Failed(f"pages that may come later were saved ({flags})")
    status = go_elsewhere(box, s, port, pause)
    if status != 0 or s.answer() != "PASS":
        logs = [(s.images / n).read_text()[-800:] for n in ("lazy.log", "restore.log", "lazy.out")]
        raise Failed(f"ended with {status}, '{s.answer()}': {logs}")
    if box.wait(dump, 10) != 0:
        raise Failed(f"the dump ended with {box.statuses.get(dump)}")
    box.until("the tasks are still here", 5, lambda: not box.tasks())
    return json.loads((s.images / "lazy.out").read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("name", "pre", "pause"),
    [
        *(("mem_cow", False, 0.0), ("mem_cow", True, 0.0), ("mem_stack_brk", False, 0.0)),
        *(("tree", False, 0.2), ("threads", True, 0.0)),
    ],
)
def test_remote(boxed: Callable[..., Any], name: str, pre: bool, pause: float) -> None:
    found = boxed(remote, name=name, pre=pre, pause=pause)
    assert found["pages_on_fault"] + found["pages_ahead"] > 0


def never_fetched(box: Box) -> None:
    """The dump is ended before anybody asked: the tasks run on."""
    s = started_high(box, "mem_private")
    dump, _ = start_dump(box, s)
    os.kill(dump, signal.SIGKILL)
    box.wait(dump, 5)
    s.expect_tasks()
    s.finish()


def test_never_fetched(boxed: Callable[..., Any]) -> None:
    boxed(never_fetched)


def restore_at_once(box: Box) -> None:
    """Without --lazy-pages such a set is refused by a sentence; with it, without a daemon, too."""
    s = started_high(box, "mem_private")
    dump, _ = start_dump(box, s)
    os.kill(dump, signal.SIGKILL)
    box.wait(dump, 5)
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


def recalled(box: Box) -> tuple[dict[str, int], dict[str, int]]:
    """What an earlier restore touched is brought first; the set stays as it was."""
    s = Subject(box, "mem_stack_brk")
    s.start()
    s.dump()
    daemon = Daemon(box, s.images)
    s.restore("--lazy-pages")
    first = daemon.end()
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
    port = box.until("no server", 10, lambda: out.exists() and out.read_text().endswith("\n"))
    port = out.read_text().split("port ")[1].split()[0]
    # what may come later is not here
    path = s.images / f"pagemap-{s.pid}.img"
    number, runs = pagemaps.entries(path)
    data = (s.images / f"pages-{number}.img").read_bytes()
    kept, here, at = [], b"", 0
    for run in runs:
        size = run.pages * pagemaps.PAGE
        if run.flags & pagemaps.LAZY:
            kept.append(pagemaps.Entry(run.vaddr, run.pages, pagemaps.LAZY))
        else:
            kept.append(run)
            here += data[at : at + size]
        at += size
    pagemaps.write(path, number, kept)
    (s.images / f"pages-{number}.img").write_bytes(here)
    daemon = Daemon(box, s.images, "--address", "127.0.0.1", "--port", port)
    s.restore("--lazy-pages")
    found = daemon.end()
    s.finish()
    if box.wait(server, 10) != 0:
        raise Failed(f"the server ended with {box.statuses.get(server)}")
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
    daemon = Daemon(box, s.images)
    os.kill(daemon.pid, signal.SIGSTOP)
    restore = box.start([TORPOR, *s.restore_command("--lazy-pages")])
    box.aside.add(restore)
    # the daemon finds the images cut when it reads them
    time.sleep(0.3)
    os.kill(daemon.pid, signal.SIGCONT)
    with (s.images / f"pages-{number}.img").open("r+b") as f:
        f.truncate(size // 2 // pagemaps.PAGE * pagemaps.PAGE)
    box.wait(restore, 20)
    try:
        os.kill(s.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    status = box.wait(daemon.pid, 20)
    text = (s.images / "lazy.log").read_text()
    if status == 0 or not ("are lost" in text or "too short" in text) or s.answer() == "PASS":
        raise Failed(f"lazy-pages ended with {status}, the subject says '{s.answer()}': {text}")


def test_lost_pages(boxed: Callable[..., Any]) -> None:
    boxed(lost)
