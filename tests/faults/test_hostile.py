# SPDX-License-Identifier: GPL-2.0-or-later
"""Full and read-only file systems; truncated and bit-flipped images.

Images are read by a build with AddressSanitizer and UndefinedBehaviorSanitizer: `load_set` of
tests/faults tries every byte of the small images in one process, the whole tool is tried with a
sample (HOSTILE_SECONDS each, 10 by default).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sanitized
from box import Box, Failed, Skipped, mount, run_boxed, umount
from subjects import Subject

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "10"))
# in a network of their own, with these options; when they were killed they cannot come back
CONNECTED = {"tcp_streams": ("--tcp-established",)}
SUBJECTS = ["deleted", "inet_sockets", "mem_shared", "pipes", "posix_timers", "seccomp_filter", "threads", "unix_pairs", "zombies"]


# ----------------------------------------------------------------------------------- the disk


def no_space(box: Box, size: str) -> None:
    s = Subject(box, "mem_private")
    s.start()
    command = s.dump_command()
    mount("tmpfs", str(s.images), "tmpfs", 0, f"size={size}")
    done = box.torpor(*command)
    if done.status != 1:
        raise Failed(f"dump into {size} ended with {done.status}")
    if (s.images / "inventory.img").exists():
        raise Failed("a failed dump left inventory.img")
    log = s.images / "dump.log"
    if "no space" not in (done.output + (log.read_text() if log.exists() else "")).lower():
        raise Failed("the reason is not named")
    s.expect_tasks()
    umount(str(s.images))
    s.dump()
    s.restore()
    s.finish()


@pytest.mark.parametrize("size", ["4k", "32k", "200k", "5m", "40m"])
def test_no_space(boxed: Callable[..., Any], size: str) -> None:
    boxed(no_space, size=size)


def read_only(box: Box) -> None:
    s = Subject(box, "pipes")
    s.start()
    command = s.dump_command()
    mount("tmpfs", str(s.images), "tmpfs", 1, "")  # MS_RDONLY
    done = box.torpor(*command)
    if done.status != 1 or "Read-only file system" not in done.output:
        raise Failed("no clear error")
    s.expect_tasks()
    s.finish()


def test_read_only(boxed: Callable[..., Any]) -> None:
    boxed(read_only)


def read_only_restore(box: Box) -> None:
    """Images may lie on a read-only file system when the logs go elsewhere."""
    s = Subject(box, "deleted")
    s.start()
    s.dump()
    mount(str(s.images), str(s.images), "none", 4096, "")  # MS_BIND
    mount("none", str(s.images), "none", 4096 | 32 | 1, "")  # MS_REMOUNT, MS_RDONLY
    s.forget()
    done = box.torpor(*s.restore_command(), "-W", str(box.dir))
    if done.status != 0:
        raise Failed("cannot restore from a read-only folder")
    s.expect_tasks()
    s.finish()


def test_read_only_restore(boxed: Callable[..., Any]) -> None:
    boxed(read_only_restore)


# --------------------------------------------------------------------------------- the images


@pytest.fixture(scope="module")
def build(torpor: Path) -> Path:
    try:
        return sanitized.sanitized_build()
    except Skipped as e:
        reason = str(e)
    except Failed as e:
        pytest.fail(str(e), pytrace=False)
    pytest.skip(reason)


def crashed(status: int, output: str) -> bool:
    return (
        status not in (0, 1)
        or "AddressSanitizer" in output
        or "runtime error:" in output
        or "Assertion" in output
    )


def dumped(box: Box, name: str) -> Path | str:
    """The images of a subject in a folder of its own, or why there are none."""
    own = replace(box, dir=box.dir / name)
    own.dir.mkdir()
    s = Subject(own, name)
    try:
        s.start()
        s.dump()
    except (Failed, Skipped) as e:
        return f"{type(e).__name__}: {e}"
    finally:
        box.kill_all()
    return s.images


def load_all(box: Box, names: list[str], program: str) -> dict[str, str]:
    """Every byte of the small images, by processes that only load, check and plan.

    Name -> '' or what went wrong. Dumps are made one by one, then as many sets are tried at a time
    as there are processors.
    """

    def load(images: Path | str) -> str:
        if isinstance(images, str):
            return images
        done = subprocess.run(
            [program, images, str(SECONDS)], capture_output=True, text=True, errors="replace",
            env=os.environ | sanitized.ENVIRONMENT, timeout=SECONDS * 4 + 300, check=False,
        )  # fmt: skip
        return f"{done.returncode}: {done.stdout}{done.stderr}" if done.returncode else ""

    sets = [dumped(box, name) for name in names]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(load, sets), strict=True))


@pytest.fixture(scope="module")
def loaded(build: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    tests = [i for i in request.session.items if isinstance(i, pytest.Function)]
    names = [t.callspec.params["name"] for t in tests if t.function is test_load]
    how = {"names": names, "program": str(build / "tests/faults/load_set")}
    try:
        found: dict[str, str] = run_boxed(load_all, net=True, timeout=1800, **how)
    except (Failed, Skipped) as e:
        found = dict.fromkeys(names, f"{type(e).__name__}: {e}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_load(loaded: dict[str, str], name: str) -> None:
    if loaded[name].startswith("Skipped: "):
        pytest.skip(loaded[name].removeprefix("Skipped: "))
    if loaded[name]:
        pytest.fail(loaded[name], pytrace=False)


def damage(rng: random.Random, good: bytes) -> tuple[bytes, str]:
    if rng.random() < 0.3 and len(good) > 1:
        at = rng.randrange(len(good))
        return good[:at], f"truncated to {at}"
    at = rng.randrange(min(len(good), 65536))
    bit = rng.randrange(8)
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    return bytes(bad), f"byte {at} bit {bit} flipped"


def one_damage(box: Box, s: Subject, image: Path, bad: bytes, what: str, tool: Path) -> bool:
    """Restores stopped, so that nothing wrong ever runs. Whether it was accepted."""
    image.write_bytes(bad)
    before = box.leftovers()
    done = box.run(
        [tool, *s.restore_command("-s")], env=sanitized.ENVIRONMENT, timeout=300, cwd=box.dir
    )
    if crashed(done.status, done.output):
        log = (s.images / "restore.log").read_text(errors="replace")
        raise Failed(f"{image.name} {what}: {done}\n{log[-2000:]}")
    if done.status == 1:
        text = done.output + (s.images / "restore.log").read_text(errors="replace")
        if "Error" not in text:
            raise Failed(f"{image.name} {what}: failed without an error message")
        left = [t for t in box.tasks() if t.state != "Z"]
        if left or box.leftovers() != before:
            raise Failed(f"{image.name} {what}: left {left} {box.leftovers() - before}")
    box.kill_all()
    return done.status == 0


def sockets_of(folder: str, names: list[str]) -> set[str]:
    """Files of dead unix sockets: a restore makes them, nobody can copy them."""
    return {n for n in names if os.path.exists(f"{folder}/{n}") and Path(folder, n).is_socket()}


def restore_damaged(box: Box, name: str, tool: str, seconds: float, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    s = Subject(box, name, options=CONNECTED.get(name, ()))
    s.start()
    s.dump()
    images = [*sorted(s.images.glob("*.img")), *s.images.glob("torpor-files")]
    images = [p for p in images if p.stat().st_size]
    contents = {p: p.read_bytes() for p in images}
    work = box.dir / "work"
    shutil.copytree(work, box.dir / "kept", symlinks=True, ignore=sockets_of)
    tried = accepted = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or tried < len(images):
        image = images[tried % len(images)]
        bad, what = damage(rng, contents[image])
        accepted += one_damage(box, s, image, bad, f"{what} (seed {seed})", Path(tool))
        image.write_bytes(contents[image])
        tried += 1
    shutil.rmtree(work)
    shutil.copytree(box.dir / "kept", work, symlinks=True)
    if name not in CONNECTED:
        s.restore()
        s.finish()
    return {"tried": tried, "accepted": accepted}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tree", "pipes", "threads", "unix_named", *CONNECTED])
def test_restore_damaged(boxed: Callable[..., Any], build: Path, name: str) -> None:
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    how = {"tool": str(build / "torpor"), "seconds": SECONDS / 3, "seed": seed, "timeout": 900}
    boxed(restore_damaged, net=name in CONNECTED, name=name, **how)


# ------------------------------------------------------------------- what images must not name


def filter_by_path(box: Box) -> None:
    """Images name a shared object as their page filter: nothing of it is run."""
    source = box.dir / "evil.c"
    source.write_text(
        "#include <fcntl.h>\n"
        "__attribute__((constructor)) static void run(void)\n"
        f'{{ open("{box.dir}/was-run", O_CREAT | O_WRONLY, 0600); }}\n'
    )
    done = box.run(["cc", "-shared", "-fPIC", "-o", box.dir / "evil.so", source])
    if done.status != 0:
        raise Failed(str(done))
    s = Subject(box, "pipes")
    s.start()
    s.dump("--compress")
    image = s.images / "torpor-filters"
    name = f"{box.dir}/evil.so".encode()
    entry = b"\x0a" + bytes([len(name)]) + name  # torpor_filter_entry.name
    image.write_bytes(image.read_bytes()[:8] + len(entry).to_bytes(4, "little") + entry)
    done = box.torpor(*s.restore_command())
    if done.status != 1 or "instead of a page filter" not in done.output:
        raise Failed(f"no refusal: {done}")
    if (box.dir / "was-run").exists():
        raise Failed("code that images named was run")


def test_filter_by_path(boxed: Callable[..., Any]) -> None:
    boxed(filter_by_path)
