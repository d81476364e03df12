"""Answers are what the generated classes of OTLP read, and what is unpacked stays within its bounds."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.formats.otlp_answers import Signal, encode_response, encode_status
from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.unpacking import Limits, gunzipped
from tests.support.span_strategies import otlp_records

NUMBERS = st.integers(0, 2**40)
MESSAGES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(NUMBERS, MESSAGES)
def test_responses_are_read_by_the_generated_classes(rejected: int, message: str) -> None:
    of_traces = ExportTraceServiceResponse.FromString(encode_response("traces", rejected, message, as_json=False))
    of_logs = ExportLogsServiceResponse.FromString(encode_response("logs", rejected, message, as_json=False))
    assert of_traces.HasField("partial_success") == of_logs.HasField("partial_success") == bool(rejected or message)
    assert (of_traces.partial_success.rejected_spans, of_traces.partial_success.error_message) == (rejected, message)
    assert (of_logs.partial_success.rejected_log_records, of_logs.partial_success.error_message) == (rejected, message)


@pytest.mark.parametrize(("signal", "name"), [("traces", "rejectedSpans"), ("logs", "rejectedLogRecords")])
@given(rejected=NUMBERS, message=MESSAGES)
def test_responses_of_json_have_the_same(signal: Signal, name: str, rejected: int, message: str) -> None:
    partial = {"partialSuccess": {name: str(rejected), "errorMessage": message}}
    expected: Any = partial if rejected or message else {}
    assert json.loads(encode_response(signal, rejected, message, as_json=True)) == expected


@given(st.integers(1, 16), MESSAGES)
def test_a_status_is_read_by_the_generated_class(code: int, message: str) -> None:
    status = Status.FromString(encode_status(code, message, as_json=False))
    assert (status.code, status.message) == (code, message)
    assert json.loads(encode_status(code, message, as_json=True)) == {"code": code, "message": message}


@given(st.lists(otlp_records(), max_size=5))
def test_valid_spans_of_protobuf_are_all_taken(spans: list[Any]) -> None:
    data, bad = otlp_proto.encode(spans), list[str]()
    assert otlp_proto.decode_each(data, bad.append) == otlp_proto.decode(data)
    assert bad == []


# ── what is unpacked ─────────────────────────────────────────────────────────────────────────────────────────────────

LIMITS = Limits(unpacked_bytes=100_000, ratio=10, small_bytes=1_000)


@given(st.binary(max_size=5_000), st.integers(1, 4))
def test_what_is_within_the_limits_is_unpacked(data: bytes, members: int) -> None:
    pieces = [data[place::members] for place in range(members)]
    packed = b"".join(map(gzip.compress, pieces))
    if len(data) <= LIMITS.unpacked_limit(len(packed)):
        assert gunzipped(packed, LIMITS) == b"".join(pieces)
    else:
        with pytest.raises(RefusedError) as refused:
            gunzipped(packed, LIMITS)
        assert refused.value.reason is Reason.TOO_LARGE


@given(st.binary(max_size=300))
def test_anything_else_is_refused_as_unreadable(data: bytes) -> None:
    try:
        expected = gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        with pytest.raises(RefusedError) as refused:
            gunzipped(data, LIMITS)
        assert refused.value.reason is Reason.UNREADABLE
    else:
        assert data == b"" or gunzipped(data, LIMITS) == expected


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError):
            gunzipped(bomb, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
