# SPDX-License-Identifier: MIT
"""Graphs for other programs: networkx, graphviz, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torpor.resgraph.algorithms import Part
from torpor.resgraph.graph import Edge, Graph, Node

if TYPE_CHECKING:
    import networkx

Drawable = Graph | Part

# Colour of each family of nodes: fill, and the kinds that have it.
COLOURS = {
    "#cfe8cf": ("task", "thread", "session", "group", "signal", "timer", "lock"),
    "#d5e3f5": ("mm", "area", "run", "pagemap", "pages", "touched", "shmem", "aio", "layer"),
    "#fbe5c8": ("fdtable", "fd", "fs", "file", "remap", "ghost", "memfd", "pipe", "fifo", "tty"),
    "#f7d4dd": ("packet", "stream", "socket", "watch"),
    "#e6dcf2": ("ns", "mount", "peers", "superblock", "device", "cgset", "cgroup"),
    "#eeeeee": ("path", "inode", "external"),
}
OTHER_COLOUR, MISSING_COLOUR = "#f4f4c8", "#ff9d94"
_COLOUR_OF = {kind: colour for colour, kinds in COLOURS.items() for kind in kinds}


def colour(node: Node) -> str:
    """Fill of a node; what is missing stands out."""
    return MISSING_COLOUR if node.missing else _COLOUR_OF.get(node.kind, OTHER_COLOUR)


def name(node: Node) -> str:
    """Unique name: "fd:1,3"."""
    key = node.key
    text = ",".join(map(str, key)) if isinstance(key, tuple) else str(key)
    return f"{node.kind}:{text}"


def to_networkx(graph: Drawable, attributes: bool = False) -> networkx.MultiDiGraph:
    """A directed graph of networkx: nodes are Node.id, with kind, key, label and missing.

    With `attributes` the nodes also have everything the images say of them (slow for many).
    """
    import networkx

    result = networkx.MultiDiGraph()
    for node in graph:
        more = node.attributes() if attributes else {}
        result.add_node(
            node.id, kind=node.kind, key=node.key, label=node.label, missing=node.missing, **more
        )
    for edge in graph.edges():
        result.add_edge(edge.source.id, edge.target.id, reason=edge.reason, needs=edge.needs)
    return result


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dot_lines(graph: Drawable) -> Iterator[str]:
    """The graph in graphviz's language, line by line."""
    yield "digraph torpor {"
    yield '\trankdir=LR; node [shape=box, style="filled,rounded", fontname="sans-serif"];'
    for node in graph:
        extra = ", color=red" if node.missing else ""
        yield f'\tn{node.id} [label={_quoted(node.label)}, fillcolor="{colour(node)}"{extra}];'
    for edge in graph.edges():
        style = "" if edge.needs else ", style=dashed"
        yield f"\tn{edge.source.id} -> n{edge.target.id} [label={_quoted(edge.reason)}{style}];"
    yield "}"


def to_dot(graph: Drawable) -> str:
    """The graph in graphviz's language."""
    return "\n".join(dot_lines(graph)) + "\n"


def node_json(node: Node, attributes: bool = True) -> dict[str, Any]:
    """A node for JSON."""
    key = node.key
    found: dict[str, Any] = {
        "id": node.id,
        "kind": node.kind,
        "key": list(key) if isinstance(key, tuple) else key,
        "label": node.label,
    }
    if node.missing:
        found["missing"] = True
    if node.image:
        found["image"] = node.image
    if attributes:
        found["attributes"] = node.attributes()
    return found


def edge_json(edge: Edge) -> dict[str, Any]:
    """An edge for JSON."""
    return {"from": edge.source.id, "reason": edge.reason, "to": edge.target.id}


def to_json(graph: Drawable, attributes: bool = True) -> dict[str, Any]:
    """{"nodes": [...], "edges": [...]}"""
    return {
        "nodes": [node_json(n, attributes) for n in graph],
        "edges": [edge_json(e) for e in graph.edges()],
    }


def around(graph: Graph, start: Iterable[Node], depth: int, hubs: Iterable[str] = ()) -> Part:
    """The nodes at most `depth` edges away; those of the kinds `hubs` are not passed through."""
    closed = set(hubs)
    seen = {n.id: n for n in start}
    level = list(seen.values())
    for _ in range(depth):
        beyond = []
        for node in level:
            if node.kind in closed:
                continue
            for _, other in graph.neighbours(node):
                if other.id not in seen:
                    seen[other.id] = other
                    beyond.append(other)
        level = beyond
    return Part(graph, seen.values())
