"""The spans of one trace as a tree of those that mean something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_agent_trace import dialects
from otel_agent_trace.mapping.reader import read as read_own
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node, start_of
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts


class TraceTree:
    """The nodes of one trace, which passes change in place.

    `tops` are the nodes that have none above them, in order of start; where spans of other tracers are among them
    (`has_third_party`), what hangs below a node is in that order too. `records` are all spans, also those that mean
    nothing, by id.
    """

    __slots__ = ("has_third_party", "records", "tops")

    def __init__(self, records: dict[str, SpanRecord], tops: list[Node], *, has_third_party: bool) -> None:
        self.records, self.tops, self.has_third_party = records, tops, has_third_party

    def walk(self) -> Iterator[Node]:
        """Yield all nodes, those above before those below them."""
        for top in self.tops:
            yield from top.walk()

    def walk_up(self) -> list[Node]:
        """Return all nodes, those below before those above them."""
        return [*self.walk()][::-1]

    def agents_of_others(self) -> list[Node]:
        """Return the agents that other tracers saw, those below before those above them."""
        return [node for node in self.walk_up() if node.kind is StepKind.AGENT and node.is_third_party]

    def outermost_id(self, span: SpanRecord) -> str:
        """Return the id of the outermost span above a span, or of one that was lost."""
        for _ in range(len(self.records)):
            parent_id = span.parent_span_id
            if parent_id is None:
                return span.span_id
            if parent_id not in self.records:
                return parent_id
            span = self.records[parent_id]
        return span.span_id


def unique(spans: Iterable[SpanRecord]) -> dict[str, SpanRecord]:
    """Return one record a span, by its id: where there are several, the one that says most."""
    records: dict[str, SpanRecord] = {}
    for span in spans:
        known = records.setdefault(span.span_id, span)
        if known is not span and _completeness(span) > _completeness(known):
            records[span.span_id] = span
    return records


def _completeness(span: SpanRecord) -> tuple[bool, int, int]:
    return span.end_ns is not None, len(span.attributes), span.end_ns or 0


def build_tree(records: dict[str, SpanRecord]) -> TraceTree:
    """Return the tree of the spans of one trace: each below the closest one above it that means something."""
    nodes: dict[str, Node] = {}
    has_third_party = False
    for span_id, span in records.items():
        is_third_party = not dialects.is_ours(span)
        facts = dialects.read_third_party(span) if is_third_party else read_own(span)
        if facts is not None:
            nodes[span_id] = Node(span, facts, is_third_party=is_third_party)
            has_third_party = has_third_party or is_third_party
    _link(nodes, records)
    tops: list[Node] = []
    for node in nodes.values():
        above, node.above = node.above, None  # a cycle would live until the garbage collector comes
        if above is not None:
            above.below.append(node)
        else:
            tops.append(node)
    if len(tops) > 1:
        tops.sort(key=start_of)
    if has_third_party:
        for node in nodes.values():
            node.below.sort(key=start_of)
    return TraceTree(records, tops, has_third_party=has_third_party)


def _link(nodes: dict[str, Node], records: dict[str, SpanRecord]) -> None:
    """Find for each node the closest one above it."""
    suspicious = False
    lost: list[Node] = []
    for node in nodes.values():
        span = node.span
        if span.parent_span_id is not None:
            above = nodes.get(span.parent_span_id)
            node.above = above = above if above is not None else _nearest(span, records, nodes)
            if above is not None and above.span.start_ns >= span.start_ns:
                suspicious = True
        if node.above is None and node.claimed_run_id is not None:
            lost.append(node)
    if lost:
        _link_lost(lost, nodes)
    if suspicious or lost:  # a ring of parents has to go up in time somewhere
        _cut_rings(nodes)


def _link_lost(lost: list[Node], nodes: dict[str, Node]) -> None:
    """Put spans whose parents were lost below the run that they say they belong to, if that is here."""
    by_run_id = {run_id_of(node.span, node.facts): node for node in _in_order(nodes) if node.is_run}
    for node in lost:
        run = by_run_id.get(node.claimed_run_id or "")
        node.above = run if run is not node else None


def _in_order(nodes: dict[str, Node]) -> list[Node]:
    return sorted(nodes.values(), key=start_of)


def _nearest(span: SpanRecord, records: dict[str, SpanRecord], nodes: dict[str, Node]) -> Node | None:
    """The closest span above that means something."""
    parent_id = span.parent_span_id
    for _ in range(len(records)):
        if parent_id is None:
            return None
        node = nodes.get(parent_id)
        if node is not None:
            return node
        record = records.get(parent_id)
        parent_id = record.parent_span_id if record is not None else None
    return None


def _cut_rings(nodes: dict[str, Node]) -> None:
    """Let chains of parents that bite their own tail (a damaged trace) begin somewhere."""
    safe: set[int] = set()
    for node in _in_order(nodes):
        current: Node | None = node
        path: list[Node] = []
        while current is not None and id(current) not in safe:
            safe.add(id(current))
            path.append(current)
            current = current.above
        if current is not None and any(current is passed for passed in path):
            current.above = None


def run_id_of(span: SpanRecord, facts: SpanFacts) -> str:
    """Return the id of the run that a span is."""
    if facts.run_id is not None:
        return facts.run_id
    return span.trace_id if span.parent_span_id is None else f"{span.trace_id}-{span.span_id}"
