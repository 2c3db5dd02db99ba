# SPDX-License-Identifier: MIT
"""What a computer is like, as far as it decides whether a dump can be restored on it.

`collect()` looks at this one, `load()` reads what was collected elsewhere (`torpor facts`). The
JSON form has the members of `Facts` by name; unknown ones are ignored, missing ones mean that
nothing is known, and then nothing is found.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import platform
import resource
import stat
import struct
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from torpor.validate import buildid

LIMITS = 16
# prlimit numbers in the order of the images, which is the kernel's
CAP_SYS_RESOURCE = 24
# How long a task that has ended may keep its number (restore/forest.c).
REAP_SECONDS = 2.0


@dataclass(frozen=True)
class FileFacts:
    """One path."""

    mode: int = 0  # st_mode; 0: there is no such file
    size: int = 0
    build_id: str = ""  # hexadecimal
    mtime_ns: int = 0  # since the epoch
    error: str = ""  # why it could not be looked at
    link: bool = False  # the path itself is a symbolic link; the rest is about what it leads to


@dataclass
class Facts:
    """One computer."""

    version: int = 1
    arch: str = ""
    kernel: str = ""
    cpu_flags: list[str] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    """Numbers of processes, threads, groups and sessions."""
    pid_max: int = 0
    files: dict[str, FileFacts] = field(default_factory=dict)
    """Paths that were asked for."""
    features: dict[str, bool] = field(default_factory=dict)
    """Kernel features by `torpor check --all`, and sched_util_clamp."""
    hard_limits: list[int] = field(default_factory=list)
    nr_open: int = 0
    capabilities: dict[str, int] = field(default_factory=dict)
    """permitted, inheritable, bounding, last"""
    devices: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    ports: list[list[int]] = field(default_factory=list)
    """[protocol, port] of sockets that are bound"""
    ipc: dict[str, list[list[int]]] = field(default_factory=dict)
    """Kind of image -> [number, key] of System V objects"""
    ipc_limits: dict[str, int] = field(default_factory=dict)
    """shmmax (bytes), semmsl (semaphores), msgmnb, msgmax (bytes): proc_sys_kernel(5)"""
    mounts: list[str] = field(default_factory=list)
    cgroups: list[str] = field(default_factory=list)
    uid_map: list[list[int]] = field(default_factory=list)
    gid_map: list[list[int]] = field(default_factory=list)
    lsm: str = ""
    memory: int = 0
    """Bytes that are available."""
    live: bool = False
    """Whether this is the computer we run on: files are looked at when they are asked for."""

    def file(self, path: str) -> FileFacts | None:
        """What is at a path; None if nobody looked."""
        if path not in self.files and self.live:
            self.files[path] = look_at(path)
        return self.files.get(path)

    def may(self, capability: int) -> bool:
        """Whether whoever restores has a capability."""
        return bool(self.capabilities.get("permitted", 0) >> capability & 1)

    def taken_of(self, wanted: Iterable[int]) -> dict[int, str]:
        """Which of these numbers are taken, and by what.

        Those of tasks that have just ended become free when their parents take their status; a
        restore waits as long for that.
        """
        end, asked, ended = time.monotonic() + REAP_SECONDS, set(wanted), set[int]()
        found = asked & set(self.taken)
        while found and self.live:
            ended = {n for n in found if _has_ended(n)}
            # after that: what vanished before we could look at it is not taken
            self.taken = _taken()
            found &= set(self.taken)
            ended &= found
            if not ended or time.monotonic() > end:
                break
            time.sleep(0.01)
        late = "a task that has ended and whose parent has not taken its status"
        return {n: late if n in ended else "another process" for n in found}

    def to_json(self) -> str:
        """The JSON form."""
        values = asdict(self)
        del values["live"]
        return json.dumps(values, indent=1, sort_keys=True)


def look_at(path: str) -> FileFacts:
    """What is at a path, without following it into a device or a fifo."""
    name = os.fsencode(path) if "\0" not in path else b""
    try:
        st = os.lstat(name)
        link = stat.S_ISLNK(st.st_mode)
    except OSError as e:
        return FileFacts(error=e.strerror or str(e))
    try:
        st = os.stat(name) if link else st
    except OSError:
        pass
    build_id = ""
    if stat.S_ISREG(st.st_mode):
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as e:
            return FileFacts(st.st_mode, st.st_size, "", st.st_mtime_ns, e.strerror or "", link)
        try:
            build_id = buildid.read(fd).hex()
        finally:
            os.close(fd)
    return FileFacts(st.st_mode, st.st_size, build_id, st.st_mtime_ns, "", link)


# Facts are larger than this nowhere: a kernel has at most 4,194,304 numbers of processes.
FACTS_MAX = 128 << 20
# Members that are lists of lists -> how many numbers each of these has.
ROWS = {"ports": 2, "uid_map": 3, "gid_map": 3}


def _fits(value: object, hint: object) -> bool:
    """Whether a JSON value is of the type a member is declared with."""
    inner = get_args(hint)
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(v, inner[1]) for v in value.values())
    assert isinstance(hint, type)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _checked(values: dict[str, Any], hints: dict[str, object], where: str) -> dict[str, Any]:
    """The members that are known; ValueError if one is of another type."""
    known = {name: value for name, value in values.items() if name in hints}
    for name, value in known.items():
        if not _fits(value, hints[name]):
            wanted = getattr(hints[name], "__name__", "") if not get_args(hints[name]) else ""
            raise ValueError(f"'{where}{name}' is no {wanted or hints[name]}")
    return known


def _file_facts(path: str, entry: object) -> FileFacts:
    if not isinstance(entry, dict):
        raise ValueError(f"'files' has no object for '{path}'")
    found = FileFacts(**_checked(entry, get_type_hints(FileFacts), f"{path}: "))
    bytes.fromhex(found.build_id)
    if not 0 <= found.mode < 1 << 32:
        raise ValueError(f"'{path}: mode' is no mode of a file")
    return found


def load(text: str) -> Facts:
    """Facts from their JSON form; ValueError if it is something else."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(values, dict) or values.get("version") != 1:
        raise ValueError("these are no facts of version 1 (see torpor facts)")
    files = values.pop("files", {})
    if not isinstance(files, dict):
        raise ValueError("'files' is no object")
    hints = get_type_hints(Facts)
    del hints["live"]
    facts = Facts(**_checked(values, hints, ""))
    rows = [(name, n, getattr(facts, name)) for name, n in ROWS.items()]
    rows += [(f"ipc.{kind}", 2, value) for kind, value in facts.ipc.items()]
    for name, n, value in rows:
        if any(len(row) != n for row in value):
            raise ValueError(f"'{name}' has rows that are not of {n} numbers")
    if len(facts.hard_limits) not in (0, LIMITS):
        raise ValueError(f"'hard_limits' has not {LIMITS} numbers")
    for address in facts.addresses:
        ipaddress.ip_address(address)
    facts.files.update({path: _file_facts(path, entry) for path, entry in files.items()})
    return facts


