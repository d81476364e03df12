"""Portions of spans: none is larger than a request may be, and no span is lost, doubled or moved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_agent_trace.backends import portions as module
from otel_agent_trace.backends.portions import portions

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.lists(TEXTS, max_size=20),
    st.lists(st.floats(), max_size=20),
)
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=8)
EVENTS = st.lists(st.tuples(TEXTS, ATTRIBUTES), max_size=4)
SPANS = st.lists(st.tuples(TEXTS, ATTRIBUTES, EVENTS, ATTRIBUTES), min_size=1, max_size=12)
STATE = TraceState([("vendor", "v" * 200)])
CONTEXT = SpanContext(2**128 - 1, 2**64 - 1, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE)


def spans_of(told: list[tuple[str, Any, Any, Any]], resource: dict[str, Any]) -> list[ReadableSpan]:
    """Spans of the SDK, below a remote parent with a trace state."""
    provider = TracerProvider(resource=Resource(resource), span_limits=SpanLimits(), shutdown_on_exit=False)
    parent = set_span_in_context(NonRecordingSpan(CONTEXT))
    spans: list[ReadableSpan] = []
    for name, attributes, events, linked in told:
        tracer = provider.get_tracer(name, name, name, linked)
        span: Any = tracer.start_span(name, parent, attributes=attributes, links=[Link(CONTEXT, linked)])
        for event, of_event in events:
            span.add_event(event, of_event)
        span.set_status(StatusCode.ERROR, name)
        span.end()
        spans.append(span)
    return spans


@settings(deadline=None, max_examples=100)
@given(SPANS, ATTRIBUTES)
def test_no_portion_is_too_large(told: Any, resource: Any) -> None:
    """What is counted is never less than what the SDK's exporters make of it, whatever stands in the spans."""
    spans = spans_of(told, resource)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REQUEST_BYTES", 4_000)
        parts = list(portions(spans))
    assert [span for part in parts for span in part] == spans
    for part in parts:
        assert len(part) == 1 or encode_spans(part).ByteSize() <= 4_000


def test_few_spans_are_one_portion() -> None:
    """What fits stays together; of nothing there is no portion."""
    spans = spans_of([("x", {}, [], {})] * 512, {})
    assert list(portions(spans)) == [spans]
    assert list(portions([])) == []


def test_each_portion_is_as_large_as_it_may() -> None:
    """The size is counted closely enough for a portion to be worth its request."""
    spans = spans_of([("x", {"text": "x" * 100_000}, [], {})] * 100, {})
    sizes = [encode_spans(part).ByteSize() for part in portions(spans)]
    assert len(sizes) == 3
    assert all(3_800_000 < size <= 4_000_000 for size in sizes[:-1])
