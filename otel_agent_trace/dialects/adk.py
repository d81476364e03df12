"""Read spans of Google's ADK: 1.x, and 2 in its first schema (later ADK 2 writes plain GenAI conventions).

Recognised by ``gcp.vertex.agent.*`` attributes or the scope ``gcp.vertex.agent``. Requests, responses, tool arguments
and tool results are JSON in those attributes, beside the names of the GenAI conventions.
"""

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
_TOOL = "execute_tool "


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Google's ADK by its ``gcp.vertex.agent.*`` attributes; return None where there are none."""
    is_own = span.scope.name == "gcp.vertex.agent"
    prefixes = (_PREFIX, "gen_ai.") if is_own else _PREFIX
    is_bare = is_own and not span.attributes  # the `invocation` around a run, and in JavaScript a tool that failed
    if not is_bare and not any(key.startswith(prefixes) for key in span.attributes):
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    if is_bare and span.name.startswith(_TOOL) and not span.name.startswith(f"{_TOOL}("):
        facts.kind, facts.name = StepKind.TOOL, span.name.removeprefix(_TOOL)
    facts.session_id = attributes.text(f"{_PREFIX}session_id")
    facts.user_id = attributes.text(f"{_PREFIX}user_id", *USER_IDS)
    request, response = attributes.parsed(f"{_PREFIX}llm_request"), attributes.parsed(f"{_PREFIX}llm_response")
    if attributes.rest.get(semconv.TOOL_NAME) == _MERGED:  # ADK repeats the results of parallel tools in one more span
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    if request:
        facts.kind = StepKind.MODEL
        facts.messages = _request_messages(request) + conversation(_response_content(response), "assistant")
    facts.input = attributes.parsed(f"{_PREFIX}tool_call_args")
    facts.output = _unwrapped_result(attributes.parsed(f"{_PREFIX}tool_response", semconv.TOOL_RESULT))
    facts.attributes = attributes.rest
    return facts


def _request_messages(request: Any) -> Any:
    if not isinstance(request, dict):
        return ()
    config = request.get("config")
    system = config.get("system_instruction") if isinstance(config, dict) else None
    return (conversation(system, "system") if system else ()) + conversation(request.get("contents"))


def _response_content(response: Any) -> Any:
    return response.get("content") if isinstance(response, dict) else None


def _unwrapped_result(response: Any) -> Any:
    """Return a tool's result without the ``{"result": ...}`` that ADK puts around whatever is not an object."""
    return response["result"] if isinstance(response, dict) and response.keys() == {"result"} else response
