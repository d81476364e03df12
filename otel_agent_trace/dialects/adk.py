"""Google's ADK in its first schema: ``gcp.vertex.agent...`` beside the GenAI conventions."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.foreign.attributes import USER_IDS, Attributes
from otel_agent_trace.foreign.conversation import conversation
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "google_adk"
_PREFIX = "gcp.vertex.agent."
_MERGED = "(merged tools)"


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    is_own = span.scope.name == "gcp.vertex.agent"
    prefixes = (_PREFIX, "gen_ai.") if is_own else _PREFIX
    is_bare = is_own and not span.attributes  # the span around an invocation
    if not is_bare and not any(key.startswith(prefixes) for key in span.attributes):
        return None
    given = Attributes(span)
    meaning = Meaning(kind=None, dialect=NAME)
    meaning.session_id = given.text(f"{_PREFIX}session_id")
    meaning.user_id = given.text(f"{_PREFIX}user_id", *USER_IDS)
    request, response = given.parsed(f"{_PREFIX}llm_request"), given.parsed(f"{_PREFIX}llm_response")
    if given.rest.get(semconv.TOOL_NAME) == _MERGED:  # the answers of several tools in one event
        return Meaning(kind=None, is_frame=True, dialect=NAME)
    if request:
        meaning.kind = StepKind.MODEL
        meaning.messages = _sent(request) + conversation(_content(response), "assistant")
    meaning.input = given.take(f"{_PREFIX}tool_call_args")
    meaning.output = _unwrapped(given.parsed(f"{_PREFIX}tool_response", semconv.TOOL_RESULT))
    meaning.attributes = given.rest
    return meaning


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
