# SPDX-License-Identifier: MIT
"""Questions about a graph: in which order its things are made, how two of them hang together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from torpor.resgraph.graph import Edge, Graph, Node


class Order(NamedTuple):
    """What has to be made before what."""

    steps: list[list[Node]]
    """In order. A step of several nodes is a circle: they need each other and are made together."""
    missing: list[Edge]
    """Edges from something there to something that is not, e.g. a session without its leader."""


def order(
    graph: Graph, kinds: Iterable[str] = (), wanted: Callable[[Node], bool] | None = None
) -> Order:
    """Topological order by the edges that need their targets, of all nodes or those of some kinds.

    Takes time and memory of the order of the graph's size.
    """
    chosen = set(kinds)
    nodes = [n.id for n in graph.nodes(*chosen) if wanted is None or wanted(n)]
    inside = bytearray(len(graph))
    for number in nodes:
        inside[number] = 1
    missing: list[Edge] = []

    def needed(number: int) -> list[int]:
        found = []
        for edge in graph.out(Node(graph, number)):
            if not edge.needs:
                continue
            if edge.target.missing:
                missing.append(edge)
            if inside[edge.target.id]:
                found.append(edge.target.id)
        return found

    steps = [[Node(graph, i) for i in sorted(part)] for part in _components(nodes, needed)]
    return Order(steps, missing)


def _components(nodes: Iterable[int], needed: Callable[[int], list[int]]) -> Iterator[list[int]]:
    """Strongly connected components, those that are needed first (Tarjan, without recursion)."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    done: set[int] = set()
    stack: list[int] = []
    for root in nodes:
        if root in index:
            continue
        work = [(root, iter(needed(root)))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    work.append((target, iter(needed(target))))
                    break
                if target not in done:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == index[node]:
                    part: list[int] = []
                    while not part or part[-1] != node:
                        part.append(stack.pop())
                        done.add(part[-1])
                    yield part


class Step(NamedTuple):
    """A step on the way between two nodes, with or against the direction of an edge."""

    edge: Edge
    forward: bool

    @property
    def node(self) -> Node:
        """Where the step leads."""
        return self.edge.target if self.forward else self.edge.source


def explain(graph: Graph, start: Node, end: Node) -> list[Step] | None:
    """The shortest way between two nodes along edges in either direction; None if there is none.

    What most things have in common explains little: namespaces, credentials and the like are only
    passed through when there is no other way.
    """
    return _search(graph, start, end, HUBS) or _search(graph, start, end, frozenset())


HUBS = frozenset({"ns", "creds", "inventory", "peers", "superblock", "cgset", "cgroup", "layer"})


def _search(graph: Graph, start: Node, end: Node, hubs: frozenset[str]) -> list[Step] | None:
    came: dict[int, Step | None] = {start.id: None}
    todo = deque([start])
    while todo:
        node = todo.popleft()
        if node == end:
            return _way(came, node)
        if node != start and node.kind in hubs:
            continue
        for edge in graph.out(node):
            if edge.target.id not in came:
                came[edge.target.id] = Step(edge, True)
                todo.append(edge.target)
        for edge in graph.into(node):
            if edge.source.id not in came:
                came[edge.source.id] = Step(edge, False)
                todo.append(edge.source)
    return None


def _way(came: dict[int, Step | None], node: Node) -> list[Step]:
    steps = []
    while step := came[node.id]:
        steps.append(step)
        node = step.edge.source if step.forward else step.edge.target
    return steps[::-1]


def explain_text(start: Node, steps: Iterable[Step]) -> str:
    """One line: "task 1 <- of - descriptor table 2 <- in - descriptor 0 - refers -> file 3"."""
    text = start.label
    for step in steps:
        arrow = f"- {step.edge.reason} ->" if step.forward else f"<- {step.edge.reason} -"
        text += f" {arrow} {step.node.label}"
    return text


class Part:
    """A part of a graph: some nodes and the edges between them, with the same questions."""

    def __init__(self, graph: Graph, nodes: Iterable[Node]) -> None:
        self.graph = graph
        self._nodes = sorted({n.id for n in nodes})
        self._inside = frozenset(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return (Node(self.graph, i) for i in self._nodes)

    def __contains__(self, node: Node) -> bool:
        return node.id in self._inside

    def nodes(self, *kinds: str) -> Iterator[Node]:
        """All nodes of the part, or those of some kinds."""
        return (n for n in self if not kinds or n.kind in kinds)

    def out(self, node: Node, *reasons: str) -> Iterator[Edge]:
        """Edges from a node to another one of the part."""
        return (e for e in self.graph.out(node, *reasons) if e.target.id in self._inside)

    def into(self, node: Node, *reasons: str) -> Iterator[Edge]:
        """Edges to a node from another one of the part."""
        return (e for e in self.graph.into(node, *reasons) if e.source.id in self._inside)

    def edges(self) -> Iterator[Edge]:
        """Edges between nodes of the part."""
        for node in self:
            yield from self.out(node)
