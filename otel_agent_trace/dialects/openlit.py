"""OpenLIT: functions traced with its decorator say neither kind nor operation, but ``function.args``."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.foreign.payloads import arguments_of, parsed
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.span import SpanRecord

NAME = "openlit"


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    given = Attributes(span)
    is_call = "function.args" in given.rest or "function.kwargs" in given.rest
    is_told = not given.rest or any(key.startswith("gen_ai.") for key in given.rest)
    is_own = span.scope.name == "openlit" and is_told
    if not is_call and (not is_own or semconv.OPERATION_NAME in given.rest):
        return None
    meaning = Meaning(kind=None, dialect=NAME, label=span.name)
    arguments: Any = {"args": given.parsed("function.args"), "kwargs": given.parsed("function.kwargs") or {}}
    meaning.input = arguments_of(arguments) if is_call else None
    meaning.output = parsed(given.take(semconv.OUTPUT_MESSAGES))
    meaning.is_function = True
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning
