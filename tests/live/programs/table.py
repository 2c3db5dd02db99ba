# SPDX-License-Identifier: GPL-2.0-or-later
"""The real programs: what they do, and how their answers are checked without them."""

from __future__ import annotations

import hashlib
import lzma
import random
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from box import Failed
from programs import HERE, Program


def expect(lines: Callable[[int], Iterator[str]]) -> Callable[[Path, int], None]:
    """The program's output begins with these lines."""

    def verify(work: Path, amount: int) -> None:
        found = (work / "out").read_text(errors="replace").splitlines()
        for i, wanted in enumerate(lines(amount)):
            if i >= len(found) or found[i] != wanted:
                raise Failed(f"line {i} is {found[i:i + 1]}, not {wanted!r}")

    return verify


def chain(seed: bytes, count: int, flip: int = 0) -> str:
    """A chain of hashes, as the programs compute them."""
    digest = seed
    for _ in range(count):
        digest = hashlib.sha256(digest).digest()
        digest = bytes([digest[0] ^ flip]) + digest[1:]
    return digest.hex()[:16]


# ---------------------------------------------------------------------------------------- bash

def mix(seed: int, count: int) -> int:
    for i in range(count):
        seed = (seed * 31 + i) & 0xFFFFFF
    return seed


def jobs_lines(amount: int) -> Iterator[str]:
    letters = str.maketrans("0123456789", "abcdefghij")
    for n in range(amount):
        words = [str(n + i).translate(letters) for i in range(300)]
        last = max(f"{len(w)} {w}" for w in words)
        pasted = f"{mix(n, 300)}+{mix(5, 300)}"
        yield f"{n} 0 {n % 100} {mix(n, 1500)} {mix(n + 7, 1500)} {last} {pasted} <{n} {n + 1}>"


# -------------------------------------------------------------------------------------- python

def threads_lines(amount: int) -> Iterator[str]:
    for n in range(amount):
        chains = "".join(chain(f"{n}-{i}".encode(), 200) for i in range(24))
        numbers = sorted((i * 7919 + n) % 1009 for i in range(20000))
        text = "".join(f"{i}\n" for i in numbers)
        total = sum(i * i % 97 for i in range(n, n + 20000)) * 100 + n % 50
        hashes = [hashlib.sha256(t.encode()).hexdigest()[:16] for t in (chains, text)]
        yield f"{n} {hashes[0]} {hashes[1]} {total}"
    yield "beats True"


# ---------------------------------------------------------------------------------------- perl

def numbers(seed: int, count: int) -> list[int]:
    found = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        found.append(seed >> 16)
    return found


def words_lines(amount: int) -> Iterator[str]:
    for n in range(amount):
        seen = Counter(f"{i:04x}" for i in numbers(n + 1, 12000))
        order = sorted(seen, key=lambda w: (-seen[w], w))
        matching = sum(set(w[:3]) <= set("01234567") and w[3] in "abcdef" for w in order)
        text, at = list("".join(order[:401])), 0
        while at + 1 < len(text):
            if text[at] in "0123456789" and text[at + 1] in "abcdef":
                text[at], text[at + 1] = text[at + 1], text[at]
                at += 1
            at += 1
        check = 0
        for letter in text:
            check = (check * 33 + ord(letter)) & 0xFFFFFFFF
        child = f"{sum(numbers(n, 8000))}/{n % 100}"
        yield f"{n} {len(order)} {order[0]} {matching} {check} {child}"
    yield f"lines {amount} ended {amount}"


# ---------------------------------------------------------------------------------- xz and sort


@cache
def mixed_bytes(size: int) -> bytes:
    """Neither random nor dull, the same every time."""
    rng = random.Random(9)
    words = [rng.randbytes(rng.randint(2, 12)) for _ in range(3000)]
    parts: list[bytes] = []
    length = 0
    while length < size:
        parts += rng.choices(words, k=1000)
        length += sum(len(p) for p in parts[-1000:])
    return b"".join(parts)[:size]


def make_mixed(folder: Path, mib: int) -> None:
    (folder / "mixed").write_bytes(mixed_bytes(mib << 20))


def verify_xz(work: Path, mib: int) -> None:
    if lzma.decompress((work / "out").read_bytes()) != mixed_bytes(mib << 20):
        raise Failed("what xz wrote does not unpack to its input")


LINE = 34  # bytes


