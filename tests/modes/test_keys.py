# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys from end to end: asked for, given, wrong, and gone afterwards; filters that are none."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box import SOURCE, TORPOR, Box, Failed, Skipped, pipe_with, read_task
from daemons import PATIENCE
from sealed_sets import AESGCM, Reader, hkdf, secret_key
from subjects import Subject

WORD = "correct horse"


def is_stopped(pid: int) -> bool:
    task = read_task(pid)
    return task is not None and task.state == "T"


class Terminal:
    """The box leads the session of a terminal, from which its children can read."""

    def __init__(self, box: Box) -> None:
        self.box = box
        os.setsid()
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        os.set_blocking(self.master, False)
        self.shown = ""

    def until(self, text: str) -> None:
        def is_shown() -> bool:
            try:
                self.shown += os.read(self.master, 4096).decode()
            except BlockingIOError:
                pass
            return text in self.shown

        try:
            self.box.until("", PATIENCE, is_shown)
        except Failed:
            raise Failed(f"the terminal does not show '{text}': {self.shown!r}") from None

    def take_all(self) -> None:
        """Everything that was written so far: what is written after it comes after it."""
        os.write(self.slave, b"<end>")
        self.until("<end>")

    def converse(self, words: list[str], answers: list[tuple[str, str]]) -> int:
        """Runs the tool, answering its questions; returns its exit code."""
        self.shown = ""
        pid = self.box.start([TORPOR, *words], session=False, fds=(self.slave,) * 3)
        self.box.aside.add(pid)
        for question, answer in answers:
            self.until(question)
            locked = Path(f"/proc/{pid}/status").read_text()
            if not re.search(r"VmLck:\s+[1-9]", locked):
                raise Failed("a passphrase is read into memory that is not locked")
            os.write(self.master, answer.encode() + b"\n")
            self.shown = ""
        status = self.box.wait(pid, PATIENCE)
        self.take_all()
        for _, answer in answers:
            if answer in self.shown:
                raise Failed(f"what is typed is shown: {self.shown!r}")
        return -1000 if status is None else status

    def interrupt(self, words: list[str], env: dict[str, str] | None = None) -> None:
        """Whoever is asked may interrupt it instead; the terminal is as before."""
        before = termios.tcgetattr(self.slave)
        self.shown = ""
        pid = self.box.start([TORPOR, *words], session=False, fds=(self.slave,) * 3, env=env)
        self.box.aside.add(pid)
        self.until("Passphrase")
        if env:  # it stops itself
            self.box.until("it does not stop", PATIENCE, lambda: is_stopped(pid))
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGCONT)
        status = self.box.wait(pid, 60)
        if status != -signal.SIGINT or termios.tcgetattr(self.slave) != before:
            raise Failed(f"interrupted: status {status}, {self.shown!r}")


def asked(box: Box) -> None:
    """Without any key the passphrase is asked for: twice for new images, once to read them."""
    terminal = Terminal(box)
    s = Subject(box, "tree")
    s.start()
    twice = [("New passphrase", WORD), ("again", "something else")]
    if terminal.converse(s.dump_command("--encrypt"), twice) != 1:
        raise Failed("two passphrases that differ were taken")
    s.expect_tasks()
    twice[1] = ("again", WORD)
    if terminal.converse(s.dump_command("--encrypt"), twice) != 0:
        raise Failed(f"dump failed: {terminal.shown}")
    s.forget()
    terminal.interrupt(s.restore_command())
    # also between the question and the wait for an answer
    terminal.interrupt(s.restore_command(), {"TORPOR_FAULT": "ask=stop"})
    if box.tasks():
        raise Failed(f"tasks: {box.tasks()}")
    wrong = terminal.converse(s.restore_command(), [("Passphrase", "incorrect")])
    if wrong != 1 or box.tasks() or "encrypted" not in terminal.shown:
        raise Failed(f"restored by another passphrase: {wrong}, {terminal.shown!r}")
    if terminal.converse(s.restore_command(), [("Passphrase", WORD)]) != 0:
        raise Failed(f"restore failed: {terminal.shown}")
    s.expect_tasks()
    s.finish()


def test_asked(boxed: Callable[..., Any]) -> None:
    boxed(asked)


def refused(box: Box) -> None:
    """Wrong and missing keys of each kind: one sentence, nothing started."""
    raw = os.urandom(32)
    s = Subject(box, "tree")
    s.start()
    fds = [pipe_with(WORD.encode()), pipe_with(raw)]
    s.dump("--encrypt", "--passphrase-fd", str(fds[0]), "--key-fd", str(fds[1]))
    box.torpor("keygen", "--output", box.dir / "stranger")
    for what, options, data in (
        ("nothing", (), b""),
        ("another passphrase", ("--passphrase-fd",), b"correct horst\n"),
        ("no passphrase", ("--passphrase-fd",), b"\n"),
        ("another key", ("--key-fd",), os.urandom(32)),
        ("a short key", ("--key-fd",), raw[:31]),
        ("a stranger's key", ("--identity", str(box.dir / "stranger")), b""),
        ("no such file", ("--identity", str(box.dir / "none")), b""),
    ):
        fd = pipe_with(data)
        words = (*options, str(fd)) if options[-1:] in (("--passphrase-fd",), ("--key-fd",)) else options
        s.forget()
        done = box.torpor(*s.restore_command(*words))
        os.close(fd)
        lines = [t for t in done.output.splitlines() if t and not t.startswith("Try ")]
        if done.status != 1 or box.tasks() or len(lines) != 1:
            raise Failed(f"{what}: {done}")
        box.notes.clear()
    s.restore("--key-fd", str(pipe_with(raw)))
    s.finish()


