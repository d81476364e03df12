"""Read the log events of agent programs: Claude Code, Codex, Gemini CLI, and those built on the latter (Qwen Code).

They write what happens in a session as log records: `PROGRAM.user_prompt`, `PROGRAM.tool_result` and so on.
`sources.sessions` makes a span of each, which is recognised by its ``event.name``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "agent_events"
EVENT_NAME = "event.name"
ANSWERS = frozenset({"assistant_response", "agent_response"})
"""Kinds of events with the text of an answer, which is a fact of the run and no step."""
TOOLS = frozenset({"tool_call", "tool_result"})
_KINDS = {
    "user_prompt": StepKind.AGENT,
    **dict.fromkeys(("api_request", "api_response", "api_error", "sse_event", "websocket_event"), StepKind.MODEL),
    **dict.fromkeys(sorted(TOOLS), StepKind.TOOL),
}
_USAGE = {
    "input_tokens": ("input_tokens", "input_token_count"),
    "output_tokens": ("output_tokens", "output_token_count"),
    "cache_read_input_tokens": ("cache_read_tokens", "cached_token_count", "cached_content_token_count"),
    "cache_write_input_tokens": ("cache_creation_tokens", "cache_write_token_count"),
    "reasoning_output_tokens": ("reasoning_token_count", "thoughts_token_count"),
}
_OUTCOMES = frozenset({*_USAGE["input_tokens"], *_USAGE["output_tokens"], "error", "error.message"})
"""Attributes of a model's answer or failure: a request, or a piece of a stream, has none of them."""
_BESIDE_INPUT = frozenset({"cache_read_tokens", "cache_creation_tokens"})
"""Claude Code's counts of cached tokens, which its input tokens leave out."""
_HEADER_OF_OUTPUT = re.compile(r"(?:[A-Z][\w ]{3,40}(?::| with code) ?[^\n]{0,80}\n)+Output:\n")
"""Lines that Codex writes before a tool's output: ``Wall time: 0.1 seconds``, ``Exit code: 0``, and others."""


def event_name_of(log: LogRecord) -> str | None:
    """Return the name of an event of an agent program, with the program's; None for any other log record.

    Claude Code has its name in the body, Codex only among the attributes.
    """
    names = (log.attributes.get(EVENT_NAME), log.body, log.name)
    name = next((name for name in names if type(name) is str and _kind_in(name) in _ALL_KINDS), None)
    return None if name is None or not _has_facts(_kind_in(name), log.attributes) else name


_ALL_KINDS = ANSWERS | _KINDS.keys()


def _kind_in(name: str) -> str:
    program, _, kind = name.rpartition(".")
    return kind if program and program.isprintable() and " " not in program else ""


def _has_facts(kind: str, attributes: Mapping[str, Any]) -> bool:
    return _KINDS.get(kind) is not StepKind.MODEL or any(attributes.get(key) is not None for key in _OUTCOMES)


def read(span: SpanRecord) -> SpanFacts | None:
    """Read an event of an agent program by its ``event.name``; return None for any other span."""
    name = span.attributes.get(EVENT_NAME)
    kind = _KINDS.get(_kind_in(name)) if type(name) is str else None
    if kind is None or span.name != name:
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=kind, dialect=NAME)
    facts.session_id = attributes.text(*semconv.SESSION_IDS)
    facts.user_id = attributes.text(semconv.USER_ID)
    if kind is StepKind.AGENT:
        facts.label = str(span.resource.attributes.get("service.name") or name.rpartition(".")[0])
        facts.input, facts.output = attributes.take("prompt"), attributes.take("response")
    elif kind is StepKind.MODEL:
        _read_model_call(attributes, facts)
    else:
        _read_tool_call(attributes, facts)
    facts.attributes = attributes.rest
    return facts


def _read_model_call(attributes: Attributes, facts: SpanFacts) -> None:
    facts.model = attributes.text("model")
    facts.label, facts.response_id = facts.model, attributes.text("response_id")
    facts.messages = _answer_in(attributes.parsed("response_text"))
    message = attributes.text("error.message", "error")
    is_beside = not _BESIDE_INPUT.isdisjoint(attributes.rest)
    facts.usage = attributes.usage_beside_cached(**_USAGE) if is_beside else attributes.usage(**_USAGE)
    facts.error = attributes.error(failed=message is not None, message=message)


def _answer_in(response: Any) -> tuple[Message, ...]:
    """Return a model's answer from the text of its response: the pieces of a stream of Gemini's API, or only a text."""
    parts = list(_parts_in(response))
    if not parts:
        return conversation(response, "assistant") if type(response) is str else ()
    texts = "".join(part["text"] for part in parts if type(part.get("text")) is str and not part.get("thought"))
    calls = [part for part in parts if "functionCall" in part]
    return conversation([{"role": "assistant", "parts": [{"type": "text", "content": texts}] * bool(texts) + calls}])


def _parts_in(response: Any) -> Iterator[dict[str, Any]]:
    for chunk in response if isinstance(response, list) else [response]:
        candidates = chunk.get("candidates") if isinstance(chunk, dict) else None
        first = candidates[0] if isinstance(candidates, list) and candidates else None
        content = first.get("content") if isinstance(first, dict) else None
        parts = content.get("parts") if isinstance(content, dict) else None
        yield from (part for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict))


def _read_tool_call(attributes: Attributes, facts: SpanFacts) -> None:
    details = parsed(attributes.rest.get("tool_parameters"))
    called = details.get("mcp_tool_name") if isinstance(details, dict) else None  # Claude Code: the tool of a server
    facts.name = called if isinstance(called, str) else attributes.text("tool_name", "function_name")
    facts.call_id = attributes.text("call_id", "tool_use_id")
    facts.input = attributes.parsed("arguments", "function_args", "tool_input")
    output = attributes.parsed("output", "tool_output")
    if isinstance(output, str):
        output = _HEADER_OF_OUTPUT.sub("", output, count=1) if _HEADER_OF_OUTPUT.match(output) else output
    message = attributes.text("error.message", "error")
    if attributes.take("success") in (False, "false"):
        facts.error = attributes.error(failed=True, message=message or (None if output is None else str(output)))
    else:
        facts.output = output
