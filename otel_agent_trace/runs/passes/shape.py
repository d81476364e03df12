"""What keeps any tree readable: runs that are not too deep, and have ids of their own."""

from __future__ import annotations

from otel_agent_trace.runs.node import start_of
from otel_agent_trace.runs.tree import TraceTree, run_id_of

DEEPEST = 64
"""Sub-agents within each other that have runs of their own; the steps of deeper ones stand in the run above."""


def limit_depth(tree: TraceTree) -> None:
    """Let agents that lie more than `DEEPEST` deep be steps without a run of their own.

    Runs lie within each other, and whoever walks them goes as deep: a file, or an agent that calls itself, must not
    decide how deep that is.
    """
    if len(tree.records) <= DEEPEST:
        return
    pending = [(node, 0) for node in tree.tops]
    while pending:
        node, depth = pending.pop()
        node.is_run = node.is_run and depth <= DEEPEST
        depth += node.is_run
        pending.extend((child, depth) for child in node.below)


def separate_run_ids(tree: TraceTree) -> None:
    """Give an id of its own to each outermost run that would be called like another.

    Takes runs; those whose node was made up, since the spans above several runs of one trace were lost (a worker that
    serves several requests of one trace), have no id but the trace's.
    """
    if len(tree.tops) < 2:
        return
    seen: set[str] = set()
    for node in sorted([top for top in tree.tops if top.is_run], key=start_of):
        if node.facts.run_id is None and run_id_of(node.span, node.facts) in seen:
            first = min((below.span.span_id for below in node.walk() if below.span.span_id), default="")
            node.facts.run_id = f"{node.span.trace_id}-{first}"
        seen.add(run_id_of(node.span, node.facts))
