"""Read spans of Logfire's integrations, among them its spans around the OpenAI Agents SDK.

Recognised by any ``logfire.*`` attribute; the kind of a span by its ``logfire.msg_template``. Values are in
attributes with bare names (``request_data``, ``name``, ``input``).
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import model_in
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "logfire"
_TEMPLATE = "logfire.msg_template"
_AUTOMATIC_TAG = "LLM"
"""Tag that Logfire gives the spans of the model clients it instruments."""


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Logfire by its ``logfire.*`` attributes; return None where there are none."""
    if not any(key.startswith("logfire.") for key in span.attributes):
        return None
    attributes = Attributes(span)
    span_type = attributes.text("logfire.span_type")
    if span_type == "pending_span":  # Logfire sends one when a span starts, beside the span that ends later
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    template = attributes.text(_TEMPLATE) or ""
    kind = next((kind for start, kind in _TEMPLATES.items() if template.startswith(start)), None)
    facts = SpanFacts(kind=kind, dialect=NAME)
    name = attributes.rest.get("name")
    metadata = attributes.rest.get("metadata")
    if kind is StepKind.AGENT:
        facts.name = str(attributes.take("name")) if name else None
    elif kind is StepKind.TOOL:
        facts.name = str(attributes.take("name")) if name else None
        facts.input, facts.output = attributes.parsed("input"), attributes.parsed("output")
    elif (
        kind is StepKind.MODEL
        or "request_data" in attributes.rest
        or "events" in attributes.rest
        or "raw_input" in attributes.rest
    ):
        _read_model_call(attributes, facts)
    elif kind is None and "group_id" in attributes.rest:
        _read_agents_trace(attributes, facts, name, metadata)
    facts.tags = tuple(tag for tag in attributes.tags("logfire.tags") if tag != _AUTOMATIC_TAG)
    facts.error = attributes.error(message=_error_text(attributes.parsed("error")))
    attributes.take("logfire.json_schema", "logfire.msg")
    facts.attributes = attributes.rest
    return facts


_TEMPLATES = {
    "Agent run": StepKind.AGENT,
    "Function:": StepKind.TOOL,
    "Responses API": StepKind.MODEL,
    "Chat completion with": StepKind.MODEL,
    "Chat Completion with": StepKind.MODEL,
    "Message with": StepKind.MODEL,
}


def _read_agents_trace(attributes: Attributes, facts: SpanFacts, name: Any, metadata: Any) -> None:
    facts.label = None if name is None else str(name)
    facts.session_id = attributes.text("group_id")
    data = attributes.parsed("metadata")
    if isinstance(data, dict):
        facts.metadata = data
        facts.user_id = None if data.get("user_id") is None else str(data["user_id"])


def _error_text(recorded_error: Any) -> str | None:
    """Return the message of an error as the OpenAI Agents SDK records it: in ``data.error``, else in ``message``."""
    if not isinstance(recorded_error, dict):
        return None
    data = recorded_error.get("data")
    text = data.get("error") if isinstance(data, dict) and data.get("error") else recorded_error.get("message")
    return None if text is None else str(text)


def _read_model_call(attributes: Attributes, facts: SpanFacts) -> None:
    events = attributes.parsed("events")
    request, response = attributes.parsed("request_data", "raw_input"), attributes.parsed("response_data", "response")
    if events:
        facts.messages = conversation(events)
    elif request is not None:
        facts.set_messages(conversation(request), conversation(response, "assistant"))
    facts.requested_model = attributes.text(semconv.REQUEST_MODEL) or model_in(request)
    facts.model = attributes.text(semconv.RESPONSE_MODEL) or facts.requested_model
    usage = response.get("usage") if isinstance(response, dict) else None
    facts.usage = usage_from({str(key): item for key, item in usage.items()}) if isinstance(usage, dict) else None
    facts.response_id = attributes.text("response_id", semconv.RESPONSE_ID)
