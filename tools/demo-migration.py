#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: demo-migration.py TORPOR [--mib N] [--rounds N] [--clients N] [--json FILE]

Moves a redis that answers requests from one computer to another one, without its clients noticing
more than a pause. The computers are network and pid namespaces here, with a cable between them:

    clients (this namespace) ---- east: redis at 10.9.0.10, later nobody
                 \\                 |  cable: pages
                  \\-------------- west: nobody, later redis at 10.9.0.10

First rounds of pre-copy (pre-dump to a page server) bring the memory over while redis works; then it
is stopped, what is not memory goes over, and it runs over there; what it had changed last comes when
it is touched or soon after (post-copy). Then every key is asked for. Ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

SERVICE, PORT = "10.9.0.10", 6379
EAST, WEST = "10.3.0.1", "10.3.0.2"
CLIENTS = "10.8.0.1"
VALUE = 4000
BATCH = 64
PATIENCE = 120.0
FIRST_PID = 1000  # of what moves: over there nobody else takes such pids


class Failed(Exception):
    """The demonstration has shown that something does not work."""


def run(*words: str | Path, **how: Any) -> str:
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, check=False, timeout=2 * PATIENCE, **how
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise Failed(f"'{' '.join(done.args)}' ended with {done.returncode}: {said}")
    return str(done.stdout)


