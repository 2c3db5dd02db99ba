# SPDX-License-Identifier: MIT
"""A graph as a picture, without any other program.

What needs nothing stands on the right, what needs it to the left of it; within a column things
stand near what they are connected with.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from torpor.resgraph.algorithms import order
from torpor.resgraph.export import Drawable, colour
from torpor.resgraph.graph import Edge, Graph, Node

# More cannot be looked at.
NODES_MAX = 3000
LINE, GAP_X, GAP_Y, MARGIN, CHAR, TEXT_MAX = 22, 90, 8, 20, 6.6, 64
SWEEPS = 6


def _columns(graph: Drawable, nodes: list[Node]) -> dict[int, int]:
    """Column of each node: one more than the highest of what it needs."""
    whole = graph if isinstance(graph, Graph) else graph.graph
    inside = {n.id for n in nodes}
    column: dict[int, int] = {}
    for step in order(whole, wanted=lambda n: n.id in inside).steps:
        needed = [
            column[e.target.id]
            for n in step
            for e in graph.out(n)
            if e.needs and e.target.id in column
        ]
        for n in step:
            column[n.id] = max(needed, default=-1) + 1
    return column


def _rows(columns: list[list[int]], near: Mapping[int, list[int]]) -> None:
    """Sorts each column so that connected nodes stand at the same height."""
    place = {n: i / max(1, len(c)) for c in columns for i, n in enumerate(c)}
    for sweep in range(SWEEPS):
        for c in columns if sweep % 2 else reversed(columns):
            wish = {}
            for n in c:
                others = [place[o] for o in near[n]]
                wish[n] = sum(others) / len(others) if others else place[n]
            c.sort(key=wish.__getitem__)
            for i, n in enumerate(c):
                place[n] = i / max(1, len(c))


def _short(text: str) -> str:
    """Cut in the middle: paths differ at their ends."""
    half = TEXT_MAX // 2
    return text if len(text) <= TEXT_MAX else f"{text[: half - 1]}…{text[-half:]}"


def _box(node: Node, x: float, y: float, width: float) -> str:
    title = html.escape(f"{node.label}\n{node.image}".strip())
    stroke = ' stroke="#c00" stroke-width="2"' if node.missing else ' stroke="#888"'
    return (
        f'<g><title>{title}</title><rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" '
        f'height="{LINE}" rx="4" fill="{colour(node)}"{stroke}/>'
        f'<text x="{x + 6:.0f}" y="{y + 15:.0f}">{html.escape(_short(node.label))}</text></g>'
    )


def _line(edge: Edge, a: tuple[float, float, float], b: tuple[float, float, float]) -> str:
    """From the box at a to the one at b: (x, y, width)."""
    ya, yb = a[1] + LINE / 2, b[1] + LINE / 2
    if a[0] < b[0]:
        xa, xb = a[0] + a[2], b[0]
    else:
        xa, xb = a[0], b[0] + b[2]
    bend = (xb - xa) / 2 if abs(xb - xa) > 20 else -60
    dash = "" if edge.needs else ' stroke-dasharray="4 3"'
    title = html.escape(f"{edge.source.label} - {edge.reason} -> {edge.target.label}")
    return (
        f'<path d="M{xa:.0f} {ya:.0f}C{xa + bend:.0f} {ya:.0f} {xb - bend:.0f} {yb:.0f} '
        f'{xb:.0f} {yb:.0f}" marker-end="url(#a)"{dash}><title>{title}</title></path>'
    )


def to_svg(graph: Drawable) -> str:
    """An SVG picture; ValueError if the graph is too large to be looked at: take a part of it."""
    nodes = list(graph)
    if len(nodes) > NODES_MAX:
        raise ValueError(f"a picture of {len(nodes)} nodes helps nobody; take {NODES_MAX} at most")
    edges = list(graph.edges())
    near: dict[int, list[int]] = {n.id: [] for n in nodes}
    for e in edges:
        near[e.source.id].append(e.target.id)
        near[e.target.id].append(e.source.id)
    column = _columns(graph, nodes)
    highest = max(column.values(), default=0)
    columns: list[list[int]] = [[] for _ in range(highest + 1)]
    for n in nodes:
        columns[highest - column[n.id]].append(n.id)
    _rows(columns, near)
    return _draw({n.id: n for n in nodes}, edges, columns)


def _draw(nodes: Mapping[int, Node], edges: list[Edge], columns: list[list[int]]) -> str:
    tallest = max((len(c) for c in columns), default=0)
    height = MARGIN * 2 + tallest * (LINE + GAP_Y)
    boxes: dict[int, tuple[float, float, float]] = {}
    x = float(MARGIN)
    for c in columns:
        width = max((len(_short(nodes[n].label)) for n in c), default=0) * CHAR + 14
        top = (height - len(c) * (LINE + GAP_Y)) / 2
        for i, n in enumerate(c):
            boxes[n] = (x, top + i * (LINE + GAP_Y), width)
        x += width + GAP_X
    lines = [_line(e, boxes[e.source.id], boxes[e.target.id]) for e in edges]
    shapes = [_box(nodes[n], *boxes[n]) for n in boxes]
    width = max(x - GAP_X + MARGIN, 2 * MARGIN)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
            '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#667"/></marker></defs>',
            '<g fill="none" stroke="#667" stroke-opacity="0.55">',
            *lines,
            "</g>",
            *shapes,
            "</svg>\n",
        ]
    )
