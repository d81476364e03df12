"""Logfire: names that are templates, values in plain attributes; its spans around the OpenAI Agents SDK."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "logfire"
_TEMPLATE = "logfire.msg_template"
_AUTOMATIC_TAG = "LLM"
"""What Logfire calls the spans of the clients that it instruments."""


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Logfire's integrations by its ``logfire...`` attributes; None where there are none."""
    if not any(key.startswith("logfire.") for key in span.attributes):
        return None
    given = Attributes(span)
    sort = given.text("logfire.span_type")
    if sort == "pending_span":  # stands for a span that had only begun
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    template = given.text(_TEMPLATE) or ""
    kind = next((kind for start, kind in _TEMPLATES.items() if template.startswith(start)), None)
    facts = SpanFacts(kind=kind, dialect=NAME)
    name = given.rest.get("name")
    metadata = given.rest.get("metadata")
    if kind is StepKind.AGENT:
        facts.name = str(given.take("name")) if name else None
    elif kind is StepKind.TOOL:
        facts.name = str(given.take("name")) if name else None
        facts.input, facts.output = given.take("input"), given.take("output")
    elif kind is StepKind.MODEL or "request_data" in given.rest or "events" in given.rest or "raw_input" in given.rest:
        _call(given, facts)
    elif kind is None and "group_id" in given.rest:
        _trace(given, facts, name, metadata)
    facts.tags = tuple(tag for tag in given.tags("logfire.tags") if tag != _AUTOMATIC_TAG)
    said = given.parsed("error")
    facts.error = given.error(message=_error_text(said))
    given.take("logfire.json_schema", "logfire.msg")
    facts.attributes = given.rest
    return facts


_TEMPLATES = {
    "Agent run": StepKind.AGENT,
    "Function:": StepKind.TOOL,
    "Responses API": StepKind.MODEL,
    "Chat completion with": StepKind.MODEL,
    "Chat Completion with": StepKind.MODEL,
    "Message with": StepKind.MODEL,
}


def _trace(given: Attributes, facts: SpanFacts, name: Any, metadata: Any) -> None:
    facts.label = None if name is None else str(name)
    facts.session_id = given.text("group_id")
    data = given.parsed("metadata")
    if isinstance(data, dict):
        facts.metadata = data
        facts.user_id = None if data.get("user_id") is None else str(data["user_id"])


def _error_text(said: Any) -> str | None:
    """The words of an error of the OpenAI Agents SDK."""
    if not isinstance(said, dict):
        return None
    data = said.get("data")
    text = data.get("error") if isinstance(data, dict) and data.get("error") else said.get("message")
    return None if text is None else str(text)


def _call(given: Attributes, facts: SpanFacts) -> None:
    events = given.parsed("events")
    request, response = given.parsed("request_data", "raw_input"), given.parsed("response_data", "response")
    if events:
        facts.messages = conversation(events)
    elif request is not None:
        facts.messages = conversation(request) + conversation(response, "assistant")
    facts.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL) or _said_model(request)
    usage = response.get("usage") if isinstance(response, dict) else None
    facts.usage = usage_from({str(key): item for key, item in usage.items()}) if isinstance(usage, dict) else None
    facts.response_id = given.text("response_id", semconv.RESPONSE_ID)


def _said_model(request: Any) -> str | None:
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) else None
