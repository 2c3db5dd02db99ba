# SPDX-License-Identifier: MIT
"""How people read the numbers of some members: as a table, for the JSON form of images.

The pretty form writes these as text ("PROT_READ | PROT_EXEC", "254:0", "10.0.0.1"); the names are
those crit uses. Reading accepts text and number.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from typing import NamedTuple


class Hint(NamedTuple):
    """Both directions of one way to write numbers."""

    show: Callable[[int], str | int]
    read: Callable[[str], int]


def _number(text: str) -> int:
    return int(text, 0)


HEX = Hint(lambda v: f"0x{v:x}" if v >= 0 else f"-0x{-v:x}", _number)

# ----------------------------------------------------------------------------------- flags


def _flags(names: dict[str, int]) -> Hint:
    """A set of bits; those without a name stay a hexadecimal number."""

    def show(value: int) -> str:
        words = []
        for name, bit in names.items():
            if value & bit:
                words.append(name)
                value &= ~bit
        if value:
            words.append(f"0x{value:x}")
        return " | ".join(words)

    def read(text: str) -> int:
        value = 0
        for word in text.split("|"):
            word = word.strip()
            if word:
                value |= names[word] if word in names else int(word, 0)
        return value

    return Hint(show, read)


PROT = _flags({"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4})
MAP = _flags({"MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_ANON": 0x20, "MAP_GROWSDOWN": 0x100})
AREA = _flags(
    {
        "VMA_AREA_REGULAR": 0x1,
        "VMA_AREA_STACK": 0x2,
        "VMA_AREA_VSYSCALL": 0x4,
        "VMA_AREA_VDSO": 0x8,
        "VMA_AREA_HEAP": 0x20,
        "VMA_FILE_PRIVATE": 0x40,
        "VMA_FILE_SHARED": 0x80,
        "VMA_ANON_SHARED": 0x100,
        "VMA_ANON_PRIVATE": 0x200,
        "VMA_AREA_SYSVIPC": 0x400,
        "VMA_AREA_SOCKET": 0x800,
        "VMA_AREA_VVAR": 0x1000,
        "VMA_AREA_AIORING": 0x2000,
        "VMA_UNSUPP": 0x80000000,
    }
)
OPEN = _flags(
    {
        "O_WRONLY": 0o1,
        "O_RDWR": 0o2,
        "O_CREAT": 0o100,
        "O_EXCL": 0o200,
        "O_NOCTTY": 0o400,
        "O_TRUNC": 0o1000,
        "O_APPEND": 0o2000,
        "O_NONBLOCK": 0o4000,
        "O_DSYNC": 0o10000,
        "FASYNC": 0o20000,
        "O_DIRECT": 0o40000,
        "O_LARGEFILE": 0o100000,
        "O_DIRECTORY": 0o200000,
        "O_NOFOLLOW": 0o400000,
        "O_NOATIME": 0o1000000,
        "O_CLOEXEC": 0o2000000,
    }
)
RUN = _flags({"PE_PARENT": 1, "PE_LAZY": 2, "PE_PRESENT": 4})
SEAL = _flags(
    {
        "F_SEAL_SEAL": 1,
        "F_SEAL_SHRINK": 2,
        "F_SEAL_GROW": 4,
        "F_SEAL_WRITE": 8,
        "F_SEAL_FUTURE_WRITE": 16,
    }
)

# ----------------------------------------------------------------------------------- words


def _words(names: dict[int, str]) -> Hint:
    """One of a few numbers with names."""
    numbers = {name: number for number, name in names.items()}

    def read(text: str) -> int:
        return numbers[text] if text in numbers else int(text, 0)

    return Hint(lambda v: names.get(v, v), read)


# crit calls 3 and 6 the wrong way round (3 is stopped); other tools rely on it
STATE = _words({1: "Alive", 3: "Zombie", 6: "Stopped"})
FAMILY = _words({1: "UNIX", 2: "INET", 10: "INET6", 16: "NETLINK", 17: "PACKET"})
TYPE = _words({1: "STREAM", 2: "DGRAM", 3: "RAW", 5: "SEQPACKET", 10: "PACKET"})
PROTOCOL = _words({0: "IP", 6: "TCP", 17: "UDP", 136: "UDPLITE"})
TCP = _words(
    {
        1: "ESTABLISHED",
        2: "SYN_SENT",
        3: "SYN_RECV",
        4: "FIN_WAIT1",
        5: "FIN_WAIT2",
        6: "TIME_WAIT",
        7: "CLOSE",
        8: "CLOSE_WAIT",
        9: "LAST_ACK",
        10: "LISTEN",
    }
)

# --------------------------------------------------------------------------------- devices


def _pair(text: str) -> tuple[int, int]:
    left, _, right = text.partition(":")
    return int(left, 0), int(right, 0)


def _read_dev(text: str) -> int:
    if ":" not in text:
        return int(text, 0)
    major, minor = _pair(text)
    return major << 20 | minor


def _read_odev(text: str) -> int:
    if ":" not in text:
        return int(text, 0)
    major, minor = _pair(text)
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor >> 8) << 20


DEV = Hint(lambda v: f"{v >> 20}:{v & 0xFFFFF}", _read_dev)
ODEV = Hint(lambda v: f"{v >> 8 & 0xFFF}:{v & 0xFF | v >> 12 & 0xFFF00}", _read_odev)

# ------------------------------------------------------------------------------- addresses


def show_address(words: list[int]) -> str | None:
    """An internet address of one or at least four words; None for what is none."""
    raw = struct.pack(f"<{len(words)}I", *words)
    if len(words) == 1:
        return str(ipaddress.IPv4Address(raw))
    return str(ipaddress.IPv6Address(raw[:16])) if len(words) == 4 else None


def read_address(text: str) -> list[int]:
    """The words of an internet address."""
    raw = ipaddress.ip_address(text).packed
    return list(struct.unpack(f"<{len(raw) // 4}I", raw))


# ----------------------------------------------------------------------------------- table

# By message: members and the hint for them. HEX of a message member holds for all numbers in it.
HINTS: dict[str, dict[str, Hint]] = {
    "bpfmap_file_entry": {
        "flags": OPEN,
    },
    "fanotify_file_entry": {
        "flags": HEX,
        "faflags": HEX,
        "evflags": HEX,
    },
    "fanotify_mark_entry": {
        "mflags": HEX,
        "mask": HEX,
        "ignored_mask": HEX,
        "s_dev": DEV,
    },
    "ghost_file_entry": {
        "rdev": ODEV,
        "dev": DEV,
    },
    "inet_sk_entry": {
        "flags": HEX,
        "family": FAMILY,
        "type": TYPE,
        "proto": PROTOCOL,
        "state": TCP,
    },
    "inotify_file_entry": {
        "flags": HEX,
    },
    "inotify_wd_entry": {
        "mask": HEX,
        "ignored_mask": HEX,
        "s_dev": DEV,
    },
    "irmap_cache_entry": {
        "dev": ODEV,
    },
    "memfd_file_entry": {
        "flags": OPEN,
    },
    "memfd_inode_entry": {
        "seals": SEAL,
    },
    "mm_entry": {
        "mm_start_code": HEX,
        "mm_end_code": HEX,
        "mm_start_data": HEX,
        "mm_end_data": HEX,
        "mm_start_stack": HEX,
        "mm_start_brk": HEX,
        "mm_brk": HEX,
        "mm_arg_start": HEX,
        "mm_arg_end": HEX,
        "mm_env_start": HEX,
        "mm_env_end": HEX,
    },
    "mnt_entry": {
        "flags": HEX,
        "sb_flags": HEX,
        "root_dev": DEV,
    },
    "net_device_entry": {
        "flags": HEX,
    },
    "netlink_sk_entry": {
        "flags": HEX,
    },
    "packet_sock_entry": {
        "flags": HEX,
    },
    "pagemap_entry": {
        "vaddr": HEX,
        "flags": RUN,
    },
    "pipe_entry": {
        "flags": HEX,
    },
    "reg_file_entry": {
        "flags": OPEN,
    },
    "sa_entry": {
        "sigaction": HEX,
        "flags": HEX,
        "restorer": HEX,
        "mask": HEX,
        "mask_extended": HEX,
    },
    "signalfd_entry": {
        "flags": HEX,
        "sigmask": HEX,
    },
    "task_core_entry": {
        "blk_sigset": HEX,
        "blk_sigset_extended": HEX,
        "membarrier_registration_mask": HEX,
        "task_state": STATE,
    },
    "tcp_stream_entry": {
        "opt_mask": HEX,
    },
    "thread_info_aarch64": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
    },
    "thread_info_arm": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
    },
    "thread_info_loongarch64": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
        "fpregs": HEX,
    },
    "thread_info_mips": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
        "fpregs": HEX,
    },
    "thread_info_ppc64": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
    },
    "thread_info_riscv64": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
    },
    "thread_info_s390": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
        "fpregs": HEX,
        "vxrs_low": HEX,
        "vxrs_high": HEX,
        "gs_cb": HEX,
        "gs_bc": HEX,
        "ri_cb": HEX,
    },
    "thread_info_x86": {
        "clear_tid_addr": HEX,
        "gpregs": HEX,
    },
    "timerfd_entry": {
        "flags": HEX,
        "settime_flags": HEX,
    },
    "tty_file_entry": {
        "flags": HEX,
    },
    "tun_link_entry": {
        "flags": HEX,
    },
    "unix_sk_entry": {
        "flags": HEX,
        "uflags": HEX,
        "type": TYPE,
        "state": TCP,
    },
    "user_x86_cet_entry": {
        "cet": HEX,
        "ssp": HEX,
    },
    "vma_entry": {
        "start": HEX,
        "end": HEX,
        "madv": HEX,
        "fdflags": HEX,
        "prot": PROT,
        "flags": MAP,
        "status": AREA,
    },
}
# Lists of words that hold an internet address.
ADDRESSES = {
    ("inet_sk_entry", "src_addr"),
    ("inet_sk_entry", "dst_addr"),
    ("sit_entry", "local"),
    ("sit_entry", "remote"),
    ("sit_entry", "rd_prefix"),
    ("sit_entry", "relay_prefix"),
}
# Bytes written as quoted-printable text instead of base64.
QUOTED = {("unix_sk_entry", "name")}
