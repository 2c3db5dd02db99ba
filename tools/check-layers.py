#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The shape of the source, checked: layers, knots, state, sizes.

Prints the layers with what each folder includes, then every finding; exit status 1 if there is
one. Rules: includes point to lower layers only, never to a neighbour of the same layer; a room in
kinds/ includes no other family's headers; modules do not include each other in circles; at most
5 mutable variables live longer than a function; no function has more than 100 lines and no file
more than 1000.

usage: check-layers.py [--into FILE]: puts the layers into FILE, too, between its two marks.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LAYERS: list[tuple[str, ...]] = [
    ("base", "proto"),
    ("kernel", "image", "options"),
    ("model", "inject"),
    ("pages", "names"),
    ("kinds",),
    ("snapshot",),
    ("dump", "restore"),
    ("service",),
    ("cmd",),
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
# Freestanding code: its headers describe what inject and the layers above put into tasks.
ASIDE = "player"
MOST_VARIABLES = 5
MOST_LINES_FUNCTION = 100
MOST_LINES_FILE = 1000

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
NOISE = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X
)
DIRECTIVE = re.compile(r"^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*", re.M)


def module_of(path: str) -> str:
    """x.c, x.h and x_priv.h are one module."""
    return re.sub(r"(_priv)?\.[ch]$", "", path)


@dataclass
class Source:
    path: str
    text: str
    includes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        return module_of(self.path)


def read_sources(top: Path) -> list[Source]:
    sources = []
    for folder in [*LEVEL, ASIDE]:
        for path in sorted((top / folder).rglob("*.[ch]")):
            text = path.read_text(encoding="utf-8")
            source = Source(path.relative_to(top).as_posix(), text)
            source.includes = INCLUDE.findall(text)
            sources.append(source)
    return sources


def family(path: str) -> str | None:
    """The folder of a room, None for what lies directly in kinds/ or elsewhere."""
    parts = path.split("/")
    return parts[1] if parts[0] == "kinds" and len(parts) > 2 else None


def include_fault(source: Source, included: str) -> str | None:
    target = included.split("/")[0]
    if "/" not in included:
        return "is not written as folder/file.h"
    if source.folder == ASIDE:
        return None if target == ASIDE else "the player stands alone"
    if target == ASIDE:
        return None if LEVEL[source.folder] >= LEVEL["inject"] else "only from inject upwards"
    if target not in LEVEL:
        return "is in no layer"
    if target == source.folder:
        theirs, ours = family(included), family(source.path)
        if ours and theirs and ours != theirs:
            return "a room of one family includes another family"
        return None
    if LEVEL[target] > LEVEL[source.folder]:
        return "points up"
    if LEVEL[target] == LEVEL[source.folder]:
        return "points sideways"
    return None


def check_includes(sources: list[Source]) -> Iterator[str]:
    for source in sources:
        for included in source.includes:
            fault = include_fault(source, included)
            if fault:
                yield f'{source.path} includes "{included}": {fault}'


