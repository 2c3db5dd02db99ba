# SPDX-License-Identifier: MIT
"""The command line: `python3 -m torpor COMMAND`, or `torpor COMMAND`, which calls this.

Each command is a module of this package with `arguments(parser)` and `run(args)`; only the one
that is used gets imported.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

from torpor import __version__
from torpor.images.errors import ImageError

# Name and what it is good for; the C program has the same names in options/table.c.
COMMANDS = {
    "validate": "tell whether images can be restored, and if not, why",
    "facts": "tell what this computer is like, for validate --target elsewhere",
    "decode": "print an image as JSON",
    "encode": "make an image from JSON",
    "graph": "ask for, draw or export what hangs together in an image set",
    "diff": "tell what differs between two image sets or images",
}

EXIT_FAILED, EXIT_USAGE = 1, 2
TROUBLE = "EXIT_TROUBLE"
"""A command whose exit status 1 is an answer has this member for "there is no answer"."""


class Command(Protocol):
    """A module of this package."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares what the command takes."""

    def run(self, args: argparse.Namespace) -> int:
        """Does it; returns the exit status."""


class UsageError(Exception):
    """A call that makes no sense, for this reason."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the C program does; --help has the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def load(name: str) -> Command:
    """The module of a command."""
    return cast(Command, importlib.import_module(f"torpor.cli.{name}"))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {help_}" for name, help_ in COMMANDS.items()]
    return "\n".join(["usage: torpor COMMAND ...", "", "commands:", *lines])


def _parse(argv: Sequence[str]) -> tuple[Command, argparse.Namespace]:
    name = argv[0]
    module = load(name)
    parser = Parser(prog=f"torpor {name}", description=COMMANDS[name] + ".")
    module.arguments(parser)
    return module, parser.parse_args(argv[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else EXIT_USAGE
    if words[0] in ("-V", "--version"):
        print(f"torpor {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"torpor: unknown command '{words[0]}'\n{_usage()}", file=sys.stderr)
        return EXIT_USAGE
    command, args = _parse(words)
    _silence_libraries()
    return _run(words[0], command, args)


def _silence_libraries() -> None:
    """What C libraries print on standard error goes nowhere; what we print still arrives.

    protobuf says there that a string is not UTF-8. Paths need not be, and we know.
    """
    try:
        ours = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    except OSError:
        return
    sys.stderr = os.fdopen(ours, "w", errors="backslashreplace", buffering=1)


def _forget_output() -> None:
    """What has not been written yet is not tried again at exit, which would fail, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(name: str, command: Command, args: argparse.Namespace) -> int:
    trouble: int = getattr(command, TROUBLE, EXIT_FAILED)
    try:
        status = command.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_output()  # the reader has seen enough
        return trouble
    except UsageError as e:
        print(f"torpor {name}: {e}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as e:
        where = f"'{e.filename}': " if e.filename is not None else ""
        print(f"torpor {name}: {where}{e.strerror or e}", file=sys.stderr)
        _forget_output()
        return trouble
    except MemoryError:
        print(f"torpor {name}: there is not enough memory", file=sys.stderr)
        return trouble
    except (ImageError, ValueError) as e:
        print(f"torpor {name}: {e}", file=sys.stderr)
        return EXIT_FAILED
