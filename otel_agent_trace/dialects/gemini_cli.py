"""Read spans of Gemini CLI, whose operations are its own, and whose messages are those of Gemini's API.

Recognised by ``gen_ai.operation.name``. The call of a tool is an object in ``gen_ai.input.messages``, its result in
``gen_ai.output.messages``; an answer is there in the pieces in which it was streamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "gemini_cli"
_KINDS = {
    "llm_call": StepKind.MODEL,
    "tool_call": StepKind.TOOL,
    "agent_call": StepKind.AGENT,
    "user_prompt": StepKind.AGENT,
    "system_prompt": None,
    "schedule_tool_calls": None,
}
_CONTEXT = "<session_context>"
_WRAPPED = re.compile(r"<untrusted_context>\n?(.*?)\n?</untrusted_context>\s*", re.DOTALL)


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Gemini CLI by its operation; return None for any other span."""
    operation = span.attributes.get(semconv.OPERATION_NAME)
    if type(operation) is not str or operation not in _KINDS or operation != span.name:
        return None
    attributes = Attributes(span)
    kind = _KINDS[operation]
    facts = SpanFacts(kind=kind, dialect=NAME, is_frame=kind is None)
    given, gave = attributes.parsed(semconv.INPUT_MESSAGES), attributes.parsed(semconv.OUTPUT_MESSAGES)
    attributes.take("gen_ai.prompt.name", "gen_ai.tool.definitions", semconv.OPERATION_NAME)
    facts.call_id = _bare_id(attributes.text("gen_ai.tool.call_id"), attributes.rest.get(semconv.TOOL_NAME))
    if kind is StepKind.MODEL:
        system = attributes.parsed("gen_ai.system_instructions")
        facts.messages = (conversation(system, "system") if system else ()) + _sent(given) + _answered(gave)
    elif kind is StepKind.TOOL:
        facts.input = given.get("args") if isinstance(given, dict) else None
        _read_result(attributes, facts, gave)
    elif kind is StepKind.AGENT:
        facts.input, facts.output = question_in(given), answer_in(gave)
    facts.error = facts.error or attributes.error()
    facts.attributes = attributes.rest
    return facts


def _read_result(attributes: Attributes, facts: SpanFacts, gave: Any) -> None:
    response = gave.get("response") if isinstance(gave, dict) else None
    parts = response.get("responseParts") if isinstance(response, dict) else None
    called = next((part["functionResponse"] for part in _objects(parts) if "functionResponse" in part), None)
    result = called.get("response") if isinstance(called, dict) else None
    if not isinstance(result, dict):
        return
    if gave.get("status") == "error":
        facts.error = attributes.error(failed=True, message=str(result.get("error", result)))
    else:
        facts.output = _unwrapped(result.get("output", result))


def _objects(items: Any) -> Iterable[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else ()


def _unwrapped(result: Any) -> Any:
    """Return a tool's result without the tags in which the program sends the model what it does not trust."""
    found = _WRAPPED.fullmatch(result) if isinstance(result, str) else None
    return parsed(found[1]) if found else result


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sent(contents: Any) -> tuple[Message, ...]:
    """Return the messages sent; the description of the session before the user's text is no text of the user."""
    return tuple(message for content in _objects(contents) for message in _messages_of(content))


def _messages_of(content: dict[str, Any]) -> Iterator[Message]:
    parts = _parts_of(content)
    context = [part for part in parts if str(part.get("text", "")).startswith(_CONTEXT)]
    rest = [part for part in parts if part not in context]
    for role, found in (("system", context), (content.get("role"), rest)):
        if found:
            yield from conversation([{"role": role, "parts": found}])


def _answered(contents: Any) -> tuple[Message, ...]:
    """Return the one message of an answer, whose pieces are messages of their own."""
    parts = [part for content in _objects(contents) for part in _parts_of(content)]
    text = "".join(str(part["text"]) for part in parts if "text" in part and not part.get("thought"))
    rest = [part for part in parts if "text" not in part]
    joined = [{"type": "text", "content": text}, *rest] if text else rest
    return conversation([{"role": "model", "parts": joined}]) if joined else ()


def _parts_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: _with_bare_values(item) for key, item in part.items()} for part in _objects(content.get("parts"))]


def _with_bare_values(item: Any) -> Any:
    """Return a call or a response with the model's own id and without tags around the result, anything else as it is."""
    if not isinstance(item, dict) or "name" not in item:
        return item
    response = item.get("response")
    if isinstance(response, dict):
        item = {**item, "response": {key: _unwrapped(value) for key, value in response.items()}}
    return {**item, "id": _bare_id(item.get("id"), item["name"])}


def _bare_id(call_id: Any, name: Any) -> Any:
    """Return the id that the model gave a call: the program puts the tool's name before it, but not in the history."""
    return call_id.removeprefix(f"{name}__") if isinstance(call_id, str) else call_id
