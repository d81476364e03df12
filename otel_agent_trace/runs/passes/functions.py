"""Classify traced functions whose spans record no kind."""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.payloads import result_of
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree


def classify_functions(tree: TraceTree) -> None:
    """Turn a function that calls models into an agent, and another one called from a traced function into a tool.

    Takes frames that are functions; leaves those that are neither as frames. OpenLIT's decorator writes agents, tools
    and plain functions alike, as spans with ``function.args`` and without a kind.
    """
    pending = [(root, False) for root in tree.roots]
    while pending:
        node, is_called = pending.pop()
        if node.facts.is_function and node.kind is None:
            _classify(node, is_called=is_called)
        is_called = is_called or node.facts.is_function or node.kind is not None
        pending.extend((child, is_called) for child in node.children)


def _classify(node: Node, *, is_called: bool) -> None:
    if any(child.kind is StepKind.MODEL for child in node.steps_below()):
        node.kind, node.is_run = StepKind.AGENT, True
    elif is_called:
        node.kind = StepKind.TOOL
        node.facts.output = result_of(node.facts.output)
