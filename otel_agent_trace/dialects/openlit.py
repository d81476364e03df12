"""Read functions traced with OpenLIT's decorator; all other spans of OpenLIT follow the GenAI conventions.

Recognised by ``function.args`` or ``function.kwargs``, else by the scope ``openlit``. The decorator records neither a
kind nor an operation, so whether a function is an agent or a tool is decided later (`runs.passes.functions`).
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import arguments_of, parsed
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "openlit"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a function traced with OpenLIT's decorator; return None for any other span."""
    attributes = Attributes(span)
    is_call = "function.args" in attributes.rest or "function.kwargs" in attributes.rest
    has_genai_or_nothing = not attributes.rest or any(key.startswith("gen_ai.") for key in attributes.rest)
    is_own = span.scope.name == "openlit" and has_genai_or_nothing
    if not is_call and (not is_own or semconv.OPERATION_NAME in attributes.rest):
        return None
    facts = SpanFacts(kind=None, dialect=NAME, label=span.name)
    arguments: Any = {"args": attributes.parsed("function.args"), "kwargs": attributes.parsed("function.kwargs") or {}}
    facts.input = arguments_of(arguments) if is_call else None
    facts.output = parsed(attributes.take(semconv.OUTPUT_MESSAGES))
    facts.is_function = True
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
