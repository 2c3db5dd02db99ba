# SPDX-License-Identifier: GPL-2.0-or-later
"""Who does not answer: torpor gives up within --timeout and says for whom it waited.

Whatever happens the target runs on, and nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import slowfs
import stuck
from box import TORPOR, Box, Done, Failed, Skipped, Task, read_stat
from subjects import Subject

LIMIT = "1"  # --timeout
PATIENCE = 100  # seconds for what comes at once where nobody else computes
OPEN = 4  # of the page server's protocol
USER = """
import ctypes, mmap, os, sys, time
what, path, beats = sys.argv[1:]
if what == "cwd":
    os.chdir(os.path.dirname(path))
else:
    f = open(path, "rb", 0)
if what == "lock":
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, 4096, 1, 2, f.fileno(), ctypes.c_long(0))
    if libc.mlock(ctypes.c_void_p(at), 4096) != 0:
        sys.exit("mlock")
if what == "map":
    m = mmap.mmap(f.fileno(), 4096, prot=1, flags=2)
    f.close()
while True:
    with open(beats, "a") as out:
        out.write("x")
    time.sleep(0.01)
"""
BEATS = 'while :; do printf x >> "$1"; sleep 0.01; done'


class Target:
    """A program that writes a byte into a file now and then."""

    def __init__(self, box: Box, argv: list[str | Path], name: str = "beats") -> None:
        self.box = box
        self.beats = box.dir / f"{name}.beats"
        self.pid = box.start([*argv, self.beats])
        # past its beginning, in which it still makes room for itself
        box.until("the target does not begin", PATIENCE, lambda: self.size() >= 10)
        self.tasks = box.tasks()

    def size(self) -> int:
        return self.beats.stat().st_size if self.beats.exists() else 0

    def runs_on(self, when: str) -> None:
        before = self.size()
        self.box.until(f"{when}: the target stands still", PATIENCE, lambda: self.size() > before)

    def expect_untouched(self, images: Path) -> None:
        """It runs on, and nothing is left."""
        self.runs_on("afterwards")
        expect_nothing(images)

    def expect_tasks(self) -> None:
        self.box.until(
            f"tasks differ: {self.box.tasks()}", PATIENCE, lambda: self.box.tasks() == self.tasks
        )


def command(images: Path, pid: int, what: str = "dump", *options: str) -> list[str]:
    images.mkdir(exist_ok=True)
    if "--timeout" not in options:
        options += ("--timeout", str(PATIENCE))
    return [what, "-t", str(pid), "-D", str(images), "-o", "dump.log", "-v4", *options]


def run_all(box: Box, commands: dict[str, list[str]]) -> dict[str, Done]:
    """Runs them side by side."""
    outs = {name: box.dir / f"said-{name}" for name in commands}
    for out in outs.values():
        out.unlink(missing_ok=True)
    tools = {n: box.start([TORPOR, *argv], out=outs[n]) for n, argv in commands.items()}
    done: dict[str, Done] = {}
    for name, tool in tools.items():
        begin = time.monotonic()
        status = box.wait(tool, PATIENCE)
        text = outs[name].read_text()
        if status is None:
            raise Failed(f"{name} does not end: {text}")
        done[name] = Done(commands[name], status, text, time.monotonic() - begin)
    return done


def expect_nothing(images: Path) -> None:
    left = sorted(p.name for p in images.iterdir() if p.name != "dump.log")
    if left:
        raise Failed(f"left in the images directory: {left}")


def expect_refusal(done: Done, *words: str) -> None:
    if done.status != 1:
        raise Failed(f"status {done.status}")
    if not all(w in done.output for w in words):
        raise Failed(f"'{done.output}' does not say {words}")


def expect_refusals(box: Box, commands: dict[str, list[str]], *words: str) -> None:
    """Side by side; what --timeout ended for another reason, on a busy computer, is run again."""
    left, end = dict(commands), time.monotonic() + PATIENCE
    while left:
        for name, done in run_all(box, left).items():
            said = all(w in done.output for w in words)
            if said or "--timeout" not in done.output or time.monotonic() > end:
                expect_refusal(done, *words)
                del left[name]


# ------------------------------------------------------------------------------------ file systems


def hanging_file(box: Box, what: str, deaf: bool) -> None:
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, what, fs.path])
    images = box.dir / "images"
    if box.torpor(*command(images, target.pid, "dump", "-R")).status != 0:
        raise Failed("a file system that answers is fine")
    fs.go_deaf() if deaf else fs.stop()
    for kind in ("dump", "pre-dump") if what == "map" else ("dump",):
        images = box.dir / kind
        argv = command(images, target.pid, kind, "--timeout", LIMIT)
        words = (f"task {target.pid} (python3)", "fuse", f"'{fs.dir}'", "--timeout")
        expect_refusals(box, {kind: argv}, *words)
        target.expect_untouched(images)
    fs.end()
    target.expect_tasks()


@pytest.mark.parametrize("what,deaf", [("fd", False), ("cwd", True), ("map", True)])
def test_file_system(boxed: Callable[..., Any], what: str, deaf: bool) -> None:
    """A file of the target is on a file system that hangs; deaf: not even SIGKILL would help."""
    boxed(hanging_file, what=what, deaf=deaf)


def hanging_task(box: Box) -> None:
    """The task itself waits, and not even SIGKILL helps; who does is said, and where."""
    fs = slowfs.start(box, box.dir / "slow")
    script = "import os, sys\nf = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n"
    script += "while True:\n    os.pread(f, 100, 0)\n"
    pid = box.start(["python3", "-c", script, fs.path])
    call, looks = Path(f"/proc/{pid}/syscall"), ["running"] * 50

    def has_opened() -> bool:
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{pid}/fd/3") == str(fs.path)
        return False

    box.until("it opens nothing", PATIENCE, has_opened)
    fs.go_deaf()

    def waits() -> bool:
        """Always in the same call: the last answers may still be on their way."""
        looks.append(call.read_text())
        return all(s == looks[-1] and s.startswith("17 ") for s in looks[-50:])

    box.until("it does not wait", PATIENCE, waits)
    images = box.dir / "images"
    for kind in ("dump", "pre-dump"):
        argv = command(images, pid, kind, "--timeout", LIMIT)
        words = (f"task {pid} does not stop within --timeout", "in pread64, at ")
        expect_refusals(box, {kind: argv}, *words)
        expect_nothing(images)
    fs.end()
    box.wait(pid, PATIENCE)


def test_task(boxed: Callable[..., Any]) -> None:
    boxed(hanging_task)


def hanging_restore(box: Box) -> None:
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, "fd", fs.path])
    images = box.dir / "images"
    if box.torpor(*command(images, target.pid)).status != 0:
        raise Failed("dump failed")
    restore = ["restore", "-d", "-D", str(images), "-o", "restore.log", "-v4", "--timeout", LIMIT]
    fs.go_deaf()
    words = (f"'{fs.path}'", "fuse", "does not answer", "--timeout")
    expect_refusals(box, {"restore": restore}, *words)
    fs.end()
    box.until(f"tasks are left: {box.tasks()}", PATIENCE, lambda: not box.tasks())
    if not (images / "inventory.img").exists():
        raise Failed("the images are gone")


def test_restore(boxed: Callable[..., Any]) -> None:
    boxed(hanging_restore)


def start_until_stopped(box: Box, argv: Sequence[str | Path], said: Path, fault: str) -> int:
    """Starts torpor, which stops at the fault point; again where a busy computer ends it before."""
    end = time.monotonic() + PATIENCE
    while True:
        said.unlink(missing_ok=True)
        pid = box.start([TORPOR, *argv], out=said, env={"TORPOR_FAULT": f"{fault}=stop"})

        def has_stopped(pid: int = pid) -> bool:
            return pid in box.statuses or read_stat(f"/proc/{pid}/stat")[1][0] == "T"

        box.until("it does not stop", PATIENCE, has_stopped)
        if pid not in box.statuses:
            return pid
        if "--timeout" not in said.read_text() or time.monotonic() > end:
            raise Failed(f"it ended before it stopped: {said.read_text()}")


def hanging_later(box: Box, what: str, deaf: bool, stage: str) -> None:
    """It has answered when it was asked, and hangs when its files are looked at."""
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, what, fs.path])
    images, said = box.dir / "images", box.dir / "said"
    argv = command(images, target.pid, "dump", "--timeout", "4")
    tool = start_until_stopped(box, argv, said, f"dump:{stage}")
    fs.go_deaf() if deaf else fs.stop()
    os.kill(tool, signal.SIGCONT)
    status = box.wait(tool, PATIENCE)
    if status is None:
        raise Failed(f"dump does not end: {said.read_text()}\n{stuck.tasks(box.pids())}")
    done = Done(argv, status, said.read_text(), 0)
    expect_refusal(done, f"'{fs.dir}", "(fuse on", "does not answer", "--timeout")
    target.expect_untouched(images)
    fs.end()
    target.expect_tasks()


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("what,stage", [("fd", "interview"), ("cwd", "interview"), ("map", "answers")])
def test_later(boxed: Callable[..., Any], what: str, deaf: bool, stage: str) -> None:
    boxed(hanging_later, what=what, deaf=deaf, stage=stage)


def hanging_husk(box: Box, deaf: bool) -> None:
    """It answers when it is asked; the task that is being restored waits for it, not torpor."""
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, "lock", fs.path])
    images, said = box.dir / "images", box.dir / "said"
    if box.torpor(*command(images, target.pid)).status != 0:
        raise Failed("dump failed")
    mounts = Path("/proc/self/mountinfo").read_text()
    restore = ["restore", "-d", "-D", images, "-o", "restore.log", "-v4", "--timeout", LIMIT]
    tool = start_until_stopped(box, restore, said, "restore:forest")
    fs.go_deaf() if deaf else fs.stop()
    os.kill(tool, signal.SIGCONT)
    status = box.wait(tool, PATIENCE)
    if status is None:
        raise Failed(f"restore does not end: {said.read_text()}\n{stuck.tasks(box.pids())}")
    done = Done(["restore"], status, said.read_text(), 0)
    expect_refusal(done, f"task {target.pid} ", "mlock", "for 6 s", "--timeout")
    fs.end()
    box.until(f"tasks are left: {box.tasks()}", PATIENCE, lambda: not box.tasks())
    if Path("/proc/self/mountinfo").read_text() != mounts:
        raise Failed("mounts are left")


@pytest.mark.parametrize("deaf", [False, True])
def test_husk(boxed: Callable[..., Any], deaf: bool) -> None:
    boxed(hanging_husk, deaf=deaf)


# ------------------------------------------------------------------------------------ page servers


def silent_server(box: Box) -> None:
    """Two dumps at a time to a server whose connections come about but which never says a word."""
    forms = {"pages": (), "files": ("--connections", "2")}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        target = {f: Target(box, ["sh", "-c", BEATS, "x"], f) for f in forms}
        where = ("--page-server", "--address", "127.0.0.1", "--port", port)
        argv = {
            form: command(box.dir / form, target[form].pid, "dump", "--timeout", LIMIT, *where, *o)
            for form, o in forms.items()
        }
        expect_refusals(box, argv, f"127.0.0.1 port {port} does not answer for 6 s")
        for form in forms:
            target[form].expect_untouched(box.dir / form)


def test_silent_server(boxed: Callable[..., Any]) -> None:
    boxed(silent_server, net=True)


def stopped_daemon(box: Box) -> None:
    """All tasks of a tree wait at once for who brings memory; that is said once."""
    s = Subject(box, "tree")
    s.start()
    s.dump()
    s.forget()
    daemon = box.start([TORPOR, "lazy-pages", "-D", s.images, "-o", "lazy.log"])
    box.aside.add(daemon)
    box.until("no daemon", PATIENCE, lambda: (s.images / "lazy-pages.socket").exists())
    os.kill(daemon, signal.SIGSTOP)
    done = box.torpor(*s.restore_command("--lazy-pages", "--timeout", LIMIT))
    expect_refusal(done, "lazy-pages daemon does not bring for 6 s", f"({s.name})")
    if done.seconds > 30:
        raise Failed(f"it took {done.seconds} s")
    box.until(f"tasks are left: {box.tasks()}", PATIENCE, lambda: not box.tasks())


def test_stopped_daemon(boxed: Callable[..., Any]) -> None:
    boxed(stopped_daemon)


# ----------------------------------------------------------------------------------------- streams


LARGE = """
import sys, time
m = b"x" * (8 << 20)
while True:
    with open(sys.argv[1], "a") as out:
        out.write("x")
    time.sleep(0.01)
