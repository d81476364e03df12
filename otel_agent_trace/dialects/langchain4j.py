"""Read the spans of Quarkus around LangChain4j beside those of the GenAI conventions.

Recognised by the span's name: ``langchain4j.aiservices.SERVICE.METHOD`` is an agent. Errors are exceptions only, without
a status.
"""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts, exception_of

NAME = "langchain4j"
_SERVICES = "langchain4j.aiservices."
_CALLS = ("langchain4j.tools.", "completion ")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read the span of an AI service, or the error of a call in one, by the span's name; return None for any other."""
    if not span.name.startswith((_SERVICES, *_CALLS)):
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    if span.name.startswith(_SERVICES):
        facts.kind, facts.name = StepKind.AGENT, span.name.removeprefix(_SERVICES).rpartition(".")[0]
    facts.error = attributes.error(failed=bool(exception_of(span)) or None)
    facts.attributes = attributes.rest
    return facts
