# SPDX-License-Identifier: GPL-2.0-or-later
"""An injected failure, and a sudden death of torpor, at every stage of dump and restore."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import SOURCE, TORPOR, Box, Done, Failed
from subjects import Subject

DUMP_SUBJECTS = ["busy", "tree", "deleted", "stopped", "dead_leader", "unix_named"]
# when these are through torpor's death is no longer the restored tasks'
RUNS_ON = {"free", "network"}
RESTORE_SUBJECTS = ["tree", "deleted", "mem_shared", "threads", "unix_named", "zombies"]


# options with which a stage that is not always wanted is, by its predicate
# (those of the page server and of lazy restores fail in tests of their own: increments)
WANTED = {"track_is_wanted": ("-R", "--track-mem"), "dump_is_staged": ("-R", "--compress=zstd")}


def stages(part: str) -> dict[str, tuple[str, ...]]:
    """Names in the stage table of dump or restore, in order, and the options they need."""
    text = (SOURCE / part / "stages.c").read_text()
    table = re.findall(r'\{\s*\.name = "([\w-]+)"(.*?)\}', text, re.DOTALL)
    assert len(table) > 5, f"no stage table in {part}/stages.c"
    wanted = {name: re.search(r"\.wanted = (\w+)", rest) for name, rest in table}
    return {
        name: WANTED[m[1]] if m else ()
        for name, m in wanted.items()
        if not m or m[1] in WANTED
    }


DUMP_STAGES = stages("dump")


def files_below(*folders: Path) -> set[str]:
    return {str(p) for f in folders for p in f.rglob("*")}


def failed_dump(box: Box, name: str, stage: str, end: str) -> None:
    s = Subject(box, name)
    s.start()
    work = box.dir / "work"
    before, files = box.leftovers(), files_below(work)
    options = DUMP_STAGES[stage]
    done = box.torpor(*s.dump_command(*options), env={"TORPOR_FAULT": f"dump:{stage}{end}"})
    if done.status != (-9 if end else 1):
        raise Failed(f"dump ended with {done.status}")
    if (s.images / "inventory.img").exists() and not end:
        raise Failed("a failed dump left inventory.img")
    if not end:
        left = [p.name for p in s.images.glob("*.img")]
        if left:
            raise Failed(f"a failed dump left images: {left}")
        if not any("injected fault" in t for t in _texts(done.output, s.images / "dump.log")):
            raise Failed("the failure is not named")
    # a tracker that has taken over stays until the tree ends
    s.expect_tasks(but="torpor-tracker" if end else "")
    if not end and (box.leftovers() != before or files_below(work) != files):
        raise Failed(f"left behind: {box.leftovers() - before} {files_below(work) - files}")
    # it can still be dumped and is what it was
    s.dump()
    s.restore()
    s.finish()


def _texts(output: str, log: Path) -> Iterator[str]:
    yield output
    if log.exists():
        yield log.read_text()


def failed_restore(box: Box, name: str, stage: str, end: str) -> None:
    s = Subject(box, name)
    s.start()
    s.dump()
    work = box.dir / "work"
    before, files = box.leftovers(), files_below(work, s.images)
    s.forget()
    done = box.torpor(*s.restore_command(), env={"TORPOR_FAULT": f"restore:{stage}{end}"})
    if done.status != (-9 if end else 1):
        raise Failed(f"restore ended with {done.status}")
    if end and stage in RUNS_ON:
        s.expect_tasks()
        s.finish()
        return
    box.until(f"tasks are left: {box.tasks()}", 60, lambda: not box.tasks())
    if (box.dir / "pidfile").exists() and not end:
        raise Failed("a failed restore left a pidfile")
    if box.leftovers() != before:
        raise Failed(f"left behind: {box.leftovers() - before}")
    new = files_below(work, s.images) - files - {str(s.images / "restore.log")}
    if new and not end:
        raise Failed(f"left behind: {new}")
    s.restore()
    s.finish()


@pytest.mark.parametrize("stage", DUMP_STAGES)
@pytest.mark.parametrize("name", DUMP_SUBJECTS)
def test_dump_fails(boxed: Callable[..., Any], name: str, stage: str) -> None:
    boxed(failed_dump, name=name, stage=stage, end="")


@pytest.mark.parametrize("stage", DUMP_STAGES)
@pytest.mark.parametrize("name", ["busy", "stopped"])
def test_dump_dies(boxed: Callable[..., Any], name: str, stage: str) -> None:
    boxed(failed_dump, name=name, stage=stage, end="=kill")


@pytest.mark.parametrize("stage", stages("restore"))
@pytest.mark.parametrize("name", RESTORE_SUBJECTS)
def test_restore_fails(boxed: Callable[..., Any], name: str, stage: str) -> None:
    boxed(failed_restore, name=name, stage=stage, end="")


@pytest.mark.parametrize("stage", stages("restore"))
@pytest.mark.parametrize("name", ["tree", "threads"])
def test_restore_dies(boxed: Callable[..., Any], name: str, stage: str) -> None:
    boxed(failed_restore, name=name, stage=stage, end="=kill")


# --------------------------------------------------------------------- a signal that is too late


def with_signal(box: Box, call: str, at: int, command: list[str]) -> Done:
    """Torpor gets SIGTERM in its system call of that name and number."""
    inject = f"inject={call}:signal=TERM:when={at}"
    words = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    done = box.run([*words, TORPOR, *command])
    box.notes.append(str(done))
    return done


def late_at_kill(box: Box) -> None:
    """While a dump kills one task after the other: it ends well, and all are gone."""
    s = Subject(box, "tree")
    s.start()
    calls = traced(box, "kill", s.dump_command())
    first = next(i for i, line in enumerate(calls, 1) if line.startswith(f"kill({s.pid}, SIGKILL)"))
    s.restore()
    for at in (first, first + 2):
        done = with_signal(box, "kill", at, s.dump_command())
        left = [t for t in box.tasks() if t.state != "Z"]
        if done.status != 0 or left:
            raise Failed(f"at kill {at}: status {done.status}, left are {left}")
        s.restore()
    s.finish()


def late_at_unlock(box: Box) -> None:
    """While a dump lets go of connections that live on: nothing stays locked."""
    s = Subject(box, "tcp_streams", options=("--tcp-established",))
    s.start()
    # the last one is for the removal of the table
    total = len(traced(box, "socket", s.dump_command("-R")))
    done = with_signal(box, "socket", total, s.dump_command("-R"))
    tables = box.run(["nft", "list", "tables"]).output
    if done.status != 0 or "CRIU-" in tables:
        raise Failed(f"at call {total}: status {done.status}, tables '{tables}'")
    s.finish()


def traced(box: Box, calls: str, command: list[str]) -> list[str]:
    """The system calls of these names that torpor makes."""
    trace = box.dir / "trace"
    done = box.run(["strace", "-o", trace, "-e", f"trace={calls}", TORPOR, *command])
    if done.status != 0:
        raise Failed(str(done))
    return [line for line in trace.read_text(errors="replace").splitlines() if "(" in line]


def late_at_detach(box: Box) -> None:
    """While a restore lets one thread after the other go: all of them are there, or none."""
    s = Subject(box, "threads")
    s.start()
    s.dump()
    s.forget()
    total = len(traced(box, "ptrace", s.restore_command()))
    s.expect_tasks()
    came = 0
    for at in range(total - len(s.before[0].tids) - 2, total + 1, 3):
        box.kill_all()
        s.forget()
        done = with_signal(box, "ptrace", at, s.restore_command())
        if done.status == 0:
            s.expect_tasks()
            came += 1
        elif done.status != -signal.SIGTERM or box.tasks():
            raise Failed(f"at call {at} of {total}: status {done.status}, left are {box.tasks()}")
    if not came:
        raise Failed("no signal came while threads were let go")
    if not box.tasks():
        s.restore()
    s.finish()


LATE = [late_at_kill, late_at_unlock, late_at_detach]


@pytest.mark.parametrize("what", LATE, ids=lambda f: f.__name__)
def test_late_signal(boxed: Callable[..., Any], what: Callable[[Box], None]) -> None:
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    boxed(what, net=what is late_at_unlock)


# ------------------------------------------------------------------------- what users do wrong


def wrong_call(box: Box, words: list[str], expect: str) -> None:
    done = box.torpor(*(w.replace("DIR", str(box.dir)) for w in words))
    if done.status != 1 or expect not in done.output:
        raise Failed(f"no '{expect}' in what it says")


@pytest.mark.parametrize(
    ("words", "expect"),
    [
        (["dump", "-D", "DIR"], "-t"),
        (["dump", "-t", "99999", "-D", "DIR"], "99999"),
        (["dump", "-t", "0", "-D", "DIR"], "0"),
        (["dump", "-t", "1", "-D", "DIR/none"], "none"),
        (["restore", "-D", "DIR"], "inventory"),
        (["restore", "-D", "DIR/none"], "none"),
        (["restore", "--no-such-option"], "no-such-option"),
        (["nonsense"], "nonsense"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, list) else None,
)
def test_wrong_call(boxed: Callable[..., Any], words: list[str], expect: str) -> None:
    boxed(wrong_call, words=words, expect=expect)


def log_always_there(box: Box) -> None:
    """The file named by -o exists in the image directory also after a failed call."""
    images = box.dir / "images"
    images.mkdir()
    box.torpor("dump", "-t", "31999", "-D", images, "-o", "dump.log", "-v4")
    box.torpor("restore", "-d", "-D", images, "-o", "restore.log", "-v4")
    for name in ("dump.log", "restore.log"):
        if not (images / name).exists() or "Error" not in (images / name).read_text():
            raise Failed(f"{name} is missing or holds no error")
        if (images / name).stat().st_mode & 0o777 != 0o600:
            raise Failed(f"{name} can be read by others")


def test_log_always_there(boxed: Callable[..., Any]) -> None:
    boxed(log_always_there)


def said_twice(box: Box) -> None:
    """The same command once more finds nobody: what it saved before is as it was."""
    s = Subject(box, "tree")
    s.start()
    s.dump()
    for command in ("dump", "pre-dump"):
        done = box.torpor(command, "-t", str(s.pid), "-D", s.images)
        if done.status != 1 or f"no task {s.pid}" not in done.output:
            raise Failed(f"a {command} of nobody ended with {done.status}: {done.output}")
        if not (s.images / "inventory.img").exists():
            raise Failed(f"a {command} that found nobody put an end to a complete set")
    s.restore()
    s.finish()


def test_said_twice(boxed: Callable[..., Any]) -> None:
    boxed(said_twice)


def dump_of_itself(box: Box) -> None:
    """A tree that holds torpor itself is refused."""
    done = box.torpor("dump", "-t", "1", "-D", box.dir)
    if done.status != 1 or os.path.exists(box.dir / "inventory.img"):
        raise Failed("process 1, torpor's own parent, was dumped")
    if "torpor itself" not in done.output:
        raise Failed(f"the reason is not named: {done}")


def test_dump_of_itself(boxed: Callable[..., Any]) -> None:
    boxed(dump_of_itself)
