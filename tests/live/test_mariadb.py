# SPDX-License-Identifier: GPL-2.0-or-later
"""MariaDB with native asynchronous I/O, which is io_uring: tables stay whole over rounds.

A client outside of what is saved keeps its TCP connection, and a transaction open in it.
ROUNDS (2) says how often.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from box import TORPOR, Box, Done, Failed, Skipped
from subjects import PATIENT

ROUNDS = int(os.environ.get("ROUNDS", "2"))
PORT = 7000
PATIENCE = 120.0
CLIENT = ("mariadb", "--no-defaults", "-N", "-B")


@dataclass
class Server:
    """A server in a folder of its own, reached by its socket."""

    box: Box
    pid: int = 0

    @property
    def data(self) -> Path:
        return self.box.dir / "data"

    def ask(self, text: str) -> Done:
        socket = str(self.box.dir / "socket")
        return self.box.run(["mariadb", "--no-defaults", "-S", socket, "-N", "-e", text])

    def sql(self, text: str) -> str:
        done = self.ask(text)
        if done.status != 0:
            raise Failed(str(done))
        return done.output.strip()

    def start(self) -> None:
        install = ["mariadb-install-db", "--no-defaults", "--user=root"]
        done = self.box.run(
            [*install, f"--datadir={self.data}", "--auth-root-authentication-method=normal"],
            timeout=300,
        )
        if done.status != 0:
            raise Failed(str(done))
        self.pid = self.box.start(
            ["mariadbd", "--no-defaults", "--user=root", f"--datadir={self.data}"]
            + [f"--socket={self.box.dir}/socket", "--bind-address=127.0.0.1", f"--port={PORT}"]
            + ["--skip-grant-tables"]
            + ["--innodb-use-native-aio=1", "--innodb-buffer-pool-size=32M"],
            out=self.box.dir / "server.log",
        )
        # the socket is there before anybody listens
        self.box.until("the server does not start", 120, lambda: self.ask("select 1").status == 0)

    def rings(self) -> int:
        """How many rings it has mapped."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return maps.count("[io_uring]")


class Transaction:
    """One transaction over one connection."""

    def __init__(self) -> None:
        words = [*CLIENT, "--unbuffered", "-h", "127.0.0.1", "-P", str(PORT), "d"]
        self.client = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.ask("create table u (n int primary key) engine=innodb; begin; select 'begun'", "begun")

    def ask(self, text: str, wanted: str) -> None:
        assert self.client.stdin and self.client.stdout
        self.client.stdin.write(text + ";\n")
        self.client.stdin.flush()
        if (got := self.client.stdout.readline().rstrip()) != wanted:
            raise Failed(f"asked {text!r} in the transaction: {got!r}, not {wanted!r}")

    def check(self, turn: int) -> None:
        """All that was done in it before can be seen in it."""
        total = f"{turn + 1} {turn * (turn + 1) // 2}"
        self.ask(f"insert into u values ({turn}); select concat(count(*), ' ', sum(n)) from u", total)

    def end(self) -> None:
        self.ask("commit; select 'done'", "done")
        assert self.client.stdin
        self.client.stdin.close()
        if self.client.wait(PATIENCE) != 0:
            raise Failed(f"the client ended with {self.client.returncode}")


def rounds(box: Box) -> None:
    for program in ("mariadbd", "mariadb", "mariadb-install-db"):
        if not shutil.which(program):
            raise Skipped(f"{program} is not installed")
    s = Server(box)
    s.start()
    if not s.rings():
        raise Skipped("this server does not use io_uring")
    s.sql("create database d; create table d.t (n int primary key, x varchar(2000)) engine=innodb")
    transaction = Transaction()
    transaction.check(0)
    for turn in range(ROUNDS):
        s.sql(
            f"insert into d.t select seq + {turn} * 5000, repeat(md5(seq), 50) "
            "from d.seq_1_to_5000"
        )
        images = box.dir / f"images-{turn}"
        images.mkdir()
        words = ("-D", images, "-v4", "--file-locks", "--ghost-limit", "64M", "--tcp-established")
        for verb, more in (("dump", ("-t", str(s.pid), *PATIENT)), ("restore", ("-d",))):
            done = box.run([TORPOR, verb, *more, *words, "-o", f"{verb}.log"], timeout=PATIENCE)
            if done.status != 0:
                raise Failed(str(done))
            box.reap()
            box.statuses.clear()
        want = 5000 * (turn + 1)
        if s.sql("select count(*), max(length(x)) from d.t").split() != [str(want), "1600"]:
            raise Failed(f"the table holds {s.sql('select count(*) from d.t')} rows, not {want}")
        if not s.rings():
            raise Failed("its rings are gone")
        transaction.check(turn + 1)
        if s.sql("select count(*) from d.u") != "0":
            raise Failed("others see what is not committed")
    transaction.end()
    if s.sql("select count(*) from d.u") != str(ROUNDS + 1):
        raise Failed("what was committed is not there")
    if s.sql("check table d.t extended").split()[-1] != "OK":
        raise Failed(f"the table is damaged: {s.sql('check table d.t extended')}")
    os.kill(s.pid, 15)
    box.until("it does not end", 120, lambda: not Path(f"/proc/{s.pid}").exists())


@pytest.mark.slow
def test_mariadb(boxed: Callable[..., Any]) -> None:
    boxed(rounds, net=True, timeout=900)
