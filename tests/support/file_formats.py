"""Spans and log records as each file_format has them, written by the official classes where these can."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.span import SpanRecord

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Messages = Sequence[TracesData | LogsData]


def traces(spans: Iterable[SpanRecord], size: int = 3) -> list[TracesData | LogsData]:
    """Messages of a few spans each."""
    given = list(spans)
    parts = (given[first : first + size] for first in range(0, len(given), size))
    return [TracesData.FromString(otlp_proto.encode(part)) for part in parts]


def logs(records: Iterable[tuple[str, str, int, str, dict[str, str]]]) -> list[TracesData | LogsData]:
    """A message for each log record: trace, span, time, name, attributes."""
    messages: list[TracesData | LogsData] = []
    for trace_id, span_id, time_ns, name, attributes in records:
        message = LogsData()
        record = message.resource_logs.add().scope_logs.add().log_records.add()
        record.trace_id, record.span_id = bytes.fromhex(trace_id), bytes.fromhex(span_id)
        record.time_unix_nano, record.event_name = time_ns, name
        for key, value in attributes.items():
            record.attributes.add(key=key).value.string_value = value
        messages.append(message)
    return messages


def _with_hex_ids(data: Any) -> Any:
    """OTLP's own JSON out of protobuf's: hex ids, numbers for enums."""
    import base64  # noqa: PLC0415

    if isinstance(data, list):
        return [_with_hex_ids(item) for item in data]
    if not isinstance(data, dict):
        return data
    ids = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}
    return {key: base64.b64decode(value).hex() if key in ids else _with_hex_ids(value) for key, value in data.items()}


def _data(message: TracesData | LogsData, **options: Any) -> Any:
    return MessageToDict(message, use_integers_for_enums=True, **options)


def _lines(data: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(item, separators=(",", ":")).encode() + b"\n" for item in data)


def _pretty(data: Iterable[Any], indent: int = 2) -> bytes:
    return b"".join(json.dumps(item, indent=indent).encode() + b"\n" for item in data)


def _merged(messages: Messages) -> TracesData | LogsData:
    return type(messages[0]).FromString(b"".join(message.SerializeToString() for message in messages))


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _proto(messages: Messages) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


FILE_FORMATS: dict[str, Callable[[Messages], bytes]] = {
    "lines": lambda messages: _lines(_with_hex_ids(_data(each)) for each in messages),
    "lines in snake_case": lambda messages: _lines(
        _with_hex_ids(_data(each, preserving_proto_field_name=True)) for each in messages
    ),
    "lines of protobuf's JSON": lambda messages: _lines(MessageToDict(each) for each in messages),
    "lines of protobuf's JSON in snake_case": lambda messages: _lines(
        MessageToDict(each, preserving_proto_field_name=True) for each in messages
    ),
    "lines of Jaeger's API": lambda messages: _lines({"result": _with_hex_ids(_data(each))} for each in messages),
    "a document": lambda messages: _pretty([_with_hex_ids(_data(_merged(messages)))]),
    "a document without indentation": lambda messages: _pretty([_with_hex_ids(_data(_merged(messages)))], 0),
    "a document on one line without its end": lambda messages: json.dumps(MessageToDict(_merged(messages))).encode(),
    "documents": lambda messages: _pretty(_with_hex_ids(_data(each)) for each in messages),
    "documents of protobuf's JSON in snake_case": lambda messages: _pretty(
        MessageToDict(each, preserving_proto_field_name=True) for each in messages
    ),
    "a list of documents": lambda messages: _pretty([[MessageToDict(each) for each in messages]]),
    "a document of Jaeger's API": lambda messages: _pretty([{"result": MessageToDict(_merged(messages))}]),
    "messages": lambda messages: _framed(_proto(messages)),
    "messages behind varints": lambda messages: b"".join(_VarintBytes(len(part)) + part for part in _proto(messages)),
    "a message": lambda messages: _merged(messages).SerializeToString(),
    "packed messages": lambda messages: _framed(map(zstd.compress, _proto(messages))),
    "packed messages of JSON": lambda messages: _framed(
        zstd.compress(_lines([_with_hex_ids(_data(each))]).strip()) for each in messages
    ),
}
"""Every file_format of OTLP, with what writes it."""

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}


def jaeger(spans: Iterable[SpanRecord]) -> dict[str, Any]:
    """What Jaeger's page saves."""
    by_trace: dict[str, list[SpanRecord]] = {}
    for span in spans:
        by_trace.setdefault(span.trace_id, []).append(span)
    return {"data": [_jaeger_trace(trace_id, group) for trace_id, group in by_trace.items()]}


def _jaeger_trace(trace_id: str, spans: Sequence[SpanRecord]) -> dict[str, Any]:
    process = {"serviceName": "weather", "tags": []}
    return {
        "traceID": trace_id.lstrip("0"),
        "spans": [_jaeger_span(span) for span in spans],
        "processes": {"p1": process},
    }


def _jaeger_span(span: SpanRecord) -> dict[str, Any]:
    parent = {"refType": "CHILD_OF", "traceID": span.trace_id.lstrip("0"), "spanID": span.parent_span_id}
    return {
        "traceID": span.trace_id.lstrip("0"),
        "spanID": span.span_id,
        "operationName": span.name,
        "references": [parent] if span.parent_span_id else [],
        "startTime": span.start_ns // 1000,
        "duration": ((span.end_ns or 0) - span.start_ns) // 1000,
        "tags": [{"key": key, "type": "string", "value": value} for key, value in span.attributes.items()],
        "logs": [],
        "processID": "p1",
    }


__all__ = ["FILE_FORMATS", "COMPRESSIONS", "Messages", "jaeger", "logs", "otlp_json", "traces", "zstd"]