def read(path: Path) -> Facts:
    """Facts from a file; OSError, or ValueError if it is something else."""
    with path.open("rb") as file:
        data = file.read(FACTS_MAX + 1)
    if len(data) > FACTS_MAX:
        raise ValueError(f"the file has more than {FACTS_MAX >> 20} MiB")
    return load(data.decode("utf-8"))


# ------------------------------------------------------------------------------- this computer


def collect(paths: Iterable[str] = ()) -> Facts:
    """This computer. Files at `paths` are looked at now, others when they are asked for."""
    facts = Facts(
        arch=platform.machine(),
        kernel=platform.release(),
        cpu_flags=_cpu_flags(),
        taken=_taken(),
        pid_max=_number("/proc/sys/kernel/pid_max"),
        features=_features() | _clamps(),
        hard_limits=[resource.getrlimit(i)[1] % (1 << 64) for i in range(LIMITS)],
        nr_open=_number("/proc/sys/fs/nr_open"),
        capabilities=_capabilities(),
        devices=sorted(_names("/sys/class/net")),
        addresses=_addresses(),
        ports=_ports(),
        ipc={kind: _ipc(name) for kind, name in IPC.items()},
        ipc_limits=_ipc_limits(),
        mounts=[line.split()[4] for line in _lines("/proc/self/mountinfo")],
        cgroups=[line.strip() for line in _lines("/proc/self/cgroup")],
        uid_map=_id_map("/proc/self/uid_map"),
        gid_map=_id_map("/proc/self/gid_map"),
        lsm=_text("/sys/kernel/security/lsm"),
        memory=_available(),
        live=True,
    )
    for path in paths:
        facts.file(path)
    return facts


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _lines(path: str) -> list[str]:
    return _text(path).splitlines()


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _cpu_flags() -> list[str]:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("flags"):
            return line.partition(":")[2].split()
    return []


