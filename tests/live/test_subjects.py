# SPDX-License-Identifier: GPL-2.0-or-later
"""Every live subject, undisturbed and in every way of dumping and restoring."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, TORPOR, Box, Failed, read_task
from subjects import BIG, HUGE, NAMES, NET, OPTIONS, STOPPED, Subject

STATIC = ["mem_private", "pipes", "robust_rseq", "threads", "tree"]


def alone(s: Subject) -> None:
    """No dump: what the subject expects holds on this kernel."""


def plain(s: Subject) -> None:
    """Dump, restore; the validator has nothing against it."""
    s.asks_validator = True
    s.dump()
    s.restore()


def running(s: Subject) -> None:
    """It runs on after -R."""
    s.dump("-R")


def running_restore(s: Subject) -> None:
    """-R, then it dies; the images bring it back."""
    s.dump("-R")
    s.kill()
    s.restore()


def twice(s: Subject) -> None:
    """What was restored can be dumped again."""
    s.dump()
    s.restore()
    s.dump()
    s.restore()


def stopped(s: Subject) -> None:
    """-s leaves it stopped; it can be continued."""
    s.dump("-s")
    s.resume()


def stopped_restore(s: Subject) -> None:
    """-s on both sides."""
    s.dump("-s")
    s.kill()
    s.restore("-s")
    s.resume()


MODES: dict[str, Callable[[Subject], None]] = {
    f.__name__: f
    for f in (alone, plain, running, running_restore, twice, stopped, stopped_restore)
}


def live(box: Box, name: str, mode: str) -> None:
    s = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))
    s.start(stops=name in STOPPED)
    MODES[mode](s)
    s.finish()


def cases() -> Iterator[Any]:
    for name in NAMES:
        for mode in MODES:
            if name not in BIG or mode in ("alone", "plain", "running"):
                yield pytest.param(name, mode, id=f"{name}-{mode}")
    for name in STATIC:
        for mode in ("plain", "twice"):
            yield pytest.param(f"{name}_static", mode, id=f"{name}_static-{mode}")


@pytest.mark.parametrize(("name", "mode"), cases())
def test_subject(boxed: Callable[..., Any], request: Any, name: str, mode: str) -> None:
    if name in HUGE:
        request.getfixturevalue("huge_pages")
    boxed(live, net=name in NET, name=name, mode=mode)


# ---------------------------------------------------------------------------------- shell jobs


def shell_job(box: Box, mode: str) -> None:
    """The box is the shell: it leads the session of a terminal and starts the subject as a job."""
    os.setsid()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    s = Subject(box, "tty", fds=(slave, slave, slave))
    s.start(session=False)
    if mode == "refused":
        done = box.torpor(*s.dump_command(), fds=(slave, slave, slave))
        if done.status == 0:
            raise Failed("a job of a shell was dumped without --shell-job")
        s.expect_tasks()
    else:
        s.options = ("--shell-job",)
        MODES[mode](s)
    os.set_blocking(master, False)
    s.finish()
    text = b""

    def is_shown() -> bool:
        nonlocal text
        try:
            text += os.read(master, 65536)
        except BlockingIOError:
            pass
        return text.endswith(b"hello\r\ntty\r\n")

    box.until(lambda: f"the terminal shows {text[-300:]!r}", 60, is_shown)
    size = fcntl.ioctl(slave, termios.TIOCGWINSZ, b"\0" * 8)
    if struct.unpack("HHHH", size)[:2] != (33, 99):
        raise Failed(f"the terminal's size has changed: {size!r}")


@pytest.mark.parametrize("mode", ["alone", "refused", *list(MODES)[1:]])
def test_shell_job(boxed: Callable[..., Any], mode: str) -> None:
    boxed(shell_job, mode=mode)


# ------------------------------------------------------------------------------------- refusal

WORDS = {
    "bpf": "neither array nor hash",
    "inet": "--tcp-established",
    "netlink": "has not read",
    "fsopen": "file system being configured",
    "pidfd": "outside of the tree",
}


def refused(box: Box, what: str) -> None:
    s = Subject(box, "refused", (what,))
    s.start()
    s.expect_refusal(f"task {s.pid} ", "descriptor 9 ", WORDS[what])
    s.finish()


@pytest.mark.parametrize("what", sorted(WORDS))
def test_refused(boxed: Callable[..., Any], what: str) -> None:
    boxed(refused, what=what)


# ------------------------------------------------------------------------------ the tool itself


def few_files(box: Box) -> None:
    """torpor may have far fewer descriptors open than all tasks together."""
    s = Subject(box, "fd_tables")
    s.start()
    s.dump()
    s.forget()
    done = box.run(["prlimit", "--nofile=700:700", str(TORPOR), *s.restore_command()])
    if done.status != 0:
        raise Failed(f"restore failed: {done}")
    s.expect_tasks()
    s.finish()


def test_few_files(boxed: Callable[..., Any]) -> None:
    boxed(few_files)


def taken_pid(box: Box) -> None:
    """Restore while somebody has the pids: names pid and owner, and creates nothing."""
    s = Subject(box, "tree")
    s.start()
    s.dump("-R")
    done = box.torpor(*s.restore_command())
    if done.status == 0:
        raise Failed("restored although the pids are taken")
    text = done.output + (s.images / "restore.log").read_text()
    if not any(str(s.pid) in t and "tree" in t for t in text.splitlines() if "Error" in t):
        raise Failed("the error does not name the pid and its owner")
    s.expect_tasks()
    s.finish()


def test_taken_pid(boxed: Callable[..., Any]) -> None:
    boxed(taken_pid)


def unreaped(box: Box) -> None:
    """A parent which is slow to take the status of what the dump ended: restore waits a while."""
    s = Subject(box, "eventfds")
    work = box.dir / "work"
    work.mkdir()
    command = f"setsid '{s.program}' '{s.result}' & echo $! >pid; wait"
    holder = box.start(["/bin/sh", "-c", command], cwd=work)
    box.until(
        "the subject is not ready",
        60,
        lambda: "ready" in s.lines() and (work / "pid").exists() and (work / "pid").read_text(),
    )
    s.pid = int((work / "pid").read_text())
    os.kill(holder, signal.SIGSTOP)
    done = box.torpor(*s.dump_command())
    if done.status != 0:
        raise Failed(f"dump failed: {done}")
    done = box.torpor(*s.restore_command())
    if done.status == 0 or f"process {holder}, has not taken" not in done.output:
        raise Failed(f"restored, or no word about the parent that sleeps: {done}")
    tool = box.start([TORPOR, *s.restore_command()], out=box.dir / "restore.out")
    wchan = Path(f"/proc/{tool}/wchan")
    box.until("the restore does not wait", 60, lambda: "nanosleep" in wchan.read_text())
    os.kill(holder, signal.SIGCONT)
    if box.wait(tool, 60) != 0:
        raise Failed(f"not restored: {(box.dir / 'restore.out').read_text()}")
    s.finish()


def test_unreaped(boxed: Callable[..., Any]) -> None:
    boxed(unreaped)


def attached(box: Box) -> None:
    """Without -d torpor stays as parent until the root ends."""
    s = Subject(box, "pipes")
    s.start()
    s.dump()
    command = [w for w in s.restore_command() if w != "-d"]
    s.forget()
    tool = box.start([BUILD / "torpor", *command], out=box.dir / "attached.out")
    box.until("the root is not there", 60, lambda: read_task(s.pid) and s.lines())
    box.until("no pidfile", 60, lambda: (box.dir / "pidfile").exists())
    task = read_task(s.pid)
    if not task or task.ppid != tool:
        raise Failed(f"torpor ({tool}) is not the parent: {task}")
    os.kill(s.pid, 15)
    if box.wait(tool, 60) != 0 or s.answer() != "PASS":
        raise Failed(f"torpor ended with {box.statuses.get(tool)}, result {s.lines()}")


def test_attached(boxed: Callable[..., Any]) -> None:
    boxed(attached)


def sibling(box: Box) -> None:
    """-S: the root is a child of torpor's parent (process 1 is that anyway), not of torpor."""
    s = Subject(box, "pipes")
    s.start()
    s.dump()
    s.restore("-S")
    s.finish()


