# SPDX-License-Identifier: MIT
"""What a rule is; the rules themselves stand in catalogue.py (model/rules.def)."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Severity(enum.IntEnum):
    """How bad it is that a rule is broken."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


class Stage(enum.Enum):
    """Who finds out that a rule is broken, and when (model/rules.def)."""

    LOAD = "load"
    WORLD = "world"
    ROOM = "room"
    RESTORE = "restore"
    HERE = "here"
    VALIDATOR = "validator"


class Rule(NamedTuple):
    """One rule of the catalogue."""

    id: str
    severity: Severity
    stage: Stage
    area: str  # "container", "identity", "tree" ...
    what: str  # is wrong when it is broken
    why: str
    repair: str
