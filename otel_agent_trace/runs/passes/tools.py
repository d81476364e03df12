"""Infer tool steps from the messages of models: calls without a span, and facts that the spans of tools leave out."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.dialects.parsing.payloads import result_of
from otel_agent_trace.model import Message, StepError, StepKind
from otel_agent_trace.runs.node import Node, Origin
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span_facts import SpanFacts

_FAILED = re.compile(
    r"(Error|Exception|[A-Z]\w*(Error|Exception))\b\s*[:(]"
    r"|(Error (executing|running|calling|invoking)|Failed to (execute|run|call|invoke)) ([^.:\n]{1,40} )?[Tt]ool\b"
)
"""Beginnings of the texts that frameworks (LangGraph, LlamaIndex, Agent Framework, ...) send for a failed tool."""


class ToolCall(NamedTuple):
    """Represent a tool call that a model asked for, with the response that a model was sent."""

    call_id: str | None
    name: str
    arguments: Any
    response: Any
    asked_by: Node
    sent_to: Node | None
    has_failed: bool = False


class ToolResponse(NamedTuple):
    """Represent the response to a tool call that a model was sent."""

    response: Any
    sent_to: Node
    has_failed: bool


def infer_tool_steps(tree: TraceTree) -> None:
    """Add steps for tool calls without a span, and fill in what the spans of the others leave out.

    Takes runs whose models have messages; leaves tools with arguments, results or errors, and inferred nodes (without a
    span id) between the model that asked and the one that was sent the result. Where no tool of a run has a span, all
    its calls are inferred (clients traced alone: the OpenAI SDK under ``POST /ask``), else those that were answered
    (spans were lost). A bare first argument (LangChain under OpenInference) is replaced by the arguments that the model
    named. An agent that a model called as a tool, without a span for the tool, is put below an inferred one.
    """
    for run in tree.agents_of_others():
        own = run.own_steps()
        tools = [node for node in own if node.kind is StepKind.TOOL]
        if all(tool.span.span_id for tool in tools):  # else the pass has been run before
            _complete_tools(run, tools, _calls_in(run, own))


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


def has_just_answered(model: Node) -> bool:
    """Return whether the last messages that a model was sent are results of tools."""
    return bool(_last_answers(model))


# ── calls in messages ────────────────────────────────────────────────────────────────────────────────────────────────


def _calls_in(run: Node, own: list[Node]) -> list[ToolCall]:
    models = [node for node in own if node.kind is StepKind.MODEL]
    is_alone = not run.span.span_id and len(own) == len(models) == 1
    return _calls_just_answered(models[0]) if is_alone else _tool_calls(models)


def _tool_calls(models: list[Node]) -> list[ToolCall]:
    """Return the calls that models asked for, in order, each once."""
    calls: dict[Any, ToolCall] = {}
    responses: dict[Any, ToolResponse] = {}
    earlier_keys = {_call_key(part) for part in _calls_of_earlier_turns(models[0].facts.messages)} if models else set()
    for model in models:
        for key, part in _keyed_parts(model):
            if part.get("type") == "tool_call" and part.get("name"):
                if key not in earlier_keys:
                    call = ToolCall(_call_id(part), str(part["name"]), part.get("arguments"), None, model, None)
                    calls.setdefault(key, call)
            elif part.get("type") == "tool_call_response":
                responses.setdefault(key, ToolResponse(_response_of(part), model, part.get("is_error") is True))
    return [_with_response(key, call, responses) for key, call in calls.items()]


def _calls_of_earlier_turns(messages: tuple[Message, ...]) -> Iterator[dict[Any, Any]]:
    """Yield the calls of earlier turns: those before the last user text that the first model of a run was sent."""
    questions = [place for place, message in enumerate(messages) if message.role == "user" and message.text.strip()]
    for message in messages[: questions[-1]] if questions else ():
        yield from (part for part in message.parts if part.get("type") == "tool_call" and part.get("name"))


def _calls_just_answered(model: Node) -> list[ToolCall]:
    """Return the calls whose results a model was sent last; earlier ones may have spans in other traces."""
    answered = {_call_id(part) for part in _last_answers(model)}
    return [call for call in _tool_calls([model]) if call.call_id in answered]


def _last_answers(model: Node) -> list[dict[Any, Any]]:
    messages = list(model.facts.messages)
    if messages and messages[-1].role == "assistant":
        messages.pop()
    found: list[dict[Any, Any]] = []
    while messages:
        answers = [part for part in messages.pop().parts if part.get("type") == "tool_call_response"]
        if not answers:
            break
        found.extend(answers)
    return found


def _call_key(part: dict[Any, Any]) -> Any:
    """Return what distinguishes a call from others: its id, else its name and arguments."""
    return _call_id(part) or (str(part["name"]), repr(part.get("arguments")))


def _call_id(part: dict[Any, Any]) -> str | None:
    """Return the id of a call as text; a damaged file may have anything there."""
    call_id = part.get("id")
    return call_id if call_id is None or type(call_id) is str else repr(call_id)


def _with_response(key: Any, call: ToolCall, responses: dict[Any, ToolResponse]) -> ToolCall:
    if key not in responses:
        return call
    response, sent_to, has_failed = responses[key]
    return call._replace(response=response, sent_to=sent_to, has_failed=has_failed)


def _response_of(part: dict[Any, Any]) -> Any:
    return result_of(part.get("response", part.get("result", part.get("content"))))


def _keyed_parts(model: Node) -> Iterator[tuple[Any, dict[Any, Any]]]:
    """Yield the parts of all messages, calls and responses with the key of the call.

    Responses without an id (Haystack; calls recorded as their ``repr``) belong to the calls before them, in order.
    """
    waiting = OrderedDict[Any, None]()
    for message in model.facts.messages:
        if any(part.get("type") == "tool_call" for part in message.parts):
            waiting.clear()
        for part in message.parts:
            key = None
            if part.get("type") == "tool_call" and part.get("name"):
                key = _call_key(part)
                waiting[key] = None
            elif part.get("type") == "tool_call_response":
                key = _call_id(part) or next(iter(waiting), None)
                waiting.pop(key, None)
            yield key, part


# ── calls matched with spans ─────────────────────────────────────────────────────────────────────────────────────────


def _complete_tools(run: Node, tools: list[Node], calls: list[ToolCall]) -> None:
    if not calls:
        return
    if not any(node.kind is StepKind.TOOL for node in run.walk()):
        run.add_children(map(_inferred_tool, calls))
        return
    left, traced = list(calls), set[str]()
    _wrap_agents(run, left)
    for tool in tools:
        call = _call_of(tool.facts, left)
        if call is not None:
            left.remove(call)
            traced.add(call.name)
            if tool.is_third_party:
                _fill_tool(tool, call)
    # where other calls of the same tool have spans, those of these calls were lost; other tools may not be traced at all
    run.add_children([_inferred_tool(call) for call in left if call.name in traced and call.sent_to is not None])


def _wrap_agents(run: Node, calls: list[ToolCall]) -> None:
    """Put sub-agents that a model called as tools below a tool, where the tool has no span."""
    for place, agent in enumerate(run.children):
        if agent.kind is StepKind.AGENT and agent.is_third_party:
            call = next((call for call in calls if call.name in (agent.facts.name, agent.facts.label)), None)
            if call is not None:
                calls.remove(call)
                run.children[place] = _inferred_tool_around(agent, call)


def _inferred_tool_around(agent: Node, call: ToolCall) -> Node:
    tool = _inferred_tool(call)
    tool.span = msgspec.structs.replace(tool.span, start_ns=agent.span.start_ns, end_ns=agent.span.end_ns)
    tool.children = [agent]
    return tool


def _call_of(tool: SpanFacts, calls: list[ToolCall]) -> ToolCall | None:
    if tool.call_id is not None:
        exact = [call for call in calls if call.call_id == tool.call_id]
        if exact:
            return exact[0]
    named = [call for call in calls if call.name == (tool.name or tool.label)]
    equal = [
        call for call in named if call.arguments == tool.input or _is_arguments_and_nones(call.arguments, tool.input)
    ]
    fitting = [call for call in named if tool.input is None or _is_only_argument(call.arguments, tool.input)]
    return next(iter(equal or fitting), None)


def _is_only_argument(arguments: Any, value: Any) -> bool:
    """Return whether a bare value is the only argument of a call."""
    return isinstance(arguments, dict) and len(arguments) == 1 and next(iter(arguments.values())) == value


def _is_arguments_and_nones(arguments: Any, value: Any) -> bool:
    """Return whether a value is the arguments together with left-out parameters as None."""
    return isinstance(value, dict) and arguments == {key: item for key, item in value.items() if item is not None}


def _fill_tool(node: Node, call: ToolCall) -> None:
    tool = node.facts
    if (
        tool.input is None
        or _is_only_argument(call.arguments, tool.input)
        or _is_arguments_and_nones(call.arguments, tool.input)
    ):
        tool.input = call.arguments
        node.set_origins("input", *call.asked_by.origins("messages"))
    if tool.output is None and tool.error is None:
        if call.has_failed:
            tool.error = _failure(call)
        else:
            tool.output = call.response
        _set_response_origin(node, "error" if call.has_failed else "output", call)
    if tool.error is not None and not tool.error.message and isinstance(call.response, str):
        tool.error = msgspec.structs.replace(tool.error, message=call.response)
        _set_response_origin(node, "error", call, *node.origins("error"))


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


def _inferred_tool(call: ToolCall) -> Node:
    """Return a step for a call without a span, between the model that asked and the one that was sent the result."""
    start_ns = call.asked_by.span.end_ns or call.asked_by.span.start_ns
    end_ns = call.sent_to.span.start_ns if call.sent_to is not None else None
    span = msgspec.structs.replace(
        call.asked_by.span, span_id="", name=call.name, start_ns=start_ns, end_ns=end_ns, attributes={}, events=()
    )
    facts = SpanFacts(
        kind=StepKind.TOOL,
        dialect=call.asked_by.facts.dialect,
        name=call.name,
        input=call.arguments,
        call_id=call.call_id,
    )
    node = Node(span, facts)
    for field in ("kind", "name", "input"):
        node.set_origins(field, *call.asked_by.origins("messages"))
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
