"""Find the calls of a trace, without a known span above them, that are parts of one run."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.calls import calls_just_answered, place_of_answer, results_sent_last
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree

_CALLS = (StepKind.MODEL, StepKind.TOOL)


def joined_by_messages(groups: list[list[Node]], tree: TraceTree) -> list[list[Node]]:
    """Return the groups of roots, with those together whose model calls continue each other, and the tools they asked for.

    Only calls below nothing that is known are joined: a program set the trace, but no span around them, or every span
    around them was lost. Model calls that only share the trace are runs of their own.
    """
    loose = [group for group in groups if all(_is_loose(root, tree) for root in group)]
    if len(loose) < 2:
        return groups
    group_of = {id(root): group for group in loose for root in group}
    chains: list[_Chain] = []
    for call in sorted((root for group in loose for root in group), key=_order):
        chain = next((chain for chain in reversed(chains) if chain.is_continued_by(call)), None)
        if chain is None:
            chain = _Chain()
            chains.append(chain)
        chain.add(call)
        first, own = group_of[id(chain.calls[0])], group_of[id(call)]
        if own is not first:
            first.extend(own)
            group_of.update({id(root): first for root in own})
            own.clear()
    return [group for group in groups if group]


def _is_loose(root: Node, tree: TraceTree) -> bool:
    return root.kind in _CALLS and tree.outermost(root.span) is root.span


def _order(call: Node) -> tuple[bool, int, int, str]:
    """Return the key that sorts model calls before tools, and longer histories after shorter ones at the same time."""
    return call.kind is StepKind.TOOL, call.span.start_ns, len(call.facts.messages), call.span.span_id


class _Chain:
    """Hold calls that continue each other, and the requests for tools whose own calls are not yet found."""

    def __init__(self) -> None:
        self.calls: list[Node] = []
        self._last_model: Node | None = None
        self._requests: list[tuple[Node, dict[Any, Any]]] = []

    def add(self, call: Node) -> None:
        """Add a call: a model call with its requests, or a tool that takes one."""
        self.calls.append(call)
        if call.kind is StepKind.MODEL:
            self._last_model = call
            self._requests += [(call, part) for message in call.facts.messages[-1:] for part in message.tool_calls]
        elif (request := self._request_for(call)) is not None:
            self._requests.remove(request)

    def is_continued_by(self, call: Node) -> bool:
        """Return whether a tool was asked for, or a model call was sent the results."""
        if call.kind is StepKind.TOOL:
            return self._request_for(call) is not None
        last = self._last_model
        return last is not None and (_extends(call, last) or _has_results_for(call, last))

    def _request_for(self, tool: Node) -> tuple[Node, dict[Any, Any]] | None:
        for model, part in self._requests:
            if model.span.start_ns <= tool.span.start_ns and _may_ask_for(part, tool):
                return model, part
        return None


def _may_ask_for(part: dict[Any, Any], tool: Node) -> bool:
    facts = tool.facts
    if part.get("name") != (facts.name or facts.label) or len({part.get("id"), facts.call_id} - {None}) > 1:
        return False
    return facts.input is None or facts.input == part.get("arguments")


def _extends(model: Node, earlier: Node) -> bool:
    """Return whether a model call was sent the messages of an earlier one, and results of tools after them."""
    known = earlier.facts.messages
    sent = known[: place_of_answer(known)]
    more = model.facts.messages[len(sent) :]
    return bool(sent) and model.facts.messages[: len(sent)] == sent and any(message.role == "tool" for message in more)


def _has_results_for(model: Node, earlier: Node) -> bool:
    """Return whether it was last sent the results that an earlier one waits for; ids like ``call_0`` come again."""
    results = {part.get("id") for part in results_sent_last(model.facts.messages)}
    requests = [part for message in earlier.facts.messages[-1:] for part in message.tool_calls]
    answered = [(call.call_id, call.name, call.arguments) for call in calls_just_answered(model)]
    return any(
        part.get("id") is not None
        and part["id"] in results
        and (not answered or (part["id"], part.get("name"), part.get("arguments")) in answered)
        for part in requests
    )
