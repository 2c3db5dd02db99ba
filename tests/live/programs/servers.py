# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that are saved, killed and restored while their clients stay connected.

A client lives outside of the tree that is saved; its connection must go on as if nothing had
happened, and what the server remembers is checked through it.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped
from subjects import PATIENT

HERE = Path(__file__).parent
PORT = 7000
PATIENCE = 120.0  # seconds: whoever waits longer waits for ever


def connect(box: Box, port: int = PORT) -> socket.socket:
    """A connection, as soon as somebody listens."""

    def attempt() -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except OSError:
            return None

    found = box.until("nobody listens", PATIENCE, attempt)
    assert isinstance(found, socket.socket)
    return found


class Server:
    """One kind of server and what its clients do; see the subclasses."""

    program = ""
    options: tuple[str, ...] = ("--tcp-established",)

    def __init__(self, box: Box, rng: random.Random) -> None:
        self.box, self.rng = box, rng
        self.work = box.dir / "work"
        self.work.mkdir()
        path = shutil.which(self.program)
        if not path:
            raise Skipped(f"{self.program} is not installed")
        self.path = path

    def argv(self) -> list[str]:
        raise NotImplementedError

    def begin(self) -> None:
        """Connects the clients and gives the server something to remember."""
        raise NotImplementedError

    def check(self, turn: int) -> None:
        """Over the connections of begin(): everything is remembered; adds something."""
        raise NotImplementedError

    def end(self) -> None:
        """What can only be seen at the very end."""


