# SPDX-License-Identifier: GPL-2.0-or-later
"""More real programs, for `make check-programs`: see table.py."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from box import Failed
from programs import Program
from table import chain, expect, make_class, work_lines


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sorted_numbers(n: int, count: int) -> list[int]:
    return sorted((i * 7919 + n) % 1009 for i in range(count))


# ---------------------------------------------------------------------------- multiprocessing


def pool_lines(passes: int) -> Iterator[str]:
    for n in range(passes):
        chains = [chain(f"{n}-{i}".encode(), 300)[:8] for i in range(40)]
        yield " ".join([str(n), str(sum(i * i for i in range(n, n + 200))), *chains])


def messages_lines(passes: int) -> Iterator[str]:
    for n in range(passes):
        jobs = "".join(short_hash(f"job {n} {i}")[:12] for i in range(6))
        lines = "".join(short_hash(f"line {n} {i}")[:12] for i in range(5))
        yield f"{n} {n * (n + 1) // 2} {short_hash(jobs)[:12]} {short_hash(lines)[:12]}"


# ---------------------------------------------------------------------------------------- ruby


def lines_lines(passes: int) -> Iterator[str]:
    for n in range(passes):
        threads = "".join(chain(f"{n}-{i}".encode(), 400)[:4] for i in range(20))
        child = sum(x * (i % 7) for i, x in enumerate(sorted_numbers(n, 2000)))
        forked = sum(i * n % 101 for i in range(1, 3001))
        fiber = sum(3 * len(str(i * i)) for i in range(n, n + 201))
        yield f"{n} {threads} {child} {forked}/{n % 100} {fiber}"
    yield "hups true"


# ----------------------------------------------------------------------------------------- php


def php_lines(passes: int) -> Iterator[str]:
    for n in range(passes):
        total = sum(i * i % 89 * (i % 3) for i in range(n, n + 2000))
        words = {f"{(i * 48271 + n) % 65537:x}" for i in range(20000)}
        matching = sum(bool(re.match("[a-f]+[0-9]", w)) for w in words)
        text = "".join(f"{i}\n" for i in sorted_numbers(n, 4000))
        seed = chain(f"seed {n}".encode(), 2000)
        yield f"{n} {total} {len(words)} {matching} {seed} {short_hash(text)}/0"


# -------------------------------------------------------------------------------------- nodejs


def workers_lines(passes: int) -> Iterator[str]:
    for n in range(passes):
        chains = [chain(f"{n}-{i}".encode(), 500)[:8] for i in range(12)]
        key = hashlib.pbkdf2_hmac("sha256", f"pass {n}".encode(), b"salt", 500, 8).hex()
        yield " ".join([str(n), *chains, key, "66"])
    yield f"beats true lines {passes}"


# -------------------------------------------------------------------------------- make and git


def build_lines(files: int) -> Iterator[str]:
    x = 1
    for n in range(files):
        x = (x + (x * (n * 31 + 7) & 0xFFFFFFFF ^ x >> 7)) & 0xFFFFFFFF
    yield str(x)


def verify_build(work: Path, files: int) -> None:
    expect(build_lines)(work, files)
    done = subprocess.run(
        ["git", "-C", work / "repository", "fsck", "--full", "--strict"], capture_output=True
    )
    if done.returncode:
        raise Failed(f"the repository is damaged: {done.stderr.decode()}")


# -------------------------------------------------------------------------------------- ffmpeg

FFMPEG = """ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=320x240:rate=25:duration={amount}
    -f lavfi -i sine=frequency=440:duration={amount} -c:v mpeg4 -c:a ac3 -threads 3
    -flags +bitexact -fflags +bitexact -f matroska film"""


def verify_film(work: Path, seconds: int) -> None:
    probe = "ffprobe -v error -count_packets -select_streams v:0 -of csv=p=0".split()
    probe += ["-show_entries", "stream=nb_read_packets", str(work / "film")]
    found = subprocess.run(probe, capture_output=True, text=True).stdout.strip()
    if found != str(25 * seconds):
        raise Failed(f"the film has {found} pictures, not {25 * seconds}")


def collector(name: str) -> Program:
    """The Java program with another garbage collector, which has threads and memory of its own."""
    return Program(
        f"java-{name}",
        ("java", "-Xmx96m", f"-XX:+Use{name}", "-cp", "{inputs}", "Work", "{amount}"),
        amount=20,
        prepare=make_class,
        verify=expect(work_lines),
    )


MORE = (
    Program(
        "multiprocessing",
        ("/usr/bin/python3", "{here}/pool.py", "{amount}"),
        amount=20,
        verify=expect(pool_lines),
    ),
    Program(
        "messages",
        ("/usr/bin/python3", "{here}/messages.py", "{amount}"),
        amount=150,
        verify=expect(messages_lines),
    ),
    Program("ruby", ("ruby", "{here}/lines.rb", "{amount}"), 30, verify=expect(lines_lines)),
    Program("php", ("php", "{here}/words.php", "{amount}"), 60, verify=expect(php_lines)),
    Program("nodejs", ("node", "{here}/workers.js", "{amount}"), 50, verify=expect(workers_lines)),
    Program("make-git", ("bash", "{here}/build.sh", "{amount}"), 30, verify=verify_build),
    Program("ffmpeg", tuple(FFMPEG.split()), 12, verify=verify_film, answers=("film",)),
    collector("SerialGC"),
    collector("ParallelGC"),
    collector("ZGC"),
)
