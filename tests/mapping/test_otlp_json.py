"""Any span goes to OTLP/JSON and back; no bytes make the reader fail in another way than the one that it promises."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_agent_trace.formats.otlp_json import OtlpJsonError, decode, encode, encode_span
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.exact_comparison import assert_alike
from tests.support.otlp_receivers import attributes_of
from tests.support.span_strategies import (
    otlp_records,
    records,
)

# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(otlp_records())
def test_what_otlp_can_say_comes_back(span: SpanRecord) -> None:
    """A span that OTLP can say is decoded to an equal one."""
    assert_alike(decode(encode([span])), [span])


@given(st.lists(records(), max_size=3))
@example(
    [
        SpanRecord("1" * 32, "1" * 16, None, "", 1, 2, resource=Resource({"a": "b"})),
        SpanRecord("1" * 32, "1" * 16, None, "", 1, 2),
        SpanRecord("1" * 32, "1" * 16, None, "", 1, 2, resource=Resource({"a": "b"})),
    ]
)
def test_encoding_is_a_fixpoint(spans: list[SpanRecord]) -> None:
    """What was encoded once decodes and encodes to the same bytes, whatever was in it.

    Twice, to be exact: equal resources that were written apart are one when they are read, and then written together.
    """
    first = decode(encode(decode(encode(spans))))
    assert_alike(decode(encode(first)), first)
    assert [encode_span(span) for span in first] == [encode_span(span) for span in decode(encode(first))]
    assert len(first) == len(spans)


@given(st.lists(records(), max_size=3))
def test_a_line_is_a_line_of_json(spans: list[SpanRecord]) -> None:
    """The bytes are one line of standard JSON in UTF-8."""
    line = encode(spans)
    assert b"\n" not in line
    json.loads(line.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (None, None),
        ((1, 2), [1, 2]),
        (2**63, str(2**63)),
        ({1: {2: None}}, {"1": {"2": None}}),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        (b"", b""),
        ([], []),
        ({}, {}),
        ("\ud800", "\\ud800"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_odd_attribute_values(value: Any, read: Any) -> None:
    """What OTLP has no word for is written as the nearest that it has."""
    span = SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2, {"k": value})
    assert_alike(decode(encode([span]))[0].attributes, {"k": read})


def test_values_that_never_end_are_cut() -> None:
    """An attribute that holds itself, or is nested without end, costs the innermost, never the span."""
    loop: list[Any] = []
    loop.append(loop)
    span = SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2, {"k": loop, "m": 1})
    (read,) = decode(encode([span]))
    assert read.attributes["m"] == 1


# ── what is no OTLP ──────────────────────────────────────────────────────────────────────────────────────────────────


def decoded(data: bytes) -> list[SpanRecord]:
    """The spans, or none where it is no OTLP; what was decoded can be encoded."""
    try:
        spans = decode(data)
    except OtlpJsonError:
        return []
    line = encode(spans)
    json.loads(line, parse_constant=_refuse)
    assert_alike(decode(line), decode(encode(decode(line))))
    return spans


@given(st.binary(max_size=200))
@example(b"\xff\xfe{}")
@example(b"[" * 100_000)
@example(b'{"resourceSpans":' + b'[{"scopeSpans":' * 50_000)
@example(b"null")
@example(b"{}")
@example(b'{"resourceSpans":null}')
@example(b'{"resourceSpans":[null]}')
@example(b"\xef\xbb\xbf{}")
def test_any_bytes(data: bytes) -> None:
    """Bytes are spans, or raise `OtlpJsonError`."""
    decoded(data)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=5), i, max_size=3),
    max_leaves=5,
)


@given(records(), st.data())
def test_any_change_of_one_value(span: SpanRecord, data: st.DataObject) -> None:
    """A line of which one value is another is spans, or raises `OtlpJsonError`."""
    tree = json.loads(encode([span]))
    places = list(_places(tree))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(_JSON)
    decoded(json.dumps(tree).encode())


def _places(tree: Any) -> Any:
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


@given(records(), st.data())
def test_any_change_of_some_bytes(span: SpanRecord, data: st.DataObject) -> None:
    """A line that was torn, or in which bytes were turned, is spans, or raises `OtlpJsonError`."""
    line = bytearray(encode([span]))
    for _ in range(data.draw(st.integers(0, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    start, end = data.draw(st.integers(0, 2)), data.draw(st.integers(0, len(line)))
    decoded(bytes(line if data.draw(st.booleans()) else line[start:end]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("traceId", '"' * 32),
        ("traceId", "z" * 32),
        ("traceId", " " * 32),
        ("traceId", "１" * 32),
        ("traceId", "1" * 31 + "\\"),
        ("spanId", "\\" * 16),
        ("parentSpanId", '","x":"'),
        ("parentSpanId", "1" * 15),
    ],
)
def test_ids_that_are_none_cost_the_line(field: str, value: str) -> None:
    """Ids are hex digits: whatever else stands there never gets into what is written again."""
    tree = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "n", field: value}
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [tree]}]}]}).encode()
    with pytest.raises(OtlpJsonError):
        decode(line)


# ── the same as the protobuf ─────────────────────────────────────────────────────────────────────────────────────────


@given(otlp_records())
def test_protobuf_reads_the_same(span: SpanRecord) -> None:
    """The protobuf of OpenTelemetry reads the same span from the line."""
    trace_pb2 = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")
    tree = json.loads(encode([span]))
    message = json_format.ParseDict(_with_base64_ids(tree), trace_pb2.TracesData())
    (resource_spans,) = message.resource_spans
    (scope_spans,) = resource_spans.scope_spans
    (read,) = scope_spans.spans
    assert (read.trace_id.hex(), read.span_id.hex(), read.parent_span_id.hex() or None) == (
        span.trace_id,
        span.span_id,
        span.parent_span_id,
    )
    assert (read.name, read.start_time_unix_nano, read.end_time_unix_nano or None) == (
        span.name,
        span.start_ns,
        span.end_ns,
    )
    assert (read.kind, read.status.code, read.status.message) == (span.kind, span.status_code, span.status_message)
    assert (read.trace_state, read.flags) == (span.trace_state, span.flags)
    assert_alike(attributes_of(read.attributes), span.attributes)
    assert_alike([Event(e.name, e.time_unix_nano, attributes_of(e.attributes)) for e in read.events], list(span.events))
    links = [Link(k.trace_id.hex(), k.span_id.hex(), attributes_of(k.attributes), k.trace_state) for k in read.links]
    assert_alike(links, list(span.links))
    resource, scope = resource_spans.resource, scope_spans.scope
    assert_alike(Resource(attributes_of(resource.attributes), resource_spans.schema_url), span.resource)
    assert_alike(Scope(scope.name, scope.version, attributes_of(scope.attributes), scope_spans.schema_url), span.scope)


@given(otlp_records())
def test_what_protobuf_writes_is_read(span: SpanRecord) -> None:
    """What the protobuf writes as JSON, names of its own choice included, reads as the same span."""
    trace_pb2 = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")
    message = json_format.ParseDict(_with_base64_ids(json.loads(encode([span]))), trace_pb2.TracesData())
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    (read,) = decode(json.dumps(_with_hex_ids(tree)).encode())
    assert_alike(read, span)


def _with_base64_ids(tree: Any) -> Any:
    return _changed(tree, lambda text: base64.b64encode(bytes.fromhex(text)).decode())


def _with_hex_ids(tree: Any) -> Any:
    return _changed(tree, lambda text: base64.b64decode(text).hex())


def _changed(tree: Any, change: Any) -> Any:
    """The ids of spans and links in the form that `change` gives."""
    for resource_spans in tree["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                for holder in (span, *span.get("links", ())):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in holder:
                            holder[key] = change(holder[key])
    return tree
