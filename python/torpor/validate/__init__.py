# SPDX-License-Identifier: MIT
"""Will a dump restore, and if not, why.

    from torpor.images import ImageSet
    from torpor.validate import collect, validate

    with ImageSet("dump") as images:
        report = validate(images, target=collect())
        for finding in report.findings.found:
            print(finding.severity.name, finding.rule_id, finding.text)

The rules stand in `catalogue.RULES`; docs/HOWTO-validate.md describes the command line.
"""

from torpor.validate.catalogue import RULES
from torpor.validate.context import Options
from torpor.validate.engine import Report, paths_of, validate
from torpor.validate.facts import Facts, FileFacts, collect, load, read
from torpor.validate.findings import Finding, Findings
from torpor.validate.rule import Rule, Severity, Stage

__all__ = [
    "RULES",
    "Facts",
    "FileFacts",
    "Finding",
    "Findings",
    "Options",
    "Report",
    "Rule",
    "Severity",
    "Stage",
    "collect",
    "load",
    "paths_of",
    "read",
    "validate",
]
