# SPDX-License-Identifier: GPL-2.0-or-later
"""A second build with clang, AddressSanitizer, UndefinedBehaviorSanitizer and the fuzzers."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from box import BUILD, SOURCE, Failed, Skipped

FOLDER = BUILD / "sanitize"
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=99:allocator_may_return_null=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
}
CRASH_STATUS = 99


def sanitized_build() -> Path:
    """Makes the build, or brings it up to date, and returns its folder."""
    if not shutil.which("clang"):
        raise Skipped("clang is not installed")
    env = os.environ | {"CC": "clang"}
    lock = BUILD / "sanitize.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (FOLDER / "build.ninja").exists():
            command = ["meson", "setup", str(FOLDER), str(SOURCE), "-Dfuzz=true"]
            # not optimized: it is compiled in a quarter of the time and runs nearly as fast
            command += ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=0"]
            _run(command, env)
        _run(["ninja", "-C", str(FOLDER), "torpor"], env)
        targets = _targets()
        if targets:
            _run(["ninja", "-C", str(FOLDER), *targets], env)
    return FOLDER


def _targets() -> list[str]:
    text = subprocess.run(
        ["ninja", "-C", str(FOLDER), "-t", "targets", "all"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = (line.split(":")[0] for line in text.splitlines())
    return [n for n in names if n.startswith(("tests/fuzz/fuzz_", "tests/faults/")) and "." not in n]


def _run(command: list[str], env: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=1800, check=False
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-3000:]}")
