"""A span of the SDK is written without a record as it would be with one, byte for byte, whatever it holds."""

from __future__ import annotations

import copy
import enum
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from otel_agent_trace import AgentTracer, FileBackend
from otel_agent_trace.formats.otlp_json import encode_span
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.formats.sdk_span_json import SdkSpanEncoder, _Conversations
from tests.support.strategies import texts


class Ended(SpanProcessor):
    """Keeps the last span that has ended."""

    span: ReadableSpan

    def on_end(self, span: ReadableSpan) -> None:
        self.span = span


class Ids(IdGenerator):
    """The same ids for every span: examples do not depend on chance."""

    def generate_span_id(self) -> int:
        return 0x1

    def generate_trace_id(self) -> int:
        return 0xABC


ENDED = Ended()
PROVIDER = TracerProvider(resource=Resource({}), id_generator=Ids(), shutdown_on_exit=False)
PROVIDER.add_span_processor(ENDED)
TRACER = PROVIDER.get_tracer("test")
ENCODER, READER = SdkSpanEncoder(), SdkReader()
"""Of all examples together: the templates of earlier ones are there for later ones."""


class Text(str):
    """A text that is shown as another."""

    def __str__(self) -> str:
        return "shown"


class Key(str, enum.Enum):
    A = "a"


keys = st.sampled_from(["a", "b", "100%", "%d", "é"])
scalars = st.one_of(
    st.text(max_size=5),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=8),
    st.none(),
)
values = st.recursive(
    scalars, lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=4), i, max_size=2), max_leaves=4
)
odd_values = st.sampled_from(
    [float("nan"), float("inf"), "\udcff", ["\udcff"], [float("nan")], Text("x"), Key.A, TraceFlags(1), object]
    + [2**63, -(2**63) - 1, 2**64, 10**40, [2**63]]
)
attribute_maps = st.dictionaries(keys, values, max_size=3)
ids = st.integers(1, 2**64 - 1)
times = st.integers(1, 2**64 - 1)
odd_times = st.sampled_from([0, -1, 1.5, 2**64, 2**70, True])
odd_names = st.one_of(st.sampled_from([None, 5, Text("x"), Key.A]), texts())
states = st.none() | st.sampled_from([[("ot", "th:0")], [("ot", "th:0"), ("vendor", '"100%\\')], []]).map(TraceState)
contexts = st.builds(
    SpanContext, st.integers(1, 2**128 - 1), ids, st.booleans(), st.integers(0, 255).map(TraceFlags), states
)
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "parent": st.none() | contexts,
    "name": st.text(max_size=5),
    "kind": st.sampled_from(SpanKind),
    "links": st.just([]),
    "start": times,
    "attributes": attribute_maps,
    "event name": st.text(max_size=5),
    "event attributes": attribute_maps,
    "event time": times,
    "status": st.sampled_from(StatusCode),
    "message": st.none() | st.text(max_size=5),
    "end": times,
}
odd_attribute_maps = st.dictionaries(
    keys | st.sampled_from([Key.A, Text("b"), "\udcff"]) | texts(8), values | odd_values, min_size=1, max_size=3
)
ODD: dict[str, st.SearchStrategy[Any]] = {
    "name": odd_names,
    "links": st.just([Link(SpanContext(1, 2, True), {"a": 1})]),
    "start": odd_times,
    "attributes": odd_attribute_maps,
    "event name": odd_names,
    "event attributes": odd_attribute_maps,
    "event time": odd_times,
    "message": odd_names,
    "end": odd_times,
}
"""Parts of a span that few programs would write."""


@st.composite
def ended_spans(draw: st.DrawFn, strategies: dict[str, st.SearchStrategy[Any]] = USUAL) -> ReadableSpan:
    """Spans that the SDK's own classes made."""
    parts = {part: draw(strategy) for part, strategy in strategies.items()}
    context = trace.set_span_in_context(NonRecordingSpan(parts["parent"])) if parts["parent"] is not None else None
    span = TRACER.start_span(parts["name"], context, parts["kind"], links=parts["links"], start_time=parts["start"])
    span.set_attributes(parts["attributes"])
    span.add_event(parts["event name"], parts["event attributes"], parts["event time"])
    span.set_status(parts["status"], parts["message"])
    span.end(parts["end"])
    return ENDED.span


@given(ended_spans())
def test_usual_spans_need_no_record(span: ReadableSpan) -> None:
    """What programs put into spans is written without a record, as its record would be."""
    assert ENCODER.encode(span) == encode_span(READER.record(span))


@pytest.mark.parametrize("part", ODD)
@given(st.data())
def test_odd_spans(part: str, data: st.DataObject) -> None:
    """A span with one part that is odd is written as its record would be, if it is written without."""
    span = data.draw(ended_spans({**USUAL, part: ODD[part]}))
    encoded = ENCODER.encode(span)
    assert encoded is None or encoded == encode_span(READER.record(span))


