# SPDX-License-Identifier: GPL-2.0-or-later
"""What the validator says of images that are about to be restored: nothing of severity error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from box import BUILD, Failed

sys.path.insert(0, str(BUILD / "python"))

from torpor.cli import keys
from torpor.cli import validate as command
from torpor.images import ImageSet
from torpor.validate import Severity, collect, validate


def expect_restorable(images: Path, words: Sequence[str]) -> None:
    """Asks it about this computer; `words` are options of restore, of which it knows some."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.arguments(parser)
    told, _ = parser.parse_known_args([*words])
    # what comes from a descriptor can be read once, and restore needs it
    told.passphrase_fd = told.key_fd = None
    with ImageSet(images, keys=keys.of(told)) as opened:
        report = validate(opened, command.options_of(told), collect())
        found = [f for f in report.findings.found if f.severity == Severity.ERROR]
        without = opened.encrypted and not told.identity
    # then only the inventory can be judged
    if {f.rule_id for f in found} - ({"set-encrypted"} if without else set()):
        raise Failed(f"the validator has something against {images}: {found}")
