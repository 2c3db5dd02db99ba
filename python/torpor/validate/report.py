# SPDX-License-Identifier: MIT
"""A report for people, as JSON, and as SARIF 2.1.0 for tools that collect such things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torpor import __version__
from torpor.validate.catalogue import RULES
from torpor.validate.engine import Report
from torpor.validate.findings import Finding
from torpor.validate.rule import Severity

SCHEMA_VERSION = 1
WORDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


# ----------------------------------------------------------------------------------- for people


def text_lines(report: Report, hints: bool = False) -> Iterator[str]:
    """Findings grouped by task, worst first, with the way from the task to the object."""
    groups: dict[int, list[Finding]] = {}
    for f in report.findings.found:
        groups.setdefault(f.task, []).append(f)
    for pid in sorted(groups):
        yield _heading(report, pid)
        for f in sorted(groups[pid], key=lambda f: -f.severity):
            yield from _finding_lines(report, f, hints)
        yield ""
    for rule, n in report.findings.left_out().items():
        yield f"... and {n} more of rule {rule}"
    yield verdict(report)


def _heading(report: Report, pid: int) -> str:
    if not pid:
        return "The set"
    task = report.graph.find("task", pid)
    return task.label[0].upper() + task.label[1:] if task else f"Task {pid}"


def _finding_lines(report: Report, f: Finding, hints: bool) -> Iterator[str]:
    yield f"  {WORDS[f.severity]}: {f.text} [{f.rule_id}]"
    way = report.way(f)
    if way:
        yield f"         {way}"
    if hints:
        yield f"         why: {f.rule.why}"
        yield f"         what to do: {f.rule.repair}"


def verdict(report: Report) -> str:
    """The last line."""
    counts = {s: sum(f.severity == s for f in report.findings.found) for s in Severity}
    where = f" on {report.target}" if report.target else ""
    if not report.restorable:
        return f"This set cannot be restored{where}: {_count(counts[Severity.ERROR], 'error')}."
    warnings = counts[Severity.WARNING]
    extra = f", with {_count(warnings, 'warning')}" if warnings else ""
    return f"This set can be restored{where}{extra}."


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


# ------------------------------------------------------------------------------------- for JSON


def to_json(report: Report) -> dict[str, Any]:
    """One object; docs/HOWTO-validate.md describes its members, which only grow."""
    return {
        "version": SCHEMA_VERSION,
        "directory": report.path,
        "target": report.target or None,
        "restorable": report.restorable,
        "seconds": round(report.seconds, 3),
        "counts": {WORDS[s]: sum(f.severity == s for f in report.findings.found) for s in Severity},
        "left_out": report.findings.left_out(),
        "findings": [_finding_json(report, f) for f in report.findings.found],
    }


def _finding_json(report: Report, f: Finding) -> dict[str, Any]:
    node = report.graph.node(f.node) if f.node is not None else None
    return {
        "rule": f.rule_id,
        "severity": WORDS[f.severity],
        "stage": f.rule.stage.value,
        "area": f.rule.area,
        "text": f.text,
        "task": f.task or None,
        "image": f.image or None,
        "object": {"kind": node.kind, "label": node.label} if node else None,
        "path": report.way(f) or None,
        "why": f.rule.why,
        "repair": f.rule.repair,
    }


def catalogue_json() -> dict[str, Any]:
    """The catalogue of rules."""
    return {
        "version": SCHEMA_VERSION,
        "rules": [
            {
                "id": r.id,
                "severity": WORDS[r.severity],
                "stage": r.stage.value,
                "area": r.area,
                "what": r.what,
                "why": r.why,
                "repair": r.repair,
            }
            for r in RULES.values()
        ],
    }


# ------------------------------------------------------------------------------------ for SARIF


def to_sarif(report: Report) -> dict[str, Any]:
    """A log of SARIF 2.1.0 with one run."""
    used = [r for r in RULES.values() if report.findings.has(r.id)]
    index = {r.id: i for i, r in enumerate(used)}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "torpor validate",
                        "version": __version__,
                        "rules": [
                            {
                                "id": r.id,
                                "shortDescription": {"text": r.what},
                                "fullDescription": {"text": f"{r.what}: {r.why}"},
                                "help": {"text": r.repair},
                                "defaultConfiguration": {"level": WORDS[r.severity]},
                            }
                            for r in used
                        ],
                    }
                },
                "results": [
                    {
                        "ruleId": f.rule_id,
                        "ruleIndex": index[f.rule_id],
                        "level": WORDS[f.severity],
                        "message": {"text": f.text},
                        "locations": [_location(report, f)],
                    }
                    for f in report.findings.found
                ],
            }
        ],
    }


def _location(report: Report, f: Finding) -> dict[str, Any]:
    place: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": f.image or "inventory.img"}}
    }
    names = [f"task {f.task}"] if f.task else []
    if f.node is not None:
        names.append(report.graph.node(f.node).label)
    if names:
        place["logicalLocations"] = [{"fullyQualifiedName": " / ".join(names)}]
    return place