def odd_status() -> Status:
    status = Status(StatusCode.ERROR, "m")
    status._status_code = StatusCode.UNSET
    return status


BY_HAND: list[tuple[str, Any]] = [
    ("_context", None),
    ("_context", (1, 2, 3)),
    ("_context", SpanContext(0, 0, False)),
    ("_context", SpanContext(2**128, 2**64, False)),
    ("_parent", SpanContext(0, 0, True)),
    ("_parent", SpanContext(1, 2**70, True)),
    ("_parent", object()),
    ("_name", None),
    ("_attributes", None),
    ("_attributes", {"a": 1}),
    ("_attributes", {1: 1, True: 2}),
    ("_events", ()),
    ("_events", (Event("e", None, 1), Event("e", {"a": (1,)}, 2))),
    ("_events", (object(),)),
    ("_links", None),
    ("_kind", None),
    ("_kind", 1),
    ("_status", None),
    ("_status", odd_status()),
    ("_start_time", None),
    ("_end_time", None),
    ("_end_time", "soon"),
]


@pytest.mark.parametrize(("name", "value"), BY_HAND)
def test_spans_made_by_hand(name: str, value: Any) -> None:
    """A span of which a part is not what the SDK would put there is written as its record would be, or not without it."""
    with TRACER.start_as_current_span("outer"), TRACER.start_as_current_span("x", attributes={"a": 1}):
        pass
    span = copy.copy(ENDED.span)
    setattr(span, name, value)
    encoded = ENCODER.encode(span)
    assert encoded is None or encoded == encode_span(READER.record(span))


USUAL_ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"a": "x", "b": 1, "c": True, "d": 1.5, "e": ["x", "y"], "100%": "%d", "é": 'é\n"', "f": (), "g": -(2**63)},
    {f"key {number}": "x" * 1000 for number in range(128)},
]


@pytest.mark.parametrize("attributes", USUAL_ATTRIBUTES)
def test_usual_attributes(attributes: dict[str, Any]) -> None:
    """What programs put into spans is written without a record, the first time as the second."""
    for _ in range(2):
        with TRACER.start_as_current_span("outer", attributes=attributes):
            pass
        assert ENCODER.encode(ENDED.span) == encode_span(READER.record(ENDED.span))
        with pytest.raises(ValueError, match="no"), TRACER.start_as_current_span("outer"):
            with TRACER.start_as_current_span("inner", kind=SpanKind.CLIENT, attributes=attributes):
                raise ValueError("no")
        assert ENCODER.encode(ENDED.span) == encode_span(READER.record(ENDED.span))


def test_what_the_tracer_writes_needs_no_record(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs, steps that fail, and model calls are written to a file without records."""
    backend = FileBackend(tmp_path / "t.jsonl")
    tracer = AgentTracer(backend=backend)
    tool = tracer.tool(lambda x: {"half": 1 / x})
    with monkeypatch.context() as context:
        context.setattr(SdkReader, "record", None)
        with tracer.run(user_input="q", user_id="u", session_id="s") as run:
            tool(2)
            with pytest.raises(ZeroDivisionError):
                tool(0)
            with run.model_call("m", messages=[{"role": "user", "content": "q"}]) as call:
                call.output = "a"
    assert backend.stats() == {"kept": 4}
    (read,) = backend.runs()
    assert [(step.input, step.output) for step in read.steps[:1]] == [({"x": 2}, {"half": 0.5})]


def test_what_is_remembered_is_bounded() -> None:
    """Attributes whose keys never come again leave no more than 256 templates, and none that is large."""
    encoder = SdkSpanEncoder()
    for number in range(600):
        with TRACER.start_as_current_span("x", attributes={f"key {number}": number, "k": "x" * number}):
            pass
        assert encoder.encode(ENDED.span) == encode_span(READER.record(ENDED.span))
        assert len(encoder._templates) <= 256
    encoder = SdkSpanEncoder()
    with TRACER.start_as_current_span("x", attributes={"k" * 20_000: 1}):
        pass
    assert encoder.encode(ENDED.span) == encode_span(READER.record(ENDED.span))
    assert not encoder._templates


@given(st.lists(st.tuples(st.integers(0, 2), st.text(min_size=300, max_size=600)), min_size=3, max_size=12))
def test_histories_that_grow_are_escaped_as_a_whole(turns: list[tuple[int, str]]) -> None:
    """Each text is JSON that begins like an earlier one, like none, or is the same again."""
    conversations = _Conversations()
    histories: list[list[str]] = [[], [], []]
    for number, message in turns:
        histories[number].append(message.encode("utf-8", "replace").decode())
        text = json.dumps(histories[number], ensure_ascii=False)
        assert conversations.encode(text) == msgspec.json.encode(text)
        assert conversations.encode(text) == msgspec.json.encode(text)
