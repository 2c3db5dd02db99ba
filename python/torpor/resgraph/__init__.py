# SPDX-License-Identifier: MIT
"""A whole image set as one graph.

    from torpor.images import ImageSet
    from torpor.resgraph import Graph, explain

    with ImageSet("dump") as images:
        graph = Graph(images)
        for fd in graph.nodes("fd"):
            print(fd.label, "->", fd.one("refers"))

`schema` lists the kinds of nodes and the reasons of edges. Everything in the images is a node or an
attribute of one (`Node.attributes()`).
"""

from torpor.resgraph.algorithms import Order, Part, Step, explain, explain_text, order
from torpor.resgraph.graph import Edge, Graph, Node
from torpor.resgraph.schema import NODE_KINDS, REASONS, NodeKind, Origin, Reason

__all__ = [
    "NODE_KINDS",
    "REASONS",
    "Edge",
    "Graph",
    "Node",
    "NodeKind",
    "Order",
    "Origin",
    "Part",
    "Reason",
    "Step",
    "explain",
    "explain_text",
    "order",
]
