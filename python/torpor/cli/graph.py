# SPDX-License-Identifier: MIT
"""`graph DIR`: what hangs together in an image set."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from torpor.cli import UsageError, keys
from torpor.images import ImageSet
from torpor.resgraph import NODE_KINDS, REASONS, Graph, Node, Part, explain, explain_text, order
from torpor.resgraph.algorithms import HUBS
from torpor.resgraph.export import Drawable, around, dot_lines, to_json
from torpor.resgraph.page import to_html
from torpor.resgraph.svg import to_svg

NODE = "a node is written KIND:KEY as --list shows it (task:42, fd:1,3), or part of its name"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", type=Path, help="images directory")
    what = parser.add_argument_group("what to print (a summary)", NODE)
    what.add_argument("--list", metavar="KIND", help="nodes of a kind, or 'all'")
    what.add_argument("--show", metavar="NODE", help="attributes and edges of a node")
    what.add_argument("--explain", nargs=2, metavar="NODE", help="how two nodes hang together")
    what.add_argument("--order", action="store_true", help="what must be made before what")
    what.add_argument("--schema", action="store_true", help="kinds of nodes and reasons of edges")
    part = parser.add_argument_group("of which part (all)")
    part.add_argument("--kinds", metavar="KIND,...", help="only these kinds of nodes")
    part.add_argument("--around", metavar="NODE", help="only what is near this node")
    part.add_argument("--depth", type=int, default=2, help="how near (%(default)s edges)")
    keys.arguments(parser)
    out = parser.add_argument_group("files to write")
    out.add_argument("--html", type=Path, metavar="FILE", help="page to look at, fold and search")
    out.add_argument("--svg", type=Path, metavar="FILE", help="picture")
    out.add_argument("--dot", type=Path, metavar="FILE", help="for graphviz")
    out.add_argument("--json", type=Path, metavar="FILE", help="nodes and edges")


def run(args: argparse.Namespace) -> int:
    with ImageSet(args.dir, keys=keys.of(args)) as images:
        keys.refuse_wrong(images)
        graph = Graph(images)
        if not (graph.problems or args.schema or any(True for _ in graph)):
            raise UsageError(f"'{args.dir}' holds no images")
        part = _part(graph, args)
        for line in _lines(graph, part, args):
            print(line)
        _write(part, args)
        return 1 if graph.problems else 0


# ------------------------------------------------------------------------------------ choosing


def _name(node: Node) -> str:
    key = node.key
    text = ",".join(map(str, key)) if isinstance(key, tuple) else str(key)
    return f"{node.kind}:{text}"


def pick(graph: Graph, text: str) -> Node:
    """The node somebody means; UsageError if there is none or more than one."""
    kind, _, key = text.partition(":")
    exact = [n for n in graph.nodes(kind) if _name(n) == text] if key else []
    found = exact or [n for n in graph if text.lower() in n.label.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"there is no node '{text}'")
    names = ", ".join(f"{_name(n)} ({n.label})" for n in found[:5])
    raise UsageError(f"'{text}' is {len(found)} nodes: {names} ...")


def _part(graph: Graph, args: argparse.Namespace) -> Drawable:
    part: Drawable = graph
    if args.around:
        part = around(graph, [pick(graph, args.around)], args.depth, HUBS)
    if args.kinds:
        wanted = args.kinds.split(",")
        unknown = [k for k in wanted if k not in NODE_KINDS and k not in graph.kinds()]
        if unknown:
            raise UsageError(f"there is no kind '{unknown[0]}'; --schema lists them")
        part = Part(graph, part.nodes(*wanted))
    return part


def _write(part: Drawable, args: argparse.Namespace) -> None:
    makers: list[tuple[Path | None, Callable[[Drawable], Iterable[str]]]] = [
        (args.html, lambda g: [to_html(g)]),
        (args.svg, lambda g: [to_svg(g)]),
        (args.dot, lambda g: (f"{line}\n" for line in dot_lines(g))),
        (args.json, lambda g: [json.dumps(to_json(g), indent=1), "\n"]),
    ]
    for path, make in makers:
        if path:
            with path.open("w", encoding="utf-8") as out:
                out.writelines(make(part))


# ------------------------------------------------------------------------------------ printing


def _lines(graph: Graph, part: Drawable, args: argparse.Namespace) -> Iterator[str]:
    asked = False
    if args.schema:
        asked = True
        yield from _schema()
    if args.list:
        asked = True
        wanted = () if args.list == "all" else (args.list,)
        yield from (f"{_name(n)}\t{n.label}" for n in part.nodes(*wanted))
    if args.show:
        asked = True
        yield from _show(pick(graph, args.show))
    if args.explain:
        asked = True
        yield _explain(graph, *args.explain)
    if args.order:
        asked = True
        yield from _order(graph, part)
    if not asked and not (args.html or args.svg or args.dot or args.json):
        yield from _summary(graph, part)


def _schema() -> Iterator[str]:
    for kind in NODE_KINDS.values():
        yield f"{kind.name}\t{kind.key}\t{kind.about}"
    yield ""
    for reason in REASONS.values():
        yield f"{reason.name}\t{'needs' if reason.needs else '-'}\t{reason.about}"


def _show(node: Node) -> Iterator[str]:
    yield node.label + (f" ({node.image})" if node.image else "")
    for edge in node.out():
        yield f"  {edge.reason} -> {edge.target.label}"
    for edge in node.into():
        yield f"  <- {edge.reason} - {edge.source.label}"
    yield json.dumps(node.attributes(), indent=1, default=str)


def _explain(graph: Graph, first: str, second: str) -> str:
    a, b = pick(graph, first), pick(graph, second)
    steps = explain(graph, a, b)
    if steps is None:
        return f"{a.label} and {b.label} have nothing to do with each other"
    return explain_text(a, steps)


def _order(graph: Graph, part: Drawable) -> Iterator[str]:
    inside = {n.id for n in part}
    found = order(graph, wanted=lambda n: n.id in inside)
    for i, step in enumerate(found.steps, 1):
        yield f"{i}\t" + " + ".join(n.label for n in step)
    for edge in found.missing:
        yield f"missing\t{edge.target.label}, because {edge.source.label} is {edge.reason} it"


def _summary(graph: Graph, part: Drawable) -> Iterator[str]:
    for problem in graph.problems:
        yield f"cannot be read: {problem}"
    counts: dict[str, int] = {}
    for node in part:
        counts[node.kind] = counts.get(node.kind, 0) + 1
    for kind, n in counts.items():
        about = NODE_KINDS[kind].about if kind in NODE_KINDS else ""
        yield f"{n:8d}  {kind:<12} {about}".rstrip()
    for node in part:
        if node.missing:
            users = ", ".join(e.source.label for e in node.into())
            yield f"not in the images: {node.kind} {node.key}, needed by {users}"
