# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: pool.py PASSES

Processes of the multiprocessing module: a pool, queues, a lock and a semaphore, values in shared
memory. pool_lines() in table.py computes the answers in another way.
"""

import hashlib
import multiprocessing
import sys
from typing import Any


def chain(seed: str) -> str:
    digest = seed.encode()
    for _ in range(300):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()[:8]


def add_up(total: Any, room: Any, numbers: Any) -> None:
    while (n := numbers.get()) is not None:
        with room, total.get_lock():
            total.value += n * n


def main() -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        for n in range(int(sys.argv[1])):
            total, room = context.Value("q", 0), context.Semaphore(2)
            numbers = context.Queue()
            adders = [
                context.Process(target=add_up, args=(total, room, numbers)) for _ in range(2)
            ]
            for p in adders:
                p.start()
            chains = pool.map(chain, [f"{n}-{i}" for i in range(40)], chunksize=3)
            for i in [*range(n, n + 200), None, None]:
                numbers.put(i)
            for p in adders:
                p.join()
            print(n, total.value, *chains, flush=True)
            numbers.close()
            numbers.join_thread()


if __name__ == "__main__":
    main()
