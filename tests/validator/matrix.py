# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of many cases: the confusion matrix, the disagreements, the page that shows them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cases import Outcome

LEAST = 0.99  # precision and recall
# Seconds of processor time a verdict, or a restore, may take where nothing else runs; and what is
# out of all proportion on any machine.
SLOWEST, ENDLESS = 1.0, 30.0
# What a restore says in cases that are known to remain (docs/VALIDATOR-proof.md): it reads pages
# through filters, and asks the kernel for values that only the kernel can refuse.
KNOWN = re.compile(
    r"page filter '[\w-]+' finds damaged bytes|page filters make \d+ bytes of it, not \d+"
    r"|cannot set [A-Z_]+ of a socket: Invalid argument"
)


def _short(text: str) -> str:
    """The beginning of a long text, and its last lines."""
    return text if len(text) < 600 else f"{text[:300]} ... {text[-300:]}"


@dataclass
class Case:
    """One mutation and what both said."""

    base: str
    number: int
    change: str
    outcome: Outcome

    @property
    def kind(self) -> str:
        """tp: both refuse, tn: both accept, fp: only the validator refuses, fn: only restore."""
        refused, failed = bool(self.outcome.rules), self.outcome.status != 0
        return ("t" if refused == failed else "f") + ("p" if refused else "n")

    @property
    def wrong(self) -> str:
        """What of this case must not be; "" if all is well."""
        o = self.outcome
        if o.crash:
            return o.crash
        if o.left:
            return f"the failed restore left {', '.join(o.left)}"
        return self.slow(ENDLESS)

    def slow(self, limit: float) -> str:
        """What took longer than that; "" if nothing did."""
        o = self.outcome
        if max(o.seconds, o.restore_seconds) <= limit:
            return ""
        return f"took {o.seconds:.2f} s to judge and {o.restore_seconds:.2f} s to restore"

    @property
    def known(self) -> bool:
        """Whether it is a disagreement that is known to remain."""
        return self.kind == "fn" and not self.wrong and bool(KNOWN.search(self.outcome.reason))

    def __str__(self) -> str:
        o = self.outcome
        said = f"{', '.join(o.rules)}: {o.texts[0]}" if o.rules else "restorable"
        did = f"ended with {o.status}: {o.reason}" if o.status else "worked"
        lines = [f"{self.base} {self.number}: {self.change}", f"  validator: {said}"]
        lines.append(f"  restore: {did}")
        return "\n".join([*lines, f"  wrong: {_short(self.wrong)}"] if self.wrong else lines)


@dataclass
class Matrix:
    """Counts of cases by what both said."""

    tp: int
    tn: int
    fp: int
    fn: int

    @classmethod
    def of(cls, cases: list[Case]) -> Matrix:
        counts = Counter(c.kind for c in cases)
        return cls(**{k: counts[k] for k in ("tp", "tn", "fp", "fn")})

    @property
    def precision(self) -> float:
        """Part of the refusals which are right."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 1.0

    @property
    def recall(self) -> float:
        """Part of what cannot be restored that was refused."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else 1.0


def good(cases: list[Case]) -> bool:
    """Whether the aims are reached."""
    m = Matrix.of(cases)
    return min(m.precision, m.recall) >= LEAST and not any(c.wrong for c in cases)


def slow(cases: list[Case]) -> list[Case]:
    """Cases that would take too long on a machine that is not busy."""
    return [c for c in cases if c.slow(SLOWEST)]


def disagreements(cases: list[Case]) -> list[Case]:
    """Cases somebody has to look at."""
    return [c for c in cases if c.kind[0] == "f" or c.wrong]


def _by(cases: list[Case], name: Callable[[Case], str]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for c in cases:
        found.setdefault(name(c), []).append(c)
    return dict(sorted(found.items()))


def mutation(case: Case) -> str:
    return case.change.partition(":")[0]


def rows(cases: list[Case], name: Callable[[Case], str]) -> list[str]:
    """Lines of a Markdown table."""
    found = []
    for key, part in _by(cases, name).items():
        m = Matrix.of(part)
        found.append(f"| {key} | {len(part)} | {m.tp} | {m.tn} | {m.fp} | {m.fn} |")
    return found


def summary(cases: list[Case]) -> list[str]:
    """The matrix as a Markdown table, and figures."""
    m = Matrix.of(cases)
    slowest = max((c.outcome.seconds for c in cases), default=0.0)
    longest = max((c.outcome.restore_seconds for c in cases), default=0.0)
    rules = Counter(r for c in cases for r in c.outcome.rules)
    return [
        "| | restore fails | restore works |",
        "|---|---|---|",
        f"| **validator refuses** | {m.tp} | {m.fp} |",
        f"| **validator accepts** | {m.fn} | {m.tn} |",
        "",
        f"{len(cases)} cases of {len({c.base for c in cases})} dumps: precision {m.precision:.4f},"
        f" recall {m.recall:.4f}.",
        f"{sum(bool(c.outcome.crash) for c in cases)} crashes,"
        f" {sum(bool(c.outcome.left) for c in cases)} restores that left something behind,"
        f" {len(rules)} different rules broken.",
        f"Longest verdict {slowest:.3f} s, longest restore {longest:.3f} s of processor time.",
    ]


def tables(cases: list[Case]) -> list[str]:
    """By mutation and by dump."""
    head = "cases | both refuse | both accept | only validator refuses | only restore fails |"
    line = "|---|---|---|---|---|---|"
    return [
        *("## By mutation", "", f"| mutation | {head}", line, *rows(cases, mutation), ""),
        *("## By dump", "", f"| dump | {head}", line, *rows(cases, lambda c: f"`{c.base}`")),
    ]