def knots(sources: list[Source]) -> Iterator[list[str]]:
    """Circles of modules in the include graph, by Tarjan."""
    graph: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for included in source.includes:
            target = module_of(included)
            if target != source.module:
                graph[source.module].add(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            circle = []
            while True:
                circle.append(stack.pop())
                if circle[-1] == node:
                    break
            if len(circle) > 1:
                found.append(sorted(circle))

    sys.setrecursionlimit(10000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    yield from found


def blank(match: re.Match[str]) -> str:
    """Keeps the lines of what is cut out; a string becomes a harmless word."""
    text = match.group(0)
    return "\n" * text.count("\n") if text[0] in "/#" else "0"


def bare(text: str) -> str:
    return DIRECTIVE.sub(blank, NOISE.sub(blank, text))


@dataclass
class Shape:
    """What one .c file defines."""

    functions: list[tuple[str, int, int]]  # name, line, number of lines
    variables: list[tuple[str, int]]


def without_braces(text: str) -> str:
    while True:
        shorter = re.sub(r"\{[^{}]*\}", "", text)
        if shorter == text:
            return text
        text = shorter


def is_mutable(declaration: str) -> bool:
    head = declaration.split("=")[0]
    head = re.sub(r"\[[^]]*\]", "", head)
    if "*" in head:
        return not re.search(r"\bconst\b", head.rsplit("*", 1)[1])
    return not re.search(r"\bconst\b", head)


def variable_name(declaration: str) -> str | None:
    head = re.sub(r"\[[^]]*\]", "", declaration.split("=")[0]).strip()
    if "(" in head or re.match(r"(typedef|extern|struct \w+$|union \w+$|enum\b)", head):
        return None
    words = re.findall(r"\w+", head)
    return words[-1] if len(words) > 1 else None


def shape_of(text: str) -> Shape:
    shape = Shape([], [])
    text = bare(text)
    depth, start, line, opened_at, name = 0, 0, 1, 0, ""
    for match in re.finditer(r"[{};\n]", text):
        token = match.group(0)
        if token == "\n":
            line += 1
        elif token == "{":
            head = text[start : match.start()].strip()
            if depth == 0:
                opened_at = line
                called = re.search(r"(\w+)\s*\([^{]*\)\s*$", head, re.S)
                name = called.group(1) if called and "=" not in head else ""
            depth += 1
            if name:
                start = match.end()
        elif token == "}":
            depth -= 1
            if depth == 0 and name:
                shape.functions.append((name, opened_at, line - opened_at + 1))
                start = match.end()
            elif depth > 0 and name:
                start = match.end()
        else:
            declaration = " ".join(text[start : match.start()].split())
            flat = without_braces(declaration)
            static = flat.startswith("static ")
            if (depth == 0 or (name and static)) and is_mutable(flat):
                variable = variable_name(flat)
                if variable:
                    shape.variables.append((variable, line))
            if depth == 0 or name:
                start = match.end()
    return shape


def picture(sources: list[Source]) -> str:
    uses: dict[str, set[str]] = defaultdict(set)
    lines: dict[str, int] = defaultdict(int)
    for source in sources:
        lines[source.folder] += source.text.count("\n")
        uses[source.folder] |= {i.split("/")[0] for i in source.includes} - {source.folder}
    rows = []
    for level in range(len(LAYERS) - 1, -1, -1):
        for folder in LAYERS[level]:
            if lines[folder]:
                below = sorted(uses[folder], key=lambda f: (-LEVEL.get(f, 0), f))
                rows.append(f"  {level}  {folder:<9}{lines[folder]:6} lines  {' '.join(below)}".rstrip())
    rows.append(f"     {ASIDE:<9}{lines[ASIDE]:6} lines  (freestanding)")
    return "\n".join(rows)


def percentile(numbers: list[int], share: float) -> int:
    return sorted(numbers)[min(len(numbers) - 1, int(share * len(numbers)))] if numbers else 0


def renew(path: Path, text: str) -> None:
    """Replaces what stands between the marks of a Markdown file."""
    head, _, rest = path.read_text(encoding="utf-8").partition("<!-- layers -->\n")
    _, _, tail = rest.partition("<!-- /layers -->")
    path.write_text(
        f"{head}<!-- layers -->\n```\n{text}\n```\n<!-- /layers -->{tail}", encoding="utf-8"
    )


def main(words: list[str]) -> int:
    top = Path(__file__).resolve().parent.parent
    sources = read_sources(top)
    if words[:1] == ["--into"]:
        renew(Path(words[1]), picture(sources))
    findings = list(check_includes(sources))
    findings += [f"circle of includes: {', '.join(circle)}" for circle in knots(sources)]
    variables: list[str] = []
    sizes: list[int] = []
    for source in sources:
        count = source.text.count("\n")
        if count > MOST_LINES_FILE:
            findings.append(f"{source.path} has {count} lines")
        if not source.path.endswith(".c"):
            continue
        shape = shape_of(source.text)
        variables += [f"{source.path}:{line} {name}" for name, line in shape.variables]
        for name, line, lines in shape.functions:
            sizes.append(lines)
            if lines > MOST_LINES_FUNCTION:
                findings.append(f"{source.path}:{line} {name}() has {lines} lines")
    if len(variables) > MOST_VARIABLES:
        findings.append(f"{len(variables)} mutable variables, at most {MOST_VARIABLES} allowed")
    print(picture(sources))
    print(
        f"\n{len(sizes)} functions: median {percentile(sizes, 0.5)} lines, "
        f"p90 {percentile(sizes, 0.9)}, longest {max(sizes, default=0)}"
    )
    print(f"{len(variables)} mutable variables: {', '.join(variables) or 'none'}")
    for finding in findings:
        print(f"FINDING: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