"""


def unread_stream(box: Box) -> None:
    """Nobody reads: what is saved of a small task waits in pipes, that of a large one cannot."""
    targets = {
        "small": Target(box, ["sh", "-c", BEATS, "x"], "small"),
        "large": Target(box, ["python3", "-c", LARGE], "large"),
        "streamer": Target(box, ["python3", "-c", LARGE], "streamer"),
    }
    limit = ("--timeout", LIMIT)
    argv = {n: command(box.dir / n, t.pid, "dump", *limit) for n, t in targets.items()}
    pipes = [os.pipe(), os.pipe()]
    for name, (_, write_end) in zip(("small", "large"), pipes):
        os.set_inheritable(write_end, True)
        argv[name] += ["--stream-fd", str(write_end)]
    argv["streamer"] += ["--stream"]
    with socket.socket(socket.AF_UNIX) as streamer:
        streamer.bind(str(box.dir / "streamer/streamer-capture.sock"))
        streamer.listen()
        expect_refusals(box, argv, "takes nothing any more")
        for name in argv:
            targets[name].runs_on("afterwards")
    for fds in pipes:
        os.close(fds[0])
        os.close(fds[1])

    def left() -> list[Task]:
        return [t for t in box.tasks() if t.comm == "torpor"]

    box.until(lambda: f"left: {left()}", PATIENCE, lambda: not left())


def test_unread_stream(boxed: Callable[..., Any]) -> None:
    boxed(unread_stream)


# ----------------------------------------------------------------------------------- images: fifos


BEATS_ALONE = """
while (1) {
    open(my $f, ">>", $ARGV[0]); print $f "x"; close($f); select(undef, undef, undef, 0.01);
}
"""


def fifos(box: Box) -> None:
    """Fifos in place of images: nothing is waited for, and nothing is lost in them."""
    target = Target(box, ["perl", "-e", BEATS_ALONE])
    good = box.dir / "good"
    if box.torpor(*command(good, target.pid, "dump", "-R")).status != 0:
        raise Failed("dump failed")
    names = sorted(p.name for p in good.glob("*.img"))
    for name in names:
        images = box.dir / f"to-{name}"
        images.mkdir()
        os.mkfifo(images / name)
        done = box.torpor(*command(images, target.pid, "dump", "-R"))
        if name != "inventory.img":
            expect_refusal(done, f"'{name}'", "no regular file")
        elif done.status != 0:
            raise Failed("a stale inventory.img disappears at the beginning")
        target.runs_on(f"after a dump to the fifo {name}")
    for name in names:
        (good / name).rename(box.dir / "aside")
        os.mkfifo(good / name)
        for words in (["restore", "-d", "-D", str(good)], ["show", str(good)]):
            done = box.torpor(*words)
            if words[0] == "restore":
                expect_refusal(done, f"'{name}' is no regular file")
        (box.dir / "aside").rename(good / name)


def test_fifos(boxed: Callable[..., Any]) -> None:
    boxed(fifos)


# ---------------------------------------------------------------------------------- control groups


def is_removed(group: Path) -> bool:
    """Who has ended may belong to it for another moment."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


