"""What follows from many spans of one trace: named passes over one tree, in this order.

Each takes the tree as those before it leave it, and changes it in place; done twice it is as done once, and the order
in which spans came does not matter. A pass says which framework, or which report, made it necessary: one that no trace
needs any more can go.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_agent_trace.runs.passes.agents import find_runs, merge_guest_shells
from otel_agent_trace.runs.passes.duplicates import merge_duplicates, merge_scattered_calls
from otel_agent_trace.runs.passes.frames import remove_frames
from otel_agent_trace.runs.passes.functions import classify_functions
from otel_agent_trace.runs.passes.orphans import adopt_orphans
from otel_agent_trace.runs.passes.outcomes import (
    drop_usage_sums,
    identify_agents,
    infer_answers,
    infer_errors,
    infer_questions,
)
from otel_agent_trace.runs.passes.shape import limit_depth, separate_run_ids
from otel_agent_trace.runs.passes.tools import explain_tool_errors, infer_tool_steps
from otel_agent_trace.runs.tree import TraceTree

Pass = Callable[[TraceTree], None]

FOR_OTHERS: tuple[Pass, ...] = (
    classify_functions,
    merge_duplicates,
    merge_scattered_calls,
    adopt_orphans,
    find_runs,
    merge_guest_shells,
    remove_frames,
    identify_agents,
    infer_tool_steps,
    explain_tool_errors,
    infer_questions,
    infer_errors,
    infer_answers,
    drop_usage_sums,
)
"""Passes for trees in which another tracer wrote something: ours writes runs as they are read."""
FOR_ALL: tuple[Pass, ...] = (limit_depth, separate_run_ids)
PASSES: tuple[Pass, ...] = (*FOR_OTHERS, *FOR_ALL)


def normalize(tree: TraceTree) -> None:
    """Bring a tree into the shape of our own: tops are outermost runs and lone steps, frames and duplicates are gone."""
    for change in PASSES if tree.has_third_party else FOR_ALL:
        change(tree)
