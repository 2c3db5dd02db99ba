# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections whose two ends live in different network namespaces, and the network lock."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from box import BUILD, TORPOR, Box, Done, Failed, Skipped, link_up, read_stat, read_task
from subjects import PATIENT, Subject

PORT = 5599
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"


def snmp(pid: int, name: str) -> int:
    """A counter of TCP in the network namespace of a process."""
    rows = [r.split() for r in Path(f"/proc/{pid}/net/snmp").open() if r.startswith("Tcp:")]
    return int(rows[1][rows[0].index(name)])


def other_network(box: Box) -> int:
    """A process in a network namespace with lo up; its pid."""
    pid = box.start(["unshare", "-n", "sleep", "1000"])
    ours = os.readlink("/proc/self/ns/net")
    box.until("no other network", 60, lambda: os.readlink(f"/proc/{pid}/ns/net") != ours)
    ip("link", "set", "lo", "up", network=pid)
    return pid


def ip(*words: str, network: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{network}/ns/net"] if network else []
    done = subprocess.run([*enter, "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"ip {' '.join(words)}: {done.stderr}")


def wire(network: int) -> None:
    """A veth pair between our network and another one."""
    ip("link", "add", "left", "type", "veth", "peer", "name", "right", "netns", str(network))
    ip("addr", "add", f"{SERVER}/24", "dev", "left")
    ip("addr", "add", f"{CLIENT}/24", "dev", "right", network=network)
    ip("link", "set", "right", "up", network=network)
    link_up("left")


@dataclass
class End:
    """A tcp_pump in one of the networks."""

    box: Box
    role: str
    network: int  # a process in it
    pid: int = 0
    rounds: int = 0
    options: tuple[str, ...] = field(default=())

    @property
    def result(self) -> Path:
        return self.box.dir / f"result-{self.role}"

    @property
    def images(self) -> Path:
        return self.box.dir / f"images-{self.role}-{self.rounds}"

    @property
    def enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.network}/ns/net"]

    def lines(self) -> list[str]:
        return self.result.read_text().splitlines() if self.result.exists() else []

    def start(self) -> None:
        beats = self.box.dir / f"beats-{self.role}"
        program = BUILD / "tests/live/tcp_pump"
        words = [str(w) for w in (program, self.result, self.role, PORT, beats, SERVER)]
        self.pid = self.box.start([*self.enter, *words])

    def bytes(self) -> tuple[int, int]:
        """How many were sent and received."""
        with (self.box.dir / f"beats-{self.role}").open("rb") as f:
            with mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ) as m:
                sent, received = struct.unpack_from("2Q", m)
                return sent, received

    def check(self) -> None:
        bad = [t for t in self.lines() if t.startswith("FAIL")]
        if bad:
            raise Failed(f"the {self.role} says {bad}")

    def goes_on(self, what: str) -> None:
        """Bytes come in, and go out, more than any buffer holds."""
        sent, received = self.bytes()

        def moved() -> bool:
            self.check()
            now = self.bytes()
            return now[0] > sent + 100000 and now[1] > received + 100000

        self.box.until(
            lambda: f"{what}: the {self.role} came from {sent}, {received} to {self.bytes()}",
            60,
            moved,
        )

    def rests(self) -> tuple[int, int]:
        """Until it has taken all that came and has no room to send more; its counters then."""
        time.sleep(0.3)  # what is on its way

        def sleeps() -> bool:
            self.check()
            return read_stat(f"/proc/{self.pid}/stat")[1][0] == "S"

        self.box.until(f"the {self.role} does not rest", 60, sleeps)
        return self.bytes()

    def tool(self, *words: str | Path, **how: Any) -> Done:
        done = self.box.run([*self.enter, TORPOR, *words], **how)
        self.box.notes.append(str(done))
        return done

    def dump(self, *options: str) -> Done:
        self.rounds += 1
        self.images.mkdir()
        done = self.tool(
            *("dump", "-t", str(self.pid), "-D", self.images, "-o", "dump.log", "-v4"),
            *("--tcp-established", *PATIENT, *self.options, *options),
        )
        if done.status != 0:
            raise Failed(f"dump of the {self.role} failed")
        return done

    def restore(self) -> None:
        self.box.reap()
        self.box.statuses.pop(self.pid, None)
        done = self.tool(
            *("restore", "-d", "-D", self.images, "-o", "restore.log", "-v4", "--tcp-established")
        )
        if done.status != 0:
            raise Failed(f"restore of the {self.role} failed")

    def finish(self) -> None:
        self.box.until(f"no answer of the {self.role}", 60, lambda: len(self.lines()) > 1)
        self.box.until("it does not end", 60, lambda: self.lines()[-1] in ("PASS", "FAIL"))
        self.check()


def ends(box: Box, options: tuple[str, ...] = ()) -> tuple[End, End]:
    """A busy connection between two networks."""
    network = other_network(box)
    wire(network)
    server, client = End(box, "server", os.getpid()), End(box, "client", network)
    server.options = client.options = options
    server.start()
    box.until("the server does not listen", 60, lambda: "listening" in server.lines())
    client.start()
    both = (server, client)
    box.until("they are not ready", 60, lambda: all("ready" in e.lines() for e in both))
    return server, client


def no_resets(client: End) -> None:
    """Neither host has ever sent one."""
    for pid in (os.getpid(), client.network):
        if snmp(pid, "OutRsts"):
            raise Failed(f"{snmp(pid, 'OutRsts')} resets from the network of process {pid}")


def far_peer(box: Box, rounds: int) -> dict[str, float]:
    """Either end is saved, killed and restored in turn; the other one never notices."""
    server, client = ends(box)
    for i in range(rounds):
        end, other = (server, client) if i % 2 == 0 else (client, server)
        end.dump()
        if os.path.exists(f"/proc/{end.pid}/exe"):
            raise Failed("the dump left the task alive")
        other.check()
        end.restore()
        end.goes_on(f"round {i}")
        other.goes_on(f"round {i}")
        no_resets(client)
    os.kill(client.pid, signal.SIGTERM)
    for end in (client, server):
        end.finish()
    no_resets(client)
    return {"bytes": server.bytes()[1] + client.bytes()[1]}


def test_far_peer(boxed: Callable[..., Any]) -> None:
    print(boxed(far_peer, net=True, timeout=600, rounds=20))


def running(box: Box) -> None:
    """-R: the connection goes on on both sides, nothing stays behind."""
    server, client = ends(box)
    for end in (server, client, server):
        end.dump("-R")
        end.goes_on("after -R")
    no_resets(client)
    done = box.torpor("leftovers")
    if "nothing is left behind" not in done.output:
        raise Failed("-R left something behind")
    os.kill(server.pid, signal.SIGTERM)
    for end in (client, server):
        end.finish()


def test_running(boxed: Callable[..., Any]) -> None:
    boxed(running, net=True)


def past(box: Box) -> None:
    """-R, then the server goes on and is killed: when it comes back its peer is gone, as it hears."""
    server, client = ends(box)
    server.dump("-R")
    server.goes_on("after -R")
    os.kill(server.pid, signal.SIGKILL)
    box.until("the client sees no end", 60, lambda: client.lines()[-1] != "ready")
    box.until("the client goes on", 60, lambda: not os.path.exists(f"/proc/{client.pid}/exe"))
    server.restore()
    box.until("the server hears nothing", 60, lambda: len(server.lines()) > 2)
    if "reset by peer" not in server.lines()[-1]:
        raise Failed(f"the server says {server.lines()}")


def test_past(boxed: Callable[..., Any]) -> None:
    boxed(past, net=True)


def held(box: Box) -> None:
    """Somebody outside of the tree has the saved connection, too: it comes back when they let go."""
    with socket.create_server(("127.0.0.1", PORT)) as listener:
        ours = socket.create_connection(("127.0.0.1", PORT))
        peer = listener.accept()[0]
    out, images = box.dir / "out", box.dir / "images"
    images.mkdir()
    with out.open("w") as file:
        pid = box.start(["cat"], fds=(ours.fileno(), file.fileno(), file.fileno()))
    peer.sendall(b"one\n")
    box.until("nothing is read", 60, lambda: out.read_text() == "one\n")
    words = ("-t", str(pid), "-D", images, "--tcp-established")
    if box.torpor("dump", *words, *PATIENT).status != 0:
        raise Failed("dump failed")
    box.reap()
    done = box.torpor("restore", "-d", *words[2:])
    if done.status != 1 or "there is such a connection" not in done.output:
        raise Failed("restored a connection that somebody has")
    ours.close()
    if box.torpor("restore", "-d", *words[2:]).status != 0:
        raise Failed("restore failed")
    peer.sendall(b"two\n")
    box.until("nothing is read", 60, lambda: out.read_text() == "one\ntwo\n")
    peer.close()
    box.until("it does not end", 60, lambda: not os.path.exists(f"/proc/{pid}/exe"))


def test_held(boxed: Callable[..., Any]) -> None:
    boxed(held, net=True)


def cut_off(box: Box, name: str, how: str) -> None:
    """torpor fails or dies while a connection (of a task, in a queue) is in repair: that ends at once."""
    s = Subject(box, name, options=("--tcp-established", "--link-remap", "--network-lock", "skip"))
    s.start()
    done = box.torpor(*s.dump_command(), env={"TORPOR_FAULT": f"repair{how}"})
    if done.status != (-signal.SIGKILL if how else 1):
        raise Failed(f"dump ended with {done.status}")
    box.until("the guard does not end", 60, lambda: all(t.comm != "torpor" for t in box.tasks()))
    if "repair of socket" in box.torpor("leftovers", "-D", s.images).output:
        raise Failed("a connection stays in repair")
    box.torpor("leftovers", "--clean", "-D", s.images)  # the link
    s.expect_tasks()
    s.finish()


@pytest.mark.parametrize("how", ["", "=kill"], ids=["fails", "dies"])
@pytest.mark.parametrize("name", ["tcp_flying", "leaver"])
def test_cut_off(boxed: Callable[..., Any], name: str, how: str) -> None:
    boxed(cut_off, net=True, name=name, how=how)


# ---------------------------------------------------------------------------------- the lock


def nft(*words: str) -> str:
    done = subprocess.run(["nft", *words], capture_output=True, text=True, check=False)
    return done.stdout


def tables() -> list[str]:
    return [t.split()[2] for t in nft("list", "tables").splitlines() if "CRIU-" in t]


def rules() -> list[str]:
    found = []
    for tool in ("iptables-save", "ip6tables-save"):
        done = subprocess.run([tool], capture_output=True, text=True, check=False)
        found += [t for t in done.stdout.splitlines() if "0xc114" in t]
    return found


def lock(box: Box, method: str) -> None:
    """The lock stands between dump and restore, the dump says so, the restore takes it away."""
    s = Subject(box, "tcp_streams", options=("--tcp-established", "--network-lock", method))
    s.start()
    done = box.torpor(*s.dump_command())
    if done.status != 0:
        raise Failed("dump failed")
    count = len(rules()) if method == "iptables" else len(tables())
    wanted = {"iptables": 16, "nftables": 1, "skip": 0}[method]
    if count != wanted:
        raise Failed(f"{count} rules or tables, not {wanted}")
    last = done.output.splitlines()[-1] if done.output else ""
    if ("left behind" in last) != (method != "skip"):
        raise Failed(f"the last line of the dump is '{last}'")
    if method != "skip" and "8 connections" not in last:
        raise Failed(f"the last line does not say why: '{last}'")
    s.restore()
    if tables() or rules():
        raise Failed(f"the restore left {tables()} {rules()}")
    s.finish()


@pytest.mark.parametrize("method", ["nftables", "iptables", "skip"])
def test_lock(boxed: Callable[..., Any], method: str) -> None:
    boxed(lock, net=True, method=method)


def with_tool(box: Box, script: str) -> dict[str, str]:
    """An environment in which this script stands for iptables-restore; the real one is $REAL."""
    real = shutil.which("iptables-restore")
    if not real:
        raise Skipped("there is no iptables-restore")
    tool = box.dir / "bin/iptables-restore"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return {"PATH": f"{tool.parent}:{os.environ['PATH']}", "REAL": real, "DIR": str(box.dir)}


def slow_tool(box: Box) -> None:
    """torpor is killed while iptables-restore works: that ends, too, and makes no rules later."""
    env = with_tool(box, 'echo $$ >"$DIR/new"; mv "$DIR/new" "$DIR/begun"; exec sleep 1000')
    s = Subject(box, "leaver", options=("--tcp-established", "--link-remap", "--network-lock", "iptables"))
    s.start()
    tool = box.start([TORPOR, *s.dump_command()], env=env)
    box.until("the tool does not begin", 60, (box.dir / "begun").exists)
    os.kill(tool, signal.SIGKILL)
    box.wait(tool, 60)
    other = int((box.dir / "begun").read_text())
    box.until("the tool goes on", 60, lambda: read_task(other) is None)
    box.torpor("leftovers", "--clean", "-D", s.images)
    s.expect_tasks()
    s.finish()


def test_slow_tool(boxed: Callable[..., Any]) -> None:
    boxed(slow_tool, net=True)


def deleted_twice(box: Box) -> None:
    """Somebody else deletes the rules just before we do: they are gone, which is what was wanted."""
    twice = 'cat >"$DIR/in"; "$REAL" "$@" <"$DIR/in"; exec "$REAL" "$@" <"$DIR/in"'
    s = Subject(box, "tcp_streams", options=("--tcp-established", "--network-lock", "iptables"))
    s.start()
    s.dump()
    done = box.torpor("leftovers", "--clean", "-D", s.images, env=with_tool(box, twice))
    if done.status != 0 or rules():
        raise Failed(f"left are {rules()}")
    done = box.torpor("leftovers", "-D", s.images)
    if "nothing is left behind" not in done.output:
        raise Failed("something is listed that was removed")


def test_deleted_twice(boxed: Callable[..., Any]) -> None:
    boxed(deleted_twice, net=True)


def failed_restore(box: Box) -> None:
    """A restore that fails at its very end has told the peer nothing: it is as before the next try."""
    server, client = ends(box)
    server.dump()
    before = client.rests()
    done = box.run(
        [TORPOR, "restore", "-d", "-D", server.images, "--tcp-established"],
        env={"TORPOR_FAULT": "restore:wake"},
    )
    if done.status == 0 or not tables():
        raise Failed(f"the restore ended with {done.status}, tables are {tables()}")
    after = client.rests()
    if after != before:
        raise Failed(f"the restore that failed has spoken: {before}, {after}")
    server.restore()
    client.goes_on("after the second try")
    server.goes_on("after the second try")
    no_resets(client)


def locked_again(box: Box, method: str) -> None:
    """A restore that fails after it has unlocked locks again: that is one lock, listed and removed."""
    s = Subject(box, "tcp_streams", options=("--tcp-established", "--network-lock", method))
    s.start()
    s.dump()
    before = sorted(tables() + rules())
    for _ in range(2):
        s.forget()
        done = box.torpor(*s.restore_command(), env={"TORPOR_FAULT": "restore:network"})
        if done.status != 1 or sorted(tables() + rules()) != before:
            raise Failed(f"there were {before}, there are {tables()} {rules()}")
        found = [f["what"] for f in json.loads(box.torpor("leftovers", "--json").output)["leftovers"]]
        wanted = 8 if method == "iptables" else len(before)
        if len(found) != wanted or len(set(found)) != wanted:
            raise Failed(f"listed is {found}")
    done = box.torpor("leftovers", "--clean", "-D", s.images)
    if done.status != 0 or tables() or rules() or (s.images / "torpor-journal").exists():
        raise Failed(f"left are {tables()} {rules()}")


@pytest.mark.parametrize("method", ["nftables", "iptables", "skip"])
def test_locked_again(boxed: Callable[..., Any], method: str) -> None:
    boxed(locked_again, net=True, method=method)


def died_late(box: Box, at: str) -> None:
    """A restore is killed when nothing was left to do but to unlock, or to let go: all is well."""
    server, client = ends(box)
    server.dump()
    box.reap()
    box.statuses.pop(server.pid, None)
    done = server.tool(
        *("restore", "-d", "-D", server.images, "-o", "restore.log", "-v4", "--tcp-established"),
        env={"TORPOR_FAULT": f"restore:{at}=kill"},
    )
    if done.status != -signal.SIGKILL:
        raise Failed(f"the restore ended with {done.status}")
    if len(tables()) != (at == "free"):
        raise Failed(f"there are {tables()}")
    for _ in range(2):
        if box.torpor("leftovers", "--clean", "-D", server.images).status != 0:
            raise Failed("something stays")
    if tables() or (server.images / "torpor-journal").exists():
        raise Failed(f"left are {tables()}, {os.listdir(server.images)}")
    for end in (client, server):
        end.goes_on("after the restore")
    no_resets(client)
    os.kill(client.pid, signal.SIGTERM)
    for end in (client, server):
        end.finish()


@pytest.mark.parametrize("at", ["free", "network"])
def test_died_late(boxed: Callable[..., Any], at: str) -> None:
    boxed(died_late, net=True, at=at)


def unanswered(box: Box) -> None:
    """A restore takes longer than bytes may stay without an answer: the connection outlives that."""
    server, client = ends(box)
    deaf = "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; policy drop; }"
    enter = client.enter
    subprocess.run([*enter, "nft", deaf], check=True)
    state = ["ss", "-Htni", "sport", f"= :{PORT}"]
    box.until(
        "nothing is without an answer",
        60,
        lambda: "unacked:" in subprocess.run(state, capture_output=True, text=True).stdout,
    )
    server.dump()
    subprocess.run([*enter, "nft", "delete", "table", "inet", "deaf"], check=True)
    fifo, log = box.dir / "pidfile", server.images / "restore.log"
    os.mkfifo(fifo)  # the restore waits for a reader, with the connection made
    words = ("restore", "-d", "-D", server.images, "-o", "restore.log", "-v4", "--tcp-established")
    out = box.dir / "restore.out"
    tool = box.start([*server.enter, TORPOR, *words, "--pidfile", fifo], out=out)
    retries = Path("/proc/sys/net/ipv4/tcp_retries2")
    usual = retries.read_text()
    retries.write_text("3")  # given up after 4 seconds
    box.until("no connection", 60, lambda: log.exists() and "'facets' took" in log.read_text())
    time.sleep(6)
    retries.write_text(usual)
    box.statuses.pop(server.pid, None)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    if box.wait(tool, 60) != 0:
        raise Failed(f"not restored: {out.read_text()}")
    os.close(reader)
    server.goes_on("after the restore")
    client.goes_on("after the restore")
    no_resets(client)


def test_unanswered(boxed: Callable[..., Any]) -> None:
    boxed(unanswered, net=True)


def test_failed_restore(boxed: Callable[..., Any]) -> None:
    boxed(failed_restore, net=True)


def reachable(port: int) -> bool:
    """Whether somebody answers on lo within a moment."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.3).close()
    except OSError:
        return False
    return True


def group(box: Box) -> None:
    """A tree which has a control group to itself: its listeners are locked, too, as long as it is
    being saved."""
    mounts = [t.split() for t in Path("/proc/mounts").open()]
    where = next((m[1] for m in mounts if m[2] == "cgroup2"), None)
    if where is None or not os.access(where, os.W_OK):
        raise Skipped("control groups of version 2 cannot be written here")
    folder = Path(where, f"torpor-test-{os.stat('/proc/self/ns/pid').st_ino}")
    folder.mkdir()
    try:
        s = Subject(box, "tcp_streams", options=("--tcp-established",))
        script = f"echo $$ > {folder}/cgroup.procs; exec {s.program} {s.result}"
        s.pid = box.start(["sh", "-c", script])
        box.until("not ready", 60, lambda: "ready" in s.lines())
        words = [t.split() for t in Path("/proc/net/tcp").open()]
        port = next(int(w[1].split(":")[1], 16) for w in words if w[3] == "0A")
        box.until("nobody listens", 60, lambda: reachable(port))
        command = s.dump_command("--skip-in-flight")
        box.torpor(*command, env={"TORPOR_FAULT": "dump:streams=kill"})
        if "socket cgroupv2" not in nft("list", "ruleset"):
            raise Skipped("this kernel's nftables knows no control groups")
        if reachable(port):
            raise Failed("the listener can be reached while its tree is saved")
        if box.torpor("leftovers", "--clean", "-D", s.images).status != 0:
            raise Failed("the lock cannot be taken away")
        box.until("the listener cannot be reached afterwards", 60, lambda: reachable(port))
    finally:
        box.kill_all()
        folder.rmdir()


def test_group(boxed: Callable[..., Any]) -> None:
    boxed(group, net=True)


def elsewhere(box: Box) -> None:
    """Where the dump's lock does not stand the restore locks by itself and takes that away again,
    the next one also what one that was killed has left.

    Another host is made of this one: the cable is out while the address has no sockets.
    """
    server, client = ends(box)
    server.dump()
    ip("link", "set", "right", "down", network=client.network)
    for name in tables():
        subprocess.run(["nft", "delete", "table", "inet", name], check=True)
    done = server.tool(
        *("restore", "-d", "-D", server.images, "--tcp-established"),
        env={"TORPOR_FAULT": "restore:arm=kill"},
    )
    if done.status != -signal.SIGKILL or len(tables()) != 1:
        raise Failed(f"the restore ended with {done.status}, tables are {tables()}")
    box.until("the task lives on", 60, lambda: not os.path.exists(f"/proc/{server.pid}/exe"))
    server.restore()
    if tables():
        raise Failed(f"the restore left {tables()}")
    ip("link", "set", "right", "up", network=client.network)
    server.goes_on("after the cable is in again")
    client.goes_on("after the cable is in again")
    no_resets(client)
    done = box.torpor("leftovers", "-D", server.images)
    if "nothing is left behind" not in done.output:
        raise Failed("the journal was not brought up to date")


def test_elsewhere(boxed: Callable[..., Any]) -> None:
    boxed(elsewhere, net=True)


def dies_at_the_end(box: Box) -> None:
    """SIGKILL when all is made but the lock stands: no task is left, the peer was told nothing."""
    server, client = ends(box)
    server.dump()
    done = box.run(
        [TORPOR, "restore", "-d", "-D", server.images, "--tcp-established"],
        env={"TORPOR_FAULT": "restore:arm=kill"},
    )
    if done.status != -signal.SIGKILL or not tables():
        raise Failed(f"the restore ended with {done.status}, tables are {tables()}")
    box.until("the task lives on", 60, lambda: not os.path.exists(f"/proc/{server.pid}/exe"))
    client.check()
    server.restore()
    client.goes_on("after the second try")
    no_resets(client)


def test_dies_at_the_end(boxed: Callable[..., Any]) -> None:
    boxed(dies_at_the_end, net=True)


# ------------------------------------------------------------------------------- refusals


URGENT = ["urgent", "lone", "inline", "fetched"]


def refusal(box: Box, what: str) -> None:
    """What cannot be kept is named, with the option that helps; with it the dump goes through."""
    ip("route", "add", "10.99.99.0/24", "dev", "lo")  # where nobody answers
    s = Subject(box, "tcp_refused", (what,))
    s.start()
    more = {"tls": ["--tcp-established"], "mptcp": ["--tcp-established", "--skip-in-flight"]}
    more |= {name: ["--tcp-established"] for name in [*URGENT, "zerocopy"]}
    done = box.torpor(*s.dump_command(*more.get(what, [])))
    option = {"pending": "--skip-in-flight", "connecting": "--skip-in-flight"}.get(what)
    sentence = [t for t in done.output.splitlines() if f"task {s.pid} " in t]
    if done.status != 1 or len(sentence) < 1 or (option or "cannot") not in sentence[0]:
        raise Failed(f"refused with {done.status}: {sentence}")
    s.expect_tasks()
    if option:
        s.options = (option,)
        s.dump()
        s.restore()
    s.finish()


@pytest.mark.parametrize("what", ["pending", "connecting", "corked", "tls", "mptcp", "zerocopy", "router", *URGENT])
def test_refusal(boxed: Callable[..., Any], what: str) -> None:
    boxed(refusal, net=True, what=what)


def dropped(box: Box) -> None:
    """--tcp-close: descriptors come back, connections do not."""
    s = Subject(box, "tcp_dropped", options=("--tcp-close",))
    s.start()
    s.dump()
    if tables():
        raise Failed("the network is locked for connections that are dropped")
    done = box.torpor("restore", "-d", "-D", s.images)
    if done.status != 1 or "--tcp-close" not in done.output:
        raise Failed("restored without --tcp-close")
    s.restore()
    s.finish()


def test_dropped(boxed: Callable[..., Any]) -> None:
    boxed(dropped, net=True)


def needs_option(box: Box) -> None:
    """Restoring connections has to be asked for, before anything is created."""
    s = Subject(box, "tcp_streams")
    s.start()
    s.dump("--tcp-established")
    done = box.torpor("restore", "-d", "-D", s.images)
    if done.status != 1 or "--tcp-established" not in done.output or box.tasks():
        raise Failed("restored without --tcp-established")
    s.options = ("--tcp-established",)
    s.restore()
    s.finish()


def test_needs_option(boxed: Callable[..., Any]) -> None:
    boxed(needs_option, net=True)
