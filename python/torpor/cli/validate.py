# SPDX-License-Identifier: MIT
"""`validate DIR`: can this dump be restored, and if not, why."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from torpor.cli import UsageError, keys
from torpor.images import ImageSet
from torpor.images.limits import GROWTH_STRICT
from torpor.validate import Facts, Options, collect, read, validate
from torpor.validate.report import catalogue_json, text_lines, to_json, to_sarif

EXIT_RESTORABLE, EXIT_NOT, EXIT_TROUBLE, EXIT_WARNED = 0, 1, 2, 3
HERE = "here"
INHERITED = re.compile(r"fd\[\d+\]:(.+)", re.DOTALL)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", nargs="?", type=Path, help="images directory")
    parser.add_argument("-D", "--images-dir", type=Path, metavar="DIR", help="same as DIR")
    parser.add_argument(
        "--target", metavar="FACTS", nargs="?", const=HERE,
        help="judge for this computer ('here'), or for that where 'torpor facts' wrote this file",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit status 3 for warnings")
    parser.add_argument("--repair-hints", action="store_true", help="say why, and what to do")
    parser.add_argument("--list-rules", action="store_true", help="print the catalogue as JSON")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--sarif", action="store_true", help="a log of SARIF 2.1.0")
    restore = parser.add_argument_group("what restore will be told")
    restore.add_argument("-j", "--shell-job", action="store_true")
    restore.add_argument("--tcp-established", action="store_true")
    restore.add_argument("--tcp-close", action="store_true")
    restore.add_argument("-l", "--file-locks", action="store_true")
    restore.add_argument("-x", "--ext-unix-sk", action="store_true")
    restore.add_argument("--lazy-pages", action="store_true")
    restore.add_argument("--evasive-devices", action="store_true")
    restore.add_argument("--skip-file-rwx-check", action="store_true")
    restore.add_argument(
        "--file-validation", choices=["buildid", "filesize", "mtime"], default="buildid"
    )
    restore.add_argument("-r", "--root", default="", metavar="PATH")
    restore.add_argument("--page-filter", action="append", metavar="PATH")
    restore.add_argument("-L", "--libdir", metavar="PATH")
    restore.add_argument("--inherit-fd", action="append", default=[], metavar="fd[N]:KEY")
    keys.arguments(parser)
    parser.epilog = (
        "Exit status: 0 it can be restored, 1 it cannot, 2 wrong usage or no answer, 3 it can, "
        "with warnings (only with --strict)."
    )


def options_of(args: argparse.Namespace) -> Options:
    """What restore will be told."""
    return Options(
        shell_job=args.shell_job,
        tcp_established=args.tcp_established,
        tcp_close=args.tcp_close,
        file_locks=args.file_locks,
        ext_unix_sk=args.ext_unix_sk,
        lazy_pages=args.lazy_pages,
        evasive_devices=args.evasive_devices,
        skip_file_rwx_check=args.skip_file_rwx_check,
        file_validation=args.file_validation,
        root=args.root,
        page_filters=bool(args.page_filter or args.libdir),
        inherit=frozenset(_key(item) for item in args.inherit_fd),
    )


def _key(item: str) -> str:
    """What --inherit-fd provides."""
    found = INHERITED.fullmatch(item)
    if found is None:
        raise UsageError(f"--inherit-fd {item} is not of the form fd[N]:KEY")
    return found[1]


def _target(args: argparse.Namespace) -> Facts | None:
    if args.target is None:
        return None
    if args.target == HERE:
        return collect()
    try:
        return read(Path(args.target))
    except OSError as e:
        raise UsageError(f"--target {args.target}: {e.strerror or e}") from None
    except ValueError as e:
        raise UsageError(f"--target {args.target}: {e}") from None


def run(args: argparse.Namespace) -> int:
    if args.list_rules:
        print(json.dumps(catalogue_json(), indent=1))
        return EXIT_RESTORABLE
    if args.target and not (args.dir or args.images_dir) and Path(args.target).is_dir():
        args.dir, args.target = Path(args.target), HERE  # validate --target DIR
    folder = args.images_dir or args.dir
    if folder is None:
        raise UsageError("the images directory is missing: torpor validate DIR")
    if args.images_dir and args.dir and args.images_dir != args.dir:
        raise UsageError(f"two images directories, '{args.images_dir}' and '{args.dir}'")
    options, target = options_of(args), _target(args)
    given = keys.of(args)
    try:
        images = ImageSet(folder, GROWTH_STRICT, given)
    except OSError as e:
        raise UsageError(f"'{folder}': {e.strerror}") from None
    with images:
        keys.refuse_wrong(images)
        report = validate(images, options, target)
        if args.json:
            print(json.dumps(to_json(report), indent=1))
        elif args.sarif:
            print(json.dumps(to_sarif(report), indent=1))
        else:
            for line in text_lines(report, args.repair_hints):
                print(line)
    if not report.restorable:
        return EXIT_NOT
    return EXIT_WARNED if args.strict and report.warned else EXIT_RESTORABLE
