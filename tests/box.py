# SPDX-License-Identifier: GPL-2.0-or-later
"""A box: new pid and mount namespaces in which one test does its work as process 1.

`run_boxed(function, ...)` forks, makes the namespaces and calls function(box, ...) in the new
process 1. All pids are free in there, and whatever was started dies with it, however the test
ends. The function returns normally, or raises Failed or Skipped; anything else it raises is a
failure with its trace. Data come back through a pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stuck

SOURCE = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("TORPOR_BUILD", SOURCE / "build")).resolve()
TORPOR = Path(os.environ.get("TORPOR", BUILD / "torpor")).resolve()

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND = 4096
PR_SET_PDEATHSIG = 1
TRACKER = "torpor-tracker"

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """The test failed, for this reason."""


class Late(Failed):
    """What was waited for did not come in time; the report shows what all tasks were doing."""


class Skipped(Exception):
    """The test cannot run here, for this reason."""


def _call(name: str, *args: Any) -> int:
    result = int(getattr(_libc, name)(*args))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call("mount", source.encode(), target.encode(), kind.encode(), flags, data.encode())


def umount(target: str) -> None:
    """umount2(2), lazily."""
    _call("umount2", target.encode(), 2)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _call("unshare", flags)


@dataclass
class Done:
    """A program that has ended."""

    argv: list[str]
    status: int  # exit code, or minus the signal
    output: str
    seconds: float

    def __str__(self) -> str:
        return f"'{' '.join(self.argv)}' ended with {self.status}: {self.output.strip()[-2000:]}"


@dataclass(frozen=True)
class Task:
    """What /proc shows of a task."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    state: str
    comm: str
    tids: tuple[int, ...]


def read_stat(path: str) -> tuple[str, list[str]]:
    """comm and the fields from the state on of a stat file."""
    text = Path(path).read_text(errors="surrogateescape")
    left, right = text.index("("), text.rindex(")")
    return text[left + 1 : right], text[right + 2 :].split()


def is_worker(pid: int, tid: int) -> bool:
    """A thread of io_uring: the kernel's own; these come and go."""
    try:
        return read_stat(f"/proc/{pid}/task/{tid}/stat")[0].startswith("iou-")
    except (FileNotFoundError, ProcessLookupError):
        return True


def read_task(pid: int) -> Task | None:
    """The task, or None if there is none."""
    try:
        comm, stat = read_stat(f"/proc/{pid}/stat")
        tids = tuple(sorted(int(t) for t in os.listdir(f"/proc/{pid}/task")))
        if 1 < len(tids) < 10:
            tids = tuple(t for t in tids if not is_worker(pid, t))
    except (FileNotFoundError, ProcessLookupError):
        return None
    state = stat[0] if stat[0] in "TZ" else "L"
    return Task(pid, int(stat[1]), int(stat[2]), int(stat[3]), state, comm, tids)


def tail(path: Path, lines: int = 25) -> str:
    """The end of a log."""
    try:
        text = path.read_text(errors="replace").splitlines()
    except OSError as e:
        return f"--- {path.name}: {e.strerror}"
    return "\n".join([f"--- {path.name} (last lines)", *text[-lines:]])


