# SPDX-License-Identifier: MIT
"""What checking found out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torpor.validate.catalogue import RULES
from torpor.validate.rule import Rule, Severity


@dataclass(frozen=True)
class Finding:
    """One broken rule in one place."""

    rule_id: str
    text: str  # one sentence that names task, object and values
    task: int = 0  # pid; 0: the whole set
    image: str = ""  # file it stands in
    node: int | None = None  # Node.id in the graph

    @property
    def rule(self) -> Rule:
        """The rule in the catalogue."""
        return RULES[self.rule_id]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.rule.severity


# Findings of one rule that are kept; further ones are only counted. A hostile set must not make a
# report that is larger than itself.
KEPT = 100


@dataclass
class Findings:
    """A list of findings that cannot grow without end."""

    found: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        """Adds one, or counts it if there are many of its rule."""
        n = self.counts[finding.rule_id] = self.counts.get(finding.rule_id, 0) + 1
        if n <= KEPT:
            self.found.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Adds some."""
        for f in findings:
            self.add(f)

    def has(self, *rules: str) -> bool:
        """Whether one of these rules is broken."""
        return any(r in self.counts for r in rules)

    def left_out(self) -> dict[str, int]:
        """How many findings of each rule were only counted."""
        return {r: n - KEPT for r, n in self.counts.items() if n > KEPT}

    def worst(self) -> Severity | None:
        """The highest severity; None if nothing was found."""
        return max((f.severity for f in self.found), default=None)
