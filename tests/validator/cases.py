# SPDX-License-Identifier: GPL-2.0-or-later
"""One case: what the validator says of a set, and what a real restore of it does.

Both happen in new pid, mount, IPC and network namespaces. The tasks are restored stopped and die
with the namespace, so contents that make no sense to them change nothing.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bases import CLONE_NEWIPC, Base
from box import MS_NODEV, MS_NOEXEC, MS_NOSUID, Box, Failed, link_up, mount, unshare
from torpor.images import ImageSet
from torpor.images import messages as pb
from torpor.images.keys import Keys, read_identity
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import Options, Severity, collect, validate

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
# Numbers of the processes that restore: far from those in the images.
FIRST_PID = 20000
ALIVE, STOPPED = 1, 3  # task_core_entry.task_state
LIMIT = 600  # seconds for a case before it counts as hung; it takes less than one

FLAGS = {
    "--tcp-established": "tcp_established",
    "--tcp-close": "tcp_close",
    "--file-locks": "file_locks",
    "--shell-job": "shell_job",
    "--ext-unix-sk": "ext_unix_sk",
}


@dataclass
class Outcome:
    """What both said."""

    rules: list[str] = field(default_factory=list)  # of severity error
    texts: list[str] = field(default_factory=list)
    seconds: float = 0.0  # the validator's, of processor time
    status: int = 0  # of restore
    reason: str = ""
    restore_seconds: float = 0.0  # of processor time, with everything it started
    crash: str = ""  # of either
    left: list[str] = field(default_factory=list)  # what a failed restore left behind


# ---------------------------------------------------------------------------------- namespaces


def _init(base: Base, function: Callable[[], Any]) -> Any:
    """As process 1 of the new namespaces."""
    mount("none", "/", "none", 0x4000 | 1 << 18)  # private
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if base.net:
        link_up("lo")
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(FIRST_PID))
    return function()


def _child(write_end: int, base: Base, function: Callable[[], Any]) -> None:
    unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | (CLONE_NEWNET if base.net else 0))
    init = os.fork()
    if init:
        os.close(write_end)
        os.waitpid(init, 0)
        return
    try:
        data = {"data": _init(base, function)}
    except BaseException:
        data = {"error": traceback.format_exc()}
    blob = json.dumps(data).encode()
    while blob:
        blob = blob[os.write(write_end, blob) :]


def _collect(fd: int) -> bytes:
    """All that is said before the end, or the time limit."""
    parts, end = [], time.monotonic() + LIMIT
    while select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""


def in_namespaces(base: Base, function: Callable[[], Any]) -> Any:
    """What function() returned as process 1 of new namespaces; Failed if it did not."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            os.setpgid(0, 0)
            _child(write_end, base, function)
        finally:
            os._exit(0)
    os.close(write_end)
    blob = _collect(read_end)
    os.close(read_end)
    if not blob:
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not blob:
        raise Failed(f"no answer after {LIMIT} s, or it died")
    report = json.loads(blob)
    if "error" in report:
        raise Failed(report["error"])
    return report["data"]


# --------------------------------------------------------------------------------- both verdicts


def keys_of(restore: list[str]) -> Keys | None:
    """What restore is given to open encrypted sets."""
    files = [b for a, b in zip(restore, restore[1:]) if a == "--identity"]
    return Keys(tuple(read_identity(Path(f)) for f in files)) if files else None


def ask_validator(images: Path, restore: list[str], out: Outcome) -> None:
    """`torpor validate IMAGES --target here`, without starting it anew."""
    begin = time.process_time()  # others may use the processors, too
    try:
        options = Options(**{FLAGS[word]: True for word in restore if word in FLAGS})
        with ImageSet(images, GROWTH_STRICT, keys_of(restore)) as opened:
            report = validate(opened, options, collect())
        errors = [f for f in report.findings.found if f.severity == Severity.ERROR]
        out.rules = sorted({f.rule_id for f in errors})
        out.texts = [f.text for f in errors[:3]]
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        out.crash = f"validator: {type(e).__name__} at {where.filename}:{where.lineno}: {e}"
    out.seconds = time.process_time() - begin


def reason_of(output: str, log: Path) -> str:
    """The first error restore reports."""
    text = output + (log.read_text(errors="replace") if log.exists() else "")
    lines = [x for x in text.splitlines() if "Error" in x or x.startswith("torpor")]
    return lines[0][:400] if lines else text[-600:]


def expected(images: Path, restore: list[str]) -> set[int]:
    """Tasks the tree has, but a root that is a zombie: whoever restores takes its status."""
    with ImageSet(images, keys=keys_of(restore)) as opened:
        tree: Any = list(opened.messages("PSTREE"))
        dead = {m.pid for m in tree if not m.ppid and _is_dead(opened, m.pid)}
        return {m.pid for m in tree} - dead


def _is_dead(opened: ImageSet, pid: int) -> bool:
    return opened.one(pb.core_entry, "CORE", pid).tc.task_state not in (ALIVE, STOPPED)


def really_restore(box: Box, images: Path, options: list[str], out: Outcome) -> None:
    """Restores it, stopped; it must end by itself, and failing leave nothing."""
    before = box.leftovers()
    log = box.dir / "restore.log"
    for old in (log, box.dir / "output-1"):
        old.unlink(missing_ok=True)
    words = ["restore", "-d", "-s", "-D", images, "-W", box.dir, "-o", log.name, "-v2", *options]
    try:
        done = box.torpor(*words, timeout=LIMIT / 2)
    except Failed as e:
        out.status, out.crash = -1, out.crash or f"restore hangs: {e}"[-600:]
        return
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    out.restore_seconds = used.ru_utime + used.ru_stime
    out.status = done.status
    out.reason = reason_of(done.output, log) if done.status else ""
    if done.status not in (0, 1):
        out.crash = out.crash or f"restore ended with {done.status}: {done.output[-1500:]}"
    tasks = {t.pid for t in box.tasks()}
    # a timer or a pending signal may be what ends a task
    ended = set(box.statuses)
    if done.status:
        out.left = sorted(box.leftovers() - before) + [f"task {pid}" for pid in tasks]
    elif tasks | ended != expected(images, options) | ended:
        out.crash = out.crash or f"tasks are {tasks}, not {expected(images, options)}"


def run_case(box: Box, base: Base, images: Path) -> Outcome:
    """Both verdicts about one set."""

    def both() -> Any:
        out = Outcome()
        inner = Box(box.dir)
        ask_validator(images, base.restore, out)
        really_restore(inner, images, base.restore, out)
        return vars(out)

    try:
        return Outcome(**in_namespaces(base, both))
    except Failed as e:
        return Outcome(status=-1, crash=str(e)[-1000:])