@cache
def unsorted_lines(count: int) -> list[bytes]:
    text = random.Random(3).randbytes(count * LINE // 2).hex().encode()
    return [text[i : i + LINE] for i in range(0, len(text), LINE)]


def make_lines(folder: Path, count: int) -> None:
    (folder / "lines").write_bytes(b"\n".join(unsorted_lines(count)) + b"\n")


def verify_sort(work: Path, count: int) -> None:
    if (work / "out").read_bytes() != b"\n".join(sorted(unsorted_lines(count))) + b"\n":
        raise Failed("the output is not the sorted input")


# -------------------------------------------------------------------------------------- sqlite


def has_begun(work: Path) -> bool:
    """The transaction is open: it writes this file in it."""
    return (work / "begun").exists()


def during_bank(work: Path, half: int) -> None:
    """While the transaction is open, nobody else can write, nor see anything of it."""
    base = sqlite3.connect(work / "bank", timeout=0, isolation_level=None)
    try:
        base.execute("BEGIN IMMEDIATE")
        count = base.execute("SELECT count(*) FROM entry").fetchone()[0]
        if count != 2 * half:
            raise Failed(f"the lock of the transaction is gone; {count} entries are visible")
    except sqlite3.OperationalError as e:
        if "locked" not in str(e):
            raise
    finally:
        base.close()


def verify_bank(work: Path, half: int) -> None:
    base = sqlite3.connect(work / "bank")
    amounts = {i: 10000 for i in range(1, 1001)}
    for i in range(1, 2 * half + 1):
        first = i <= half
        debit = i * (7919 if first else 104729) % 1000 + 1
        credit = i * (104729 if first else 7919) % 997 + 1
        amount = i * 31 % 89 if first else i * 17 % 83
        amounts[debit] -= amount
        amounts[credit] += amount
    if dict(base.execute("SELECT id, amount FROM account")) != amounts:
        raise Failed("the accounts do not hold what they should")
    if base.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
        raise Failed("the data base is damaged")
    base.close()


# ---------------------------------------------------------------------------------------- java

def make_class(folder: Path, amount: int) -> None:
    """The run-time environment has the compiler's classes, but not its command."""
    javac = ["java", "-m", "jdk.compiler/com.sun.tools.javac.Main"]
    subprocess.run([*javac, "-d", folder, HERE / "Work.java"], check=True)


def work_lines(amount: int) -> Iterator[str]:
    for n in range(amount):
        chains = [chain(f"{n}-{c}".encode(), 3000, 1) for c in range(16)]
        yield " ".join([str(n), *chains, f"{n * 7}/{n % 100}"])
    yield "beats true"


# ----------------------------------------------------------------------------------------- gcc

def compile_lines(amount: int) -> Iterator[str]:
    for n in range(amount):
        total = 0
        for i in range(40):
            x = n + i
            for k in range(n + i):
                x = (x * 31 + k) & 0xFFFFFFFF
            total += x & 0xFFFF
        yield f"{n} {total}"


TABLE = (
    Program(
        "bash",
        ("bash", "{here}/jobs.sh", "{amount}"),
        amount=60,
        verify=expect(jobs_lines),
    ),
    Program(
        "python3",
        ("/usr/bin/python3", "{here}/threads.py", "{amount}"),
        amount=50,
        verify=expect(threads_lines),
    ),
    Program(
        "perl",
        ("perl", "{here}/words.pl", "{amount}"),
        amount=40,
        verify=expect(words_lines),
    ),
    Program(
        "xz",
        ("xz", "-9", "-c", "{inputs}/mixed"),
        amount=3,
        prepare=make_mixed,
        verify=verify_xz,
    ),
    Program(
        "sort",
        ("sort", "-S", "8M", "-T", ".", "--parallel=2", "{inputs}/lines"),
        amount=1200000,
        prepare=make_lines,
        verify=verify_sort,
        env=(("LC_ALL", "C"),),
    ),
    Program(
        "sqlite3",
        ("sqlite3", "-cmd", ".parameter set @half {amount}", "bank"),
        amount=80000,
        stdin="{here}/bank.sql",
        verify=verify_bank,
        during=during_bank,
        options=("--file-locks", "--ghost-limit", "64M"),
        ready=has_begun,
    ),
    Program(
        "java",
        ("java", "-Xmx96m", "-XX:+UseG1GC", "-cp", "{inputs}", "Work", "{amount}"),
        amount=20,
        prepare=make_class,
        verify=expect(work_lines),
    ),
    Program(
        "gcc",
        ("bash", "{here}/compile.sh", "{amount}"),
        amount=60,
        verify=expect(compile_lines),
    ),
)