def test_refused(boxed: Callable[..., Any]) -> None:
    boxed(refused)


def memory_of(pid: int) -> bytes:
    """Everything a process may read of itself."""
    found = []
    with open(f"/proc/{pid}/mem", "rb") as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if " r" in line and "[v" not in line:
                mem.seek(start)
                try:
                    found.append(mem.read(end - start))
                except OSError:
                    pass
    return b"".join(found)


def wiped(box: Box) -> None:
    """A torpor that stays with what it has restored knows no key any more."""
    if AESGCM is None:
        raise Skipped("python3-cryptography is not installed")
    raw, key = os.urandom(32), box.dir / "key"
    box.torpor("keygen", "--output", key)
    s = Subject(box, "tree")
    s.start()
    fds = (str(pipe_with(raw)), str(pipe_with(WORD.encode())))
    s.dump("--encrypt", "--compress", "--recipient", str(key), "--key-fd", fds[0],
        "--passphrase-fd", fds[1])  # fmt: skip
    r = Reader({p.name: p.read_bytes() for p in s.images.iterdir()})
    r.unwrap_by(key)
    secrets = {
        "the key that was given": raw,
        "the passphrase": WORD.encode(),
        "the secret key": secret_key(key),
        "the secret key's text": key.read_text().split("torpor-secret-1:")[1][:64].encode(),
        "the key of the set": r.key,
        "the key of the pages": hkdf(r.key, r.dump_id, "page filter 3 aes-gcm"),
        "the key of the inventory": hkdf(r.key, r.dump_id, "torpor message inventory"),
    }
    s.forget()
    words = [w for w in s.restore_command("--identity", str(key)) if w != "-d"]
    tool = box.start([TORPOR, *words, "--key-fd", str(pipe_with(raw))], out=box.dir / "out")
    box.aside.add(tool)
    log = s.images / "restore.log"
    box.until("not restored", PATIENCE, lambda: log.exists() and "restore complete" in log.read_text())
    memory = memory_of(tool)
    left = [what for what, secret in secrets.items() if secret in memory]
    if len(memory) < 1 << 20 or left:
        raise Failed(f"in {len(memory)} bytes of memory: {left}")
    os.kill(s.pid, signal.SIGTERM)
    if box.wait(tool, PATIENCE) != 0 or s.answer() != "PASS":
        raise Failed(f"torpor ended with {box.statuses.get(tool)}, result {s.lines()}")


def test_wiped(boxed: Callable[..., Any]) -> None:
    boxed(wiped)


# what is wrong with it -> the sentence
BAD = {
    "f.abi = 2": "another version",
    "f.size = 40": "too short",
    'f.name = "Big"': "its name",
    "f.encode = 0": "lacks a function",
    "f.worker_open = (void *)1": "worker_open or worker_close",
    "f.caps = 1 << 20": "unknown capabilities",
    "f.caps = TORPOR_FILTER_AUTHENTIC": "not all of them",
    "f.caps = TORPOR_FILTER_RANDOM_ACCESS": "random access",
    "f.expansion = 5000": "too long",
    'f.name = "lz4"': "torpor's own",
    "f.params = params": "parameters of 1048577 bytes",
}
BAD_FILTER = """
#include <torpor/page_filter.h>
static int64_t code(void *w, const struct torpor_extent *x, const uint8_t *in, size_t len,
	uint8_t *out, size_t room) { return -5; }
static int begin(struct torpor_filter_setup *s, void **state) { return 0; }
static void end(void *state) { }
static const void *params(const void *state, size_t *ret_len)
{
	static const char all[1048577];
	*ret_len = sizeof(all);
	return all;
}
struct torpor_page_filter torpor_page_filter = { .abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter), .name = "bad", .summary = "", .open = begin,
	.close = end, .encode = code, .decode = code };
__attribute__((constructor)) static void spoil(void)
{
	struct torpor_page_filter f = torpor_page_filter;
	CHANGE;
	torpor_page_filter = f;
}
"""


def bad_filters(box: Box) -> None:
    """A shared object that is no filter is refused by a sentence that says why."""
    s = Subject(box, "pipes")
    s.start()
    source, library = box.dir / "bad.c", box.dir / "bad.so"
    changes = BAD | {";": "page filter 'bad' failed"}
    for change, sentence in changes.items():
        source.write_text(BAD_FILTER.replace("CHANGE", change))
        flags = ["-shared", "-fPIC", f"-I{SOURCE / 'include'}", "-o", library]
        if box.run(["cc", *flags, source]).status != 0:
            raise Failed(f"cannot compile {change}")
        done = box.torpor(*s.dump_command("--page-filter", str(library)))
        if done.status != 1 or sentence not in done.output:
            raise Failed(f"with {change}: {done}")
        s.expect_tasks()
    library.write_text("no library")
    for name in (library, box.dir / "none.so", "no-such-filter"):
        done = box.torpor(*s.dump_command("--page-filter", str(name)))
        if done.status != 1 or str(name) not in done.output:
            raise Failed(f"with {name}: {done}")
    s.finish()


def test_bad_filters(boxed: Callable[..., Any]) -> None:
    boxed(bad_filters)
