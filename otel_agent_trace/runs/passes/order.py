"""Order steps that began at the same time by what caused what."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.calls import has_just_answered, place_of_answer, results_sent_last
from otel_agent_trace.runs.node import Node, start_of
from otel_agent_trace.runs.tree import TraceTree

_PER_MESSAGE, _HAS_RESULTS = 4, 2


def order_simultaneous_steps(tree: TraceTree) -> None:
    """Rank steps so that of those that began at once, a tool follows the model call that asked for it.

    Takes runs whose calls are merged. A model call that was sent more messages comes after one that was sent fewer, a
    call between the one that asked for it and the one that was sent its result, and what is in a step after it. Needed
    for clocks of whole milliseconds (browsers, JavaScript, logs).
    """
    simultaneous: defaultdict[int, list[Node]] = defaultdict(list)
    for node in tree.walk():
        simultaneous[node.span.start_ns].append(node)
        if node.kind is StepKind.MODEL and node.is_third_party:
            node.rank = _rank_of_model(node)
    for nodes in simultaneous.values():
        if len(nodes) > 1:
            _rank_calls(nodes)
    for node in tree.walk():
        for child in node.children:
            if node.kind not in (None, StepKind.AGENT) and child.span.start_ns == node.span.start_ns:
                child.rank = max(child.rank, node.rank + 1)
        if node.is_third_party:
            node.children.sort(key=start_of)
    tree.roots.sort(key=start_of)


def _rank_of_model(model: Node) -> int:
    messages = model.facts.messages
    return place_of_answer(messages) * _PER_MESSAGE + (_HAS_RESULTS if has_just_answered(model) else 0)


def _rank_calls(nodes: list[Node]) -> None:
    """Rank tools and agents by the model calls, among steps that began at once, that asked for them or got their result."""
    models = sorted((node for node in nodes if node.kind is StepKind.MODEL), key=start_of)
    calls = [node for node in nodes if node.kind in (StepKind.TOOL, StepKind.AGENT) and node.is_third_party]
    if not models or not calls:
        return
    requests = [(part, model.rank + 1) for model in models for part in _requests(model)]
    results = [(part, model.rank - 1) for model in models for part in results_sent_last(model.facts.messages)]
    for call in calls:
        found = _taken(requests, call) or _taken(results, call)
        if found is not None:
            call.rank = found


def _requests(model: Node) -> list[dict[Any, Any]]:
    return [part for message in model.facts.messages[-1:] for part in message.tool_calls]


def _taken(parts: list[tuple[dict[Any, Any], int]], call: Node) -> int | None:
    """Return the rank that a part of a message gives to a call, and remove the part; None where no part is for it."""
    for is_for in (_has_its_id, _has_its_arguments, _may_be_for):
        for place, (part, rank) in enumerate(parts):
            if is_for(part, call):
                del parts[place]
                return rank
    return None


def _has_its_id(part: dict[Any, Any], call: Node) -> bool:
    return call.facts.call_id is not None and part.get("id") == call.facts.call_id


def _has_its_arguments(part: dict[Any, Any], call: Node) -> bool:
    return _names(part, call) and part.get("arguments") == call.facts.input


def _may_be_for(part: dict[Any, Any], call: Node) -> bool:
    return _names(part, call) and None in (part.get("id"), call.facts.call_id)


def _names(part: dict[Any, Any], call: Node) -> bool:
    return part.get("name") == (call.facts.name or call.facts.label)
