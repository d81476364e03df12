"""OpenLIT: functions traced with its decorator say neither kind nor operation, but ``function.args``."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import arguments_of, parsed
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "openlit"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a function under OpenLIT's decorator by ``function.args``, or by its scope; None for its other spans."""
    given = Attributes(span)
    is_call = "function.args" in given.rest or "function.kwargs" in given.rest
    is_told = not given.rest or any(key.startswith("gen_ai.") for key in given.rest)
    is_own = span.scope.name == "openlit" and is_told
    if not is_call and (not is_own or semconv.OPERATION_NAME in given.rest):
        return None
    facts = SpanFacts(kind=None, dialect=NAME, label=span.name)
    arguments: Any = {"args": given.parsed("function.args"), "kwargs": given.parsed("function.kwargs") or {}}
    facts.input = arguments_of(arguments) if is_call else None
    facts.output = parsed(given.take(semconv.OUTPUT_MESSAGES))
    facts.is_function = True
    facts.error = given.error()
    facts.attributes = given.rest
    return facts
