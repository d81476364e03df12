"""Infer tool steps from the messages of models: calls without a span, and facts that the spans of tools leave out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.model import StepError, StepKind
from otel_agent_trace.runs.calls import CallHistory, ToolCall, calls_just_answered, recorded_calls
from otel_agent_trace.runs.node import Node, Origin, end_of, start_of
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span import Resource
from otel_agent_trace.span_facts import Conversation, SpanFacts

_FAILED = re.compile(
    r"(Error|Exception|[A-Z]\w*(Error|Exception))\b\s*[:(]"
    r"|(Error (executing|running|calling|invoking)|Failed to (execute|run|call|invoke)) ([^.:\n]{1,40} )?[Tt]ool\b"
)
"""Beginnings of the texts that frameworks (LangGraph, LlamaIndex, Agent Framework, ...) send for a failed tool."""


class _Match(NamedTuple):
    tool: Node
    call: ToolCall


def complete_tools_in_frames(tree: TraceTree) -> None:
    """Fill in what tools leave out from the calls that the frame around them was sent.

    Takes frames with messages; needed where a limit on attributes has dropped the messages of the models. LangGraph's
    `ToolNode` is sent the calls with ids and arguments; OpenInference's spans of the tools in it have bare values.
    Leaves no tool with the name of LangChain's class if frames beside it have one call with its arguments (JavaScript).
    """
    for frame in tree.walk():
        if frame.kind is None and frame.is_third_party and frame.facts.messages:
            tools = [step for step in frame.steps_below() if step.kind is StepKind.TOOL and step.is_third_party]
            matches = _matched(tools, CallHistory([frame]).calls)
            for tool, call in matches:
                if tool.facts.call_id is None and call.call_id is not None:
                    tool.facts.call_id = call.call_id
                    tool.set_origins("call_id", *frame.origins("messages"))
                _fill_tool(tool, call)
            _fill_attempts(tools, matches)
    for siblings in (tree.roots, *[node.children for node in tree.walk()]):
        _rename_after_calls(siblings)


def infer_tool_steps(tree: TraceTree) -> None:
    """Add steps for tool calls without a span, and fill in what the spans of the others leave out.

    Takes runs whose models have messages; leaves tools with arguments, results or errors, and inferred nodes (without a
    span id) between the model that asked and the one that was sent the result. Where no tool of a run has a span, all
    its calls are inferred (clients traced alone: the OpenAI SDK under ``POST /ask``), else those that were answered
    (spans were lost). Calls of earlier turns, and those that an agent in another run asked for (handoffs), are no steps.
    A bare first argument (LangChain under OpenInference) is replaced by the arguments that the model named. An agent
    that a model called as a tool, without a span for the tool, is put below an inferred one. Tools of another service
    whose clock differs are moved to where the messages show that they ran, with all that lies below them. Where no
    model has messages and no tool a span, the calls are those answered in the conversation on the agent's span.
    """
    runs = [run for run in tree.agents_of_others() if not _has_inferred(run)]  # else the pass has been run before
    calls_of_runs = [_calls_in(run) for run in runs]
    _leave_to_the_run_that_asked(calls_of_runs)
    for run, calls in zip(runs, calls_of_runs, strict=True):
        _complete_tools(run, [call for call in calls if not call.is_past])


def explain_tool_errors(tree: TraceTree) -> None:
    """Set the message of an error that has none of its own to that in the tool's result.

    Takes tools that failed, in runs of other tracers or in none. ADK records only the type, clients of MCP ``Tool
    execution failed``; the actual message is in the result.
    """
    for root in tree.roots:
        if root.kind is StepKind.TOOL and root.is_third_party:
            _explain_error(root)
    for run in tree.agents_of_others():
        for node in run.own_steps():
            if node.kind is StepKind.TOOL and node.is_third_party:
                _explain_error(node)


def _has_inferred(run: Node) -> bool:
    return any(node.kind is StepKind.TOOL and not node.span.span_id for node in run.own_steps())


# ── calls in messages ────────────────────────────────────────────────────────────────────────────────────────────────


def _calls_in(run: Node) -> list[ToolCall]:
    own = run.own_steps()
    models = [node for node in own if node.kind is StepKind.MODEL]
    has_content = any(message.parts for node in models for message in node.facts.messages)
    if run.facts.conversation is not None and not has_content:
        return _calls_in_conversation(run, run.facts.conversation)
    if not run.span.span_id and len(own) == len(models) == 1:
        return calls_just_answered(models[0])  # earlier ones may have spans in other traces
    calls = CallHistory(models, run.facts.input).calls
    if run.facts.conversation is not None:
        _take_results_after_last_model(run, calls, run.facts.conversation)
    return calls


def _take_results_after_last_model(run: Node, calls: list[ToolCall], conversation: Conversation) -> None:
    """Complete calls that no model was sent the result of, but the run ended with (Haystack's `exit_conditions`)."""
    recorded = [call for call in recorded_calls(conversation.messages) if call.is_answered and call.call_id is not None]
    for call in calls:
        same = [other for other in recorded if other.call_id == call.call_id and other.name == call.name]
        if call.sent_to is None and len(same) == 1 and same[0].arguments == call.arguments:
            call.take(same[0], _model_with(conversation, run, end_of(run)))


def _calls_in_conversation(run: Node, conversation: Conversation) -> list[ToolCall]:
    """Return the calls that were answered in the conversation on an agent's span, unless tools below it have spans."""
    if any(node.kind is StepKind.TOOL for node in run.walk()):
        return []
    all_models = _model_with(conversation, run, run.span.start_ns)
    return [call for call in CallHistory([all_models], run.facts.input).calls if call.sent_to is not None]


def _model_with(conversation: Conversation, run: Node, start_ns: int) -> Node:
    """Return a node that stands for model calls whose messages only the span of their run has."""
    span = msgspec.structs.replace(run.span, start_ns=start_ns, parent_span_id=run.span.span_id)
    node = Node(span, SpanFacts(kind=StepKind.MODEL, dialect=run.facts.dialect, messages=conversation.messages))
    node.set_origins("messages", *run.origins("conversation"))
    return node


def _leave_to_the_run_that_asked(calls_of_runs: list[list[ToolCall]]) -> None:
    """Remove the calls of a history that a model of another run had asked for, which gets the response."""
    asked: dict[str, list[ToolCall]] = {}
    for call in itertools.chain.from_iterable(calls_of_runs):
        if call.asked_by is not None and call.call_id is not None:
            asked.setdefault(call.call_id, []).append(call)
    for calls in calls_of_runs:
        own = {id(call) for call in calls}
        for call in list(calls):
            origins = asked.get(call.call_id or "", ()) if call.asked_by is None else ()
            if len(origins) == 1 and id(origins[0]) not in own and _is_later_copy(call, origins[0]):
                calls.remove(call)
                _take_response(origins[0], call)


def _is_later_copy(call: ToolCall, origin: ToolCall) -> bool:
    """Return whether a call in a later history is one that is known; ids that are names of tools show nothing."""
    if call.call_id == call.name or (call.name, call.arguments) != (origin.name, origin.arguments):
        return False
    if call.sent_to is None or call.sent_to.span.start_ns < origin.first_seen_in.span.start_ns:
        return False
    return origin.sent_to is None or origin.response == call.response


def _take_response(call: ToolCall, other: ToolCall) -> None:
    if call.sent_to is None:
        call.response, call.sent_to, call.has_failed = other.response, other.sent_to, other.has_failed


# ── calls matched with spans ─────────────────────────────────────────────────────────────────────────────────────────


def _complete_tools(run: Node, calls: list[ToolCall]) -> None:
    has_tools = any(node.kind is StepKind.TOOL for node in run.walk())
    left = list(calls)
    _wrap_agents(run, left)
    if not has_tools:
        _add_inferred(run, calls, [call for call in left if call.is_sure], ())
        return
    tools = [node for node in run.own_steps() if node.kind is StepKind.TOOL and node.span.span_id]
    matches = _matched(tools, left)
    for tool, call in matches:
        if tool.is_third_party:
            _fill_tool(tool, call)
    _fill_attempts(tools, matches)
    _align_clocks(run, matches)
    matched = {id(call) for _, call in matches}
    lost = [call for call in left if id(call) not in matched and call.sent_to is not None]
    _add_inferred(run, calls, lost, matches)


def _wrap_agents(run: Node, calls: list[ToolCall]) -> None:
    """Put sub-agents that a model called as tools below a tool, where the tool has no span."""
    for place, agent in enumerate(run.children):
        if agent.kind is StepKind.AGENT and agent.is_third_party:
            call = next((call for call in calls if call.name in (agent.facts.name, agent.facts.label)), None)
            if call is not None:
                calls.remove(call)
                run.children[place] = _inferred_tool_around(agent, call)


def _inferred_tool_around(agent: Node, call: ToolCall) -> Node:
    tool = _inferred_tool(call, agent.span.start_ns, agent.span.end_ns)
    tool.children = [agent]
    agent.rank = tool.rank + 1
    return tool


def _matched(tools: list[Node], calls: list[ToolCall]) -> list[_Match]:
    """Return the spans of tools with their calls: the best pairs first, of equal ones those in order."""
    by_id: dict[str, list[ToolCall]] = {}
    by_name: dict[str | None, list[ToolCall]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
        if call.call_id is not None:
            by_id.setdefault(call.call_id, []).append(call)
    matches: list[_Match] = []
    taken: set[int] = set()
    left = list(tools)
    for fits in _WAYS_TO_FIT:
        unmatched: list[Node] = []
        for tool in left:
            name = tool.facts.name or tool.facts.label
            candidates = by_id.get(tool.facts.call_id or "") or by_name.get(_called_name(name), [])
            found = next((call for call in candidates if id(call) not in taken and fits(tool, call)), None)
            if found is None:
                unmatched.append(tool)
            else:
                taken.add(id(found))
                matches.append(_Match(tool, found))
        left = unmatched
    return matches


def _called_name(name: str | None) -> str | None:
    """Return the name by which a model called what a span is named after: OpenAI Agents' ``handoff to NAME`` is a tool."""
    return (
        f"transfer_to_{name[len(_HANDOFF) :].lower().replace(' ', '_')}" if name and name.startswith(_HANDOFF) else name
    )


_HANDOFF = "handoff to "


def _has_same_arguments(tool: Node, call: ToolCall) -> bool:
    return call.arguments == tool.facts.input or _are_arguments_otherwise(call.arguments, tool.facts.input)


def _has_same_result(tool: Node, call: ToolCall) -> bool:
    return call.sent_to is not None and call.response == tool.facts.output


def _may_have_same_arguments(tool: Node, call: ToolCall) -> bool:
    """Return whether one side lacks the arguments, or has only the beginning of their JSON."""
    one, other = tool.facts.input, call.arguments
    return one is None or other is None or (type(one) is not type(other) and _is_object(one) and _is_object(other))


def _is_object(value: Any) -> bool:
    return type(value) is dict or (type(value) is str and value[:1] == "{")


def _ran_between_its_models(tool: Node, call: ToolCall) -> bool:
    return (call.asked_by is None or call.asked_by.span.start_ns <= tool.span.start_ns) and (
        call.sent_to is None or tool.span.start_ns <= call.sent_to.span.start_ns
    )


def _is_named_and_between_its_models(tool: Node, call: ToolCall) -> bool:
    """Return whether a span whose arguments differ (a framework added some) ran where only this call did."""
    return call.asked_by is not None and call.sent_to is not None and _ran_between_its_models(tool, call)


def _fits_in_time(tool: Node, call: ToolCall) -> bool:
    """Return whether a span shows by its times that it belongs to a call; those of another clock show nothing."""
    return tool.span.resource == call.first_seen_in.span.resource and _ran_between_its_models(tool, call)


_WAYS_TO_FIT: tuple[Callable[[Node, ToolCall], bool], ...] = (
    lambda tool, call: _has_same_arguments(tool, call) and _has_same_result(tool, call) and _fits_in_time(tool, call),
    lambda tool, call: _has_same_arguments(tool, call) and _has_same_result(tool, call),
    lambda tool, call: _has_same_arguments(tool, call) and _fits_in_time(tool, call),
    _has_same_arguments,
    lambda tool, call: _may_have_same_arguments(tool, call) and _fits_in_time(tool, call),
    _may_have_same_arguments,
    _is_named_and_between_its_models,
)
"""Ways in which a span fits a call of the same id, else of the same name; the surest first."""


def _are_arguments_otherwise(arguments: Any, value: Any) -> bool:
    return _is_only_argument(arguments, value) or _is_arguments_and_nones(arguments, value)


def _is_only_argument(arguments: Any, value: Any) -> bool:
    """Return whether a bare value is the only argument of a call."""
    return isinstance(arguments, dict) and len(arguments) == 1 and next(iter(arguments.values())) == value


def _is_arguments_and_nones(arguments: Any, value: Any) -> bool:
    """Return whether a value is the arguments together with left-out parameters as None."""
    return isinstance(value, dict) and arguments == {key: item for key, item in value.items() if item is not None}


def _fill_tool(node: Node, call: ToolCall) -> None:
    tool = node.facts
    _fill_input(node, call)
    if tool.output is None and tool.error is None:
        if call.has_failed:
            tool.error = _failure(call)
        else:
            tool.output = call.response
        _set_response_origin(node, "error" if call.has_failed else "output", call)
    if tool.error is not None and not tool.error.message and isinstance(call.response, str):
        tool.error = msgspec.structs.replace(tool.error, message=call.response)
        _set_response_origin(node, "error", call, *node.origins("error"))


def _fill_input(node: Node, call: ToolCall) -> None:
    tool = node.facts
    if tool.input is None or _are_arguments_otherwise(call.arguments, tool.input):
        tool.input = call.arguments
        node.set_origins("input", *call.first_seen_in.origins("messages"))


def _rename_after_calls(siblings: list[Node]) -> None:
    tools = [node for node in siblings if node.kind is StepKind.TOOL and node.facts.name in _CLASSES]
    frames = [node for node in siblings if tools and node.kind is None and node.facts.messages]
    calls = [(call, frame) for frame in frames for message in frame.facts.messages for call in message.tool_calls]
    for tool in tools:
        fitting = {call.get("name"): frame for call, frame in calls if call.get("arguments") == tool.facts.input}
        if len(fitting) == 1:
            ((tool.facts.name, frame),) = fitting.items()
            tool.set_origins("name", *frame.origins("messages"))


_CLASSES = frozenset({"DynamicStructuredTool", "DynamicTool", "StructuredTool"})


def _fill_attempts(tools: list[Node], matches: list[_Match]) -> None:
    """Give further attempts at a call, which a framework's retries left as spans (LangChain), its arguments."""
    matched = {id(tool) for tool, _ in matches}
    for tool in tools:
        if id(tool) not in matched and tool.is_third_party and tool.facts.input is not None:
            name = tool.facts.name or tool.facts.label
            for _, call in matches:
                if call.name == name and _is_only_argument(call.arguments, tool.facts.input):
                    _fill_input(tool, call)
                    break


def _set_response_origin(node: Node, field: str, call: ToolCall, *more: Origin) -> None:
    if call.sent_to is not None:
        node.set_origins(field, *more, *call.sent_to.origins("messages"))


def _explain_error(node: Node) -> None:
    error, output = node.facts.error, node.facts.output
    if error is None or not output:
        return
    message = error.message.removeprefix(error.type.rpartition(".")[2]).strip(": ")
    if message not in ("", error.type) and not (type(output) is str and message in output):
        return
    found = (output[key] for key in ("error", "message") if output.get(key)) if isinstance(output, dict) else (output,)
    text = next(iter(found), None)
    if isinstance(text, str):
        node.facts.error = msgspec.structs.replace(error, message=text)
        node.set_origins("error", *node.origins("error"), *node.origins("output"))


# ── tools of a service whose clock differs ───────────────────────────────────────────────────────────────────────────


def _align_clocks(run: Node, matches: list[_Match]) -> None:
    """Move what services with another clock recorded, so that each tool follows the model that asked for it.

    As Jaeger's user interface does, all spans of such a service are moved by the same time: the least that puts its
    tools between the models that asked for them and those that were sent the results.
    """
    by_service: dict[str, list[_Match]] = {}
    for match in matches:
        if match.call.asked_by is not None and match.tool.span.resource != match.call.asked_by.span.resource:
            by_service.setdefault(repr(match.tool.span.resource), []).append(match)
    for of_service in by_service.values():
        offset_ns = _offset_ns(of_service)
        if offset_ns:
            _move(run, of_service[0].tool.span.resource, offset_ns)


def _offset_ns(matches: list[_Match]) -> int:
    if all(_ran_between_its_models(tool, call) for tool, call in matches):
        return 0
    least = max(end_of(call.asked_by) - tool.span.start_ns for tool, call in matches if call.asked_by is not None)
    most = min(
        (call.sent_to.span.start_ns - end_of(tool) for tool, call in matches if call.sent_to is not None),
        default=max(least, 0),
    )
    return least if least > most else min(max(least, 0), most)


def _move(run: Node, resource: Resource, offset_ns: int) -> None:
    for node in run.walk():
        span = node.span
        if span.resource == resource:
            end_ns = None if span.end_ns is None else span.end_ns + offset_ns
            node.span = msgspec.structs.replace(span, start_ns=span.start_ns + offset_ns, end_ns=end_ns)
    for node in run.walk():
        node.children.sort(key=start_of)
    if not run.span.span_id and run.children:
        ends = [end_of(child) for child in run.children]
        start_ns = run.children[0].span.start_ns
        end_ns = None if run.span.end_ns is None else max(ends)
        run.span = msgspec.structs.replace(run.span, start_ns=start_ns, end_ns=end_ns)


# ── calls without a span ─────────────────────────────────────────────────────────────────────────────────────────────


def _add_inferred(run: Node, calls: list[ToolCall], inferred: Iterable[ToolCall], matches: Iterable[_Match]) -> None:
    """Add steps for some of the calls of a run, at the times that the models and tools around them leave."""
    tools = {id(call): tool for tool, call in matches}
    added = {id(call) for call in inferred}
    nodes: list[Node] = []
    latest_ns = run.span.end_ns
    for call in reversed(calls):
        if id(call) in added:
            start_ns, end_ns = _times_between_models(call, latest_ns)
            nodes.append(_inferred_tool(call, start_ns, end_ns))
        known = tools.get(id(call)) or call.asked_by
        if known is not None:
            latest_ns = known.span.start_ns
    run.add_children(reversed(nodes))


def _times_between_models(call: ToolCall, latest_ns: int | None) -> tuple[int, int | None]:
    """Return when a call without a span began and ended, as far as is known: after one model, before the next.

    Where the model call that asked has no span, it is when the next thing known of the run began, at the latest.
    """
    asked_by, sent_to = call.asked_by, call.sent_to
    if asked_by is None:
        seen_ns = call.first_seen_in.span.start_ns
        time_ns = seen_ns if latest_ns is None else min(seen_ns, latest_ns)
        return time_ns, time_ns
    if asked_by is sent_to:  # a tool of the provider, which ran within the model call
        return end_of(asked_by), end_of(asked_by)
    if sent_to is None:
        return end_of(asked_by), None
    return min(end_of(asked_by), sent_to.span.start_ns), sent_to.span.start_ns


def _inferred_tool(call: ToolCall, start_ns: int, end_ns: int | None) -> Node:
    """Return a step for a call without a span."""
    model = call.first_seen_in
    span = msgspec.structs.replace(
        model.span, span_id="", name=call.name, start_ns=start_ns, end_ns=end_ns, attributes={}, events=()
    )
    facts = SpanFacts(
        kind=StepKind.TOOL, dialect=model.facts.dialect, name=call.name, input=call.arguments, call_id=call.call_id
    )
    node = Node(span, facts)
    beside = model if call.asked_by is None else call.asked_by
    if beside.span.start_ns == start_ns:
        node.rank = model.rank - 1 if call.asked_by is None else call.asked_by.rank + 1
    for field in ("kind", "name", "input"):
        node.set_origins(field, *call.first_seen_in.origins("messages"))
    if call.has_failed or (isinstance(call.response, str) and _FAILED.match(call.response)):
        facts.error = _failure(call)
        _set_response_origin(node, "error", call)
    else:
        facts.output = call.response
        _set_response_origin(node, "output", call)
    return node


def _failure(call: ToolCall) -> StepError:
    text = call.response
    return StepError(type="_OTHER", message="" if text is None else text if isinstance(text, str) else repr(text))
