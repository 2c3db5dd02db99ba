# SPDX-License-Identifier: GPL-2.0-or-later
"""A short run of every libFuzzer target (FUZZ_SECONDS each, 5 by default).

A corpus in tests/fuzz/corpus/NAME is used where there is one; for longer runs start
build/sanitize/tests/fuzz/fuzz_NAME by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import sanitized
from box import SOURCE, Failed, Skipped

NAMES = sorted(
    re.findall(r"^\s+'(\w+)',", (SOURCE / "tests/fuzz/meson.build").read_text(), re.MULTILINE)
)
SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))


@pytest.fixture(scope="module")
def build() -> Path:
    try:
        return sanitized.sanitized_build()
    except Skipped as e:
        reason = str(e)
    except Failed as e:
        pytest.fail(str(e), pytrace=False)
    pytest.skip(reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fuzz(build: Path, tmp_path: Path, name: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    folders = [str(corpus)]
    if (SOURCE / "tests/fuzz/corpus" / name).is_dir():
        folders.append(str(SOURCE / "tests/fuzz/corpus" / name))
    done = subprocess.run(
        [
            *(build / "tests/fuzz" / f"fuzz_{name}", f"-max_total_time={SECONDS}"),
            *("-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"),
            *(f"-artifact_prefix={tmp_path}/", *folders),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 120,
        env=os.environ | sanitized.ENVIRONMENT,
        check=False,
    )
    if done.returncode != 0:
        found = [p.read_bytes()[:200] for p in tmp_path.glob("*-*") if p.is_file()]
        pytest.fail(f"{done.stderr[-4000:]}\ninput: {found}", pytrace=False)
