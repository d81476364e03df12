"""Build the tree of the spans of one trace that have facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from otel_agent_trace import dialects
from otel_agent_trace.mapping.reader import read as read_own
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Attached, Node, start_of
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts


class TraceTree:
    """Hold the nodes of one trace, which passes change in place.

    Attributes:
        roots: the nodes without a node above them, in order of start.
        has_third_party: whether spans of other tracers are among them; the children of each node are then sorted by
            start too.
        records: all spans by id, also those without facts.
        named: scores that belong to what they name, which may have no span.
    """

    __slots__ = ("has_third_party", "named", "records", "roots")

    def __init__(self, records: dict[str, SpanRecord], roots: list[Node], *, has_third_party: bool) -> None:
        self.records, self.roots, self.has_third_party = records, roots, has_third_party
        self.named: list[Attached] = []

    def walk(self) -> Iterator[Node]:
        """Yield all nodes, parents before children."""
        for root in self.roots:
            yield from root.walk()

    def walk_up(self) -> list[Node]:
        """Return all nodes, children before parents."""
        return [*self.walk()][::-1]

    def agents_of_others(self) -> list[Node]:
        """Return the agents that other tracers recorded, inner ones before outer ones."""
        return [node for node in self.walk_up() if node.kind is StepKind.AGENT and node.is_third_party]

    def ids_above(self, span: SpanRecord) -> set[str]:
        """Return the ids of a span and of all spans above it, as far as they are known."""
        return set(ids_above(span, self.records))

    def outermost(self, span: SpanRecord) -> SpanRecord:
        """Return the outermost span above a span that is here, or the span itself."""
        for _ in range(len(self.records)):
            above = self.records.get(span.parent_span_id or "")
            if above is None:
                break
            span = above
        return span

    def outermost_id(self, span: SpanRecord) -> str:
        """Return the id of the outermost span above a span: of the root, or of a parent that is missing."""
        outermost = self.outermost(span)
        return outermost.parent_span_id or outermost.span_id


def unique(spans: Iterable[SpanRecord]) -> dict[str, SpanRecord]:
    """Return one record for each span id; of several, the most complete one."""
    spans = list(spans)
    records = {span.span_id: span for span in spans}
    if len(records) == len(spans):  # nearly always
        return records
    records.clear()
    for span in spans:
        known = records.setdefault(span.span_id, span)
        if known is not span and _completeness(span) > _completeness(known):
            records[span.span_id] = span
    return records


def _completeness(span: SpanRecord) -> tuple[bool, int, int]:
    return span.end_ns is not None, len(span.attributes), span.end_ns or 0


def build_tree(records: dict[str, SpanRecord]) -> TraceTree:
    """Return the tree of the spans of one trace: each node is below the closest span above it that has facts."""
    nodes: dict[str, Node] = {}
    has_third_party = False
    for span_id, span in records.items():
        is_third_party = not dialects.is_ours(span)
        facts = dialects.read_third_party(span) if is_third_party else read_own(span)
        if facts is not None:
            nodes[span_id] = Node(span, facts, is_third_party=is_third_party)
            has_third_party = has_third_party or is_third_party
    _link(nodes, records)
    roots: list[Node] = []
    for node in nodes.values():
        above, node.parent = node.parent, None  # a reference cycle would live until the garbage collector runs
        if above is not None:
            above.children.append(node)
        else:
            roots.append(node)
    if len(roots) > 1:
        roots.sort(key=start_of)
    if has_third_party:
        for node in nodes.values():
            node.children.sort(key=start_of)
    return TraceTree(records, roots, has_third_party=has_third_party)


def _link(nodes: dict[str, Node], records: dict[str, SpanRecord]) -> None:
    """Set for each node the closest node above it."""
    may_have_cycles = False
    orphans: list[Node] = []
    for node in nodes.values():
        span = node.span
        if span.parent_span_id is not None:
            above = nodes.get(span.parent_span_id)
            node.parent = above = above if above is not None else _nearest(span, records, nodes)
            if above is not None and above.span.start_ns >= span.start_ns:
                may_have_cycles = True
        if node.parent is None and node.claimed_run_id is not None:
            orphans.append(node)
    if orphans:
        _link_orphans(orphans, nodes)
    if may_have_cycles or orphans:  # along a cycle, start times have to stay or go up somewhere
        _break_cycles(nodes)


def _link_orphans(orphans: list[Node], nodes: dict[str, Node]) -> None:
    """Put nodes whose parents are missing below the run whose id is on their span, if it is here."""
    by_run_id = {run_id_of(node.span, node.facts): node for node in _sorted_nodes(nodes) if node.is_run}
    for node in orphans:
        run = by_run_id.get(node.claimed_run_id or "")
        node.parent = run if run is not node else None


def _sorted_nodes(nodes: dict[str, Node]) -> list[Node]:
    return sorted(nodes.values(), key=start_of)


def _nearest(span: SpanRecord, records: dict[str, SpanRecord], nodes: dict[str, Node]) -> Node | None:
    """Return the closest node above a span; None where there is none."""
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


def _break_cycles(nodes: dict[str, Node]) -> None:
    """Break cycles of parents, which only a damaged trace has, so that the tree has a root."""
    safe: set[int] = set()
    for node in _sorted_nodes(nodes):
        current: Node | None = node
        path: list[Node] = []
        while current is not None and id(current) not in safe:
            safe.add(id(current))
            path.append(current)
            current = current.parent
        if current is not None and any(current is passed for passed in path):
            current.parent = None


def ids_above(span: SpanRecord, records: Mapping[str, SpanRecord]) -> Iterator[str]:
    """Yield the ids of a span and of all spans above it, as far as they are among the records, from the span upwards."""
    seen: set[str] = set()
    current: SpanRecord | None = span
    while current is not None and current.span_id not in seen:
        yield current.span_id
        seen.add(current.span_id)
        current = records.get(current.parent_span_id or "")


def run_id_of(span: SpanRecord, facts: SpanFacts) -> str:
    """Return the id of the run that a span stands for: its own, else the trace id, else trace id and span id."""
    if facts.run_id is not None:
        return facts.run_id
    return span.trace_id if span.parent_span_id is None else f"{span.trace_id}-{span.span_id}"
