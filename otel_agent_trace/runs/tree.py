"""The spans of one trace as a tree of those that mean something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from otel_agent_trace import dialects
from otel_agent_trace.mapping.reader import read as read_own
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

DEEPEST = 64
"""Sub-agents within each other that have runs of their own; the steps of deeper ones stand in the run above."""


class Origin(NamedTuple):
    """Where a fact was read: in which span, as which field of what that means."""

    span: SpanRecord
    field: str


class Node:
    """A span that means something, and what hangs below it; without a kind, a frame around what does."""

    __slots__ = ("above", "below", "facts", "is_run", "is_third_party", "kind", "said_run_id", "sources", "span")

    def __init__(self, span: SpanRecord, facts: SpanFacts, *, is_third_party: bool = True) -> None:
        self.span, self.facts = span, facts
        self.kind = facts.kind
        self.is_third_party = is_third_party
        # A step that was only said to be an agent's has a place in its run, but no run of its own.
        self.is_run = self.kind is StepKind.AGENT and (facts.index is None or facts.parent_run_id is not None)
        self.said_run_id = facts.parent_run_id if self.is_run else facts.run_id
        self.sources: Mapping[str, tuple[Origin, ...]] = _ALL_ITS_OWN
        self.above: Node | None = None
        self.below: list[Node] = []

    def origins(self, field: str) -> tuple[Origin, ...]:
        """Where a field was read."""
        return self.sources.get(field) or (Origin(self.span, field),)

    def note(self, field: str, *origins: Origin) -> None:
        """Remember where a field was read, if not in this span."""
        self.sources = {**self.sources, field: origins}

    def take(self, field: str, other: Node, other_field: str | None = None) -> None:
        """Know what another node knows."""
        setattr(self.facts, field, getattr(other.facts, other_field or field))
        self.note(field, *other.origins(other_field or field))

    def learn(self, field: str, other: Node) -> None:
        """Know what another node knows, unless this one does."""
        if not getattr(self.facts, field) and getattr(other.facts, field):
            self.take(field, other)

    def walk(self) -> Iterator[Node]:
        """All below, this one first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.below))


_ALL_ITS_OWN: Mapping[str, tuple[Origin, ...]] = {}


def start_of(node: Node) -> tuple[int, str]:
    """What nodes are sorted by."""
    return node.span.start_ns, node.span.span_id


def unique(spans: Iterable[SpanRecord]) -> dict[str, SpanRecord]:
    """One record a span: where there are several, the one that tells most."""
    records: dict[str, SpanRecord] = {}
    for span in spans:
        known = records.setdefault(span.span_id, span)
        if known is not span and _told(span) > _told(known):
            records[span.span_id] = span
    return records


def _told(span: SpanRecord) -> tuple[bool, int, int]:
    return span.end_ns is not None, len(span.attributes), span.end_ns or 0


def grow(records: dict[str, SpanRecord]) -> tuple[list[Node], bool]:
    """The nodes that have none above them, each with its own below it; and whether others' spans are among them."""
    nodes: dict[str, Node] = {}
    any_third_party = False
    for span_id, span in records.items():
        is_third_party = not dialects.is_ours(span)
        facts = dialects.read_third_party(span) if is_third_party else read_own(span)
        if facts is not None:
            nodes[span_id] = Node(span, facts, is_third_party=is_third_party)
            any_third_party = any_third_party or is_third_party
    _link(nodes, records)
    tops: list[Node] = []
    for node in nodes.values():
        above, node.above = node.above, None  # a cycle would live until the garbage collector comes
        if above is not None:
            above.below.append(node)
        else:
            tops.append(node)
    return tops, any_third_party


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
        if node.above is None and node.said_run_id is not None:
            lost.append(node)
    if lost:
        _link_lost(lost, nodes)
    if suspicious or lost:  # a ring of parents has to go up in time somewhere
        _cut_rings(nodes)


def _link_lost(lost: list[Node], nodes: dict[str, Node]) -> None:
    """Put spans whose parents were lost below the run that they say they belong to, if that is here."""
    by_run_id = {run_id_of(node.span, node.facts): node for node in nodes.values() if node.is_run}
    for node in lost:
        run = by_run_id.get(node.said_run_id or "")
        node.above = run if run is not node else None


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
    for node in nodes.values():
        current: Node | None = node
        path: list[Node] = []
        while current is not None and id(current) not in safe:
            safe.add(id(current))
            path.append(current)
            current = current.above
        if current is not None and any(current is passed for passed in path):
            current.above = None


def bound_depth(nodes: list[Node]) -> None:
    """Runs lie within each other, and whoever walks them goes as deep: what a file says must not decide how deep."""
    pending = [(node, 0) for node in nodes]
    while pending:
        node, depth = pending.pop()
        node.is_run = node.is_run and depth <= DEEPEST
        depth += node.is_run
        pending.extend((child, depth) for child in node.below)


def run_id_of(span: SpanRecord, facts: SpanFacts) -> str:
    """The id of the run that a span is."""
    if facts.run_id is not None:
        return facts.run_id
    return span.trace_id if span.parent_span_id is None else f"{span.trace_id}-{span.span_id}"
