"""Provide the passes that turn the tree of one trace into runs, in this order.

Each pass takes the tree as those before it leave it, and changes it in place. Passes are idempotent, and do not depend
on the order in which spans came. A pass names the framework that made it necessary: one that no trace needs any more
can go.
"""

from __future__ import annotations

from collections.abc import Callable

from otel_agent_trace.runs.passes.agents import (
    describe_called_agents,
    find_runs,
    merge_shells_in_our_runs,
    separate_resumed,
)
from otel_agent_trace.runs.passes.attached import place_logs_and_scores
from otel_agent_trace.runs.passes.conversations import divide_conversations
from otel_agent_trace.runs.passes.cuts import list_cuts
from otel_agent_trace.runs.passes.duplicates import merge_duplicates, merge_scattered_calls
from otel_agent_trace.runs.passes.frames import remove_frames
from otel_agent_trace.runs.passes.functions import classify_functions
from otel_agent_trace.runs.passes.graphs import recognise_graphs
from otel_agent_trace.runs.passes.order import order_simultaneous_steps
from otel_agent_trace.runs.passes.orphans import adopt_orphans
from otel_agent_trace.runs.passes.outcomes import (
    drop_usage_sums,
    identify_agents,
    infer_answers,
    infer_errors,
    infer_interruptions,
    infer_questions,
    record_requested_models,
)
from otel_agent_trace.runs.passes.shape import limit_depth, separate_run_ids
from otel_agent_trace.runs.passes.tools import complete_tools_in_frames, explain_tool_errors, infer_tool_steps
from otel_agent_trace.runs.tree import TraceTree

Pass = Callable[[TraceTree], None]

FOR_OTHERS: tuple[Pass, ...] = (
    classify_functions,
    separate_resumed,
    recognise_graphs,
    merge_duplicates,
    merge_scattered_calls,
    adopt_orphans,
    find_runs,
    merge_shells_in_our_runs,
    complete_tools_in_frames,
    infer_interruptions,
    remove_frames,
    identify_agents,
    describe_called_agents,
    divide_conversations,
    order_simultaneous_steps,
    infer_tool_steps,
    explain_tool_errors,
    infer_questions,
    infer_errors,
    infer_answers,
    drop_usage_sums,
    record_requested_models,
    list_cuts,
)
"""Passes for trees with spans of another tracer; our own tracer writes runs in the shape in which they are read."""
FOR_ALL: tuple[Pass, ...] = (limit_depth, separate_run_ids, place_logs_and_scores)
PASSES: tuple[Pass, ...] = (*FOR_OTHERS, *FOR_ALL)


def normalize(tree: TraceTree) -> None:
    """Bring a tree into the shape that our own tracer writes.

    Tops are then outermost runs and single calls outside any run; frames and duplicates are gone.
    """
    for run_pass in PASSES if tree.has_third_party else FOR_ALL:
        run_pass(tree)
