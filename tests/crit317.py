# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's crit, of CRIU 3.17, knows of an image: the fields of later releases are taken out.

Byte for byte the same apart from these fields is the most that can be asked of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# What `crit decode` and `crit encode` do, for many images in one process.
_SCRIPT = """
import json, sys
import pycriu
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as f:
            text = json.dumps(pycriu.images.load(f, False, False))
        with open(path + ".again", "wb") as f:
            pycriu.images.dump(json.loads(text), f)
    except Exception as e:
        sys.exit(f"{path}: {type(e).__name__} {e}")
"""


# Its command line, one call after the other: a line of JSON each way.
_SERVER = """
import contextlib, io, json, sys, traceback
from pycriu import cli
for line in sys.stdin:
    out, status = io.StringIO(), 0
    sys.argv = ["crit", *json.loads(line)]
    with contextlib.redirect_stdout(out):
        try:
            cli.main()
        except SystemExit as e:
            status = e.code or 0
        except BaseException:
            status = traceback.format_exc()
    print(json.dumps([status, out.getvalue()]), flush=True)
"""


class Crit:
    """crit in one process: a start for each image takes longer than all the rest."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *words: str) -> tuple[object, str]:
        """Exit status (0: it worked; else that, or why not) and what it printed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            return f"crit ended with {self._process.wait()}", ""
        status, text = json.loads(line)
        return status, str(text)

    def close(self) -> None:
        """Ends it."""
        with self._process:
            if self._process.stdin:
                self._process.stdin.close()


def reencode(images: Iterable[Path]) -> str:
    """Writes NAME.again beside each image; '' or what went wrong."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *map(str, images)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr[-500:] or str(done.returncode)


# fields younger than 3.17, as paths of field numbers, by the start of the image's name
_LATER: dict[str, set[tuple[int, ...]]] = {
    "core-": {
        (2, 3, 13, 9),  # cet, 4.0
        (3, 21),  # stop_signo, 3.18
        (3, 22),  # membarrier_registration_mask, 3.19
        (5, 16),  # cg_set of a thread, 3.18
        (5, 10, 18),  # no_new_privs, 3.19
        (5, 10, 19),  # cap_amb, 4.1
    },
    "inventory.": {
        (12,),  # plugins_entry, 4.1
        (13,),  # dump_criu_run_id, 4.1
        (14,),  # allow_uprobes, 4.2
    },
    "pagemap-": {
        (5,),  # nr_pages, 4.2
    },
    "files.": {
        (22,),  # pidfd, 4.1
    },
    "memfd.": {
        (9,),  # mode, 3.19
    },
}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _without(data: bytes, paths: set[tuple[int, ...]]) -> bytes:
    """A message without the fields at these paths."""
    out, at = bytearray(), 0
    while at < len(data):
        begin = at
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        body = at
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, body = _varint(data, at)
            at = body + size
        else:
            at += 8 if wire == 1 else 4
        if (number,) in paths:
            continue
        inner = {p[1:] for p in paths if p[0] == number}
        if inner and wire == 2:
            part = _without(data[body:at], inner)
            out += _as_varint(tag) + _as_varint(len(part)) + part
        else:
            out += data[begin:at]
    return bytes(out)


def of_317(image: str, data: bytes) -> bytes:
    """The image without what 3.17 did not have; such images have no payloads."""
    paths = next((v for k, v in _LATER.items() if image.startswith(k)), None)
    if not paths:
        return data
    at = 4 if image.startswith("inventory.") else 8  # that one has its own magic only
    out = data[:at]
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        part = _without(data[at + 4 : at + 4 + size], paths)
        out += len(part).to_bytes(4, "little") + part
        at += 4 + size
    return out
