#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Manual page from its hand-written frame and the tables of options, commands and features.

usage: make-manpage.py VERSION FRAME OPTIONS.DEF TABLE.C FEATURES.DEF OUTPUT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TOKEN = re.compile(r'/\*.*?\*/|"((?:\\.|[^"\\])*)"|(\w+)|(.)', re.S)


def calls(text: str, names: str) -> list[tuple[str, list[str | None]]]:
    """Every NAME(a, "b" "c", d) of a table; strings are joined, NULL is None."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = []
    for match in re.finditer(rf"^({names})\(", text, re.M):
        arguments: list[str | None] = []
        current, string = "", False
        depth = 1
        for token in TOKEN.finditer(text, match.end()):
            if token.group(1) is not None:
                current, string = current + token.group(1), True
                continue
            piece = token.group(0)
            depth += (piece in "([{") - (piece in ")]}")
            if depth == 0 or (piece == "," and depth == 1):
                word = current.strip()
                arguments.append(None if word == "NULL" and not string else word)
                current, string = "", False
                if depth == 0:
                    break
            elif not (string and piece.isspace()):
                current += piece
        found.append((match.group(1), arguments))
    return found


def escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def option_lines(arguments: list[str | None]) -> list[str]:
    _, name, letter, argument, default, _, traits, _, _, text = arguments
    short = f"\\-{letter[1]}, " if letter and letter.startswith("'") else ""
    no = "[no\\-]" if "NO" in (traits or "").split(" | ") else ""
    head = f"{short}\\-\\-{no}{escape(name or '')}"
    tail = ""
    if argument:
        optional = "OPTARG" in (traits or "")
        tail = f"\\fR[=\\fI{argument}\\fR]" if optional else f" \\fI{argument}\\fR"
    text = text or ""
    if default == "on":
        text += " (on unless switched off)"
    elif default:
        text += f" (default: {default})"
    return [".TP", f"\\fB{head}\\fR{tail}", escape(text[0].upper() + text[1:]) + "."]


def options(table: str) -> tuple[str, str]:
    ready: list[str] = []
    later: list[str] = []
    group: str | None = None
    for kind, arguments in calls(table, r"OPT_\w+"):
        if kind == "OPT_GROUP":
            group = arguments[0]
            continue
        if kind == "OPT_ALIAS" or "HIDDEN" in (arguments[6] or ""):
            continue
        if arguments[7] == "LATER":
            later.append(f"\\fB\\-\\-{escape(arguments[1] or '')}\\fR")
            continue
        if group:
            ready.append(f".SS {group}")
            group = None
        ready += option_lines(arguments)
    return "\n".join(ready), ",\n".join(later) + "."


def commands(table: str) -> tuple[str, str]:
    body = table.split("command_specs[] = {", 1)[1].split("};", 1)[0]
    ready: list[str] = []
    later: list[str] = []
    rows = re.findall(r'\{ "([^"]+)", (?:"([^"]*)"|NULL),\s*"([^"]+)",\s*\w+,\s*(\w+)', body)
    for name, words, text, state in rows:
        if state == "STATE_READY":
            ready += [".TP", f"\\fB{escape(name)}\\fR {escape(words)}".rstrip()]
            ready.append(escape(text[0].upper() + text[1:]) + ".")
        else:
            later.append(f"\\fB{escape(name)}\\fR")
    return "\n".join(ready), ",\n".join(later) + "."


def features(table: str) -> str:
    lines = []
    for category, title in (
        ("NEEDED", "Needed by every dump and restore"),
        ("EXTRA", "Needed by some programs (\\-\\-extra)"),
        ("EXPERIMENTAL", "Needed by functions under development (\\-\\-experimental)"),
    ):
        lines.append(f".SS {title}")
        for _, (_, name, since, found, _, lost) in calls(table, "FEATURE"):
            if found == category:
                version = f", Linux {since}" if since else ""
                lines += [".TP", f"\\fB{escape(name or '')}\\fR{version}"]
                lines.append(f"Without it {escape(lost or '')}.")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    version, frame, option_table, command_table, feature_table, output = arguments
    ready, later = options(Path(option_table).read_text(encoding="utf-8"))
    there, refused = commands(Path(command_table).read_text(encoding="utf-8"))
    page = Path(frame).read_text(encoding="utf-8")
    head, _, page = page.partition(".TH ")
    page = ".TH " + page
    for mark, text in {
        "@VERSION@": version,
        "@COMMANDS@": there,
        "@LATERCOMMANDS@": refused,
        "@OPTIONS@": ready,
        "@LATER@": later,
        "@FEATURES@": features(Path(feature_table).read_text(encoding="utf-8")),
    }.items():
        page = page.replace(mark, text)
    Path(output).write_text(head.splitlines()[0] + "\n" + page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
