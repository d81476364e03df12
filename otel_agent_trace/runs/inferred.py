"""What a foreign run does not say itself, out of its model calls: question, answer, tools, conversation, end."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.categories import TIMEOUT
from otel_agent_trace.dialects.parsing.conversation import said_by
from otel_agent_trace.dialects.parsing.payloads import result_of
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind
from otel_agent_trace.runs.tree import Node, Origin, start_of
from otel_agent_trace.span_facts import SpanFacts

_FAILED = re.compile(
    r"(Error|Exception|[A-Z]\w*(Error|Exception))\b\s*[:(]"
    r"|(Error (executing|running|calling|invoking)|Failed to (execute|run|call|invoke)) ([^.:\n]{1,40} )?[Tt]ool\b"
)


class ToolCall(NamedTuple):
    """A call of a tool that a model asked for, and what the model was told of it."""

    call_id: str | None
    name: str
    arguments: Any
    response: Any
    asked_by: Node
    told_by: Node | None
    has_failed: bool = False


class ToolAnswer(NamedTuple):
    """What a model was told of a call."""

    response: Any
    told_by: Node
    has_failed: bool


def infer(top: Node) -> None:
    """Complete the runs of other tracers from a node on down, innermost first."""
    for node in [*top.walk()][::-1]:
        if node.kind is StepKind.AGENT and node.is_third_party:
            _complete(node)
        elif node is top and node.kind is StepKind.TOOL and node.is_third_party:
            _explain_error(node)


def _complete(run: Node) -> None:
    facts = run.facts
    own = _own_steps(run)
    models = [node for node in own if node.kind is StepKind.MODEL]
    is_alone = not run.span.span_id and len(own) == len(models) == 1
    calls = _just_answered(models[0]) if is_alone else _tool_calls(models)
    _complete_tools(run, own, calls)
    for node in own:
        if node.kind is StepKind.TOOL and node.is_third_party:
            _explain_error(node)
    _complete_question(run, models)
    _tell_errors_from_answers(run, own)
    if facts.error is None or facts.error.type.endswith("ExceptionGroup"):
        _take_error_at_the_end(run, own)
    if facts.output is None and facts.error is None:
        _take_last_words(run)
    for node in own:
        run.learn("session_id", node)
        run.learn("user_id", node)
    if facts.name is None:
        _take_name(run, own)
    facts.agent_name = facts.name
    if any(node.facts.usage for node in own if node.kind in (StepKind.MODEL, StepKind.AGENT)):
        facts.usage = None  # the sum of these is
    facts.status = _status(run)


def _own_steps(run: Node) -> list[Node]:
    """The steps of a run, not those of its sub-agents."""
    found: list[Node] = []
    pending = list(run.below)
    while pending:
        node = pending.pop()
        found.append(node)
        if node.kind is not StepKind.AGENT:
            pending.extend(node.below)
    return sorted(found, key=start_of)


def _status(run: Node) -> RunStatus:
    error = run.facts.error
    if error is not None:
        return RunStatus.TIMEOUT if error.category == TIMEOUT else RunStatus.ERROR
    return RunStatus.RUNNING if run.span.end_ns is None else RunStatus.SUCCESS


def _complete_question(run: Node, models: list[Node]) -> None:
    facts = run.facts
    if type(facts.input) is not str:
        for model in models:
            asked = said_by(model.facts.messages, "user")
            if asked is not None:
                facts.input = asked
                run.note("input", *model.origins("messages"))
                break
    if facts.input is None:
        first = next((node for node in run.below if node.kind is StepKind.AGENT), None)
        if first is not None:
            run.take("input", first)


def _take_name(run: Node, own: list[Node]) -> None:
    """The one agent that steps say they belong to; else what the span is called."""
    if run.facts.agent_name is not None:
        run.take("name", run, "agent_name")
        return
    named = [node for node in own if node.kind is not StepKind.AGENT and node.facts.agent_name is not None]
    if len({node.facts.agent_name for node in named}) == 1:
        run.take("name", named[0], "agent_name")
    else:
        run.take("name", run, "label")


def _take_last_words(run: Node) -> None:
    """What was said last in a run: by its own model, or by the agent that it handed over to."""
    for node in sorted(run.below, key=_end):
        if node.kind is StepKind.MODEL:
            said = said_by(_answer(node.facts), "assistant")
            if said:
                run.facts.output = said
                run.note("output", *node.origins("messages"))
        elif node.kind is StepKind.AGENT and node.facts.output is not None:
            run.take("output", node)


def _answer(facts: SpanFacts) -> Any:
    messages = facts.messages
    return messages[-1:] if messages and messages[-1].role == "assistant" else ()


def _tell_errors_from_answers(run: Node, own: list[Node]) -> None:
    """An answer that is nothing but the words of the error that the run ended with, or those and more, is that error."""
    said = run.facts.output
    last = max((node for node in own if node.kind is not StepKind.TOOL), key=_end, default=None)
    if type(said) is not str or not said.strip():
        return
    if last is not None and last.facts.error is not None and said.strip() in last.facts.error.message:
        run.facts.output = None
        run.take("error", last)
    elif run.facts.error is not None and run.facts.error.message and run.facts.error.message in said:
        run.facts.output, run.facts.error = None, msgspec.structs.replace(run.facts.error, message=said)
        run.note("error", *run.origins("error"), *run.origins("output"))


def _take_error_at_the_end(run: Node, own: list[Node]) -> None:
    """The error that a run ended with, though its span does not say so."""
    steps = [node for node in own if node.kind in (StepKind.MODEL, StepKind.TOOL, StepKind.AGENT)]
    if not steps or run.facts.output is not None:
        return
    last = max(steps, key=_end)
    is_last_told = any(node.kind is not StepKind.TOOL for node in steps)  # else a model may have heard of it untraced
    if last.facts.error and is_last_told:
        run.take("error", last)


# ── tools, out of messages ───────────────────────────────────────────────────────────────────────────────────────────


def _tool_calls(models: list[Node]) -> list[ToolCall]:
    """The calls that models asked for, in order, each once."""
    calls: dict[Any, ToolCall] = {}
    responses: dict[Any, ToolAnswer] = {}
    earlier = {_key(part) for part in _earlier(models[0].facts.messages)} if models else set()
    for model in models:
        for key, part in _parts(model):
            if part.get("type") == "tool_call" and part.get("name"):
                if key not in earlier:
                    call = ToolCall(_id(part), str(part["name"]), part.get("arguments"), None, model, None)
                    calls.setdefault(key, call)
            elif part.get("type") == "tool_call_response":
                responses.setdefault(key, ToolAnswer(_response(part), model, part.get("is_error") is True))
    return [_with_response(key, call, responses) for key, call in calls.items()]


def _earlier(messages: tuple[Message, ...]) -> Iterator[dict[Any, Any]]:
    """The calls of earlier turns: those before the last words of the user that the first model of a run was sent."""
    asked = [place for place, message in enumerate(messages) if message.role == "user" and message.text.strip()]
    for message in messages[: asked[-1]] if asked else ():
        yield from (part for part in message.parts if part.get("type") == "tool_call" and part.get("name"))


def has_just_answered(model: Node) -> bool:
    """Whether results of tools are the last that a model was sent."""
    return bool(_last_answers(model))


def _just_answered(model: Node) -> list[ToolCall]:
    """The calls whose results are the last that a model was sent: what was before may stand in other traces."""
    answered = {_id(part) for part in _last_answers(model)}
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


def _key(part: dict[Any, Any]) -> Any:
    """What tells a call from others: its id, else its name and arguments."""
    return _id(part) or (str(part["name"]), repr(part.get("arguments")))


def _id(part: dict[Any, Any]) -> str | None:
    """The id of a call, as a text; a file may have anything there."""
    call_id = part.get("id")
    return call_id if call_id is None or type(call_id) is str else repr(call_id)


def _with_response(key: Any, call: ToolCall, responses: dict[Any, ToolAnswer]) -> ToolCall:
    if key not in responses:
        return call
    response, told_by, has_failed = responses[key]
    return call._replace(response=response, told_by=told_by, has_failed=has_failed)


def _response(part: dict[Any, Any]) -> Any:
    return result_of(part.get("response", part.get("result", part.get("content"))))


def _parts(model: Node) -> Iterator[tuple[Any, dict[Any, Any]]]:
    """The parts of all messages, calls and answers with the key of the call; answers without one are told in its order."""
    waiting = OrderedDict[Any, None]()
    for message in model.facts.messages:
        if any(part.get("type") == "tool_call" for part in message.parts):
            waiting.clear()
        for part in message.parts:
            key = None
            if part.get("type") == "tool_call" and part.get("name"):
                key = _key(part)
                waiting[key] = None
            elif part.get("type") == "tool_call_response":
                key = _id(part) or next(iter(waiting), None)
                waiting.pop(key, None)
            yield key, part


def _complete_tools(run: Node, own: list[Node], calls: list[ToolCall]) -> None:
    tools = [node for node in own if node.kind is StepKind.TOOL]
    if not calls:
        return
    if not any(node.kind is StepKind.TOOL for node in run.walk()):
        run.below = sorted([*run.below, *(_step(call) for call in calls)], key=start_of)
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
    lost = [call for call in left if call.name in traced and call.told_by is not None]
    if lost:  # the other calls of these tools have spans
        run.below = sorted([*run.below, *map(_step, lost)], key=start_of)


def _wrap_agents(run: Node, calls: list[ToolCall]) -> None:
    """A sub-agent that a model called as a tool, where the tool has no span."""
    for place, agent in enumerate(run.below):
        if agent.kind is StepKind.AGENT and agent.is_third_party:
            call = next((call for call in calls if call.name in (agent.facts.name, agent.facts.label)), None)
            if call is not None:
                calls.remove(call)
                run.below[place] = _around(agent, call)


def _around(agent: Node, call: ToolCall) -> Node:
    tool = _step(call)
    tool.span = msgspec.structs.replace(tool.span, start_ns=agent.span.start_ns, end_ns=agent.span.end_ns)
    tool.below = [agent]
    return tool


def _call_of(tool: SpanFacts, calls: list[ToolCall]) -> ToolCall | None:
    if tool.call_id is not None:
        exact = [call for call in calls if call.call_id == tool.call_id]
        if exact:
            return exact[0]
    named = [call for call in calls if call.name == (tool.name or tool.label)]
    equal = [call for call in named if call.arguments == tool.input or _with_nothing_more(call.arguments, tool.input)]
    fitting = [call for call in named if tool.input is None or _holds(call.arguments, tool.input)]
    return next(iter(equal or fitting), None)


def _holds(arguments: Any, value: Any) -> bool:
    """Whether a bare value is the one argument of a call."""
    return isinstance(arguments, dict) and len(arguments) == 1 and next(iter(arguments.values())) == value


def _with_nothing_more(arguments: Any, value: Any) -> bool:
    """Whether a value is the arguments, and parameters that were left out as None."""
    return isinstance(value, dict) and arguments == {key: item for key, item in value.items() if item is not None}


def _fill_tool(node: Node, call: ToolCall) -> None:
    tool = node.facts
    if tool.input is None or _holds(call.arguments, tool.input) or _with_nothing_more(call.arguments, tool.input):
        tool.input = call.arguments
        node.note("input", *call.asked_by.origins("messages"))
    if tool.output is None and tool.error is None:
        if call.has_failed:
            tool.error = _failure(call)
        else:
            tool.output = call.response
        _note_response(node, "error" if call.has_failed else "output", call)
    if tool.error is not None and not tool.error.message and isinstance(call.response, str):
        tool.error = msgspec.structs.replace(tool.error, message=call.response)
        _note_response(node, "error", call, *node.origins("error"))


def _note_response(node: Node, field: str, call: ToolCall, *more: Origin) -> None:
    if call.told_by is not None:
        node.note(field, *more, *call.told_by.origins("messages"))


def _explain_error(node: Node) -> None:
    """Where an error says no more than its type, or no more than the result does, the result's words."""
    error, said = node.facts.error, node.facts.output
    words = error.message.removeprefix(error.type.rpartition(".")[2]).strip(": ") if error is not None else ""
    if error is None or not said:
        return
    if words not in ("", error.type) and not (type(said) is str and words in said):
        return
    text = next((said[key] for key in ("error", "message") if said.get(key)), None) if isinstance(said, dict) else said
    if isinstance(text, str):
        node.facts.error = msgspec.structs.replace(error, message=text)
        node.note("error", *node.origins("error"), *node.origins("output"))


def _step(call: ToolCall) -> Node:
    """A step for a call of which no span tells: between the model's wish and the model's being told."""
    start_ns = call.asked_by.span.end_ns or call.asked_by.span.start_ns
    end_ns = call.told_by.span.start_ns if call.told_by is not None else None
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
        node.note(field, *call.asked_by.origins("messages"))
    if call.has_failed or (isinstance(call.response, str) and _FAILED.match(call.response)):
        facts.error = _failure(call)
        _note_response(node, "error", call)
    else:
        facts.output = call.response
        _note_response(node, "output", call)
    return node


def _failure(call: ToolCall) -> StepError:
    said = call.response
    return StepError(type="_OTHER", message="" if said is None else said if isinstance(said, str) else repr(said))


def _end(node: Node) -> int:
    return node.span.end_ns or node.span.start_ns
