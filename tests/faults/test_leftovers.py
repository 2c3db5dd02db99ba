# SPDX-License-Identifier: GPL-2.0-or-later
"""What a dump leaves outside of its images is exactly what `torpor leftovers` lists.

test_killed ends torpor with SIGKILL at a system call of a dump of live connections and a file that
needs --link-remap. KILL_CALLS says at how many of them (evenly spread, 16), "all" for every one.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slowfs
from box import TORPOR, Box, Failed, Skipped, mount, read_stat, read_task
from subjects import Subject

KILL_CALLS = os.environ.get("KILL_CALLS", "16")
TCP_REPAIR = 19
SYS_PIDFD_GETFD = 438
PF_EXITING, PF_SIGNALED = 0x4, 0x400  # <linux/sched.h>, as in /proc/PID/stat

_libc = ctypes.CDLL(None, use_errno=True)

Leftover = tuple[str, str]


def tables() -> set[Leftover]:
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    words = [t.split() for t in done.stdout.splitlines()]
    return {("nft-table", f"{w[1]} {w[2]}") for w in words if w[2].startswith("CRIU-")}


def repaired(pid: int) -> int:
    """How many sockets of the process are in repair."""
    if not os.path.exists(f"/proc/{pid}/fd"):
        return 0
    count, process = 0, os.pidfd_open(pid)
    for name in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
            continue
        fd = _libc.syscall(SYS_PIDFD_GETFD, process, int(name), 0)
        with socket.socket(fileno=fd) as s:
            count += s.getsockopt(socket.IPPROTO_TCP, TCP_REPAIR) == 1
    os.close(process)
    return count


def links(folder: Path) -> set[Leftover]:
    return {("link", str(p)) for p in folder.rglob("link_remap.*")}


def listed(box: Box, *words: str | Path) -> list[dict[str, Any]]:
    done = box.torpor("leftovers", "--json", *words)
    found = json.loads(done.output)["leftovers"]
    assert isinstance(found, list)
    return found


def compare(box: Box, s: Subject, what: str, images: Path) -> None:
    """Reality, and the list with and without a directory."""
    # what torpor's guard of connections takes back it takes back now
    box.until("the guard does not end", 60, lambda: all(t.comm != "torpor" for t in box.tasks()))
    real = tables() | links(box.dir / "work")
    repairs = repaired(s.pid)
    choices: list[list[str | Path]] = [[], ["-D", images]]
    for words in choices:
        found = listed(box, *words)
        names = {(f["kind"], f["what"]) for f in found if f["kind"] != "tcp-repair"}
        count = sum(f["kind"] == "tcp-repair" for f in found)
        if names != real or count != repairs:
            raise Failed(f"{what}: there are {real} and {repairs} repairs, listed is {found}")
        bad = [f for f in found if not f["proven"] or f["busy"]]
        if bad:
            raise Failed(f"{what}: not proven or busy: {bad}")


def clean(box: Box, s: Subject, what: str, images: Path) -> None:
    for _ in range(2):
        done = box.torpor("leftovers", "--clean", "-D", images)
        if done.status != 0:
            raise Failed(f"{what}: not everything could be removed")
    if tables() or repaired(s.pid) or links(box.dir / "work"):
        raise Failed(f"{what}: left after --clean: {tables()} {repaired(s.pid)}")
    if (images / "torpor-journal").exists():
        raise Failed(f"{what}: the journal is still there")


def is_ending(pid: int) -> bool:
    """It got SIGKILL and may still need long to end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        flags = int(read_stat(f"/proc/{pid}/stat")[1][6])
    except (FileNotFoundError, ProcessLookupError):
        return True
    pending = re.findall(r"^(?:SigPnd|ShdPnd):\s(\w+)$", status, re.MULTILINE)
    killed = any(int(mask, 16) >> (signal.SIGKILL - 1) & 1 for mask in pending)
    return killed or bool(flags & (PF_EXITING | PF_SIGNALED))


