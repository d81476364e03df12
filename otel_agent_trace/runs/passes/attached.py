"""Find the step, or the run, in which each line of a program's log was written, or to which each score was given."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace import dialects, semconv
from otel_agent_trace.dialects.evaluations import score_of, scores_in_attributes
from otel_agent_trace.model import Score
from otel_agent_trace.runs.log_entries import entry_of
from otel_agent_trace.runs.node import Attached, Node
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.scores import score_key


def place_logs_and_scores(tree: TraceTree) -> None:
    """Give each node the lines of logs, and the scores, of its spans, and of those below it that are no steps.

    Spans that were merged into a node are its own; spans without a node are those of HTTP clients and databases,
    evaluators, and the frames that `remove_frames` took out. A score on a span around a run (the case of an evaluation)
    belongs to that run, if it is the only one there.
    """
    written = list(_written(tree))
    if not written:
        return
    by_span_id = _nodes_by_span_id(tree)
    found: dict[int, tuple[Node, list[Attached]]] = {}
    tree.named = [attached for attached in written if attached.names]
    for attached in written:
        if attached.names:
            continue
        node = _nearest(attached, by_span_id, tree) or _sole_run_below(attached, tree)
        if node is not None:
            found.setdefault(id(node), (node, []))[1].append(attached)
    for node, items in found.values():
        node.attached = tuple(_once(sorted(items, key=_order)))


def _written(tree: TraceTree) -> Iterator[Attached]:
    """Yield the lines and the scores of all spans."""
    for span in tree.records.values():
        for event in span.events:
            item = entry_of(event) or score_of(event)
            if item is not None:
                yield Attached(item, span, event.attributes if semconv.SCORE_BY_ID in event.attributes else {})
        if not dialects.is_ours(span):
            yield from [Attached(score, span) for score in scores_in_attributes(span)]


def _nodes_by_span_id(tree: TraceTree) -> dict[str, Node]:
    nodes = [*tree.walk()]
    merged = {span_id: node for node in nodes for span_id in node.merged_ids}
    return {**merged, **{node.span.span_id: node for node in nodes}}


def _nearest(attached: Attached, by_span_id: dict[str, Node], tree: TraceTree) -> Node | None:
    """Return the node of the span, or else of the closest span above it that has one."""
    span_id: str | None = attached.span.span_id
    for _ in range(len(tree.records)):
        node = by_span_id.get(span_id or "")
        record = tree.records.get(span_id or "")
        if node is not None or record is None:
            return node
        span_id = record.parent_span_id
    return None


def _sole_run_below(attached: Attached, tree: TraceTree) -> Node | None:
    """Return the only outermost run, or single call, below the span of a score."""
    if type(attached.item) is not Score:
        return None
    below = [root for root in tree.roots if attached.span.span_id in tree.ids_above(root.span)]
    return below[0] if len(below) == 1 else None


def _once(ordered: list[Attached]) -> Iterator[Attached]:
    """Yield what a node has, in order of time; a score that stands as an event and as a log record, once."""
    seen = set[tuple[object, ...]]()
    for attached in ordered:
        key = score_key(attached.item) if type(attached.item) is Score else None
        if key is None or key not in seen:
            yield attached
        if key is not None:
            seen.add(key)


def _order(attached: Attached) -> tuple[int, str]:
    return attached.item.at_ns, attached.span.span_id
