# SPDX-License-Identifier: GPL-2.0-or-later
"""What the documents refer to is there: links, files, options, the words of the manual's source."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from box import SOURCE

DOCUMENTS = sorted([*SOURCE.glob("*.md"), *SOURCE.glob("docs/*.md")])
FOLDERS = {p.name for p in SOURCE.iterdir() if p.is_dir()}
# options of other programs whose commands the documents show
FOREIGN = {"into", "pid", "fork", "kill-child", "mount-proc", "my-flag", "my-limit", "no-"}
# commands that have their own options
OF_PYTHON = ("validate", "facts", "decode", "encode", "graph", "diff")


@pytest.fixture(scope="module")
def options(torpor: Path) -> set[str]:
    """Long options of all commands."""
    found = set()
    for words in (["help"], *([c, "--help"] for c in OF_PYTHON)):
        text = subprocess.run([torpor, *words], capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"--(?:\[no-\])?([a-z][a-z-]*)", text))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing, "links that lead nowhere"
    named = re.findall(r"`([\w.-]+/[\w./-]+)`", text)
    paths = [p for p in named if p.split("/")[0] in FOLDERS - {"build"} and "NAME" not in p]
    missing = [p for p in paths if not (SOURCE / p).exists()]
    assert not missing, "files that are not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_options(options: set[str], document: Path) -> None:
    used = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", document.read_text(encoding="utf-8")))
    assert used - options - FOREIGN == set(), "options that torpor does not know"
