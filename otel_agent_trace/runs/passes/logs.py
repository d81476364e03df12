"""Find the step, or the run, in which each line of a program's log was written."""

from __future__ import annotations

from otel_agent_trace.runs.log_entries import entry_of
from otel_agent_trace.runs.node import LoggedEntry, Node
from otel_agent_trace.runs.tree import TraceTree


def place_logs(tree: TraceTree) -> None:
    """Give each node the lines of logs that were written in its spans, and in those below that are no steps.

    Spans that were merged into a node are its own; spans without a node are those of HTTP clients and databases, and
    the frames that `remove_frames` took out.
    """
    written = [
        LoggedEntry(entry, span)
        for span in tree.records.values()
        if span.events
        for event in span.events
        if (entry := entry_of(event)) is not None
    ]
    if not written:
        return
    by_span_id = _nodes_by_span_id(tree)
    found: dict[int, tuple[Node, list[LoggedEntry]]] = {}
    for logged in written:
        node = _nearest(logged, by_span_id, tree)
        if node is not None:
            found.setdefault(id(node), (node, []))[1].append(logged)
    for node, entries in found.values():
        node.logs = tuple(sorted(entries, key=_order))


def _nodes_by_span_id(tree: TraceTree) -> dict[str, Node]:
    nodes = [*tree.walk()]
    merged = {span_id: node for node in nodes for span_id in node.merged_ids}
    return {**merged, **{node.span.span_id: node for node in nodes}}


def _nearest(logged: LoggedEntry, by_span_id: dict[str, Node], tree: TraceTree) -> Node | None:
    """Return the node of the span, or else of the closest span above it that has one."""
    span_id: str | None = logged.span.span_id
    for _ in range(len(tree.records)):
        node = by_span_id.get(span_id or "")
        record = tree.records.get(span_id or "")
        if node is not None or record is None:
            return node
        span_id = record.parent_span_id
    return None


def _order(logged: LoggedEntry) -> tuple[int, str]:
    return logged.entry.at_ns, logged.span.span_id
