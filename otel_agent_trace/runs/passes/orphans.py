"""Spans whose parent was lost."""

from __future__ import annotations

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span import SpanRecord


def adopt_orphans(tree: TraceTree) -> None:
    """Put what has a lost parent back below the innermost node that was going on when it began.

    Takes tops below spans that are not there; leaves those tops for which nothing, or more than one thing, went on. Any
    exporter loses spans: a batch that was dropped, a process that was killed, a root that smolagents never ends.
    Without this a trace with one span missing reads as several runs, with their steps told twice.
    """
    lost = {id(top) for top in tree.tops if tree.outermost_id(top.span) not in tree.records}
    homes = [top for top in tree.tops if id(top) not in lost]
    left: list[Node] = []
    for top in tree.tops:
        home = _home(top, homes) if top.is_third_party and id(top) in lost else None
        if home is None:
            left.append(top)
        else:
            home.hang_below([top])
    tree.tops = left


def _home(orphan: Node, homes: list[Node]) -> Node | None:
    """The innermost node that alone of its kin was going on when a span began."""
    home: Node | None = None
    around = _around(orphan, homes)
    while len(around) == 1:
        home = around[0]
        around = _around(orphan, home.below)
    return home


def _around(orphan: Node, nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.kind is not StepKind.MODEL and _began_within(orphan.span, node.span)]


def _began_within(inner: SpanRecord, outer: SpanRecord) -> bool:
    return outer.start_ns <= inner.start_ns and (outer.end_ns is None or inner.start_ns <= outer.end_ns)