def until(what: str, good: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (result := good()):
        if time.monotonic() > end:
            raise Failed(what)
        time.sleep(0.005)
    return result


# ---- two computers


class Computer:
    """A network and a pid namespace, with cables to the clients and to the other computer."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        how = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.keeper = subprocess.Popen([*how, "sleep", "infinity"])
        children = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")
        init = until(f"there is no computer {name}", lambda: children.read_text().split())[0]
        until("no sleep", lambda: Path(f"/proc/{init}/comm").read_text().strip() == "sleep")
        self.enter = ["nsenter", "-t", init, "--net", "--pid", "--mount", "--"]
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "clients", "netns", init)
        run("ip", "address", "add", f"10.{number}.0.1/24", "dev", name)
        run("ip", "link", "set", name, "up")
        self.run("ip", "address", "add", f"10.{number}.0.2/24", "dev", "clients")
        for device in ("lo", "clients"):
            self.run("ip", "link", "set", device, "up")
        self.run("ip", "route", "add", "default", "via", f"10.{number}.0.1")
        self.run("sh", "-c", f"echo {FIRST_PID * number} >/proc/sys/kernel/ns_last_pid")
        self.gate, self.init = f"10.{number}.0.2", init

    def run(self, *words: str | Path) -> str:
        return run(*self.enter, *words)

    def start(self, *words: str | Path, **how: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.enter, *map(str, words)], text=True, **how)

    def plug(self, device: str, address: str) -> None:
        self.run("ip", "address", "add", f"{address}/24", "dev", device)
        self.run("ip", "link", "set", device, "up")

    def has_address(self) -> None:
        """The address of the service is one of this computer's."""
        self.run("ip", "address", "add", f"{SERVICE}/32", "dev", "lo")

    def is_reached(self) -> None:
        """Whoever asks for the address of the service comes here."""
        run("ip", "route", "replace", f"{SERVICE}/32", "via", self.gate, "src", CLIENTS)

    def sent(self) -> int:
        """Bytes that went over the cable."""
        devices = json.loads(self.run("ip", "-j", "-s", "link", "show", "dev", "cable"))
        return int(devices[0]["stats64"]["tx"]["bytes"])


def two_computers() -> tuple[Computer, Computer]:
    east, west = Computer("east", 1), Computer("west", 2)
    end = ["name", "cable", "netns"]
    run("ip", "link", "add", *end, east.init, "type", "veth", "peer", *end, west.init)
    east.plug("cable", EAST)
    west.plug("cable", WEST)
    return east, west


# ---- clients


def value(key: str, version: int) -> bytes:
    seed = f"{key} {version}".encode()
    return seed + b" " + hashlib.shake_128(seed).hexdigest(VALUE // 2).encode()


class Connection:
    """One connection that speaks redis's protocol, made once."""

    def __init__(self) -> None:
        self.socket = socket.create_connection((SERVICE, PORT), PATIENCE)
        self.file = self.socket.makefile("rb")

    def send(self, *commands: tuple[bytes, ...]) -> None:
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            parts += [b"$%d\r\n%b\r\n" % (len(w), w) for w in words]
        self.socket.sendall(b"".join(parts))

    def answer(self) -> bytes | None:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Failed(f"a connection has ended behind {line!r}")
        if line.startswith(b"$"):
            size = int(line[1:])
            return self.file.read(size + 2)[:-2] if size >= 0 else None
        return line[:-2]

    def ask(self, *words: bytes) -> bytes | None:
        self.send(words)
        return self.answer()


@dataclass
class Client(threading.Thread):
    """Sets and gets keys of its own over one connection, and knows what must be in them."""

    number: int
    keys: int
    versions: list[int] = field(default_factory=list)
    requests: int = 0
    longest: float = 0.0  # seconds for an answer
    failure: str = ""
    stop: bool = False

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.connection = Connection()
        self.dice = random.Random(self.number)
        self.versions = [0] * self.keys

    __hash__ = threading.Thread.__hash__

    def name_of(self, i: int) -> str:
        return f"key:{self.number}:{i}"

    def batches(self) -> Iterator[range]:
        for first in range(0, self.keys, BATCH):
            yield range(first, min(first + BATCH, self.keys))

    def fill(self) -> None:
        for batch in self.batches():
            names = [self.name_of(i) for i in batch]
            self.connection.send(*((b"SET", n.encode(), value(n, 0)) for n in names))
            if any(self.connection.answer() != b"+OK" for _ in names):
                raise Failed("redis does not take a key")

    def one_request(self) -> None:
        # nine of ten to a tenth of the keys
        most = self.keys // 10 if self.dice.random() < 0.9 else self.keys
        i = self.dice.randrange(most)
        name = self.name_of(i)
        if self.dice.random() < 0.3:
            found = self.connection.ask(b"SET", name.encode(), value(name, self.versions[i] + 1))
            self.versions[i] += 1
            if found != b"+OK":
                raise Failed(f"SET {name} is answered by {found!r}")
        elif self.connection.ask(b"GET", name.encode()) != value(name, self.versions[i]):
            raise Failed(f"{name} is not what was put there")

    def run(self) -> None:
        try:
            while not self.stop:
                begin = time.monotonic()
                self.one_request()
                self.longest = max(self.longest, time.monotonic() - begin)
                self.requests += 1
                time.sleep(0.001)
        except (Failed, OSError) as e:
            self.failure = f"client {self.number}: {e}"

    def count_lost(self) -> int:
        """Keys that do not have what was put there last."""
        lost = 0
        for batch in self.batches():
            names = [self.name_of(i) for i in batch]
            self.connection.send(*((b"GET", n.encode()) for n in names))
            for i, name in zip(batch, names):
                lost += self.connection.answer() != value(name, self.versions[i])
        return lost


# ---- the move


def last_line(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text().splitlines()[-1])
    return found


class Move:
    """Images lie in WHERE/east and WHERE/west; what is copied from one to the other is counted."""

    def __init__(self, torpor: Path, where: Path, east: Computer, west: Computer) -> None:
        self.torpor, self.where, self.east, self.west = torpor, where, east, west
        self.previous: list[str] = []
        self.copied = 0

    def folder(self, side: Computer, name: str) -> Path:
        path = self.where / side.name / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def words(self, side: Computer, command: str, name: str, *more: str) -> list[str | Path]:
        folder = self.folder(side, name)
        said = " ".join((command, "-D", f"{side.name}/{name}", *more))
        print(f"   {side.name}$ torpor {said}", flush=True)
        return [self.torpor, command, "-D", folder, "-o", f"{command}.log", "-v4", "--json", *more]

    def copy(self, name: str) -> None:
        """Images that are not over there yet; a user would say rsync."""
        source, target = self.folder(self.east, name), self.folder(self.west, name)
        for path in sorted(source.iterdir()):
            wanted = path.suffix == ".img" or path.name in ("parent", "torpor-state", "torpor-files")
            if wanted and not os.path.lexists(target / path.name):
                shutil.copy(path, target / path.name, follow_symlinks=False)
                self.copied += path.lstat().st_size

    def total(self) -> int:
        return self.east.sent() + self.copied

    def round(self, pid: int, number: int) -> dict[str, Any]:
        """Pre-copy: memory that has changed since the last round goes over while redis works."""
        name, port = f"round-{number}", str(7000 + number)
        before, begin = self.total(), time.monotonic()
        out = self.where / f"server-{number}.out"
        with out.open("w") as f:
            to = ["--address", WEST, "--port", port]
            words = self.words(self.west, "page-server", name, *to, *self.previous)
            server = self.west.start(*words, stdout=f, stderr=f)
        until(f"no page server: {out.read_text()}", lambda: out.read_text().endswith("\n"))
        words = self.words(self.east, "pre-dump", name, "-t", str(pid), "--page-server", *to)
        said = json.loads(self.east.run(*words, *self.previous).splitlines()[-1])
        if server.wait(PATIENCE) != 0:
            raise Failed(f"the page server says: {out.read_text()}")
        self.copy(name)
        self.previous = ["--prev-images-dir", f"../{name}"]
        return {
            "bytes": self.total() - before,
            "seconds": time.monotonic() - begin,
            "frozen": said["frozen_us"] / 1e6,
        }

    def go(self, pid: int) -> dict[str, Any]:
        """Redis is stopped here and runs over there; memory follows."""
        before, begin = self.total(), time.monotonic()
        out = {n: self.where / f"{n}.out" for n in ("dump", "lazy-pages")}
        ready, tell = os.pipe()
        to = ["--address", EAST, "--port", "8000"]
        words = self.words(
            self.east, "dump", "last", "-t", str(pid), "--tcp-established", "--lazy-pages", *to,
            *self.previous, "--status-fd", str(tell),
        )  # fmt: skip
        with out["dump"].open("w") as f:
            dump = self.east.start(*words, stdout=f, stderr=f, pass_fds=[tell])
        os.close(tell)
        if os.read(ready, 1) != b"\0":
            raise Failed(f"the dump says: {out['dump'].read_text()}")
        os.close(ready)
        self.copy("last")
        cable = self.east.sent()
        self.east.run("ip", "address", "del", f"{SERVICE}/32", "dev", "lo")
        self.west.has_address()
        words = self.words(self.west, "lazy-pages", "last", *to)
        with out["lazy-pages"].open("w") as f:
            lazy = self.west.start(*words, stdout=f, stderr=f)
        until("no lazy-pages", (self.folder(self.west, "last") / "lazy-pages.socket").exists)
        self.west.run(
            *self.words(self.west, "restore", "last", "-d", "--tcp-established", "--lazy-pages")
        )
        running, stopped_bytes = time.monotonic(), self.total()
        # not before: what reaches a computer without such a connection is answered by a reset
        self.west.is_reached()
        if lazy.wait(2 * PATIENCE) != 0 or dump.wait(PATIENCE) != 0:
            raise Failed(" ".join(p.read_text() for p in out.values()))
        return {
            "away": running - begin,
            "bytes": stopped_bytes - before,
            "follow_bytes": self.total() - stopped_bytes,
            "follow_seconds": time.monotonic() - running,
            "asked_bytes": self.east.sent() - cable,
            "lazy": last_line(out["lazy-pages"]),
        }


# ---- the show


def mebibytes(n: float) -> str:
    return f"{n / 1048576:.1f} MiB"


def step(text: str) -> None:
    print(f"\n{text}", flush=True)


def good(text: str) -> None:
    print(f"   ok  {text}", flush=True)


def start_redis(east: Computer, where: Path) -> int:
    words = ["redis-server", "--bind", SERVICE, "--port", str(PORT), "--save", "", "--dir", str(where)]
    log = where / "redis.log"
    script = 'echo $$ >"$0/pid"; exec setsid "$@" </dev/null >"$0/redis.log" 2>&1'
    east.start("sh", "-c", script, where, *words, "--appendonly", "no", "--protected-mode", "no")
    until("redis does not start", lambda: log.exists() and "Ready to accept" in log.read_text())
    return int((where / "pid").read_text())


def check_alive(clients: list[Client]) -> None:
    for c in clients:
        if c.failure:
            raise Failed(c.failure)
    before = [c.requests for c in clients]
    until("clients get no answers", lambda: all(
        c.failure or c.requests > n + 20 for c, n in zip(clients, before)))  # fmt: skip
    if any(c.failure for c in clients):
        raise Failed(next(c.failure for c in clients if c.failure))


def show(o: argparse.Namespace, where: Path) -> dict[str, Any]:
    step("1. Two computers, a cable between them; redis runs on the first one")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{CLIENTS}/32", "dev", "lo")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    east, west = two_computers()
    east.has_address()
    east.is_reached()
    pid = start_redis(east, where)
    clients = [Client(i, o.mib * 1048576 // VALUE // o.clients) for i in range(o.clients)]
    for c in clients:
        c.fill()
    good(f"pid {pid}, {sum(c.keys for c in clients)} keys with {mebibytes(o.mib * 1048576)} of values")
    for c in clients:
        c.start()
    time.sleep(0.5)
    check_alive(clients)
    usual = max(c.longest for c in clients)
    good(f"{len(clients)} clients ask and change keys; the slowest answer took {usual * 1000:.0f} ms")

    step(f"2. Pre-copy: {o.rounds} rounds, while it works")
    move = Move(o.torpor, where, east, west)
    rounds = []
    for i in range(1, o.rounds + 1):
        rounds.append(r := move.round(pid, i))
        good(f"{mebibytes(r['bytes'])} in {r['seconds']:.2f} s, stopped for {r['frozen'] * 1000:.0f} ms")

    step("3. It stops here, goes on over there; the rest of its memory follows")
    for c in clients:
        c.longest = 0.0
    went = move.go(pid)
    check_alive(clients)
    pause = max(c.longest for c in clients)
    good(f"{mebibytes(went['bytes'])} while it stood still; over there after {went['away']:.2f} s")
    good(f"{mebibytes(went['follow_bytes'])} followed in {went['follow_seconds']:.2f} s; it waited for "
         f"{went['lazy']['faults']} pages")  # fmt: skip

    step("4. Nothing is lost")
    time.sleep(0.5)
    check_alive(clients)
    for c in clients:
        c.stop = True
        c.join(PATIENCE)
    lost = sum(c.count_lost() for c in clients)
    keys = sum(c.keys for c in clients)
    if lost or clients[0].connection.ask(b"DBSIZE") != b":%d" % keys:
        raise Failed(f"{lost} of {keys} keys do not have what was put there last")
    good(f"all {keys} keys have what was put there last")
    if Path(f"/proc/{east.init}/root/proc/{pid}").exists():
        raise Failed("redis is still on the first computer")
    requests = sum(c.requests for c in clients)
    good(f"{requests} requests over {len(clients)} connections, none of which was made again")
    total = sum(r["bytes"] for r in rounds) + went["bytes"] + went["follow_bytes"]
    print(f"\ndowntime {pause * 1000:.0f} ms for the clients; {mebibytes(total)} went over: "
          f"{mebibytes(total - went['bytes'] - went['follow_bytes'])} before, {mebibytes(went['bytes'])} "
          f"during, {mebibytes(went['follow_bytes'])} after", flush=True)  # fmt: skip
    return {
        "keys": keys, "lost": lost, "requests": requests, "clients": len(clients), "usual": usual,
        "pause": pause, "rounds": rounds, "move": went, "bytes": total,
    }  # fmt: skip


def fail(text: str) -> NoReturn:
    sys.exit(f"demo-migration: {text}")


def enter_namespaces() -> None:
    """Whatever is started or made in there is gone when this process ends."""
    if os.environ.get("TORPOR_DEMO_INSIDE"):
        return
    if os.geteuid() != 0:
        fail("this needs root: sudo make demo-migration")
    os.environ["TORPOR_DEMO_INSIDE"] = "1"
    how = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    os.execvp(how[0], [*how, sys.executable, os.path.realpath(__file__), *sys.argv[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("torpor", type=Path)
    parser.add_argument("--mib", type=int, default=200, help="of values")
    parser.add_argument("--rounds", type=int, default=3, help="of pre-copy")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    o = parser.parse_args()
    o.torpor = o.torpor.resolve()
    for program in (o.torpor, "redis-server", "ip", "nsenter", "unshare"):
        if not shutil.which(program):
            fail(f"there is no {program}; 'make' builds torpor, 'make deps' installs the rest")
    where = Path(tempfile.mkdtemp(prefix="torpor-demo-"))
    try:
        found = show(o, where)
        if o.json:
            o.json.write_text(json.dumps(found, indent=1) + "\n")
    except Failed as e:
        logs = sorted(where.rglob("*.log"), key=lambda p: p.stat().st_mtime)[-3:]
        tails = [f"--- {p.name}\n" + "\n".join(p.read_text().splitlines()[-8:]) for p in logs]
        fail("\n".join([str(e), *tails]))
    finally:
        shutil.rmtree(where, ignore_errors=True)


if __name__ == "__main__":
    enter_namespaces()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    main()
