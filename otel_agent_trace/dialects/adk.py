"""Google's ADK in its first schema: ``gcp.vertex.agent...`` beside the GenAI conventions."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "google_adk"
_PREFIX = "gcp.vertex.agent."
_MERGED = "(merged tools)"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Google ADK (1.x, and 2 with schema 1) by its ``gcp.vertex.agent...``; None where there is none."""
    is_own = span.scope.name == "gcp.vertex.agent"
    prefixes = (_PREFIX, "gen_ai.") if is_own else _PREFIX
    is_bare = is_own and not span.attributes  # the span around an invocation
    if not is_bare and not any(key.startswith(prefixes) for key in span.attributes):
        return None
    given = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    facts.session_id = given.text(f"{_PREFIX}session_id")
    facts.user_id = given.text(f"{_PREFIX}user_id", *USER_IDS)
    request, response = given.parsed(f"{_PREFIX}llm_request"), given.parsed(f"{_PREFIX}llm_response")
    if given.rest.get(semconv.TOOL_NAME) == _MERGED:  # the answers of several tools in one event
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    if request:
        facts.kind = StepKind.MODEL
        facts.messages = _sent(request) + conversation(_content(response), "assistant")
    facts.input = given.take(f"{_PREFIX}tool_call_args")
    facts.output = _unwrapped(given.parsed(f"{_PREFIX}tool_response", semconv.TOOL_RESULT))
    facts.attributes = given.rest
    return facts


def _sent(request: Any) -> Any:
    if not isinstance(request, dict):
        return ()
    config = request.get("config")
    system = config.get("system_instruction") if isinstance(config, dict) else None
    return (conversation(system, "system") if system else ()) + conversation(request.get("contents"))


def _content(response: Any) -> Any:
    return response.get("content") if isinstance(response, dict) else None


def _unwrapped(response: Any) -> Any:
    """What is no object is wrapped as ``{"result": ...}``."""
    return response["result"] if isinstance(response, dict) and response.keys() == {"result"} else response
