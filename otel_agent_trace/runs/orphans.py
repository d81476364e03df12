"""Spans whose parent was lost, put back below what was going on when they began."""

from __future__ import annotations

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.tree import Node, start_of
from otel_agent_trace.span import SpanRecord


def adopt(tops: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    """The outermost nodes that are left when each one with a lost parent lies below the one that it began within."""
    homes = [top for top in tops if not _is_lost(top, records)]
    left: list[Node] = []
    for top in sorted(tops, key=start_of):
        home = _home(top, homes) if top.is_third_party and _is_lost(top, records) else None
        if home is None:
            left.append(top)
        else:
            home.below = sorted([*home.below, top], key=start_of)
    return left


def _is_lost(node: Node, records: dict[str, SpanRecord]) -> bool:
    return outermost_id(node.span, records) not in records


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


def outermost_id(span: SpanRecord, records: dict[str, SpanRecord]) -> str:
    """The id of the outermost span above, or of the lost one."""
    for _ in range(len(records)):
        parent_id = span.parent_span_id
        if parent_id is None:
            return span.span_id
        if parent_id not in records:
            return parent_id
        span = records[parent_id]
    return span.span_id