class Group:
    """A control group (version 2) of the test's own."""

    def __init__(self) -> None:
        mounts = [line.split() for line in Path("/proc/self/mounts").open()]
        found = [m[1] for m in mounts if m[2] == "cgroup2"]
        if not found:
            raise Skipped("no control groups of version 2 here")
        self.path = Path(found[0]) / f"torpor-test-{time.time_ns()}"
        try:
            self.path.mkdir()
        except OSError as e:
            raise Skipped(f"no control group can be made here: {e}") from None
        if not (self.path / "cgroup.freeze").exists():
            self.path.rmdir()
            raise Skipped("control groups cannot be frozen here")

    def take(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def freeze(self, box: Box, on: bool) -> None:
        (self.path / "cgroup.freeze").write_text("1" if on else "0")
        events = self.path / "cgroup.events"
        box.until("it does not freeze", PATIENCE, lambda: f"frozen {int(on)}" in events.read_text())

    def end(self, box: Box) -> None:
        (self.path / "cgroup.freeze").write_text("0")
        box.kill_all()
        box.until("the control group stays", PATIENCE, lambda: is_removed(self.path))


PARENT = f"sh -c '{BEATS}' child \"$1\"; exit"


def frozen(box: Box, child: bool) -> None:
    group = Group()
    try:
        target = Target(box, ["sh", "-c", PARENT if child else BEATS, "parent"])
        loop = target.pid
        if child:
            (loop,) = [t.pid for t in box.tasks() if t.ppid == target.pid]
        maps = Path(f"/proc/{loop}/maps")
        before = maps.read_text()
        group.take(loop)
        group.freeze(box, True)
        images = box.dir / "images"
        argv = command(images, target.pid, "dump", "--timeout", LIMIT)
        expect_refusals(box, {"dump": argv}, f"task {loop}", str(group.path), "frozen")
        group.freeze(box, False)
        target.expect_untouched(images)
        box.until("memory stays mapped", PATIENCE, lambda: maps.read_text() == before)
        if box.torpor(*command(box.dir / "later", target.pid, "dump", "-R")).status != 0:
            raise Failed("a dump of what was thawed failed")
        target.runs_on("after the dump")
    finally:
        group.end(box)


@pytest.mark.parametrize("child", [False, True])
def test_frozen(boxed: Callable[..., Any], child: bool) -> None:
    """Frozen tasks can be stopped but do not run what they are asked."""
    boxed(frozen, child=child)


def frozen_in_vfork(box: Box) -> None:
    """The parent cannot be stopped before its child runs on, which it does not."""
    group = Group()
    try:
        s = Subject(box, "vforks", ("never",))
        s.start()
        (child,) = [t.pid for t in box.tasks() if t.ppid == s.pid]
        group.take(child)
        group.freeze(box, True)
        images = box.dir / "images"
        argv = command(images, s.pid, "dump", "--timeout", LIMIT)
        words = (f"task {s.pid} ", "vfork", f"child {child} ", str(group.path), "frozen")
        expect_refusals(box, {"dump": argv}, *words)
        expect_nothing(images)
    finally:
        group.end(box)


def test_frozen_in_vfork(boxed: Callable[..., Any]) -> None:
    boxed(frozen_in_vfork)


def frozen_v1(box: Box) -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").open()]
    found = [m[1] for m in mounts if m[2] == "cgroup" and "freezer" in m[3].split(",")]
    if not found:
        raise Skipped("no freezer of version 1 here")
    group = Path(found[0]) / f"torpor-test-{time.time_ns()}"
    group.mkdir()
    state = group / "freezer.state"
    try:
        target = Target(box, ["sh", "-c", BEATS, "x"])
        (group / "cgroup.procs").write_text(str(target.pid))
        state.write_text("FROZEN")
        box.until("it does not freeze", PATIENCE, lambda: state.read_text().strip() == "FROZEN")
        images = box.dir / "images"
        argv = command(images, target.pid, "dump", "--timeout", LIMIT)
        words = (f"task {target.pid} ", str(group), "frozen", "freezer.state")
        expect_refusals(box, {"dump": argv}, *words)
        state.write_text("THAWED")
        target.expect_untouched(images)
    finally:
        state.write_text("THAWED")
        box.kill_all()
        box.until("the control group stays", PATIENCE, lambda: is_removed(group))


def test_frozen_v1(boxed: Callable[..., Any]) -> None:
    """Tasks in the older freezer cannot even be stopped."""
    boxed(frozen_v1)


# --------------------------------------------------------------------------------------- interrupts


def expect_interrupted(box: Box, tool: int, images: Path, signo: int, said: Path) -> None:
    """The tool ends by the signal, soon, says so, and leaves nothing."""
    os.kill(tool, signo)
    status = box.wait(tool, PATIENCE)
    text = said.read_text()
    if status != -signo or f"interrupted by {signal.Signals(signo).name}" not in text:
        raise Failed(f"status {status}: {text}")
    expect_nothing(images)


def interrupted_at_stop(box: Box) -> None:
    """A thread in vfork does not stop while its child runs."""
    s = Subject(box, "vforks", ("never",))
    s.start()
    images, said = box.dir / "images", box.dir / "said"
    tool = box.start([TORPOR, *command(images, s.pid, "dump", "--timeout", "0")], out=said)
    log = images / "dump.log"
    box.until("nobody is waited for", PATIENCE, lambda: log.exists() and "again" in log.read_text())
    expect_interrupted(box, tool, images, signal.SIGINT, said)
    box.until("tasks differ", PATIENCE, lambda: box.tasks() == s.before)
    os.kill(s.pid, signal.SIGUSR1)
    s.finish()


def test_interrupted_at_stop(boxed: Callable[..., Any]) -> None:
    boxed(interrupted_at_stop)


def interrupted_at_file(box: Box) -> None:
    fs = slowfs.start(box, box.dir / "slow")
    target = Target(box, ["python3", "-c", USER, "fd", fs.path])
    images, said = box.dir / "images", box.dir / "said"
    fs.stop()
    argv = command(images, target.pid, "dump", "--timeout", "0")
    tool = box.start([TORPOR, *argv], out=said)
    log = images / "dump.log"
    box.until(
        "no stage 'identity'",
        PATIENCE,
        lambda: log.exists() and "'identity' took" in log.read_text(),
    )
    box.until("nobody asks", PATIENCE, lambda: any(t.ppid == tool for t in box.tasks()))
    expect_interrupted(box, tool, images, signal.SIGINT, said)
    target.runs_on("afterwards")
    fs.end()
    target.expect_tasks()


def test_interrupted_at_file(boxed: Callable[..., Any]) -> None:
    boxed(interrupted_at_file)


def interrupted_at_server(box: Box) -> None:
    """A connection of the target is locked by then; it must not stay so."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname()) as ours,
        other.accept()[0] as theirs,
        open(os.devnull, "wb") as null,
    ):
        pid = box.start(["cat"], fds=(theirs.fileno(), theirs.fileno(), null.fileno()))
        theirs.close()
        ours.settimeout(30)
        ours.send(b"before")
        ours.recv(6, socket.MSG_WAITALL)
        images, said = box.dir / "images", box.dir / "said"
        argv = command(images, pid, "dump", "--timeout", "0", "--tcp-established")
        argv += ["--page-server", "--address", "127.0.0.1", "--port", str(server.getsockname()[1])]
        tool = box.start([TORPOR, *argv], out=said)
        with server.accept()[0] as connection:
            if not connection.recv(1):
                raise Failed(f"no question came: {said.read_text()}")
            expect_interrupted(box, tool, images, signal.SIGTERM, said)
        ours.send(b"after")
        if ours.recv(5, socket.MSG_WAITALL) != b"after":
            raise Failed("the target has lost its connection")


def test_interrupted_at_server(boxed: Callable[..., Any]) -> None:
    boxed(interrupted_at_server, net=True)


def interrupted_server(box: Box) -> None:
    """A page server that has begun images waits for more."""
    images, said = box.dir / "images", box.dir / "said"
    images.mkdir()
    words = ["page-server", "-D", str(images), "-o", "dump.log", "--address", "127.0.0.1"]
    tool = box.start([TORPOR, *words], out=said)
    box.until("it does not listen", PATIENCE, lambda: said.read_text().endswith("\n"))
    port = int(said.read_text().split("on port ")[1].split()[0])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(30)
        client.sendall(struct.pack("<IIQQQ", OPEN, 0, 0, 0, 7 << 8 | 1))
        if client.recv(1) != b"\0" or not list(images.glob("pagemap-*")):
            raise Failed("no images were begun")
        expect_interrupted(box, tool, images, signal.SIGTERM, said)


def test_interrupted_server(boxed: Callable[..., Any]) -> None:
    boxed(interrupted_server, net=True)


def interrupted_alone(box: Box, name: str, words: list[str], file: str) -> None:
    """Nobody has come yet: what was made so that somebody can is taken away."""
    target = Target(box, ["sh", "-c", BEATS, "x"])
    images, pidfile, said = box.dir / "images", box.dir / "pid", box.dir / "said"
    if box.torpor(*command(images, target.pid, "dump", "-R")).status != 0:
        raise Failed("dump failed")
    (box.dir / "previous").mkdir()
    before = sorted(images.iterdir())
    argv = [TORPOR, name, "-D", images, "-o", "dump.log", *words]

    def expect_end(pid: int) -> int | None:
        box.until(f"there is no '{file}'", PATIENCE, lambda: os.path.lexists(images / file))
        os.kill(pid, signal.SIGTERM)
        box.until("it does not end", PATIENCE, lambda: all(t.pid != pid for t in box.tasks()))
        if sorted(images.iterdir()) != before:
            raise Failed(f"there is {sorted(images.iterdir())}, there was {before}")
        return box.statuses.get(pid)

    pid = box.start(argv, out=said)
    if expect_end(pid) != -signal.SIGTERM or "interrupted by SIGTERM" not in said.read_text():
        raise Failed(f"it said: {said.read_text()}")
    if box.run([*argv, "-d", "--pidfile", pidfile]).status != 0:
        raise Failed("it does not go to the background")
    expect_end(int(pidfile.read_text()))


ALONE = {
    "lazy-pages": ([], "lazy-pages.socket"),
    "page-server": (["--address", "127.0.0.1", "--prev-images-dir", "../previous"], "parent"),
}


@pytest.mark.parametrize("name", ALONE)
def test_interrupted_alone(boxed: Callable[..., Any], name: str) -> None:
    words, file = ALONE[name]
    boxed(interrupted_alone, net=True, name=name, words=words, file=file)


def interrupted_at_tape(box: Box) -> None:
    """A task is asked about itself but does not run."""
    group = Group()
    try:
        # not a shell: where it is frozen in vfork nobody is asked anything, see frozen_in_vfork()
        target = Target(box, ["sh", "-c", 'perl -e "$0" "$1"; exit', BEATS_ALONE])
        (loop,) = [t.pid for t in box.tasks() if t.ppid == target.pid]
        maps = Path(f"/proc/{loop}/maps")
        before = maps.read_text()
        images, said = box.dir / "images", box.dir / "said"
        group.take(loop)
        group.freeze(box, True)
        argv = command(images, target.pid, "dump", "--timeout", "0")
        tool = box.start([TORPOR, *argv], out=said)
        log = images / "dump.log"
        box.until(
            "no stage 'look'", PATIENCE, lambda: log.exists() and "'look' took" in log.read_text()
        )
        expect_interrupted(box, tool, images, signal.SIGTERM, said)
        group.freeze(box, False)
        target.expect_untouched(images)
        box.until("memory stays mapped", PATIENCE, lambda: maps.read_text() == before)
    finally:
        group.end(box)


def test_interrupted_at_tape(boxed: Callable[..., Any]) -> None:
    boxed(interrupted_at_tape)
