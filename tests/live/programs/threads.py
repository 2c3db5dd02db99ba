# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: threads.py PASSES

Threads that share a queue, locks and a condition, subprocesses with pipes both ways, a forked
child that answers in shared memory, an interval timer. threads_lines() in table.py computes
the answers in another way.
"""

import hashlib
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading

ITEMS = 24
beats = 0


def beat(signum: int, frame: object) -> None:
    global beats
    beats += 1


def chain(seed: str, count: int) -> str:
    digest = seed.encode()
    for _ in range(count):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()[:16]


def by_threads(n: int) -> str:
    """Items go from one thread through several to the one that puts them in order."""
    todo: queue.Queue[int | None] = queue.Queue(maxsize=4)
    done: dict[int, str] = {}
    more = threading.Condition()

    def worker() -> None:
        while (item := todo.get()) is not None:
            answer = chain(f"{n}-{item}", 200)
            with more:
                done[item] = answer
                more.notify_all()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for t in threads:
        t.start()
    for item in range(ITEMS):
        todo.put(item)
    for _ in threads:
        todo.put(None)
    with more:
        more.wait_for(lambda: len(done) == ITEMS)
    for t in threads:
        t.join()
    return hashlib.sha256("".join(done[i] for i in range(ITEMS)).encode()).hexdigest()[:16]


def by_subprocess(n: int) -> str:
    text = "\n".join(str((i * 7919 + n) % 1009) for i in range(20000))
    with subprocess.Popen(
        ["sort", "-n"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as p:
        out, _ = p.communicate(text)
    if p.returncode:
        raise SystemExit(f"sort ended with {p.returncode}")
    return hashlib.sha256(out.encode()).hexdigest()[:16]


def by_child(n: int) -> int:
    """The child's sum arrives in shared memory, word of it by a pipe."""
    shared = mmap.mmap(-1, 4096)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        total = sum(i * i % 97 for i in range(n, n + 20000))
        struct.pack_into("Q", shared, 8, total)
        os.write(write_end, b"!")
        os._exit(n % 50)
    if os.read(read_end, 1) != b"!":
        raise SystemExit("no word from the child")
    os.close(read_end)
    os.close(write_end)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return int(struct.unpack_from("Q", shared, 8)[0]) * 100 + status


def main() -> None:
    signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    for n in range(int(sys.argv[1])):
        print(n, by_threads(n), by_subprocess(n), by_child(n), flush=True)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("beats", beats > 10)


if __name__ == "__main__":
    main()