def test_sibling(boxed: Callable[..., Any]) -> None:
    boxed(sibling)


def exec_cmd(box: Box) -> None:
    """restore --exec-cmd -- COMMAND becomes the command when the tasks run."""
    s = Subject(box, "pipes")
    s.start()
    s.dump()
    command = [w for w in s.restore_command() if w != "-d"]
    s.forget()
    done = box.torpor(*command, "--exec-cmd", "--", "/bin/echo", "and", "now")
    if done.status != 0 or "and now" not in done.output:
        raise Failed("the command was not run")
    s.expect_tasks()
    s.finish()


def test_exec_cmd(boxed: Callable[..., Any]) -> None:
    boxed(exec_cmd)


def work_dir(box: Box) -> None:
    """-W: logs, statistics and the pidfile go there, images do not."""
    s = Subject(box, "pipes")
    s.start()
    work = box.dir / "elsewhere"
    work.mkdir()
    done = box.torpor(*s.dump_command(), "-W", work)
    if done.status != 0 or not (work / "dump.log").exists() or not (work / "stats-dump").exists():
        raise Failed("dump.log and stats-dump are not in the work directory")
    command = ["restore", "-d", "-D", s.images, "-W", work, "-o", "restore.log"]
    s.forget()
    done = box.torpor(*command, "--pidfile", "the-pid")
    if done.status != 0 or (work / "the-pid").read_text().strip() != str(s.pid):
        raise Failed("the pidfile is not in the work directory")
    if (s.images / "dump.log").exists() or not (s.images / "inventory.img").exists():
        raise Failed("images and logs are not where they should be")
    s.finish()


def test_work_dir(boxed: Callable[..., Any]) -> None:
    boxed(work_dir)
