# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that are lost, and what is given at the restore instead of being saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import Box, Failed, mount, umount
from subjects import Subject


def link_names(box: Box) -> list[str]:
    return sorted(p.name for p in (box.dir / "work").iterdir() if "link_remap" in p.name)


def lost_names(box: Box, how: str) -> None:
    """--link-remap: its names are told of, belong to the restore and go with it."""
    s = Subject(box, "links", options=("--link-remap",))
    s.start()
    if how == "refused":
        s.options = ()
        done = box.torpor(*s.dump_command())
        if done.status == 0 or "--link-remap" not in done.output or link_names(box):
            raise Failed("a file with a lost name was dumped without --link-remap")
        s.expect_tasks()
    elif how == "failed":
        # the last stage before the inventory fails: the names go again
        done = box.torpor(*s.dump_command(), env={"TORPOR_FAULT": "dump:commit"})
        if done.status == 0 or link_names(box):
            raise Failed(f"a failed dump left {link_names(box)}")
        s.expect_tasks()
    else:
        done = s.dump()
        if len(link_names(box)) != 2 or "2 hard links" not in done.output:
            raise Failed(f"the dump made {link_names(box)}")
        s.restore()
        if link_names(box) or (s.images / "torpor-journal").exists():
            raise Failed(f"the restore left {link_names(box)}")
        texts = [os.readlink(f"/proc/{s.pid}/fd/{fd}") for fd in (3, 5)]
        if not texts[0].endswith("/lost (deleted)"):
            raise Failed(f"the link of a lost file reads {texts[0]}")
    s.finish()


@pytest.mark.parametrize("how", ["refused", "failed", "restored"])
def test_lost_names(boxed: Callable[..., Any], how: str) -> None:
    boxed(lost_names, how=how)


UNREACHED = {
    "file": ("exec 9<>given; cd /", ", descriptor 9 is '/given' on a mount that is not in"),
    "folder": (":", ", a file or folder it uses is '/' on a mount that is not in"),
}


def out_of_reach(box: Box, what: str) -> None:
    """On a mount that is nowhere any more: refused for that, not for want of an option."""
    script, text = UNREACHED[what]
    work, ready = box.dir / "work", box.dir / "ready"
    work.mkdir()
    mount("away", str(work), "tmpfs")
    (work / "given").write_text("old\n")
    pid = box.start(["sh", "-c", f"{script}; : >{ready}; exec sleep 1000"], cwd=work)
    box.until("the shell is not ready", 60, ready.exists)
    umount(str(work))
    images = box.dir / "images"
    images.mkdir()
    done = box.torpor("dump", "-t", str(pid), "-D", images, "--link-remap")
    if done.status != 1 or f"task {pid} (" not in done.output or text not in done.output:
        raise Failed("it was not refused, or for another reason")
    if ("--external file[" in done.output) != (what == "file"):
        raise Failed("an option is named that does not help, or one that does is not")
    if [t.pid for t in box.tasks()] != [pid]:
        raise Failed(f"the tasks are {box.tasks()}")
    box.kill_all()


@pytest.mark.parametrize("what", UNREACHED)
def test_out_of_reach(boxed: Callable[..., Any], what: str) -> None:
    boxed(out_of_reach, what=what)


def given(box: Box, key: str) -> None:
    """Pipes to the outside, and a file that is external or inherited by its path."""
    work = box.dir / "work"
    work.mkdir()
    (work / "given").write_text("old\n")
    to_it, from_it = os.pipe(), os.pipe()
    s = Subject(box, "given", fds=(to_it[0], from_it[1], from_it[1]))
    s.start()
    s.fds = None  # torpor's own are others
    inodes = [os.fstat(fd).st_ino for fd in (to_it[0], from_it[1])]
    info = Path(f"/proc/{s.pid}/fdinfo/9").read_text()
    mount = next(int(t.split()[1]) for t in info.splitlines() if t.startswith("mnt_id"))
    external = f"file[{mount:x}:{os.fstat(os.open(work / 'given', os.O_RDONLY)).st_ino:x}]"
    if key == "external":
        s.dump("--external", external)
    else:
        s.dump()
    other = os.open(box.dir / "other", os.O_RDWR | os.O_CREAT)
    os.write(other, b"new\n")
    (work / "given").unlink()
    for fd in (to_it[0], from_it[1], other):
        os.set_inheritable(fd, True)
    names = [f"fd[{to_it[0]}]:pipe[{inodes[0]}]", f"fd[{from_it[1]}]:pipe:[{inodes[1]}]"]
    names.append(f"fd[{other}]:" + (external if key == "external" else str(work / "given")[1:]))
    done = box.torpor(*s.restore_command())
    if done.status == 0 or "--inherit-fd" not in done.output:
        raise Failed("it was restored without what it had outside")
    s.restore(*(word for name in names for word in ("--inherit-fd", name)))
    os.write(to_it[1], b"x")
    s.finish()
    if os.read(from_it[0], 10) != b"x" or "holds new" not in s.lines():
        raise Failed(f"it has other files: {s.lines()}")


@pytest.mark.parametrize("key", ["external", "path"])
def test_given(boxed: Callable[..., Any], key: str) -> None:
    boxed(given, key=key)


def changed_time(box: Box) -> None:
    """--file-validation mtime: a file of the same size that was written meanwhile is refused."""
    (box.dir / "work").mkdir()
    file = box.dir / "work/given"
    file.write_text("old\n")
    null = os.open(os.devnull, os.O_RDWR)
    s = Subject(box, "given", fds=(null, null, null))
    s.start()
    s.fds = None
    was = os.stat(file).st_mtime_ns
    s.dump("--file-validation", "mtime")
    file.write_text("new\n")
    done = box.torpor(*s.restore_command())
    if done.status == 0 or "time of modification" not in done.output:
        raise Failed("a changed file was taken for the old one")
    os.utime(file, ns=(was, was))
    s.restore()
    s.kill()


def test_changed_time(boxed: Callable[..., Any]) -> None:
    boxed(changed_time)
