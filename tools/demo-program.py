#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The program `make demo` saves: threads and children at work on results that can be checked.

Every worker computes a hash chain: each digest is the hash of the one before. One lost or repeated
step, one wrong bit, and the end of the chain is another. The children send theirs through pipes.
A line every tenth of a second says how far everybody is. On SIGTERM the program computes all
chains again, compares, looks whether its memory is what it was, prints "right" or what is wrong,
and ends with 0 or 1.

usage: demo-program.py THREADS CHILDREN MIB
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time

ROUND = 200  # steps at a time


class Chain:
    """A hash chain that one thread makes longer."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.state = (0, seed)  # steps, digest: replaced as one

    def extend(self, rounds: int = 1) -> None:
        steps, digest = self.state
        for _ in range(rounds * ROUND):
            digest = hashlib.sha256(digest).digest()
        self.state = (steps + rounds * ROUND, digest)

    def is_right(self) -> bool:
        """Computes the chain anew from its seed."""
        state = self.state
        again = Chain(self.seed)
        again.extend(state[0] // ROUND)
        return again.state == state


def work(chain: Chain) -> None:
    """A thread of the parent."""
    while True:
        chain.extend()
        time.sleep(0.02)


def child(chain: Chain, pipe: int) -> None:
    """A child: tells the parent after every round how far it is."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ends with the parent
    while True:
        chain.extend()
        steps, digest = chain.state
        os.write(pipe, b"%d %s\n" % (steps, digest.hex().encode()))
        time.sleep(0.02)


def follow(chain: Chain, pipe: int) -> None:
    """A thread of the parent: what a child says of its chain."""
    with os.fdopen(pipe, "rb") as lines:
        for line in lines:
            steps, digest = line.split()
            chain.state = (int(steps), bytes.fromhex(digest.decode()))


def start_child(chain: Chain) -> int:
    """Forks; the parent gets the reading end of the pipe."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        child(chain, writer)
    os.close(writer)
    return reader


def main() -> int:
    threads, children, mib = (int(word) for word in sys.argv[1:4])
    os.closerange(3, 1024)  # whatever the starter left open is none of our business
    chains = [Chain(b"worker %d" % n) for n in range(threads + children)]
    pipes = [start_child(chain) for chain in chains[threads:]]
    memory = os.urandom(mib << 20)
    fingerprint = hashlib.sha256(memory).digest()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for chain in chains[:threads]:
        threading.Thread(target=work, args=(chain,), daemon=True).start()
    for chain, pipe in zip(chains[threads:], pipes):
        threading.Thread(target=follow, args=(chain, pipe), daemon=True).start()

    tick = 0
    while not ended.wait(0.1):
        tick += 1
        print(tick, sum(chain.state[0] for chain in chains), flush=True)
    wrong = [f"chain {n}" for n, chain in enumerate(chains) if not chain.is_right()]
    if hashlib.sha256(memory).digest() != fingerprint:
        wrong.append("memory")
    print("wrong: " + ", ".join(wrong) if wrong else "right", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
