# SPDX-License-Identifier: GPL-2.0-or-later
"""Files are sent from one network to another while the programs are saved, killed and restored."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from box import Box, Failed, Skipped
from test_network import PORT, SERVER, End, ip, no_resets, other_network, wire

CLOSE_WAIT, LISTEN = "08", "0A"  # in /proc/net/tcp
SIZE = 30 << 20
SPARE = 3 << 20
STEP = 40 << 10  # between two dumps at least
SLOW, FAST = "2mbit", "1gbit"  # slow: so that it lasts on a machine that is busy with others, too
BUFFER = 256 << 10  # of each socket: a server that has sent everything ends


@dataclass
class Socat(End):
    """The server sends a file to whoever connects, the client writes it to another one."""

    @property
    def file(self) -> Path:
        return self.box.dir / f"file-{self.role}"

    def arrived(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def start(self) -> None:
        words = {
            "server": (f"OPEN:{self.file}", f"TCP-LISTEN:{PORT},bind={SERVER},sndbuf={BUFFER}"),
            "client": (f"TCP:{SERVER}:{PORT},rcvbuf={BUFFER}", f"CREATE:{self.file}"),
        }[self.role]
        self.pid = self.box.start([*self.enter, "socat", "-u", *words], out=self.result)

    def finish(self) -> None:
        status = self.box.wait(self.pid, 120)
        if status != 0:
            raise Failed(f"the {self.role} ended with {status}: {self.lines()}")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def states(network: int) -> set[str]:
    """Of TCP sockets there that have to do with our port."""
    rows = [t.split() for t in Path(f"/proc/{network}/net/tcp").open()]
    return {r[3] for r in rows if f":{PORT:04X}" in r[1] + r[2]}


def set_line(verb: str, rate: str) -> None:
    """Bytes leave our network as over a line with that rate, which drops what is too much."""
    words = f"tc qdisc {verb} dev left root tbf rate {rate} burst 64kb latency 20ms".split()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skipped(f"no slow line can be made: {done.stderr}")


def transfer(box: Box, rounds: int) -> None:
    """Sender and receiver in turn; the line is so slow meanwhile that the file lasts longer."""
    if not shutil.which("socat"):
        raise Skipped("socat is not installed")
    network = other_network(box)
    wire(network)
    set_line("add", SLOW)
    server, client = Socat(box, "server", os.getpid()), Socat(box, "client", network)
    server.file.write_bytes(random.Random(5).randbytes(SIZE))
    server.start()
    box.until("nobody listens", 60, lambda: LISTEN in states(server.network))
    client.start()
    for i in range(rounds):
        end = (server, client)[i % 2]
        wanted = client.arrived() + STEP
        box.until(
            lambda: f"only {client.arrived()} bytes arrived",
            120,
            lambda wanted=wanted: client.arrived() >= wanted,
        )
        if client.arrived() > SIZE - SPARE:
            break  # on a machine so busy that much is sent before a dump begins
        end.dump()
        if os.path.exists(f"/proc/{end.pid}/exe"):
            raise Failed("the dump left the task alive")
        end.restore()
        no_resets(client)
        shutil.rmtree(end.images)
    set_line("change", FAST)
    if server.rounds + client.rounds < rounds // 2:
        raise Failed(f"the file was there after {server.rounds + client.rounds} rounds")
    for end in (client, server):
        end.finish()
    no_resets(client)
    if digest(server.file) != digest(client.file):
        raise Failed("what was received is not what was sent")


def test_transfer(boxed: Callable[..., Any]) -> None:
    boxed(transfer, net=True, timeout=600, rounds=20)


def half(box: Box) -> None:
    """The server has closed its half behind bytes nobody has read. To restore that needs lo."""
    if not shutil.which("socat"):
        raise Skipped("socat is not installed")
    network = other_network(box)
    wire(network)
    client = Socat(box, "client", network)
    with socket.create_server((SERVER, PORT)) as listener:
        client.start()
        server = listener.accept()[0]
    os.kill(client.pid, signal.SIGSTOP)
    bytes_sent = random.Random(6).randbytes(50000)
    server.sendall(bytes_sent)
    server.shutdown(socket.SHUT_WR)
    box.until("no end comes", 60, lambda: CLOSE_WAIT in states(network))
    client.dump()
    ip("link", "set", "lo", "down", network=network)
    done = client.tool("restore", "-d", "-D", client.images, "--tcp-established")
    if done.status == 0 or "'ip link set lo up'" not in done.output:
        raise Failed("restored a half-closed connection without lo")
    ip("link", "set", "lo", "up", network=network)
    client.restore()
    os.kill(client.pid, signal.SIGCONT)
    client.finish()
    no_resets(client)
    if client.file.read_bytes() != bytes_sent:
        raise Failed("what was received is not what was sent")


def test_half(boxed: Callable[..., Any]) -> None:
    boxed(half, net=True)
