# SPDX-License-Identifier: MIT
"""Terminals: which ones can be opened again, and how."""

from __future__ import annotations

from torpor.images import crit
from torpor.images import messages as pb
from torpor.resgraph.rooms_file import TYPES
from torpor.validate.context import ALIVE, STOPPED, Context

OUTSIDE = "the tree stood on a terminal; restoring it needs --shell-job"


def terminals(c: Context) -> None:
    """Rules over all open terminals."""
    masters: dict[int, int] = {}
    for id_, entry in c.files.items():
        if entry.type != pb.fd_types.TTY or not entry.HasField(TYPES[entry.type][0]):
            continue
        _check(c, id_, entry.tty)
        info = c.ttys.get(entry.tty.tty_info_id)
        if info is None or id_ not in c.used:
            continue
        _make(c, id_, info)
        if info.type == pb.TtyType.PTY and info.id & 1:
            if info.id in masters:
                text = f"files {masters[info.id]} and {id_} are the master of pseudoterminal "
                c.about_file("tty-master", id_, f"{text}{info.pty.index}")
            masters[info.id] = id_


def _check(c: Context, id_: int, e: pb.tty_file_entry) -> None:
    info = c.ttys.get(e.tty_info_id)
    if info is None:
        c.about_file("tty-info", id_, "a terminal is not described")
        return
    pty = info.type == pb.TtyType.PTY
    if pty and (not info.HasField("pty") or info.pty.index > 1 << 20):
        c.about_file("tty-index", id_, "a pseudoterminal has no number")
    name = c.files.get(e.regf_id) if e.HasField("regf_id") else None
    good = name is not None and crit.text_of(name.reg.name).startswith("/")
    if not good:
        c.about_file("tty-name", id_, "a terminal has no name")
    if not pb.TtyType.PTY <= info.type <= pb.TtyType.SERIAL:
        c.about_file("tty-type", id_, f"a terminal is of type {info.type}")


def _leader(c: Context, info: pb.tty_info_entry) -> pb.pstree_entry | None:
    """The task of the tree that leads the session of a terminal."""
    entry = c.by_pid.get(info.sid) if info.sid else None
    return entry if entry is not None and entry.sid == entry.pid else None


def by_name(c: Context, e: pb.tty_file_entry) -> bool:
    """Whether a terminal is opened by its name; others are made, or somebody gives them."""
    info = c.ttys.get(e.tty_info_id)
    if info is None or info.type in (pb.TtyType.PTY, pb.TtyType.CTTY, pb.TtyType.EXT_TTY):
        return False
    return e.HasField("regf_id") and (not info.sid or _leader(c, info) is not None)


def _make(c: Context, id_: int, info: pb.tty_info_entry) -> None:
    """By what a terminal is opened again (see where it comes from)."""
    kind, leader = info.type, _leader(c, info)
    ours = False
    if kind == pb.TtyType.EXT_TTY:
        key = f"tty[{info.rdev:x}:{info.dev:x}]"
        if not c.options.gives(key):
            text = f"the terminal '{key}' was external; restoring it needs --inherit-fd fd[N]:{key}"
            c.about_file("file-external", id_, text)
    elif kind == pb.TtyType.PTY:
        ours = not info.id & 1 and info.id ^ 1 not in c.ttys and info.HasField("termios")
    elif kind == pb.TtyType.CTTY:
        ours = leader is None
        if leader is not None and c.states.get(leader.pid) not in (ALIVE, STOPPED):
            text = f"session {info.sid} has no leader whose terminal could be opened"
            c.about_file("tty-session", id_, text)
    else:
        ours = bool(info.sid) and leader is None
    if ours and not c.options.shell_job:
        c.about_file("tree-shell-job", id_, OUTSIDE)