@dataclass
class Box:
    """What a test can do in its namespaces."""

    dir: Path
    statuses: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    runs: int = 0
    aside: set[int] = field(default_factory=set)  # servers of the test, no tasks of a subject
    net: bool = False  # has a network namespace of its own
    timeout: float = 300  # for all of the test

    # ------------------------------------------------------------------------------- processes

    def reap(self) -> None:
        """Takes the status of every child that has ended; as process 1 all orphans are ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | 0x40000000)  # __WALL
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.statuses[pid] = os.waitstatus_to_exitcode(status)

    def start(
        self,
        argv: Iterable[str | Path],
        *,
        session: bool = True,
        out: str | Path = os.devnull,
        into: str | Path = os.devnull,
        env: dict[str, str] | None = None,
        fds: tuple[int, int, int] | None = None,
        cwd: Path | None = None,
    ) -> int:
        """Starts a program, by default in a session of its own with its descriptors on files."""
        words = [str(w) for w in argv]
        back = os.getcwd()
        self.reap()
        if cwd:
            os.chdir(cwd)
        try:
            if fds:
                actions: list[Any] = [(os.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(fds)]
            else:
                actions = [
                    (os.POSIX_SPAWN_OPEN, 0, str(into), os.O_RDONLY, 0),
                    (
                        os.POSIX_SPAWN_OPEN,
                        1,
                        str(out),
                        os.O_WRONLY | os.O_CREAT | os.O_APPEND,
                        0o644,
                    ),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ]
            pid = os.posix_spawnp(
                words[0],
                words,
                os.environ | env if env else dict(os.environ),
                file_actions=actions,
                setsid=session,
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ],
                setsigmask=[],
            )
        finally:
            os.chdir(back)
        self.statuses.pop(pid, None)
        return pid

    def wait(self, pid: int, timeout: float) -> int | None:
        """Exit code of a child (or minus the signal); None if it goes on after that time."""
        self.reap()
        if pid in self.statuses:
            return self.statuses[pid]
        fd = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            end = time.monotonic() + timeout
            while pid not in self.statuses:
                left = end - time.monotonic()
                if left <= 0:
                    return None
                poller.poll(min(5, left * 1000))
                self.reap()
        finally:
            os.close(fd)
        return self.statuses[pid]

    def run(self, argv: Iterable[str | Path], *, timeout: float = 120, **how: Any) -> Done:
        """Runs a program to its end."""
        words = [str(w) for w in argv]
        self.runs += 1
        out = self.dir / f"output-{self.runs}"
        begin = time.monotonic()
        if how.get("fds") is None:
            how["out"] = out
        pid = self.start(words, session=how.pop("session", False), **how)
        status = self.wait(pid, timeout)
        seconds = time.monotonic() - begin
        hangs_in = ""
        if status is None:
            hangs_in = stuck.tasks(self.pids())
            os.kill(pid, signal.SIGKILL)
            self.wait(pid, 10)
        text = out.read_text(errors="replace") if out.exists() else ""
        done = Done(words, -1000 if status is None else status, text, seconds)
        if status is None:
            raise Failed(f"{done}\nit did not end within {timeout} s\n{hangs_in}")
        return done

    def pids(self) -> list[int]:
        """Everybody in the box but process 1."""
        return sorted(int(p) for p in os.listdir("/proc") if p.isdigit() and p != "1")

    def tasks(self) -> list[Task]:
        """All tasks but process 1 and trackers of memory (they end by themselves), by pid."""
        self.reap()
        found = (read_task(p) for p in self.pids())
        return [t for t in found if t and t.comm != TRACKER and t.pid not in self.aside]

    def trackers(self) -> list[int]:
        """The processes that keep track of memory between two dumps."""
        found = [read_task(p) for p in self.pids()]
        return [t.pid for t in found if t and t.comm == TRACKER and t.state != "Z"]

    def kill_all(self) -> None:
        """Ends every task in the box and waits until none is left."""
        # an idle-priority thread (SCHED_IDLE) needs long to end where others are busy
        for _ in range(24000):
            tasks = self.tasks()
            if not tasks:
                return
            for t in tasks:
                try:
                    os.kill(t.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.005)
        raise Failed(f"tasks which cannot be killed: {self.tasks()}")

    def until(
        self, what: str | Callable[[], str], seconds: float, good: Callable[[], Any]
    ) -> Any:
        """Polls until good() is true and returns what it returned; what() says what there was."""
        end = time.monotonic() + seconds
        while True:
            self.reap()
            result = good()
            if result:
                return result
            if time.monotonic() > end:
                raise Late(f"after {seconds} s: {what if isinstance(what, str) else what()}")
            time.sleep(0.003)

    # ------------------------------------------------------------------------------------ tool

    def torpor(self, *words: str | Path, timeout: float = 120, **how: Any) -> Done:
        """Runs the tool that is tested."""
        done = self.run([TORPOR, *words], timeout=timeout, **how)
        self.notes.append(str(done))
        return done

    def leftovers(self) -> set[str]:
        """What a failed operation must not leave: mounts, files of ours in common places."""
        found = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").open()}
        for place in ("/tmp", "/dev/shm", "/run", "/var/tmp"):
            found |= {f"{place}/{name}" for name in os.listdir(place)}
        return found


def _make_private(places: tuple[str, ...], keep: Iterable[Path]) -> None:
    """Empty file systems over common places, so that nobody else's files are seen there."""
    held = [(str(p), os.open(p, os.O_PATH | os.O_CLOEXEC)) for p in keep]
    for place in places:
        mount("torpor-test", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for path, fd in held:
        if path.startswith(tuple(f"{place}/" for place in places)):
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{fd}", path, "none", MS_BIND)
        os.close(fd)


def _make_private_run() -> None:
    """As _make_private(), for /run: what has a folder there, often made at boot, finds it again.

    Others make files of their own there at any time: criu its cache, mount(8) its table.
    """
    links: dict[str, str] = {}
    held: list[tuple[str, int]] = []
    for entry in os.scandir("/run"):
        with contextlib.suppress(FileNotFoundError):  # it was somebody's only for a moment
            if entry.is_symlink():
                links[entry.path] = os.readlink(entry.path)
            elif entry.is_dir():
                held.append((entry.path, os.open(entry.path, os.O_PATH | os.O_CLOEXEC)))
    mount("torpor-test", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for path, target in links.items():
        os.symlink(target, path)
    for path, fd in held:
        os.mkdir(path)
        mount(f"/proc/self/fd/{fd}", path, "none", MS_BIND | MS_REC)
        os.close(fd)


def pipe_with(data: bytes) -> int:
    """A descriptor which children inherit."""
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)
    os.set_inheritable(read_end, True)
    return read_end


def link_up(name: str) -> None:
    """Sets a network device of this namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), IFF_UP))


def _make_namespaces(folder: Path, net: bool) -> None:
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # torpor's index of journals; where there is none, who is outside of boxes may make it meanwhile
    with contextlib.suppress(OSError):
        os.makedirs("/var/lib/torpor", exist_ok=True)
    if os.path.isdir("/var/lib/torpor"):
        mount("torpor", "/var/lib/torpor", "tmpfs")
    # the numbers of its terminals are its own, too: whoever else opens one cannot take them
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    if net:
        link_up("lo")
    _make_private_run()
    _make_private(("/tmp", "/var/tmp", "/dev/shm"), (SOURCE, BUILD, TORPOR.parent, folder))


def _report(fd: int, kind: str, text: str, data: Any) -> None:
    blob = json.dumps({"kind": kind, "text": text, "data": data}).encode()
    while blob:
        blob = blob[os.write(fd, blob) :]


def _logs(folder: Path) -> list[str]:
    """The ends of what was written last."""
    logs: list[tuple[float, Path]] = []
    results: list[Path] = []
    # a folder in it may be on a file system that has ended
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in sorted(names)):
            with contextlib.suppress(OSError):
                if path.suffix == ".log":
                    logs.append((path.stat().st_mtime, path))
                elif path.name == "result":
                    results.append(path)
    return [tail(p) for p in [*(path for _, path in sorted(logs)[-2:]), *sorted(results)]]


def _comes_of_late(e: BaseException | None) -> bool:
    """Whether it is told instead of a Late, too."""
    while e and not isinstance(e, Late):
        e = e.__context__
    return e is not None


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _as_init(fd: int, box: Box, function: Callable[..., Any], args: dict[str, Any]) -> None:
    kind, text, data = "failed", "", None
    try:
        _make_namespaces(box.dir, box.net)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
                os.set_inheritable(int(name), False)
        os.chdir(box.dir)
        # no thread as dump_traceback_later() would have: that shares more than files with others
        faulthandler.register(signal.SIGALRM, file=(box.dir / "where").open("w"))
        signal.setitimer(signal.ITIMER_REAL, box.timeout * 0.95)
        data = function(box, **args)
        kind = "passed"
    except Skipped as e:
        kind, text = "skipped", str(e)
    except Failed as e:
        frames = traceback.extract_tb(e.__traceback__)
        text = f"{e}\n(at {Path(frames[-1].filename).name}:{frames[-1].lineno})"
        if _comes_of_late(e):
            text += f"\n{stuck.tasks(box.pids())}"
    except BaseException:
        text = traceback.format_exc()
    if kind == "failed":
        # one of them may serve a file system that we are going to look at
        _kill(box.aside)
        text = "\n".join([text, *box.notes[-4:], *_logs(box.dir)])
    _report(fd, kind, text, data)


def _fork_init(fd: int, box: Box, function: Callable[..., Any], args: dict[str, Any]) -> None:
    """In the first child: makes process 1 and ends as it does."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    _call("unshare", CLONE_NEWPID | CLONE_NEWNS | (CLONE_NEWNET if box.net else 0))
    pid = os.fork()
    if pid == 0:
        _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        _as_init(fd, box, function, args)
        os._exit(0)
    os.close(fd)
    os.waitpid(pid, 0)
    os._exit(0)


def _collect(fd: int, pid: int, timeout: float) -> bytes:
    """Everything the box reports; raises Late if it takes too long."""
    parts: list[bytes] = []
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise Late(
                f"the box was killed: not done after {timeout} s\n{stuck.tasks(stuck.below(pid))}"
            )
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def run_boxed(
    function: Callable[..., Any], *, timeout: float = 300, net: bool = False, **args: Any
) -> Any:
    """Calls function(box, **args) in a box; returns its data, raises Failed or Skipped.

    With net the box has a network namespace of its own, too, in which lo is up.
    """
    if os.geteuid() != 0:
        raise Skipped("needs root")
    folder = Path(tempfile.mkdtemp(prefix="torpor-test-"))
    folder.chmod(0o755)
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            _fork_init(write_end, Box(folder, net=net, timeout=timeout), function, args)
        except BaseException as e:
            _report(write_end, "failed", f"cannot make the box: {e}", None)
        os._exit(1)
    os.close(write_end)
    try:
        blob = _collect(read_end, pid, timeout)
    except BaseException as e:
        _kill([*stuck.below(pid), pid])
        if isinstance(e, Late):
            where = folder / "where"
            lines = where.read_text().partition(" in _as_init")[0] if where.exists() else "nowhere"
            e.args = ("\n".join([str(e), "--- where the test is", lines, *_logs(folder)]),)
        raise
    finally:
        os.close(read_end)
        os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
    if not blob:
        raise Failed("the box died without a report")
    report = json.loads(blob)
    if report["kind"] == "skipped":
        raise Skipped(report["text"])
    if report["kind"] == "failed":
        raise Failed(report["text"])
    return report["data"]
