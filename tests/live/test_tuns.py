# SPDX-License-Identifier: GPL-2.0-or-later
"""Network tunnels that cannot come back are named, and nothing is left of the restore."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from box import Box, Failed
from subjects import Subject

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TUN, IFF_NO_PI = 1, 0x1000


def tunnel(name: str, persist: int | None = None) -> int:
    """A descriptor attached to the device of that name, which is made if there is none."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TUN if persist is not None else IFF_TUN | IFF_NO_PI
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if persist is not None:
        fcntl.ioctl(fd, TUNSETPERSIST, persist)
    return fd


def devices() -> set[str]:
    lines = open("/proc/net/dev", encoding="ascii").read().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


def refused(box: Box, s: Subject, *words: str) -> None:
    before = devices()
    done = box.torpor(*s.restore_command())
    if done.status == 0 or not all(w in done.output for w in words):
        raise Failed(f"not refused by name ({words}): {done}")
    if box.tasks() or devices() != before:
        raise Failed(f"left are {box.tasks()}, {devices() - before}")


def taken(box: Box) -> None:
    s = Subject(box, "tuns")
    s.start()
    s.dump()
    s.forget()
    if devices() != {"lo", "torpor-last"}:
        raise Failed(f"the dump left the devices {devices()}")
    other = tunnel("torpor-tun")
    refused(box, s, "torpor-tun", "already")
    os.close(other)
    os.close(tunnel("torpor-last", persist=0))
    refused(box, s, "torpor-last", "persistent", "ip tuntap add")
    lasting = tunnel("torpor-last", persist=1)
    refused(box, s, "torpor-last", "somebody else uses")
    os.close(lasting)
    done = box.torpor(*s.restore_command())
    if done.status != 0:
        raise Failed(f"not restored when all is as it was: {done}")
    box.kill_all()
    os.close(tunnel("torpor-last", persist=0))


def test_taken(boxed: Callable[..., Any]) -> None:
    boxed(taken, net=True)
