"""Any spans, with everything that a span can have."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.strategies import texts


def hex_ids(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).filter(any).map(bytes.hex)


times = st.one_of(st.integers(1, 2**63 - 1), st.just(1_700_000_000_000_000_000))
scalars = st.one_of(texts(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=20))


def any_values(scalar: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Attribute values, arrays and maps in one another too."""
    return st.recursive(
        scalar, lambda i: st.lists(i, max_size=3) | st.dictionaries(texts(8), i, max_size=3), max_leaves=6
    )


def attribute_maps(scalar: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(texts(8), any_values(scalar), max_size=4)


def records(scalar: st.SearchStrategy[Any] = scalars, text: st.SearchStrategy[str] = texts()) -> Any:  # noqa: B008
    """Spans with everything that one can have."""
    attributes = attribute_maps(scalar)
    return st.builds(
        SpanRecord,
        trace_id=hex_ids(16),
        span_id=hex_ids(8),
        parent_span_id=st.none() | hex_ids(8),
        name=text,
        start_ns=times,
        end_ns=st.none() | times,
        attributes=attributes,
        kind=st.integers(1, 5),
        status_code=st.integers(0, 2),
        status_message=text,
        events=st.lists(st.builds(Event, text, times, attributes), max_size=2).map(tuple),
        links=st.lists(st.builds(Link, hex_ids(16), hex_ids(8), attributes, text), max_size=2).map(tuple),
        resource=st.builds(Resource, attributes, text),
        scope=st.builds(Scope, text, text, attributes, text),
        trace_state=text,
        flags=st.integers(0, 2**32 - 1),
    )


otlp_texts = st.text(max_size=10)
otlp_scalars = st.one_of(
    otlp_texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=20),
)


def otlp_records() -> Any:
    """Spans that OTLP can say as they are."""
    values = st.recursive(
        otlp_scalars,
        lambda i: st.lists(i, max_size=3) | st.dictionaries(otlp_texts, i, max_size=3),
        max_leaves=6,
    )
    attributes = st.dictionaries(otlp_texts, values, max_size=4)
    return records(otlp_scalars, otlp_texts).flatmap(
        lambda span: st.builds(
            lambda own, above, of_scope: _with(span, own, above, of_scope), attributes, attributes, attributes
        )
    )


def _with(span: SpanRecord, own: Any, above: Any, of_scope: Any) -> SpanRecord:
    """The span with attributes whose keys OTLP can say."""
    return SpanRecord(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.name,
        span.start_ns,
        span.end_ns,
        own,
        span.kind,
        span.status_code,
        span.status_message,
        tuple(Event(event.name, event.time_ns, own) for event in span.events),
        tuple(Link(link.trace_id, link.span_id, above, link.trace_state) for link in span.links),
        Resource(above, span.resource.schema_url),
        Scope(span.scope.name, span.scope.version, of_scope, span.scope.schema_url),
        span.trace_state,
        span.flags,
    )