def is_alive(box: Box, pid: int) -> bool:
    """Whether it goes on. If not, it has come to its end when this returns."""

    def has_ended() -> bool:
        task = read_task(pid)
        return task is None or task.state == "Z"

    box.reap()
    if not has_ended() and not is_ending(pid):
        return True
    box.until(f"task {pid} does not end", 60, has_ended)
    return False


def count_calls(box: Box, s: Subject, strace: str) -> int:
    trace = box.dir / "trace"
    box.run([strace, "-o", trace, TORPOR, *s.dump_command("-R")])
    clean(box, s, "the first dump", s.images)
    shutil.rmtree(s.images)
    return len(trace.read_text(errors="replace").splitlines())


def killed(box: Box, part: int, parts: int) -> dict[str, Any]:
    strace = shutil.which("strace")
    if not strace:
        raise Skipped("there is no strace")
    s = Subject(box, "leaver", options=("--tcp-established", "--link-remap"))
    s.start()
    total = count_calls(box, s, strace) + 20
    wanted = total if KILL_CALLS == "all" else int(KILL_CALLS)
    step = max(1, total // wanted)
    points = list(range(1 + random.randrange(step), total, step))[part::parts]
    dead = complete = 0
    for at in points:
        command = s.dump_command()
        inject = f"inject=all:signal=KILL:when={at}"
        done = box.run([strace, "-o", "/dev/null", "-e", inject, TORPOR, *command])
        what = f"killed at call {at} of {total} (ended with {done.status})"
        ready = (s.images / "inventory.img").exists()
        complete += ready
        alive = is_alive(box, s.pid)
        if not alive and not ready:
            raise Failed(f"{what}: the target is dead and there are no complete images")
        compare(box, s, what, s.images)
        if alive:
            clean(box, s, what, s.images)
            s.expect_tasks()
        else:
            dead += 1
            s.restore()
            left = tables() | links(box.dir / "work")
            if left or repaired(s.pid):
                raise Failed(f"{what}: the restore left {left} {repaired(s.pid)}")
        shutil.rmtree(s.images)
    s.dump()
    s.restore()
    s.finish()
    return {"calls": total, "killed": len(points), "complete": complete, "dead": dead}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_killed(boxed: Callable[..., Any], part: int) -> None:
    print(boxed(killed, net=True, part=part, parts=2, timeout=3600))


# -------------------------------------------------------------------------- what the list says


def waiting(box: Box) -> None:
    """Complete images need their lock: it is only removed when their directory is named."""
    s = Subject(box, "tcp_streams", options=("--tcp-established",))
    s.start()
    s.dump()
    found = listed(box)
    if len(found) != 1 or not found[0]["needed"] or "8 connections" not in found[0]["why"]:
        raise Failed(f"listed is {found}")
    done = box.torpor("leftovers", "--clean")
    if done.status != 1 or not tables():
        raise Failed("what complete images need was removed unasked")
    clean(box, s, "named", s.images)


def test_waiting(boxed: Callable[..., Any]) -> None:
    boxed(waiting, net=True)


def foreign(box: Box) -> None:
    """Without a journal: tables, rules and links of others are found by name, and asked for."""
    subprocess.run(["nft", "add", "table", "inet", "CRIU-4711"], check=True)
    subprocess.run(["nft", "add", "table", "inet", "other"], check=True)
    rule = "-s 127.0.0.1 -d 127.0.0.1 -p tcp -m mark ! --mark 0xC114 --sport 9 --dport 8 -j DROP"
    subprocess.run(["iptables", "-A", "OUTPUT", *rule.split()], check=True)
    folder = box.dir / "deep/er"
    folder.mkdir(parents=True)
    for name in ("link_remap.12", "link_remap.x", "other"):
        (folder / name).touch()
    found = listed(box, box.dir)
    names = {(f["kind"], f["what"]) for f in found}
    wanted = {
        ("nft-table", "inet CRIU-4711"),
        ("iptables", "127.0.0.1 9 127.0.0.1 8"),
        ("link", str(folder / "link_remap.12")),
    }
    if names != wanted or any(f["proven"] for f in found):
        raise Failed(f"found is {found}")
    done = box.torpor("leftovers", "--clean", box.dir)
    if done.status != 1 or not tables() or not (folder / "link_remap.12").exists():
        raise Failed("what nobody can prove was removed unasked")


def test_foreign(boxed: Callable[..., Any]) -> None:
    boxed(foreign, net=True)


def mounted_network(box: Box) -> None:
    """The network is kept by a mount only, as container engines do: its lock is found from outside."""
    file = box.dir / "network"
    file.touch()
    subprocess.run(["unshare", f"--net={file}", "true"], check=True)
    enter = ["nsenter", f"--net={file}"]
    subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
    s = Subject(box, "leaver", options=("--tcp-established", "--link-remap"))
    (box.dir / "work").mkdir()
    s.pid = box.start([*enter, s.program, s.result], cwd=box.dir / "work")
    box.until("it is not ready", 60, lambda: "ready" in s.lines())
    if box.run([*enter, TORPOR, *s.dump_command()]).status != 0:
        raise Failed("dump failed")
    box.until("the task stays", 60, lambda: not box.tasks())

    def there() -> str:
        done = subprocess.run([*enter, "nft", "list", "tables"], capture_output=True, check=True, text=True)
        return done.stdout.strip()

    if "CRIU-" not in there():
        raise Failed("there is no lock")
    for words in ((), ("-D", s.images)):
        found = [f for f in listed(box, *words) if f["kind"] == "nft-table"]
        if len(found) != 1 or found[0]["what"] not in there() or not found[0]["proven"]:
            raise Failed(f"listed is {found}, there is {there()}")
    clean(box, s, "named", s.images)
    if there():
        raise Failed(f"left is {there()}")


def test_mounted_network(boxed: Callable[..., Any]) -> None:
    boxed(mounted_network, net=True)


def empty(box: Box) -> None:
    """Killed before its first effect: what there is of a journal goes, and its entry of the index."""
    s = Subject(box, "leaver", options=("--tcp-established", "--link-remap"))
    s.start()
    s.dump()
    journal, index = s.images / "torpor-journal", Path("/var/lib/torpor/journals")
    journal.write_text(journal.read_text().splitlines()[0] + "\n")
    before = os.listdir(index) if index.exists() else []
    done = box.torpor("leftovers", "--clean", "-D", s.images)
    if done.status != 0 or journal.exists():
        raise Failed("the journal is still there")
    if before and os.listdir(index):
        raise Failed("it is still in the index")


def test_empty(boxed: Callable[..., Any]) -> None:
    boxed(empty, net=True)


HOSTILE = """torpor-journal 1
run 1 command=dump id=x boot={boot} pid=99999 since=1 .
make 1 kind=file path={victim} .
make 2 kind=link path={victim} dev={dev} ino={ino} .
make 3 kind=link path={link} dev={dev} ino=1 .
make 4 kind=mount path=/proc .
make 5 kind=frozen-cgroup path=/etc .
make 6 kind=process pid=1 since=1 .
make 7 kind=nft-table path=inet%20other dev=4 ino=5 .
"""


def hostile(box: Box) -> None:
    """A journal that asks for more than a dump can have made: nothing of it is removed unasked."""
    victim, link = box.dir / "precious", box.dir / "link_remap.5"
    for path in (victim, link):
        path.write_text("x")
    images = box.dir / "images"
    images.mkdir()
    st = victim.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    text = HOSTILE.format(boot=boot, victim=victim, link=link, dev=st.st_dev, ino=st.st_ino)
    (images / "torpor-journal").write_text(text)
    done = box.torpor("leftovers", "--clean", "-D", images)
    if done.status != 1 or not victim.exists() or not link.exists():
        raise Failed(f"ended with {done.status}: {done.output}")
    if not os.path.exists("/proc/self"):
        raise Failed("/proc is gone")
    # what others could have written proves nothing, even where names fit
    good = HOSTILE.splitlines()[:2]
    good.append(f"make 1 kind=link path={link} dev={st.st_dev} ino={link.stat().st_ino} .")
    (images / "torpor-journal").write_text("\n".join(good).format(boot=boot) + "\n")
    (images / "torpor-journal").chmod(0o666)
    done = box.torpor("leftovers", "--clean", "-D", images)
    if done.status != 1 or not link.exists():
        raise Failed("a journal that anybody may write was trusted")
    (images / "torpor-journal").chmod(0o600)
    done = box.torpor("leftovers", "--clean", "-D", images)
    if done.status != 0 or link.exists():
        raise Failed("a proven link was not removed")


def test_hostile(boxed: Callable[..., Any]) -> None:
    boxed(hostile, net=True)


# ------------------------------------------------------------------- file systems that do not answer


def silent_journal(box: Box, slow: Path) -> tuple[Path, Path]:
    """Images with a link of their own and one on the file system; the index leads to both places."""
    images, link = box.dir / "images", box.dir / "link_remap.6"
    images.mkdir()
    link.touch()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    st = link.stat()
    lines = HOSTILE.format(boot=boot, victim="", link="", dev=0, ino=0).splitlines()[:2]
    lines += [
        f"make 1 kind=link path={box.dir}/way/link_remap.5 dev=1 ino=5 .",
        f"make 2 kind=link path={link} dev={st.st_dev} ino={st.st_ino} .",
    ]
    journal = images / "torpor-journal"
    journal.write_text("\n".join(lines) + "\n")
    journal.chmod(0o600)
    (box.dir / "way").symlink_to("slow")
    if not os.path.isdir("/var/lib/torpor"):
        mount("torpor", "/var/lib", "tmpfs")
    index = Path("/var/lib/torpor/journals")
    index.mkdir(parents=True)
    st = images.stat()
    (index / f"{st.st_dev:x}-{st.st_ino:x}").symlink_to(images)
    (index / "1-1").symlink_to(slow / "images")
    return link, index


def silent(box: Box) -> None:
    """It answers for everything else; what it cannot look at is said, and stays."""
    fs = slowfs.start(box, box.dir / "slow")
    link, index = silent_journal(box, fs.dir)
    limit = ("--timeout", "2")
    fs.go_deaf()
    done = box.torpor("leftovers", "--json", *limit, box.dir, timeout=60)
    said = json.loads(done.output.splitlines()[-1])
    found = {f["what"]: f for f in said["leftovers"]}
    there = f"{box.dir}/way/link_remap.5"
    if set(found) != {str(link), there} or said["unanswered"] != [str(fs.dir / "images")]:
        raise Failed(f"listed is {said}")
    if found[there]["answers"] or found[there]["proven"] or not found[str(link)]["proven"]:
        raise Failed(f"listed is {said}")
    done = box.torpor("leftovers", *limit, timeout=60)
    if done.status != 0 or f"'{fs.dir}') does not answer" not in done.output:
        raise Failed(f"'{done.output}' does not say who does not answer")
    for words in (["-D", str(box.dir / "way/images")], [str(box.dir / "way")]):
        done = box.torpor("leftovers", *limit, *words, timeout=60)
        if done.status != 1 or "does not answer" not in done.output:
            raise Failed(f"status {done.status}: {done.output}")
    done = box.torpor("leftovers", "--clean", *limit, timeout=60)
    if done.status != 1 or link.exists() or not (index / "1-1").is_symlink():
        raise Failed(f"status {done.status}: {done.output}")
    fs.end()
    box.until(f"tasks are left: {box.tasks()}", 30, lambda: not box.tasks())


def test_silent(boxed: Callable[..., Any]) -> None:
    boxed(silent, net=True)
