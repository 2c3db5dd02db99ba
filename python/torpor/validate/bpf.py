# SPDX-License-Identifier: MIT
"""Would the kernel take a seccomp filter? Its checks, so that a damaged one is found here.

A filter is a list of instructions of 8 bytes: u16 code, u8 jt, u8 jf, u32 k (linux/filter.h,
kernel/seccomp.c: only words of struct seccomp_data may be loaded).
"""

from __future__ import annotations

import struct

INSTRUCTIONS_MAX = 4096
MEMORY_WORDS = 16
DATA_SIZE = 64  # struct seccomp_data
_INSN = struct.Struct("<HBBI")

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
ABS, IMM, MEM, LEN = 0x20, 0x00, 0x60, 0x80
# classes and modes seccomp knows
_LOADS = {0x20}  # BPF_LD | BPF_W | BPF_ABS
_PLAIN = {
    0x80, 0x81,  # LD, LDX of the length
    0x06, 0x16,  # RET of K, of A
    0x07, 0x87,  # TAX, TXA
    0x00, 0x01,  # LD, LDX of a constant
    0x60, 0x61, 0x02, 0x03,  # LD, LDX, ST, STX of a word of memory
    0x05,  # JA
    *(ALU | op | src for op in (*range(0, 0x80, 0x10), 0xA0) for src in (0, 8)),
    0x84,  # NEG
    *(JMP | op | src for op in (0x10, 0x20, 0x30, 0x40) for src in (0, 8)),
}  # fmt: skip
_MEMORY = {0x60, 0x61, 0x02, 0x03}
_DIVIDES = {ALU | 0x30, ALU | 0x90}
_SHIFTS = {ALU | 0x60, ALU | 0x70}
_CONDITIONAL = {JMP | op | src for op in (0x10, 0x20, 0x30, 0x40) for src in (0, 8)}


def problem(code: bytes) -> str:
    """Why the kernel would refuse this filter; "" if it would not."""
    if not code or len(code) % _INSN.size:
        return f"it has {len(code)} bytes"
    n = len(code) // _INSN.size
    if n > INSTRUCTIONS_MAX:
        return f"it has {n} steps"
    program = [(op, jt, jf, k) for op, jt, jf, k in _INSN.iter_unpack(code)]
    for at, (op, jt, jf, k) in enumerate(program):
        text = _step(op, jt, jf, k, at, n)
        if text:
            return f"step {at} {text}"
    if program[-1][0] not in (0x06, 0x16):
        return "it does not end with a verdict"
    return _unset_memory(program)


def _step(op: int, jt: int, jf: int, k: int, at: int, n: int) -> str:
    if op in _LOADS:
        return "" if k < DATA_SIZE and not k & 3 else f"loads from {k}"
    if op not in _PLAIN:
        return f"is unknown (0x{op:x})"
    if op in _DIVIDES and not k:
        return "divides by zero"
    if op in _SHIFTS and k >= 32:
        return f"shifts by {k}"
    if op in _MEMORY and k >= MEMORY_WORDS:
        return f"uses word {k} of memory"
    if op == 0x05 and k >= n - at - 1:
        return "jumps behind the end"
    if op in _CONDITIONAL and (at + jt + 1 >= n or at + jf + 1 >= n):
        return "jumps behind the end"
    return ""


def _unset_memory(program: list[tuple[int, int, int, int]]) -> str:
    """Words must be stored before they are loaded, on every way."""
    full = (1 << MEMORY_WORDS) - 1
    masks = [full] * len(program)
    valid = 0
    for at, (op, jt, jf, k) in enumerate(program):
        valid &= masks[at]
        if op in (0x02, 0x03):
            valid |= 1 << k
        elif op in (0x60, 0x61) and not valid & 1 << k:
            return f"step {at} loads word {k} of memory, which nothing was stored in"
        elif op == 0x05:
            masks[at + 1 + k] &= valid
            valid = full
        elif op in _CONDITIONAL:
            masks[at + 1 + jt] &= valid
            masks[at + 1 + jf] &= valid
            valid = full
    return ""
