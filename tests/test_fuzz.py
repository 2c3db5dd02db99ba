# SPDX-License-Identifier: GPL-2.0-or-later
"""A short run of every libFuzzer target (FUZZ_SECONDS each, 5 by default).

A corpus in tests/fuzz/corpus/NAME is used where there is one; for longer runs start
build/sanitize/tests/fuzz/fuzz_NAME by hand.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def fuzz(build: Path, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    corpus = folder / "corpus"
    corpus.mkdir()
    folders = [str(corpus)]
    if (SOURCE / "tests/fuzz/corpus" / name).is_dir():
        folders.append(str(SOURCE / "tests/fuzz/corpus" / name))
    return subprocess.run(
        [
            *(build / "tests/fuzz" / f"fuzz_{name}", f"-max_total_time={SECONDS}"),
            *("-rss_limit_mb=2048", "-timeout=60", "-print_final_stats=1"),
            *(f"-artifact_prefix={folder}/", *folders),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 300,
        env=os.environ | sanitized.ENVIRONMENT,
        check=False,
    )


Run = tuple[Path, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(
    build: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Run]]:
    """All fuzzers that are asked for, as many at a time as there are processors."""
    tests = [i for i in request.session.items if isinstance(i, pytest.Function)]
    names = [t.callspec.params["name"] for t in tests if t.function is test_fuzz]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        folders = {name: tmp_path_factory.mktemp(name) for name in names}
        yield {n: (f, pool.submit(fuzz, build, n, f)) for n, f in folders.items()}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fuzz(runs: dict[str, Run], name: str) -> None:
    folder, run = runs[name]
    done = run.result()
    if done.returncode != 0:
        found = [p.read_bytes()[:200] for p in folder.glob("*-*") if p.is_file()]
        pytest.fail(f"{done.stderr[-4000:]}\ninput: {found}", pytrace=False)
