# SPDX-License-Identifier: GPL-2.0-or-later
"""Every harmless stressor of stress-ng is dumped, killed and restored in the middle of its work.

stress-ng(1) verifies what its stressors do (--verify): after the restore it must end with 0. What
torpor cannot save it has to refuse by name, and the stressor goes on as if nothing had been. Which
ones those are stands here, so that no other is refused unnoticed. PROGRAMS=all tries all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from box import Box, Done, Failed, Skipped
from subjects import PATIENT

# how long it works; on a slow machine that may be over before it is stopped: then again, for longer
SECONDS = (4, 8, 16, 32)
PATIENCE = 120.0
OPTIONS = ("--tcp-established", "--link-remap", "--file-locks", "--ghost-limit", "8G",
           "--skip-in-flight", "-v4")  # fmt: skip
# They change or endanger the whole machine, need most of its memory, or wait for its disk as long as
# that likes.
HARMFUL = {
    "apparmor", "bad-ioctl", "bigheap", "binderfs", "bind-mount", "brk", "cpu-online", "cyclic",
    "dev", "dev-shm", "enosys", "forkheavy", "hdd", "idle-page", "iomix", "ioport", "jpeg", "kill",
    "klog", "loadavg", "memhotplug", "mlockmany", "oom-pipe", "physpage", "procfs", "pageswap",
    "quota", "race-sched", "ramfs", "rawdev", "reboot", "resched", "resources", "revio",
    "rtc", "schedpolicy", "smi", "softlockup", "stack", "swap", "syncload", "syscall",
    "sysbadaddr", "sysfs", "sysinval", "vforkmany", "watchdog", "zlib",
}  # fmt: skip
# What stands in the way, as the sentence says it.
REFUSED = {
    "daemon": "had the other end of pipe",
    # it has descriptors of whatever anybody on this machine uses, and may lose before the restore
    "fanotify": "not in this mount namespace|cannot open '/|file '/.* has .* now",
    "kvm": "kvm",
    "loop": "loop-control",
    "ptrace": "is being traced",
    "rlimit": "raise its limit of address space",
    "secretmem": "secret memory",
    "sigpipe": "one address space",  # while a child of a moment lives
    "sock": "mapping of something else",
    "sockdiag": "messages it has not read",
    "userfaultfd": "userfaultfd|one address space",
    "usersyscall": "syscall user dispatch",
    "vm-rw": "one address space",
    "vm-segv": "is being traced",
}
SAMPLE = ["futex", "sem-sysv"]


def stressors() -> list[str]:
    if os.environ.get("PROGRAMS") != "all" or not shutil.which("stress-ng"):
        return SAMPLE
    done = subprocess.run(["stress-ng", "--stressors"], capture_output=True, text=True, check=True)
    return sorted(set(done.stdout.split()) - HARMFUL)


def stress(box: Box, name: str) -> str:
    if not shutil.which("stress-ng"):
        raise Skipped("stress-ng is not installed")
    for seconds in SECONDS:
        pid, done = interrupt(box, name, seconds)
        if done.status == 0 or done.argv[1] == "restore" or box.wait(pid, 1) is None:
            break
    return verdict(box, name, pid, done)


def interrupt(box: Box, name: str, seconds: int) -> tuple[int, Done]:
    """The stressor, dumped in the middle of its work and restored; the last command that was run."""
    images, out = box.dir / f"images-{seconds}", box.dir / "stress.out"
    images.mkdir()
    out.unlink(missing_ok=True)
    pid = box.start(["stress-ng", f"--{name}", "1", "--timeout", str(seconds), "--verify",
                     "--temp-path", box.dir], out=out, cwd=box.dir)  # fmt: skip
    if box.wait(pid, seconds / 4) is not None:
        raise Skipped(f"it does not run here: {out.read_text()[-300:]}")
    words = ("-D", images, *OPTIONS)
    done = box.torpor("dump", "-t", str(pid), "-o", "dump.log", *words, *PATIENT, timeout=PATIENCE)
    if done.status == 0:
        box.reap()
        box.statuses.clear()
        done = box.torpor("restore", "-d", "-o", "restore.log", *words, timeout=PATIENCE)
    return pid, done


def verdict(box: Box, name: str, pid: int, done: Done) -> str:
    """It ends well, or what stands in the way is known; then that is returned."""
    refused = done.status != 0
    if refused and not re.search(REFUSED.get(name, "$^"), done.output):
        raise Failed(f"refused: {done}")
    if refused and done.argv[1] == "restore":
        return done.output
    if box.wait(pid, PATIENCE) != 0:
        said = (box.dir / "stress.out").read_text()[-1000:]
        raise Failed(f"it ends with {box.statuses.get(pid)}: {said}")
    return done.output if refused else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", stressors())
def test_stressor(boxed: Callable[..., Any], name: str) -> None:
    print(boxed(stress, net=True, name=name, timeout=5 * PATIENCE))
