# SPDX-License-Identifier: MIT
"""A graph as one HTML page that needs nothing else: fold, search, look at what is around a node."""

from __future__ import annotations

import html
import json
from importlib import resources
from typing import Any

from torpor.resgraph.export import Drawable, colour
from torpor.resgraph.graph import Graph, Node
from torpor.resgraph.schema import NODE_KINDS, REASONS

# A page with more takes a browser too long; areas and page runs are left out first.
NODES_MAX = 30000
MANY = ("run", "area", "fd", "signal", "timer")
LONG_VALUE = 300
OTHER = "entry of an image that stands for itself"


def _cut(value: Any) -> Any:
    """Attributes without what nobody reads: long texts and lists."""
    if isinstance(value, dict):
        return {k: _cut(v) for k, v in value.items()}
    if isinstance(value, list):
        if len(value) > 64:
            return [*map(_cut, value[:64]), f"... {len(value) - 64} more"]
        return list(map(_cut, value))
    if isinstance(value, str) and len(value) > LONG_VALUE:
        return value[:LONG_VALUE] + f"... ({len(value)} characters)"
    return value


def _chosen(graph: Drawable) -> tuple[list[Node], list[str]]:
    """The nodes the page shows, and the kinds it leaves out."""
    counts: dict[str, int] = {}
    if isinstance(graph, Graph):
        counts = graph.kinds()
    else:
        for n in graph:
            counts[n.kind] = counts.get(n.kind, 0) + 1
    left = []
    for kind in (*MANY, *sorted(counts, key=counts.__getitem__, reverse=True)):
        if sum(counts.values()) <= NODES_MAX:
            break
        if counts.pop(kind, 0):
            left.append(kind)
    return [n for n in graph if n.kind in counts], left


def page_data(graph: Drawable) -> dict[str, Any]:
    """What the page shows, for its script."""
    nodes, left = _chosen(graph)
    place = {n.id: i for i, n in enumerate(nodes)}
    kinds = sorted({n.kind for n in nodes}, key=lambda k: ([*NODE_KINDS, k].index(k), k))
    reasons: dict[str, int] = {}
    edges = []
    for edge in graph.edges() if not left else (e for n in nodes for e in graph.out(n)):
        if edge.source.id in place and edge.target.id in place:
            number = reasons.setdefault(edge.reason, len(reasons))
            edges += [place[edge.source.id], number, place[edge.target.id]]
    whole = graph if isinstance(graph, Graph) else graph.graph
    return {
        "title": str(whole.images.path),
        "kinds": [
            {"name": k, "about": NODE_KINDS[k].about if k in NODE_KINDS else OTHER} for k in kinds
        ],
        "reasons": [
            {"name": r, "needs": REASONS[r].needs if r in REASONS else True} for r in reasons
        ],
        "nodes": [
            [kinds.index(n.kind), n.label, n.image, int(n.missing), _cut(n.attributes())]
            for n in nodes
        ],
        "colours": {
            k: colour(next(n for n in nodes if n.kind == k and not n.missing))
            for k in _plain(nodes)
        },
        "edges": edges,
        "roots": [place[t.id] for t in whole.tasks() if t.id in place and not _has_parent(t)],
        "left": left,
        "problems": [str(p) for p in whole.problems],
    }


def _plain(nodes: list[Node]) -> list[str]:
    """Kinds with a node that is there."""
    return sorted({n.kind for n in nodes if not n.missing})


def _has_parent(task: Node) -> bool:
    return next(task.out("child of"), None) is not None


def to_html(graph: Drawable) -> str:
    """The page."""
    data = json.dumps(page_data(graph), separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    whole = graph if isinstance(graph, Graph) else graph.graph
    title = html.escape(str(whole.images.path))
    return template.replace("@TITLE@", title).replace("@DATA@", data)
