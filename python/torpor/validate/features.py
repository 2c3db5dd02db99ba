# SPDX-License-Identifier: MIT
"""What a restore needs of the kernel: names are those of kernel/features.def, and one more."""

from __future__ import annotations

from collections.abc import Callable

from torpor.images import messages as pb
from torpor.validate.context import Context
from torpor.validate.facts import CLAMPS

# Of every restore: tasks with their numbers, memory and marks, from outside.
ALWAYS = (
    "ptrace_seize",
    "rt_sigqueueinfo",
    "set_mm_map",
    "process_vm",
    "memfd",
    "execveat",
    "clone3_set_tid",
    "pidfd_store",
    "special_mremap",
)


def _opens(type_: int) -> Callable[[Context], bool]:
    return lambda c: any(e.type == type_ and id_ in c.used for id_, e in c.files.items())


def _has(*kinds: str) -> Callable[[Context], bool]:
    return lambda c: any(c.graph.kinds().get(kind, 0) for kind in kinds)


def _huge(c: Context) -> bool:
    return any(m.hugetlb_flag for m in c.memfds.values())


def _clamps(c: Context) -> bool:
    threads = (t for x in c.extras.values() for t in x.threads)
    return any(t.HasField("sched_util_min") or t.HasField("sched_util_max") for t in threads)


# Of those that have this.
SOMETIMES: dict[str, Callable[[Context], bool]] = {
    "seccomp_filters": _has("filter"),
    "timerfd": _opens(pb.fd_types.TIMERFD),
    "tcp_repair": _has("stream"),
    "ipc_next_id": _has("shm", "sem", "msg"),
    "aio_remap": _has("aio"),
    "memfd_hugetlb": _huge,
    "tun": _opens(pb.fd_types.TUNF),
    CLAMPS: _clamps,
    "uffd": lambda c: c.options.lazy_pages,
}


def missing(c: Context, features: dict[str, bool]) -> list[str]:
    """What this set needs and a kernel is known not to have."""
    gone = [name for name in ALWAYS if features.get(name) is False]
    return gone + [n for n, used in SOMETIMES.items() if features.get(n) is False and used(c)]
