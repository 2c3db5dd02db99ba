# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: messages.py PASSES

Processes that talk over unix sockets: a manager with shared objects, connections that are sent over
other connections, a server that forks for every client, and socat between both where it is there.
messages_lines() in more.py computes the answers in another way.
"""

import hashlib
import multiprocessing
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Upper(socketserver.StreamRequestHandler):
    """Answers every line with its hash."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(digest(line.decode().strip()).encode() + b"\n")


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 16


def serve(path: str) -> None:
    with Server(path, Upper) as server:
        server.serve_forever(poll_interval=0.02)


def work(inbox: Connection) -> None:
    """Gets one end of a connection per job and answers over it."""
    while (job := inbox.recv()) is not None:
        job.send(digest(job.recv()))
        job.close()


def ask(path: str, lines: list[str]) -> list[str]:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        answers = []
        with s.makefile("rw") as file:
            for line in lines:
                file.write(line + "\n")
                file.flush()
                answers.append(file.readline().strip())
        return answers


def one_pass(n: int, shared: Any, workers: list[Connection], path: str) -> str:
    handed = []
    for i in range(6):
        ours, theirs = multiprocessing.Pipe()
        workers[i % len(workers)].send(theirs)
        theirs.close()
        ours.send(f"job {n} {i}")
        handed.append(ours.recv())
        ours.close()
    shared["sum"] = shared.get("sum", 0) + n
    answers = ask(path, [f"line {n} {i}" for i in range(5)])
    return " ".join([str(n), str(shared["sum"]), digest("".join(handed)), digest("".join(answers))])


def main() -> None:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        shared = manager.dict()
        workers, helpers = [], []
        for _ in range(2):
            ours, theirs = context.Pipe()
            helpers.append(context.Process(target=work, args=(theirs,)))
            helpers[-1].start()
            workers.append(ours)
        server = context.Process(target=serve, args=("server",))
        server.start()
        path, relay = "server", None
        if shutil.which("socat"):
            relay = subprocess.Popen(
                ["socat", "UNIX-LISTEN:relay,fork,backlog=16", "UNIX-CONNECT:server"]
            )
            path = "relay"
        while not os.path.exists(path) or not os.path.exists("server"):
            time.sleep(0.01)
        for n in range(int(sys.argv[1])):
            print(one_pass(n, shared, workers, path), flush=True)
        for w in workers:
            w.send(None)
        for p in helpers:
            p.join()
        if relay:
            relay.terminate()
            relay.wait()
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
