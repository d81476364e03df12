"""Read what Mozilla's any-agent and tinyagent write beside the GenAI conventions.

Recognised by ``gen_ai.output``, which holds a tool's result, or a model's answer: a text, or its calls as a list of
``{"tool.name": ..., "tool.args": ...}``. All else of these spans is read by `genai`.
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "any_agent"
_OUTPUT = "gen_ai.output"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span by ``gen_ai.output``; return None where it has none."""
    if _OUTPUT not in span.attributes:
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    is_text = attributes.text("gen_ai.output.type") == "text"
    output = attributes.take(_OUTPUT) if is_text else attributes.parsed(_OUTPUT)
    if semconv.TOOL_NAME in attributes.rest:
        facts.output = output
    elif semconv.REQUEST_MODEL in attributes.rest:
        facts.kind = StepKind.MODEL
        sent = attributes.parsed(semconv.INPUT_MESSAGES)
        facts.set_messages(() if sent is None else conversation(sent), _answer_in(output, span.attributes[_OUTPUT]))
    facts.attributes = attributes.rest
    return facts


def _answer_in(output: Any, text: Any) -> tuple[Message, ...]:
    """Return the message with the calls in an output, or with its text, which may be JSON that the model wrote."""
    calls = output if isinstance(output, list) else []
    if calls and all(isinstance(call, dict) and "tool.name" in call for call in calls):
        named = [{"name": call["tool.name"], "arguments": parsed(call.get("tool.args"))} for call in calls]
        return conversation([{"role": "assistant", "tool_calls": named}])
    return () if output is None else conversation([{"role": "assistant", "content": text}])
