# SPDX-License-Identifier: GPL-2.0-or-later
"""A test that waits in vain says what everybody was doing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from box import Box, Failed, run_boxed


NANOSLEEP = ("35", "230")  # nanosleep(2), clock_nanosleep(2)
HUNG = 15  # seconds, in which a box and its sleeper must have come about


def sleeper(box: Box) -> None:
    """Somebody of whom is known where they are."""
    pid = box.start(["sleep", "1000"])
    call = Path(f"/proc/{pid}/syscall")
    box.until("no sleep", 60, lambda: call.read_text().split()[0] in NANOSLEEP)


def hung_program(box: Box) -> None:
    sleeper(box)
    box.run(["cat", "/dev/zero"], timeout=0.2, fds=(0, os.open(os.devnull, os.O_WRONLY), 2))


def vain_wait(box: Box) -> None:
    sleeper(box)
    box.until("nothing comes", 0.2, lambda: False)


def another_error(box: Box) -> None:
    """What a caller says instead of it is told with the same."""
    sleeper(box)
    try:
        box.until("", 0.2, lambda: False)
    except Failed:
        raise Failed("nothing comes") from None


def hung_box(box: Box) -> None:
    sleeper(box)
    time.sleep(1000)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (hung_program, "'cat /dev/zero' ended with -1000: \nit did not end within 0.2 s"),
        (vain_wait, "after 0.2 s: nothing comes"),
        (another_error, "nothing comes"),
        (hung_box, f"the box was killed: not done after {HUNG} s"),
    ],
)
def test_late(function: Callable[[Box], None], sentence: str) -> None:
    with pytest.raises(Failed) as caught:
        run_boxed(function, timeout=HUNG if function is hung_box else 300)
    text = str(caught.value)
    assert text.startswith(sentence)
    line = next(t for t in text.splitlines() if t.endswith("processor time: sleep"))
    thread = text.split(line)[1].splitlines()[1]
    assert re.search(f"state S .*, system call ({'|'.join(NANOSLEEP)}), stack ", thread), thread
    assert "nanosleep <" in thread
    if function is hung_box:
        assert "in hung_box" in text.split("--- where the test is")[1]


def test_many_threads() -> None:
    """Those that do the same are told of once."""
    with pytest.raises(Failed) as caught:
        run_boxed(many_threads)
    assert " and 100 more: state S" in str(caught.value)


def many_threads(box: Box) -> None:
    script = (
        "import signal, threading\n"
        "for _ in range(100): threading.Thread(target=signal.pause).start()\n"
        "signal.pause()\n"
    )
    pid = box.start(["/usr/bin/python3", "-c", script])

    def all_pause() -> bool:
        places = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/syscall")]
        return sum(t.startswith("34 ") for t in places) == 101  # pause

    box.until("they do not start", 60, all_pause)
    box.until("nothing comes", 0, lambda: False)
