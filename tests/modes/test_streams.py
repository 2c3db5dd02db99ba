# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets that travel: as one stream through a pipe, and by a streamer as CRIU knows it."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Done, Failed
from daemons import PATIENCE
from subjects import BIG, HUGE, NAMES, NET, OPTIONS, STOPPED, Subject

HERE = Path(__file__).parent
SECRET = ("--compress", "--encrypt", "--recipient", "KEY")
SAMPLE = {
    ("plain", "mem_shared"), ("plain", "deleted"), ("secret", "mem_cow"),
    ("streamer", "tree"), ("streamer", "deleted"), ("streamer-secret", "mem_shared"),
    ("streamer-nameless", "tree"), ("streamer-nameless", "deleted"),
    ("streamer-nameless", "mem_shared"), ("streamer-nameless", "tcp_streams"),
}  # fmt: skip
STREAMS = ("plain", "secret", "streamer", "streamer-secret", "streamer-nameless")


def run_with(box: Box, words: list[str | Path], fd: int | None = None) -> Done:
    """Runs torpor with one more descriptor."""
    fds = (fd,) if fd is not None else ()
    done = subprocess.run(
        [TORPOR, *words],
        pass_fds=fds, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    result = Done([str(w) for w in words], done.returncode, done.stdout + done.stderr, 0)
    box.notes.append(str(result))
    return result


class Travel:
    """A subject whose images go through a stream and never lie in a directory."""

    def __init__(self, box: Box, name: str, how: str) -> None:
        self.box, self.streamer = box, how.startswith("streamer")
        self.nameless = how == "streamer-nameless"  # as CRIU leaves a set
        self.key = box.dir / "key"
        box.torpor("keygen", "--output", self.key)
        self.options = [str(self.key) if w == "KEY" else w for w in SECRET if "secret" in how]
        self.where = box.dir / "stream"
        self.subject = Subject(box, name, options=NET.get(name, OPTIONS.get(name, ())))

    def start_streamer(self, what: str) -> int:
        self.subject.images.mkdir(exist_ok=True)
        out = self.box.dir / "streamer.out"
        words = ["/usr/bin/python3", HERE / "streamer.py", what, self.subject.images, self.where]
        pid = self.box.start(words, out=out)
        sock = self.subject.images / f"streamer-{what}.sock"
        self.box.until(f"no streamer: {out.read_text()}", PATIENCE, sock.exists)
        return pid

    def end_streamer(self, pid: int) -> None:
        if self.box.wait(pid, PATIENCE) != 0:
            raise Failed(f"the streamer: {(self.box.dir / 'streamer.out').read_text()}")

    def dump(self, *more: str) -> Done:
        s = self.subject
        words = [*s.dump_command(), *self.options, *more]
        if self.streamer:
            pid = self.start_streamer("capture")
            done = run_with(self.box, [*words, "--stream"])
            self.end_streamer(pid)
            if self.nameless:
                files = pickle.loads(self.where.read_bytes())
                del files["torpor-names"]
                self.where.write_bytes(pickle.dumps(files))
        else:
            with self.where.open("wb") as out:
                fd = out.fileno()
                done = run_with(self.box, [*words, "--stream-fd", str(fd)], fd)
        # what was made outside of the images stays to be found here
        left = {p.name for p in s.images.iterdir()} - {"torpor-journal"}
        if any(name.endswith(".img") or name.startswith("torpor-") for name in left):
            raise Failed(f"images lie in the directory: {left}")
        return done

    def restore(self) -> Done:
        s = self.subject
        s.forget()
        words: list[str | Path] = [*s.restore_command(), "--identity", self.key]
        if self.streamer:
            pid = self.start_streamer("serve")
            done = run_with(self.box, [*words, "--stream"])
            self.end_streamer(pid)
        else:
            with self.where.open("rb") as file:
                fd = file.fileno()
                done = run_with(self.box, [*words, "--stream-fd", str(fd)], fd)
        return done


def travel(box: Box, name: str, how: str) -> None:
    t = Travel(box, name, how)
    t.subject.start(stops=name in STOPPED)
    for _ in range(2):
        if t.dump().status != 0 or t.restore().status != 0:
            raise Failed("it failed")
        t.subject.expect_tasks()
    t.subject.finish()


def cases() -> Iterator[Any]:
    everything = os.environ.get("TORPOR_MODES") == "all"
    for how in STREAMS:
        for name in NAMES:
            if everything or (how, name) in SAMPLE:
                yield pytest.param(how, name, id=f"{how}-{name}")


@pytest.mark.parametrize(("how", "name"), cases())
def test_travel(boxed: Callable[..., Any], request: Any, how: str, name: str) -> None:
    if name in HUGE:
        request.getfixturevalue("huge_pages")
    limit = {"timeout": 400} if name in BIG else {}
    boxed(travel, net=name in NET, name=name, how=how, **limit)


def piped(box: Box) -> None:
    """From a dump straight into a restore."""
    t = Travel(box, "mem_cow", "plain")
    s = t.subject
    s.start()
    rd, wr = os.pipe()
    dump_words = [TORPOR, *s.dump_command("--stream-fd", str(wr))]
    words = [TORPOR, *s.restore_command("--stream-fd", str(rd))]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(dump_words, pass_fds=(wr,), **quiet) as dump:
        os.close(wr)
        with subprocess.Popen(words, pass_fds=(rd,), **quiet) as restore:
            os.close(rd)
            dump.wait()
            s.forget()  # process 1 takes what is left of the tasks
            restore.wait()
    if dump.returncode != 0 or restore.returncode != 0:
        raise Failed(f"dump {dump.returncode}, restore {restore.returncode}")
    s.expect_tasks()
    s.finish()


def test_piped(boxed: Callable[..., Any]) -> None:
    boxed(piped)


def piped_by_shell(box: Box) -> None:
    """As docs/FORMAT-stream.md has it: nothing but the stream is on the dump's standard output."""
    t = Travel(box, "mem_cow", "plain")
    s = t.subject
    s.start()
    out, dump = box.dir / "said", s.dump_command()
    script = 'images=$1; shift; "$0" "$@" --json --stream-fd 1 | ' \
        '"$0" restore -d -D "$images" --stream-fd 0'
    pid = box.start(["bash", "-o", "pipefail", "-c", script, TORPOR, s.images, *dump], out=out)

    def has_ended() -> bool:
        box.reap()  # also the tree, whose pids are to be free
        return pid in box.statuses

    box.until(lambda: f"it does not end: {out.read_text()}", 2 * PATIENCE, has_ended)
    said = out.read_text()
    if box.statuses[pid] != 0 or '"ok": true' not in said or "restored" not in said:
        raise Failed(f"ended with {box.statuses[pid]}: {said}")
    s.forget()
    s.expect_tasks()
    s.finish()


def test_piped_by_shell(boxed: Callable[..., Any]) -> None:
    boxed(piped_by_shell)


def reader_dies(box: Box) -> None:
    """A dump whose reader goes away fails, and the tasks run on."""
    t = Travel(box, "mem_private", "plain")
    s = t.subject
    s.start()
    rd, wr = os.pipe()
    words = [TORPOR, *s.dump_command("--stream-fd", str(wr))]
    with subprocess.Popen(
        words, pass_fds=(wr,), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as dump:
        os.close(wr)
        os.read(rd, 100000)
        os.close(rd)
        said = dump.stderr.read() if dump.stderr else ""
    if dump.returncode != 1 or len(said.splitlines()) != 1 or "(--stream-fd) has gone" not in said:
        raise Failed(f"dump ended with {dump.returncode}: {said}")
    s.expect_tasks()
    s.finish()


def streamer_dies(box: Box) -> None:
    """The same of a streamer. It takes nothing, so pages are on their way when it is killed."""
    t = Travel(box, "mem_private", "streamer")
    s = t.subject
    s.start()
    words = s.dump_command("--stream")
    streamer = t.start_streamer("capture")
    box.aside.add(streamer)
    os.kill(streamer, signal.SIGSTOP)
    dump = box.start([TORPOR, *words], out=box.dir / "dump.out")
    log = s.images / "dump.log"
    box.until(
        "the dump does not come to the pages",
        PATIENCE,
        lambda: log.exists() and "stage 'streams'" in log.read_text(),
    )
    os.kill(streamer, signal.SIGKILL)
    status, said = box.wait(dump, PATIENCE), (box.dir / "dump.out").read_text()
    if status != 1 or "the image streamer has gone" not in said:
        raise Failed(f"dump ended with {status}: {said}")
    s.expect_tasks()
    s.finish()


def test_reader_dies(boxed: Callable[..., Any]) -> None:
    boxed(reader_dies)


def test_streamer_dies(boxed: Callable[..., Any]) -> None:
    boxed(streamer_dies)


def broken(box: Box) -> None:
    """A stream of an encrypted set that ends early, or with a bit changed, starts nothing."""
    t = Travel(box, "pipes", "secret")
    s = t.subject
    s.start()
    t.dump("-R")
    s.kill()
    whole = t.where.read_bytes()
    dice = random.Random(1)
    cuts = [0, 4, 8, 20, len(whole) // 2, len(whole) - 9, len(whole) - 1]
    bad = [whole[:n] for n in cuts]
    for _ in range(20):
        at = dice.randrange(len(whole))
        bad.append(whole[:at] + bytes([whole[at] ^ (1 << dice.randrange(8))]) + whole[at + 1 :])
    for data in bad:
        t.where.write_bytes(data)
        done = t.restore()
        if done.status != 1 or box.tasks():
            raise Failed(f"restore ended with {done}, tasks {box.tasks()}")
    t.where.write_bytes(whole)
    if t.restore().status != 0:
        raise Failed("restore failed")
    s.finish()


def test_broken(boxed: Callable[..., Any]) -> None:
    boxed(broken)
