"""Read spans of Claude Code, of the Claude Agent SDK, and of Qwen Code, which are named alike.

Recognised by ``span.type``, in Qwen Code by the span's name. All other attributes have bare names (``tool_name``,
``input_tokens``); ``input_tokens`` leave out the cached tokens. What is not in a span may be in its log records.
"""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import HIDDEN, parsed
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "claude_code"
_KINDS = {
    "interaction": StepKind.AGENT,
    "subagent": StepKind.AGENT,
    "llm_request": StepKind.MODEL,
    "tool": StepKind.TOOL,
}
_NAME = re.compile(r"[\w-]+\.(interaction|subagent|llm_request|tool|tool\.execution|tool\.blocked_on_user|hook)")
_MARK = re.compile(r"\[(?:USER PROMPT|TOOL INPUT|TOOL RESULT)[^\]\n]*\]\n")
"""Line before a recorded text, as in ``[TOOL INPUT: Bash]``."""


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span by its ``span.type`` or, in Qwen Code, by its name; return None where it has neither."""
    attributes = Attributes(span)
    named = _NAME.fullmatch(span.name) if "session.id" in attributes.rest else None
    recorded_type = attributes.text("span.type") or (named[1] if named else None)
    kind = _KINDS.get(recorded_type.removeprefix("claude_code.")) if recorded_type is not None else None
    if recorded_type is None or (kind is None and named is None and not span.name.startswith("claude_code")):
        return None
    call_id = attributes.text("gen_ai.tool.call.id", "tool_use_id", "tool.call_id")
    facts = SpanFacts(kind=kind, dialect=NAME, is_frame=kind is None, call_id=call_id)
    facts.label = None if kind is StepKind.AGENT else span.name
    facts.session_id = attributes.text("session.id")
    facts.user_id = attributes.text("user.id")
    if kind is StepKind.AGENT:
        facts.input = _without_mark(parsed(attributes.text("user_prompt", "new_context")))
        facts.input = _logged(span, "user_prompt", "prompt") if facts.input is None else facts.input
        facts.output = _logged(span, "assistant_response", "response")
    elif kind is StepKind.TOOL:
        facts.name = attributes.text("tool_name", "tool.name", "name")
        facts.input = parsed(_without_mark(attributes.take("tool_input", "input")))
        facts.input = parsed(_logged(span, "tool_result", "tool_input")) if facts.input is None else facts.input
        facts.output = parsed(_without_mark(attributes.take("tool_output", "tool_result", "output")))
        facts.output = parsed(_tool_output(span)) if facts.output is None else facts.output
    elif kind is StepKind.MODEL:
        request, answer = attributes.parsed("new_context"), attributes.parsed("response.model_output")
        facts.messages = conversation(request) + conversation(answer, "assistant")
        facts.model = attributes.text("model")
        facts.usage = _usage(attributes)
    error_text = attributes.text("error")
    failed = attributes.take("success") in (False, "false") or error_text is not None
    facts.error = attributes.error(failed=failed or None, message=error_text)
    facts.attributes = attributes.rest
    return facts


def _without_mark(value: Any) -> Any:
    return _MARK.sub("", value, count=1) if isinstance(value, str) and _MARK.match(value) else value


def _logged(span: SpanRecord, name: str, key: str) -> Any:
    """Return a value of the last log record of a kind that was written in the span, if it is not hidden; else None."""
    values = [event.attributes.get(key) for event in span.events if event.name.rpartition(".")[2] == name]
    return next((value for value in reversed(values) if value not in (None, "", *HIDDEN)), None)


def _tool_output(span: SpanRecord) -> Any:
    """Return a tool's output from the event ``tool.output``, which Claude Code writes where it records content."""
    output = next((event.attributes for event in span.events if event.name == "tool.output"), {})
    return output.get("output", output.get("content"))


def _usage(attributes: Attributes) -> Usage | None:
    """Return the tokens of a model call, cached ones included in the input.

    Claude Code reports cached tokens beside the input, the GenAI conventions count them as a part of it.
    """
    return attributes.usage_beside_cached(
        input_tokens="input_tokens",
        output_tokens="output_tokens",
        cache_read_input_tokens="cache_read_tokens",
        cache_write_input_tokens="cache_creation_tokens",
    )
