"""Any span goes to OTLP's protobuf and back, as the official classes have it; no bytes make the reader fail otherwise."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_agent_trace import BadRecordError, load_runs
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.otlp_proto import (
    OtlpProtoError,
    PartialSuccess,
    decode,
    decode_response,
    decode_status,
    encode,
    encode_span,
    join,
    salvage,
)
from otel_agent_trace.span import Event, Link, Problem, Resource, Scope, SpanRecord
from tests.support.exact_comparison import assert_alike
from tests.support.otlp_receivers import records_of
from tests.support.span_strategies import otlp_records, records
from tests.support.waiting import DEADLOCK_S


def read_officially(data: bytes) -> list[SpanRecord]:
    """The spans as the official classes read them."""
    return [
        msgspec.structs.replace(span, end_ns=span.end_ns or None)
        for span in records_of([ExportTraceServiceRequest.FromString(data)])
    ]


@given(otlp_records())
def test_what_otlp_can_say_comes_back(span: SpanRecord) -> None:
    """A span that OTLP can say is decoded to an equal one, by the official classes as well."""
    data = encode([span])
    assert_alike(decode(data), [span])
    assert_alike(read_officially(data), [span])


@given(otlp_records())
def test_what_the_official_classes_write_is_read(span: SpanRecord) -> None:
    """What they write, in their order and with fields that we do not know, reads as the same span."""
    message = ExportTraceServiceRequest.FromString(encode([span]))
    written = message.resource_spans[0].scope_spans[0].spans[0]
    written.dropped_attributes_count = 2**32 - 1
    message.resource_spans[0].resource.dropped_attributes_count = 1
    assert_alike(decode(message.SerializeToString()), [span])


@given(st.lists(records(), max_size=3))
def test_both_formats_say_the_same(spans: list[SpanRecord]) -> None:
    """Whatever is in a span (lone surrogates, huge integers, NaN), it reads from protobuf as from JSON."""
    data = encode(spans)
    assert_alike(decode(data), otlp_json.decode(otlp_json.encode(spans)))
    assert_alike(read_officially(data), decode(data))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (None, None),
        ((1, None, 2), [1, None, 2]),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        ({1: {2: None}}, {"1": {"2": None}}),
        (math.inf, math.inf),
        (math.nan, math.nan),
        (-0.0, -0.0),
        (b"\x00\xff", b"\x00\xff"),
        ([], []),
        ({}, {}),
        ("", ""),
        ("\ud800", "\\ud800"),
        ("x" * 70_000, "x" * 70_000),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_odd_attribute_values(value: Any, read: Any) -> None:
    """What OTLP has no word for is written as the nearest that it has."""
    span = SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2, {"k": value, "\ud800": 1, "": 2})
    [back] = decode(encode([span]))
    assert_alike(back.attributes, {"k": read, "\\ud800": 1, "": 2})
    assert_alike(read_officially(encode([span])), [back])


def test_values_that_never_end_are_cut() -> None:
    """An attribute that holds itself costs the innermost, never the span."""
    loop: list[Any] = []
    loop.append(loop)
    [read] = decode(encode([SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2, {"k": loop, "m": 1})]))
    assert read.attributes["m"] == 1


def test_what_no_span_can_be_is_written_as_near_as_possible() -> None:
    """Numbers and ids that a source of somebody else made up make no error here, and no other span unreadable."""
    odd = SpanRecord("no hex", "1" * 15, "2", "n", -5, 2**70, kind=-1, flags=2**40 + 1, links=(Link("zz", "", {}),))
    good = SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2)
    written = ExportTraceServiceRequest.FromString(encode([odd, good])).resource_spans[0].scope_spans[0].spans[0]
    assert (written.trace_id, written.start_time_unix_nano, written.end_time_unix_nano) == (b"", 0, 2**64 - 1)
    assert (written.kind, written.flags) == (-1, 1)
    assert decode(encode([good])) == [good]


def test_joined_groups_are_one_message() -> None:
    """Spans that were encoded alone are put together under their resources and scopes."""
    spans = [
        SpanRecord(f"{n:032x}", f"{n:016x}", None, "n", 1, 2, resource=Resource({"r": n // 2}), scope=Scope(str(n)))
        for n in range(1, 5)
    ]
    assert_alike(decode(join((span.resource, span.scope, [encode_span(span)]) for span in spans)), spans)
    assert join([]) == b""


# ── what is no OTLP ──────────────────────────────────────────────────────────────────────────────────────────────────


def decoded(data: bytes) -> list[SpanRecord]:
    """The spans, or none where it is no OTLP."""
    try:
        spans = decode(data)
    except OtlpProtoError:
        return []
    assert_alike(decode(encode(spans)), spans)
    return spans


@given(st.binary(max_size=200))
@example(b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(b"\x0a")
@example(b"\x00\x00")
@example(b"\x0b")
@example(b'{"resourceSpans":[]}')
@example(b"<!DOCTYPE html>")
def test_any_bytes(data: bytes) -> None:
    """Bytes are spans, or raise `OtlpProtoError`; so are those of answers."""
    decoded(data)
    for read in (decode_response, decode_status):
        try:
            read(data)
        except OtlpProtoError:
            pass


@given(records(), st.data())
def test_any_change_of_some_bytes(span: SpanRecord, data: st.DataObject) -> None:
    """What was torn, or in which bytes were turned, is spans, or raises `OtlpProtoError`."""
    line = bytearray(encode([span]))
    for _ in range(data.draw(st.integers(0, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    decoded(bytes(line[: data.draw(st.integers(0, len(line)))]))


@given(st.lists(otlp_records(), min_size=2, max_size=3), st.data())
def test_parts_of_a_message_are_put_together_as_protobuf_does(spans: list[SpanRecord], data: st.DataObject) -> None:
    """Doubled, swapped and cut messages in one another read as the official classes read them."""
    mixed = b"".join(data.draw(st.permutations([encode([span]) for span in spans])))
    assert_alike(decode(mixed), read_officially(mixed))
    inner = b"".join(encode([span])[_head_size(encode([span])) :] for span in spans)
    outer = b"\x0a" + _varint(len(inner)) + inner
    assert_alike(decode(outer), read_officially(outer))


def _head_size(data: bytes) -> int:
    return 1 + next(index for index, byte in enumerate(data[1:], 1) if byte < 0x80)


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, *_varint(number >> 7)]) if number > 0x7F else bytes([number])


def _deep_pair(lists: int) -> bytes:
    """An attribute `k` of so many lists within each other."""
    value = b""
    for _ in range(lists):
        value = b"\x2a" + _varint(len(inner := b"\x0a" + _varint(len(value)) + value)) + inner
    return b"\x0a\x01k\x12" + _varint(len(value)) + value


def test_deep_values_cost_the_innermost() -> None:
    """However deep a message is nested, it is read in bounded depth."""
    pair = _deep_pair(5000)
    ids = b"\x0a\x10" + b"1" * 16 + b"\x12\x08" + b"1" * 8
    span = ids + b"\x4a" + _varint(len(pair)) + pair
    spans = b"\x12" + _varint(len(span)) + span
    block = b"\x12" + _varint(len(spans)) + spans
    [read] = decode(b"\x0a" + _varint(len(block)) + block)
    assert list(read.attributes) == ["k"]


SPAN = SpanRecord("1" * 32, "1" * 16, None, "n", 1, 2, {"a": "b"})


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


@pytest.mark.parametrize("tag", [b"\x4a", b"\x5a", b"\x6a"], ids=["attribute", "event", "link"])
def test_a_deep_value_costs_nothing_beside_it(tag: bytes) -> None:
    """Wherever it is, all else of its span and the other spans of the message are read; the innermost is None."""
    pair = _deep_pair(200)
    inside = {b"\x4a": pair, b"\x5a": _field(b"\x1a", pair), b"\x6a": _field(b"\x22", pair)}[tag]
    whole = ExportTraceServiceRequest.FromString(encode([SPAN])).resource_spans[0].scope_spans[0].spans[0]
    deep = _field(b"\x12", whole.SerializeToString() + _field(tag, inside))
    read, other = decode(join([(Resource({"r": 1}), Scope("s"), [deep, encode_span(SPAN)])]))
    assert (read.resource, read.scope, other.attributes) == (Resource({"r": 1}), Scope("s"), {"a": "b"})
    attributes = {b"\x4a": read, b"\x5a": next(iter(read.events), None), b"\x6a": next(iter(read.links), None)}[tag]
    assert (read.name, read.attributes["a"]) == ("n", "b")
    innermost, depth = attributes.attributes["k"], 0
    while innermost is not None:
        [innermost], depth = innermost, depth + 1
    assert 40 < depth < 100


def test_the_loss_of_the_innermost_values_is_a_problem_of_the_file(tmp_path: Path) -> None:
    """The span is read without them, and strict reading refuses it."""
    agent = msgspec.structs.replace(SPAN, attributes={"gen_ai.operation.name": "invoke_agent"})
    whole = ExportTraceServiceRequest.FromString(encode([agent])).resource_spans[0].scope_spans[0].spans[0]
    deep = _field(b"\x12", whole.SerializeToString() + _field(b"\x4a", _deep_pair(200)))
    message = join([(Resource(), Scope("s"), [deep])])
    path = tmp_path / "spans.binpb"
    path.write_bytes(struct.pack(">I", len(message)) + message)
    problems: list[Problem] = []
    [run] = load_runs(path, on_problem=problems.append)
    assert [problem.reason for problem in problems] == [
        "values of more than about 46 levels, without the innermost, or bytes that are not UTF-8; 1 intact span of it was read"
    ]
    assert run.trace_id == SPAN.trace_id
    with pytest.raises(BadRecordError, match="without the innermost"):
        load_runs(path, strict=True)


def test_a_deep_value_of_a_resource_costs_no_span() -> None:
    resource = _field(b"\x0a", _field(b"\x0a", _deep_pair(200)))
    block = _field(b"\x12", encode_span(SPAN))
    [read] = decode(_field(b"\x0a", resource + block))
    assert (read.name, list(read.resource.attributes)) == ("n", ["k"])


@pytest.mark.parametrize("text", ["attribute", "name", "event", "key", "status"])
def test_bytes_that_are_no_utf8_cost_themselves(text: str) -> None:
    """They are replaced, as in JSON, and nothing beside them is lost."""
    odd = SpanRecord("1" * 32, "2" * 16, None, "name", 1, 2, {"key": "attribute"}, status_code=2,
                     status_message="status", events=(Event("event", 1, {}),))  # fmt: skip
    whole = encode_span(odd)
    data = join(
        [(Resource({"r": 1}), Scope("s"), [encode_span(SPAN), whole.replace(text.encode(), b"\xff" * len(text))])]
    )
    losses: list[str] = []
    first, read = decode(data, losses.append)
    assert (first.attributes, first.resource.attributes) == ({"a": "b"}, {"r": 1})
    [(key, value)], [happened] = read.attributes.items(), read.events
    texts = {"name": read.name, "key": key, "attribute": value, "event": happened.name, "status": read.status_message}
    assert texts == {name: name for name in texts} | {text: "\ufffd" * len(text)}
    assert "UTF-8" in losses[0]


@pytest.mark.parametrize("ids", [{"trace_id": "0" * 32}, {"span_id": "0" * 16}])
def test_a_span_with_an_id_of_zeros_costs_itself(ids: dict[str, str]) -> None:
    """As in JSON."""
    bad = msgspec.structs.replace(SPAN, **ids)
    data = join([(Resource({"r": 1}), Scope("s"), [encode_span(SPAN), encode_span(bad)])])
    with pytest.raises(OtlpProtoError, match="zeros"):
        decode(data)
    assert [span.span_id for span in salvage(data)] == [SPAN.span_id]


@pytest.mark.parametrize("lost", [1, 5, 40])
def test_of_a_message_that_ends_early_the_whole_spans_are_read(lost: int) -> None:
    data = join([(Resource({"r": 1}), Scope("s"), [encode_span(SPAN)] * 3)])
    with pytest.raises(OtlpProtoError):
        decode(data[:-lost])
    assert salvage(data[:-lost]) == decode(data)[:2]


def test_the_classes_are_imported_where_protobuf_is_decoded() -> None:
    """Whoever writes spans, or gets a receiver's answer that all is well, does not wait for them."""
    code = (
        "import sys\nfrom otel_agent_trace.formats import otlp_proto\nfrom otel_agent_trace.span import SpanRecord\n"
        "data = otlp_proto.encode([SpanRecord('1' * 32, '1' * 16, None, 'n', 1, 2)])\n"
        "otlp_proto.decode_response(b''), otlp_proto.decode_response(bytes([10, 0]))\n"
        "assert 'google.protobuf' not in sys.modules\notlp_proto.decode(data)\nassert 'google.protobuf' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLOCK_S)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**63 - 1), st.text())
def test_partial_success_is_read(rejected: int, message: str) -> None:
    """How many spans were not taken, and why."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    data = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    assert decode_response(data) == PartialSuccess(rejected, message)
    assert decode_response(b"") == PartialSuccess()


@given(st.text(), st.none() | st.integers(0, 10**6), st.integers(0, 999_999_999))
def test_status_is_read(message: str, seconds: int | None, nanos: int) -> None:
    """Why a request was refused, and when to come again."""
    status = status_pb2.Status(code=8, message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="whatever"))
    if seconds is not None:
        delay = Duration(seconds=seconds, nanos=nanos)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    read = decode_status(status.SerializeToString())
    assert read.message == message
    assert read.retry_after_s == (None if seconds is None else pytest.approx(seconds + nanos / 1e9))


@given(st.binary(max_size=60))
def test_what_is_refused_the_official_classes_refuse_or_the_ids_are_none(data: bytes) -> None:
    """We are no stricter about answers than the official classes, groups of fields aside."""
    try:
        official = ExportTraceServiceResponse.FromString(data)
    except DecodeError:
        return
    try:
        read = decode_response(data)
    except OtlpProtoError as error:
        assert "wire type" in str(error) or "number" in str(error)
        return
    assert read.message == official.partial_success.error_message
