"""Put spans whose parents are missing back into the tree."""

from __future__ import annotations

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span import SpanRecord


def adopt_orphans(tree: TraceTree) -> None:
    """Put a root whose parent is missing below the innermost node that was running when it began.

    Leaves roots for which there is no such node, or more than one. Any exporter loses spans: a dropped batch, a killed
    process, a root span that smolagents never ends. Without this pass a trace with one span missing would read as
    several runs, with their steps reported twice.
    """
    lost = {id(root) for root in tree.roots if tree.outermost_id(root.span) not in tree.records}
    candidates = [root for root in tree.roots if id(root) not in lost]
    left: list[Node] = []
    for root in tree.roots:
        adopting = _node_to_adopt(root, candidates) if root.is_third_party and id(root) in lost else None
        if adopting is None:
            left.append(root)
        else:
            adopting.add_children([root])
    tree.roots = left


def _node_to_adopt(orphan: Node, candidates: list[Node]) -> Node | None:
    """Return the innermost node that was running when a span began, as the only one among its siblings."""
    adopting: Node | None = None
    around = _running_at_start_of(orphan, candidates)
    while len(around) == 1:
        adopting = around[0]
        around = _running_at_start_of(orphan, adopting.children)
    return adopting


def _running_at_start_of(orphan: Node, nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.kind is not StepKind.MODEL and _began_within(orphan.span, node.span)]


def _began_within(inner: SpanRecord, outer: SpanRecord) -> bool:
    return outer.start_ns <= inner.start_ns and (outer.end_ns is None or inner.start_ns <= outer.end_ns)
