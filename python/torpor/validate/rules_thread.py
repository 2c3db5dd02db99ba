# SPDX-License-Identifier: MIT
"""Threads and what a task has beside memory and files: registers, signals, scheduling,
credentials, limits, timers, filters. What the kernel would refuse is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable

from torpor.images import messages as pb
from torpor.validate.context import Context, TaskView, ThreadView

INT64_MAX = (1 << 63) - 1
N_ACTIONS, N_LIMITS, SIGNALS = 62, 16, 64
SIGKILL = 9
TASK_SIZE_MAX = 0x7FFFFFFFF000
CS_32, RPL = 0x23, 3
ST_WORDS, XMM_WORDS = 32, 64
# component of XSAVE -> (member, words)
PARTS = {
    2: ("ymmh_space", 64),
    3: ("bndreg_state", 8),
    4: ("bndcsr_state", 8),
    5: ("opmask_reg", 8),
    6: ("zmm_upper", 64),
    7: ("hi16_zmm", 128),
    9: ("pkru", 2),
}
HOMELESS = 7 << 17
GROUPS_MAX = 65536
NOBODY = 0xFFFFFFFF


def task(c: Context, t: TaskView) -> None:
    """Rules over one live task."""
    for i, th in enumerate(t.threads):
        if th.core is None:
            continue
        if i == 0:
            _task_part(c, t, th)
            _switches(c, t, th)
        if i == 0 and t.leader_dead:
            continue
        _state(c, t, th)
        _registers(c, t, th)
        part = th.part
        if part is not None:
            _thread_part(c, t, th, part)


def _add(c: Context, rule: str, t: TaskView, th: ThreadView, text: str) -> None:
    node = c.graph.find("thread", th.tid)
    c.add(rule, text, t.pid, f"core-{th.tid}.img", node)


def _state(c: Context, t: TaskView, th: ThreadView) -> None:
    core = th.core
    assert core
    if core.mtype != pb.core_entry_march.X86_64:
        _add(c, "core-machine", t, th, f"thread {th.tid} was saved on another kind of processor")
    elif not core.HasField("thread_core") or not core.HasField("thread_info"):
        text = f"core image of thread {th.tid} lacks registers or thread state"
        _add(c, "core-incomplete", t, th, text)


# --------------------------------------------------------------------------------- registers


def _registers(c: Context, t: TaskView, th: ThreadView) -> None:
    assert th.core
    if th.core.mtype != pb.core_entry_march.X86_64 or not th.core.HasField("thread_info"):
        return
    info = th.core.thread_info
    if info.HasField("gpregs"):
        _general(c, t, th, info.gpregs)
    if info.HasField("fpregs"):
        _extended(c, t, th, info.fpregs)
    else:
        _add(c, "core-fpu", t, th, f"thread {th.tid} has no floating point registers")


def _general(c: Context, t: TaskView, th: ThreadView, r: pb.user_x86_regs_entry) -> None:
    if (r.HasField("mode") and r.mode == pb.user_x86_regs_mode.COMPAT) or r.cs == CS_32:
        _add(c, "core-segments", t, th, f"thread {th.tid} runs 32-bit code")
    for name in ("cs", "ss", "ds", "es", "fs", "gs"):
        value = getattr(r, name) & 0xFFFF
        wrong = value and value & 3 != RPL
        if wrong or (not value and name in ("cs", "ss")):
            _add(c, "core-segments", t, th, f"thread {th.tid} has 0x{value:x} in {name}")
    for name in ("fs_base", "gs_base"):
        value = getattr(r, name)
        if value >= TASK_SIZE_MAX:
            _add(c, "core-segments", t, th, f"thread {th.tid} has 0x{value:x} in {name}")


def _extended(c: Context, t: TaskView, th: ThreadView, fp: pb.user_x86_fpregs_entry) -> None:
    if len(fp.st_space) != ST_WORDS or len(fp.xmm_space) != XMM_WORDS:
        text = f"x87 or SSE registers of thread {th.tid} have a wrong length"
        _add(c, "core-fpu", t, th, text)
    if not fp.HasField("xsave"):
        return
    x = fp.xsave
    if x.xstate_bv & HOMELESS:
        text = f"thread {th.tid} uses registers that images cannot hold (0x{x.xstate_bv:x})"
        _add(c, "core-fpu", t, th, text)
    if x.HasField("cet") and x.cet.cet:
        _add(c, "core-fpu", t, th, f"thread {th.tid} uses a shadow stack")
    for component, (member, words) in PARTS.items():
        there = len(getattr(x, member))
        if x.xstate_bv >> component & 1 and there < words:
            text = f"thread {th.tid} uses {member}, but the image has {there} of {words} words"
            _add(c, "core-fpu", t, th, text)


# --------------------------------------------------------------------------- of the whole task


def _task_part(c: Context, t: TaskView, th: ThreadView) -> None:
    assert th.core
    if not th.core.HasField("tc"):
        return
    tc = th.core.tc
    if len(tc.sigactions) != N_ACTIONS:
        text = f"task {t.pid} has {len(tc.sigactions)} signal actions instead of {N_ACTIONS}"
        _add(c, "sigactions-number", t, th, text)
    if tc.HasField("oom_score_adj") and not -1000 <= tc.oom_score_adj <= 1000:
        _add(c, "oom-score", t, th, f"oom score {tc.oom_score_adj} of task {t.pid} is out of range")
    _queue(c, t, th, tc.signals_s.signals)
    _limits(c, t, th, tc.rlimits.rlimits)
    if tc.HasField("timers"):
        _timers(c, t, th, tc.timers)
    mask = tc.membarrier_registration_mask
    if mask >> 10 or mask & 0xA8 and not mask & 0x154:
        _add(c, "task-setting", t, th, f"task {t.pid} has membarrier registrations 0x{mask:x}")


def _queue(c: Context, t: TaskView, th: ThreadView, signals: Iterable[pb.siginfo_entry]) -> None:
    for i, s in enumerate(signals):
        number = int.from_bytes(s.siginfo[:4], "little") if len(s.siginfo) == 128 else 0
        if not 1 <= number <= SIGNALS or number == SIGKILL:
            _add(c, "signal-bad", t, th, f"pending signal {i} of thread {th.tid} is damaged")


def _limits(c: Context, t: TaskView, th: ThreadView, limits: Iterable[pb.rlimit_entry]) -> None:
    n = -1
    for n, limit in enumerate(limits):
        if limit.cur > limit.max:
            text = f"soft limit {n} of task {t.pid} is above its hard limit"
            _add(c, "rlimits-order", t, th, text)
    if n >= N_LIMITS:
        _add(c, "rlimits-number", t, th, f"task {t.pid} has {n + 1} resource limits")


# Clocks timer_create(2) takes; negative ones (processor time of a process) are judged elsewhere.
CLOCKS = {0, 1, 2, 3, 7, 8, 9, 11}
NOTIFY_NONE, NOTIFY_THREAD = 1, 4


def _timers(c: Context, t: TaskView, th: ThreadView, timers: pb.task_timers_entry) -> None:
    for one in (timers.real, timers.virt, timers.prof):
        if max(one.iusec, one.vusec) > 999999 or max(one.isec, one.vsec) > INT64_MAX:
            text = f"an interval timer of task {t.pid} has an impossible time"
            _add(c, "itimer-time", t, th, text)
    ids = set()
    tids = {x.tid for x in t.threads}
    for p in timers.posix:
        _posix_timer(c, t, th, p, tids)
        if p.it_id in ids:
            _add(c, "timer-clock", t, th, f"task {t.pid} has POSIX timer {p.it_id} twice")
        ids.add(p.it_id)


def _posix_timer(
    c: Context, t: TaskView, th: ThreadView, p: pb.posix_timer_entry, tids: set[int]
) -> None:
    name = f"POSIX timer {p.it_id} of task {t.pid}"
    wrong = p.insec > 999999999 or p.vnsec > 999999999 or p.it_id > 0x7FFFFFFF or p.si_signo > 64
    armed = p.vsec or p.vnsec
    if wrong or (armed and max(p.isec, p.vsec) > INT64_MAX):
        _add(c, "timer-bad", t, th, f"{name} has impossible values")
    if p.it_sigev_notify & NOTIFY_THREAD and p.notify_thread_id:
        if p.notify_thread_id not in tids:
            text = f"{name} notifies thread {p.notify_thread_id}, which is not there"
            _add(c, "timer-thread", t, th, text)
    notify = p.it_sigev_notify
    if notify & NOTIFY_THREAD and not p.notify_thread_id:
        notify = NOTIFY_NONE
    if notify not in (0, 1, 2, 4) or (notify != NOTIFY_NONE and not p.si_signo):
        _add(c, "timer-bad", t, th, f"{name} notifies by way {notify} with signal {p.si_signo}")
    if p.clock_id < 1 << 31 and p.clock_id not in CLOCKS:
        _add(c, "timer-clock", t, th, f"{name} has clock {p.clock_id}")


# -------------------------------------------------------------------------------- of a thread


def _thread_part(c: Context, t: TaskView, th: ThreadView, part: pb.thread_core_entry) -> None:
    _queue(c, t, th, part.signals_p.signals)
    _scheduling(c, t, th, part)
    _memory_of(c, t, th, part)
    if part.HasField("creds"):
        _creds(c, t, th, part.creds)
    if part.pdeath_sig > SIGNALS:
        _add(c, "task-setting", t, th, f"thread {th.tid} has death signal {part.pdeath_sig}")
    mode = part.seccomp_mode if part.HasField("seccomp_mode") else pb.seccomp_mode.disabled
    if mode == pb.seccomp_mode.filter:
        _filters(c, t, th, part)


MCE_DEFAULT, MDWE, UTIL_MAX = 2, {0, 1, 3}, 1024
CAP_SYS_RESOURCE = 24


def _switches(c: Context, t: TaskView, th: ThreadView) -> None:
    """Switches of prctl(2) that no other tool keeps."""
    if t.extra and (t.extra.mce_kill > MCE_DEFAULT or t.extra.mdwe not in MDWE):
        text = (
            f"it has the machine check policy {t.extra.mce_kill} and the write-execute flags "
            f"0x{t.extra.mdwe:x}"
        )
        _add(c, "prctl-value", t, th, text)
    caps = list(th.part.creds.cap_eff) if th.part is not None and th.part.HasField("creds") else []
    if t.extra and t.extra.io_flusher and caps and not caps[0] >> CAP_SYS_RESOURCE & 1:
        text = "it is an io flusher without the capability for that (CAP_SYS_RESOURCE)"
        _add(c, "prctl-value", t, th, text)


def _scheduling(c: Context, t: TaskView, th: ThreadView, part: pb.thread_core_entry) -> None:
    if part.HasField("sched_nice") and not -20 <= part.sched_nice <= 19:
        text = f"nice value {part.sched_nice} of thread {th.tid} is out of range"
        _add(c, "sched-nice", t, th, text)
    if part.HasField("sched_prio") and part.sched_prio > 99:
        text = f"priority {part.sched_prio} of thread {th.tid} is out of range"
        _add(c, "sched-priority", t, th, text)
    extras = (x for x in t.extra.threads if x.tid == th.tid) if t.extra else ()
    for extra in extras:
        if max(extra.sched_util_min, extra.sched_util_max) > UTIL_MAX:
            text = f"thread {th.tid} has limits of use {extra.sched_util_min}, "
            _add(c, "sched-policy", t, th, f"{text}{extra.sched_util_max}")
        if extra.ioprio >> 13 > 3:
            text = f"thread {th.tid} has the io priority 0x{extra.ioprio:x}"
            _add(c, "sched-ioprio", t, th, text)
    policy = part.sched_policy & ~0x40000000
    realtime = policy in (1, 2)
    if policy not in (0, 1, 2, 3, 5, 6, 7) or (realtime and not part.sched_prio):
        text = f"thread {th.tid} has scheduling policy {policy} and priority {part.sched_prio}"
        _add(c, "sched-policy", t, th, text)


SS_DISABLE, SS_AUTODISARM, SS_ONSTACK, MINSIGSTKSZ = 2, 1 << 31, 1, 2048


def _memory_of(c: Context, t: TaskView, th: ThreadView, part: pb.thread_core_entry) -> None:
    """What a thread has in memory by its addresses."""
    if part.HasField("sas"):
        mode = part.sas.ss_flags & ~SS_AUTODISARM & ~SS_ONSTACK
        size = part.sas.ss_size
        if mode not in (0, SS_DISABLE) or (not mode and 0 < size < MINSIGSTKSZ):
            text = f"the alternate stack of thread {th.tid} has mode {mode} and {size} bytes"
            _add(c, "stack-alternate", t, th, text)
    if part.futex_rla and part.futex_rla_len != 24:
        text = f"the robust list of thread {th.tid} has length {part.futex_rla_len}"
        _add(c, "robust-bad", t, th, text)
    if part.HasField("rseq_entry") and part.rseq_entry.rseq_abi_pointer:
        size, at = part.rseq_entry.rseq_abi_size, part.rseq_entry.rseq_abi_pointer
        if size < 32 or at % 32 or at >= TASK_SIZE_MAX:
            text = f"the rseq area of thread {th.tid} has {size} bytes at 0x{at:x}"
            _add(c, "rseq-bad", t, th, text)


def _set(words: Iterable[int]) -> int | None:
    """A capability set; None if it has a wrong length."""
    found = list(words)
    if len(found) > 2:
        return None
    return sum(word << 32 * i for i, word in enumerate(found))


def _creds(c: Context, t: TaskView, th: ThreadView, creds: pb.creds_entry) -> None:
    sets = [_set(s) for s in (creds.cap_inh, creds.cap_prm, creds.cap_eff, creds.cap_bnd)]
    ambient = _set(creds.cap_amb) if len(creds.cap_amb) else 0
    if None in sets or ambient is None:
        text = f"a capability set of thread {th.tid} has a wrong length"
        _add(c, "creds-caps", t, th, text)
    else:
        inheritable, permitted, effective = (s or 0 for s in sets[:3])
        if effective & ~permitted or ambient & ~(permitted & inheritable):
            text = f"capability sets of thread {th.tid} contradict each other"
            _add(c, "creds-caps", t, th, text)
    if len(creds.groups) > GROUPS_MAX or NOBODY in creds.groups:
        _add(c, "creds-groups", t, th, f"thread {th.tid} is in {len(creds.groups)} groups")
    if creds.secbits & ~0xFFF:
        _add(c, "creds-secbits", t, th, f"thread {th.tid} has secure bits 0x{creds.secbits:x}")


def _filters(c: Context, t: TaskView, th: ThreadView, part: pb.thread_core_entry) -> None:
    at: int | None = part.seccomp_filter if part.HasField("seccomp_filter") else None
    steps, damaged = 0, at is None
    while at is not None and not damaged:
        f = c.filters[at] if at < len(c.filters) else None
        damaged = f is None or not f.filter or bool(len(f.filter) % 8) or len(f.filter) > 4096 * 8
        if damaged or f is None:
            break
        text = c.filter_problem(at)
        if text:
            _add(c, "seccomp-code", t, th, f"filter {at} of thread {th.tid}: {text}")
        if not f.HasField("prev"):
            return
        steps += len(f.filter) // 8 + 4
        damaged = f.prev >= at or steps > 32768
        at = f.prev
    if damaged:
        text = f"seccomp filters of thread {th.tid} are damaged or not in seccomp.img"
        _add(c, "seccomp-chain", t, th, text)