def _taken() -> list[int]:
    """Every number the pid namespace has given to something."""
    found: set[int] = set()
    for name in _names("/proc"):
        if not name.isdigit():
            continue
        found.update(int(t) for t in _names(f"/proc/{name}/task") if t.isdigit())
        stat_text = _text(f"/proc/{name}/stat")
        words = stat_text[stat_text.rfind(")") + 1 :].split()
        found.update(int(w) for w in words[2:4])
    return sorted(n for n in found if n > 0)


def _has_ended(number: int) -> bool:
    """Whether it is that of a task whose status nobody has taken yet."""
    text = _text(f"/proc/{number}/stat")
    return text[text.rfind(")") + 1 :].split()[:1] == ["Z"]


def _features() -> dict[str, bool]:
    """By the table the C program has; nothing is known where that is not to be found."""
    program = os.environ.get("TORPOR_PROGRAM")
    if not program:
        return {}
    command = [program, "check", "--all", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return {f["name"]: bool(f["has"]) for f in json.loads(done.stdout)["features"]}
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return {}


CLAMPS = "sched_util_clamp"  # a feature the C program does not ask for
SCHED_GETATTR = 315  # number of the system call on x86-64
SCHED_ATTR = struct.Struct("<II8xiI24xII")  # sched(7): size, policy, nice, priority, clamps


def _clamps() -> dict[str, bool]:
    """A kernel without limits of use says 0 for both (CONFIG_UCLAMP_TASK)."""
    buffer = ctypes.create_string_buffer(SCHED_ATTR.size)
    if platform.machine() != "x86_64":
        return {}
    if ctypes.CDLL(None).syscall(SCHED_GETATTR, 0, buffer, len(buffer), 0):
        return {}
    return {CLAMPS: SCHED_ATTR.unpack(buffer)[-1] > 0}


def _ipc_limits() -> dict[str, int]:
    found = {name: _number(f"/proc/sys/kernel/{name}") for name in ("shmmax", "msgmnb", "msgmax")}
    words = _text("/proc/sys/kernel/sem").split()
    found["semmsl"] = int(words[0]) if words else 0
    return {name: n for name, n in found.items() if n}


def _capabilities() -> dict[str, int]:
    names = {"CapPrm": "permitted", "CapInh": "inheritable", "CapBnd": "bounding"}
    found = {"last": _number("/proc/sys/kernel/cap_last_cap")}
    for line in _lines("/proc/self/status"):
        name, _, value = line.partition(":")
        if name in names:
            found[names[name]] = int(value, 16)
    return found


def _addresses() -> list[str]:
    local = []
    previous = ""
    for line in _lines("/proc/net/fib_trie"):
        if "|--" in line:
            previous = line.split()[-1]
        elif "/32 host LOCAL" in line and previous not in local:
            local.append(previous)
    for line in _lines("/proc/net/if_inet6"):
        raw = line.split()[0]
        local.append(":".join(raw[i : i + 4] for i in range(0, 32, 4)))
    return local


def _ports() -> list[list[int]]:
    found = set()
    for name, protocol in (("tcp", 6), ("tcp6", 6), ("udp", 17), ("udp6", 17)):
        for line in _lines(f"/proc/net/{name}")[1:]:
            found.add((protocol, int(line.split()[1].rpartition(":")[2], 16)))
    return [list(p) for p in sorted(found)]


IPC = {"IPCNS_SHM": "shm", "IPCNS_SEM": "sem", "IPCNS_MSG": "msg"}


def _ipc(name: str) -> list[list[int]]:
    rows = [line.split() for line in _lines(f"/proc/sysvipc/{name}")[1:]]
    return [[int(row[1]), int(row[0]) % (1 << 32)] for row in rows if len(row) > 1]


def _id_map(path: str) -> list[list[int]]:
    return [[int(w) for w in line.split()] for line in _lines(path)]


def _available() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def as_dict(facts: Facts) -> dict[str, Any]:
    """The JSON form as an object."""
    value = json.loads(facts.to_json())
    assert isinstance(value, dict)
    return value