class Lines:
    """A connection on which lines are spoken."""

    def __init__(self, s: socket.socket) -> None:
        self.socket, self.file = s, s.makefile("rb")

    def send(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def line(self) -> str:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise Failed(f"the connection ended behind {line!r}")
        return line.decode().rstrip("\r\n")

    def ask(self, text: str, *answers: str) -> None:
        self.send(text)
        for wanted in answers:
            got = self.line()
            if got != wanted:
                raise Failed(f"asked {text[:60]!r}: {got!r}, not {wanted!r}")


class Redis(Server):
    """Keys, a counter, a client blocked in BLPOP, the append-only file."""

    program = "redis-server"

    def argv(self) -> list[str]:
        return [self.path, "--port", str(PORT), "--bind", "127.0.0.1", "--appendonly", "yes",
                "--save", "", "--dir", str(self.work), "--daemonize", "no"]  # fmt: skip

    def begin(self) -> None:
        self.client, self.blocked = (Lines(connect(self.box)) for _ in range(2))
        self.keys = {f"key{i}": "x" * self.rng.randrange(1, 3000) for i in range(300)}
        for key, value in self.keys.items():
            self.client.ask(f"SET {key} {value}\r\n", "+OK")
        self.blocked.send("BLPOP queue 0\r\n")

    def check(self, turn: int) -> None:
        for key in self.rng.sample(list(self.keys), 20):
            self.client.ask(f"GET {key}\r\n", f"${len(self.keys[key])}", self.keys[key])
        self.client.ask("INCR turns\r\n", f":{turn}")
        if turn % 3 == 0:
            self.client.ask(f"RPUSH queue item{turn}\r\n", ":1")
            answer = [self.blocked.line() for _ in range(5)]
            if answer[-1] != f"item{turn}":
                raise Failed(f"the blocked client got {answer}")
            self.blocked.send("BLPOP queue 0\r\n")

    def end(self) -> None:
        texts = [p.read_bytes() for p in self.work.rglob("*.aof")]
        if not texts:
            raise Failed("there is no append-only file")
        incr = b"".join(texts).count(b"turns")
        if incr < 1:
            raise Failed("the append-only file does not have what was done last")


class Memcached(Server):
    """Values and a counter, over two connections."""

    program = "memcached"

    def argv(self) -> list[str]:
        return [self.path, "-l", "127.0.0.1", "-p", str(PORT), "-u", "root", "-t", "4", "-U", "0"]

    def begin(self) -> None:
        self.clients = [Lines(connect(self.box)) for _ in range(2)]
        self.values = {f"key{i}": "y" * self.rng.randrange(1, 5000) for i in range(200)}
        for key, value in self.values.items():
            self.clients[0].ask(f"set {key} 7 0 {len(value)}\r\n{value}\r\n", "STORED")
        self.clients[1].ask("set turns 0 0 1\r\n0\r\n", "STORED")

    def check(self, turn: int) -> None:
        for key in self.rng.sample(list(self.values), 20):
            value = self.values[key]
            for c in self.clients:
                c.ask(f"get {key}\r\n", f"VALUE {key} 7 {len(value)}", value, "END")
        self.clients[turn % 2].ask("incr turns 1\r\n", str(turn))


class Http(Server):
    """Clients which keep their connections and ask all the time, in threads of the test."""

    workers = 3

    def begin(self) -> None:
        self.answers = [0] * self.workers
        self.failure = ""
        self.stop = False
        connect(self.box).close()
        self.threads = [
            threading.Thread(target=self.ask_on, args=(i,), daemon=True)
            for i in range(self.workers)
        ]
        for t in self.threads:
            t.start()

    def request(self, number: int, turn: int) -> tuple[str, Callable[[bytes], bool]]:
        """A path, and whether an answer to it is right."""
        raise NotImplementedError

    def ask_on(self, number: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
        try:
            client.connect()
            first = client.sock
            while not self.stop:
                path, is_right = self.request(number, self.answers[number])
                client.request("GET", path)
                answer = client.getresponse()
                body = answer.read()
                if answer.status != 200 or not is_right(body):
                    raise Failed(f"{path}: {answer.status} {body[:60]!r}")
                if client.sock is not first:
                    raise Failed("the server did not keep the connection")
                self.answers[number] += 1
        except BaseException as e:
            self.failure = self.failure or f"client {number}: {e!r}"

    def check(self, turn: int) -> None:
        before = list(self.answers)

        def moved() -> bool:
            if self.failure:
                raise Failed(self.failure)
            return all(a > b + 5 for a, b in zip(self.answers, before))

        self.box.until(f"clients get no answers: {before} {self.answers}", PATIENCE, moved)

    def end(self) -> None:
        self.stop = True
        for t in self.threads:
            t.join(PATIENCE)
        if self.failure:
            raise Failed(self.failure)


@cache
def page(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


class Nginx(Http):
    """Files of different sizes, two workers."""

    program = "nginx"
    sizes = (0, 100, 30000, 700000)

    def argv(self) -> list[str]:
        for size in self.sizes:
            (self.work / f"{size}.txt").write_bytes(page(size))
        config = self.work / "nginx.conf"
        config.write_text(f"""
daemon off; worker_processes 2; pid {self.work}/pid; error_log {self.work}/error.log; user root;
events {{ worker_connections 100; }}
http {{
  access_log {self.work}/access.log; keepalive_requests 1000000; keepalive_timeout 1000;
  client_body_temp_path {self.work}/t1; proxy_temp_path {self.work}/t2;
  fastcgi_temp_path {self.work}/t3; uwsgi_temp_path {self.work}/t4; scgi_temp_path {self.work}/t5;
  server {{ listen 127.0.0.1:{PORT}; root {self.work}; }}
}}
""")
        return [self.path, "-c", str(config), "-e", str(self.work / "error.log")]

    def request(self, number: int, turn: int) -> tuple[str, Callable[[bytes], bool]]:
        size = self.sizes[turn % len(self.sizes)]
        return f"/{size}.txt", lambda body: body == page(size)


class Counting(Http):
    """Servers of ours in a scripting language: each connection counts its requests."""

    script = ""

    def argv(self) -> list[str]:
        return [self.path, str(HERE / self.script), str(PORT)]

    def request(self, number: int, turn: int) -> tuple[str, Callable[[bytes], bool]]:
        return f"/{number}/{turn}", lambda body: body.decode() == f"{number} {turn} {turn + 1}"


class Asyncio(Counting):
    program = "python3"
    script = "asyncio_server.py"


class Node(Counting):
    program = "node"
    script = "http_server.js"


class Psql:
    """A client of the database: asks, and knows where an answer ends."""

    def __init__(self, ask: Callable[[str], None], line: Callable[[], str]) -> None:
        self.ask, self.line, self.count = ask, line, 0

    def query(self, text: str) -> list[str]:
        self.count += 1
        self.ask(f"{text};\n\\echo end{self.count}\n")
        lines = []
        while (line := self.line()) != f"end{self.count}":
            lines.append(line)
        return lines

    def expect(self, text: str, *wanted: str) -> None:
        got = self.query(text)
        if got != list(wanted):
            raise Failed(f"asked {text!r}: {got}, not {wanted}")


class Postgres(Server):
    """One transaction over a unix socket, by a client in the tree, one over TCP from outside."""

    program = "postgres"
    user = "postgres"

    def __init__(self, box: Box, rng: random.Random) -> None:
        self.box, self.rng, self.work = box, rng, box.dir / "work"
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            raise Skipped("postgresql is not installed")
        self.bin = found[-1].parent
        self.work.mkdir(mode=0o700)
        os.mkfifo(self.work / "ask")
        for path in (self.work, self.work / "ask"):
            shutil.chown(path, self.user, self.user)
        done = box.run([*self.become(), self.bin / "initdb", "-A", "trust", "-N", "-D",
                        self.work / "data"], cwd=self.work, timeout=2 * PATIENCE)  # fmt: skip
        if done.status != 0:
            raise Failed(f"initdb failed: {done}")

    def become(self) -> list[str | Path]:
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]

    def argv(self) -> list[str]:
        script = HERE / "postgres.sh"
        return [str(w) for w in (*self.become(), "sh", script, self.bin, self.work, PORT)]

    def begin(self) -> None:
        self.box.until("psql does not start", PATIENCE, (self.work / "answers").exists)
        command = [str(self.bin / "psql"), "-qAtX", "-h", "127.0.0.1", "-p", str(PORT), "-U", self.user]
        self.psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.outside = Psql(self.ask_outside, self.line_outside)
        self.asks = os.open(self.work / "ask", os.O_RDWR)
        self.answers = (self.work / "answers").open()
        self.inside = Psql(lambda text: void(os.write(self.asks, text.encode())), self.line_inside)
        self.outside.expect("CREATE TABLE entry (who text, n int)")
        for client in (self.outside, self.inside):
            client.expect("BEGIN")

    def ask_outside(self, text: str) -> None:
        assert self.psql.stdin
        self.psql.stdin.write(text.encode())
        self.psql.stdin.flush()

    def line_outside(self) -> str:
        assert self.psql.stdout
        return self.psql.stdout.readline().decode().rstrip("\n")

    def line_inside(self) -> str:
        part = ""

        def whole() -> bool:
            nonlocal part
            part += self.answers.readline()
            return part.endswith("\n")

        self.box.until("the client in the tree does not answer", PATIENCE, whole)
        return part.rstrip("\n")

    def check(self, turn: int) -> None:
        for who, client in (("out", self.outside), ("in", self.inside)):
            client.expect(f"INSERT INTO entry VALUES ('{who}', {turn})")
            # nobody sees what the other one has not committed
            client.expect(
                "SELECT who, count(*), sum(n) FROM entry GROUP BY who",
                f"{who}|{turn}|{turn * (turn + 1) // 2}",
            )
        self.turn = turn

    def end(self) -> None:
        self.inside.expect("COMMIT")
        self.outside.expect("ROLLBACK")
        self.outside.expect("SELECT who, count(*) FROM entry GROUP BY who", f"in|{self.turn}")
        assert self.psql.stdin
        self.psql.stdin.close()
        self.psql.wait()


def void(_: object) -> None:
    """A call of which the result does not matter."""


SERVERS: dict[str, type[Server]] = {
    c.__name__.lower(): c for c in (Redis, Memcached, Nginx, Asyncio, Node, Postgres)
}


def run_server(box: Box, kind: type[Server], rounds: int, seed: int) -> dict[str, Any]:
    server = kind(box, random.Random(seed))
    pid = box.start(server.argv(), cwd=server.work, out=box.dir / "server.out")
    server.begin()
    server.check(1)
    times = []
    for turn in range(2, rounds + 2):
        images = box.dir / f"images-{turn}"
        images.mkdir()
        begin = time.monotonic()
        words = ["-D", str(images), "-v4", *server.options]
        done = box.torpor(
            "dump", "-t", str(pid), "-o", "dump.log", *words, *PATIENT, timeout=PATIENCE
        )
        if done.status != 0:
            raise Failed(f"dump {turn} failed: {done}")
        box.reap()
        box.statuses.clear()
        done = box.torpor("restore", "-d", "-o", "restore.log", *words, timeout=PATIENCE)
        if done.status != 0:
            raise Failed(f"restore {turn} failed: {done}")
        times.append(time.monotonic() - begin)
        server.check(turn)
        shutil.rmtree(images)
    server.end()
    os.kill(pid, 15)
    box.until("the server does not end", PATIENCE, lambda: not os.path.exists(f"/proc/{pid}/exe"))
    return {"rounds": rounds, "seed": seed, "seconds": sorted(times)[len(times) // 2]}
