# SPDX-License-Identifier: GPL-2.0-or-later
"""What tasks that do not come on are doing: state, system call and kernel stack of every thread.

For the message of a test that has waited in vain, written before anything is killed. Stacks are
shown to root only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

MOST_TASKS = 40
MOST_THREADS = 12  # of one task which differ
MOST_FRAMES = 12
# of /proc/PID/status; what is as in most tasks is left out
USUAL = {"TracerPid": "0", "SigPnd": "0" * 16, "ShdPnd": "0" * 16, "SigBlk": "0" * 16}


def _read(path: str) -> str:
    """A file of /proc, or why there is none."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError as e:
        return f"({e.strerror})"


def _stat(folder: str) -> list[str]:
    """The fields of a stat file from the state on; none if the task is gone."""
    _, found, fields = _read(f"{folder}/stat").rpartition(") ")
    return fields.split() if found else []


def _frames(stack: str) -> str:
    """The functions of a kernel stack, the innermost first."""
    names = [line.split()[-1].split("+")[0] for line in stack.splitlines() if line]
    return " < ".join(names[:MOST_FRAMES])


def thread(folder: str) -> tuple[str, str]:
    """Where one thread is, without its number, and the arguments of its system call."""
    status = dict(
        line.split(":\t", 1) for line in _read(f"{folder}/status").splitlines() if ":\t" in line
    )
    if not status:
        return "is gone", ""
    words = [f"state {status['State']}"]
    words += [f"{k} {status[k]}" for k, usual in USUAL.items() if status.get(k, usual) != usual]
    call, _, arguments = _read(f"{folder}/syscall").partition(" ")
    words.append(f"in {_read(f'{folder}/wchan')}, system call {call}")
    words.append(f"stack {_frames(_read(f'{folder}/stack'))}")
    return ", ".join(words), arguments


def task(pid: int, proc: str = "/proc") -> str:
    """A process and its threads; those in the same place are told of once."""
    folder = f"{proc}/{pid}"
    # not the command line: that is in memory of the task, which may wait for its pages
    parent, used = "?", "?"
    stat = _stat(folder)
    if stat:
        parent, used = stat[1], str((int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"))
    lines = [f"task {pid} of {parent}, {used} s of processor time: {_read(f'{folder}/comm')}"]
    alike: dict[str, list[tuple[str, str]]] = {}
    try:
        tids = sorted(os.listdir(f"{folder}/task"), key=int)
    except OSError:
        tids = []
    for tid in tids:
        text, arguments = thread(f"{folder}/task/{tid}")
        alike.setdefault(text, []).append((tid, arguments))
    for text, same in list(alike.items())[:MOST_THREADS]:
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        lines.append(f"  thread {same[0][0]}{more}: {text}, arguments {same[0][1]}")
    if len(alike) > MOST_THREADS:
        lines.append(f"  {len(alike) - MOST_THREADS} other sorts of threads")
    return "\n".join(lines)


def tasks(pids: Iterable[int]) -> str:
    """All of them, and how busy the machine is."""
    found = list(pids)
    lines = ["--- tasks at that time"]
    lines += [task(pid) for pid in found[:MOST_TASKS]]
    if len(found) > MOST_TASKS:
        lines.append(f"{len(found) - MOST_TASKS} more tasks")
    pressure = _read("/proc/pressure/cpu").splitlines()[0]
    lines.append(f"load {_read('/proc/loadavg')}, processors: {pressure}")
    return "\n".join(lines)


def below(root: int) -> list[int]:
    """The processes that descend from one, without it, by pid."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        stat = _stat(f"/proc/{name}") if name.isdigit() else []
        if stat:
            parents[int(name)] = int(stat[1])
    found: set[int] = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return sorted(found - {root})
