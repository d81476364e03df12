"""Keep any tree readable: limit how deep runs are nested, and give each run an id of its own."""

from __future__ import annotations

from otel_agent_trace.runs.node import start_of
from otel_agent_trace.runs.tree import TraceTree, run_id_of

DEEPEST = 64
"""Sub-agents nested in each other that have runs of their own; the steps of deeper ones belong to the run above."""


def limit_depth(tree: TraceTree) -> None:
    """Turn agents nested more than `DEEPEST` deep into steps without a run of their own.

    Code that walks nested runs recurses as deep as they are; neither a file nor an agent that calls itself may decide
    that.
    """
    if len(tree.records) <= DEEPEST:
        return
    pending = [(node, 0) for node in tree.roots]
    while pending:
        node, depth = pending.pop()
        node.is_run = node.is_run and depth <= DEEPEST
        depth += node.is_run
        pending.extend((child, depth) for child in node.children)


def separate_run_ids(tree: TraceTree) -> None:
    """Give an outermost run that would have the same id as another one an id of its own.

    Runs whose node was inferred have no id but the trace's, and neither have calls without a parent: the spans above
    several runs of one trace are missing, for example those of a worker that serves several requests of one trace.
    """
    if len(tree.roots) < 2:
        return
    seen: set[str] = set()
    for node in sorted(tree.roots, key=start_of):
        if not node.is_run and node.claimed_run_id is not None:
            continue  # a step of a run without a span
        if node.facts.run_id is None and run_id_of(node.span, node.facts) in seen:
            first = min((below.span.span_id for below in node.walk() if below.span.span_id), default="")
            node.facts.run_id = f"{node.span.trace_id}-{first}"
        seen.add(run_id_of(node.span, node.facts))
