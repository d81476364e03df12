"""Encode spans and log records as OTLP/JSON, one `TracesData` or `LogsData` object a line.

Ids are lower-case hex, 64-bit integers are strings, enums integers, `bytes` base64. An object has no line feed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord, by_frame
from otel_agent_trace.values import encode_string

_INT64_MIN, _INT64_END = -(2**63), 2**63
_MAX_VALUE_DEPTH = 64
_ARRAYS = (list, tuple, set, frozenset)
"""Types that are written as arrays; iterators are not consumed, and ranges, which may be huge, not expanded."""
_DECIMAL_BITS = 2000  # PYTHONINTMAXSTRDIGITS may forbid decimal texts of more than 640 digits, about 2125 bits
_TIME_END = 1 << 64

_to_json = msgspec.json.Encoder().encode


def encode(spans: Sequence[SpanRecord]) -> bytes:
    """Return one OTLP/JSON object with spans, grouped by resource and scope, without a line feed.

    Lone surrogates, which UTF-8 does not have, and integers of more than 64 bits are written as texts.
    """
    return join((resource, scope, list(map(encode_span, group))) for resource, scope, group in by_frame(spans))


_Groups = Iterable[tuple[Resource, Scope, Sequence[bytes]]]
_SPAN_KEYS = b'{"resourceSpans":[', b"scopeSpans", b"spans"
_LOG_KEYS = b'{"resourceLogs":[', b"scopeLogs", b"logRecords"
_CLOSE = b"]}"


def join(groups: _Groups) -> bytes:
    """Return one OTLP/JSON object with groups of encoded spans, each of one resource and scope."""
    return _joined(groups, _SPAN_KEYS)


def join_logs(groups: _Groups) -> bytes:
    """Return one OTLP/JSON object with groups of encoded log records, each of one resource and scope."""
    return _joined(groups, _LOG_KEYS)


def _joined(groups: _Groups, keys: tuple[bytes, bytes, bytes]) -> bytes:
    blocks = (
        b"%b%b%b" % (head.removeprefix(keys[0]), b",".join(items), tail.removesuffix(_CLOSE))
        for resource, scope, items in groups
        for head, tail in (_frame(resource, scope, keys),)
    )
    return keys[0] + b",".join(blocks) + _CLOSE


def frame(resource: Resource, scope: Scope) -> tuple[bytes, bytes]:
    """Return the bytes before and after the spans in an OTLP/JSON object of one resource and scope."""
    return _frame(resource, scope, _SPAN_KEYS)


def _frame(resource: Resource, scope: Scope, keys: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes]:
    opening, of_scopes, of_items = keys
    head = b'%b{"resource":%b,"%b":[{"scope":%b,"%b":[' % (
        opening,
        _json({"attributes": _pairs(resource.attributes)}),
        of_scopes,
        _json(_scope_data(scope)),
        of_items,
    )
    tail = b"]%b}]%b}%b" % (_schema_url(scope.schema_url), _schema_url(resource.schema_url), _CLOSE)
    return head, tail


def encode_log(log: LogRecord) -> bytes:
    """Return one OTLP/JSON object with one log record, without a line feed."""
    return join_logs([(log.resource, log.scope, [encode_log_record(log)])])


def encode_log_record(log: LogRecord) -> bytes:
    """Return the JSON object of one log record."""
    return _json(_log_data(log))


def _log_data(log: LogRecord) -> dict[str, Any]:
    data: dict[str, Any] = {"timeUnixNano": str(_time(log.time_ns))}
    if log.severity_number:
        data["severityNumber"] = log.severity_number
    if log.severity_text:
        data["severityText"] = log.severity_text
    if log.name:
        data["eventName"] = log.name
    if log.body is not None:
        data["body"] = _any_value(log.body, _MAX_VALUE_DEPTH)
    return {**data, "attributes": _pairs(log.attributes), "traceId": log.trace_id, "spanId": log.span_id}


def _scope_data(scope: Scope) -> dict[str, Any]:
    data: dict[str, Any] = {"name": scope.name, "version": scope.version}
    if scope.attributes:
        data["attributes"] = _pairs(scope.attributes)
    return data


def _schema_url(url: str) -> bytes:
    return b',"schemaUrl":%b' % _json(url) if url else b""


def encode_span(span: SpanRecord) -> bytes:
    """Return the JSON object of one span."""
    data: dict[str, Any] = {"traceId": span.trace_id, "spanId": span.span_id}
    if span.parent_span_id:
        data["parentSpanId"] = span.parent_span_id
    data["kind"] = span.kind
    data["startTimeUnixNano"] = str(_time(span.start_ns))
    if span.end_ns is not None:
        data["endTimeUnixNano"] = str(_time(span.end_ns) or 1)
    data["name"] = span.name
    data["attributes"] = _pairs(span.attributes)
    if span.status_code or span.status_message:
        message = {"message": span.status_message} if span.status_message else {}
        data["status"] = {**message, "code": span.status_code}
    if span.events:
        data["events"] = [_event_data(event) for event in span.events]
    if span.links:
        data["links"] = [_link_data(link) for link in span.links]
    if span.trace_state:
        data["traceState"] = span.trace_state
    if span.flags:
        data["flags"] = span.flags
    return _json(data)


def _json(data: Any) -> bytes:
    """Return JSON in UTF-8, with escapes for lone surrogates."""
    try:
        return _to_json(data)
    except UnicodeEncodeError:
        return _to_json(_repaired(data))


def _repaired(data: Any) -> Any:
    if type(data) is str:
        return data.encode("utf-8", "backslashreplace").decode()
    if type(data) is dict:
        return {key: _repaired(item) for key, item in data.items()}
    return [_repaired(item) for item in data] if type(data) is list else data


def _time(time_ns: int) -> int:
    """Return the nearest time that OTLP has: unsigned 64 bits, from 1970."""
    return time_ns if 0 <= time_ns < _TIME_END else 0 if time_ns < 0 else _TIME_END - 1


def _event_data(event: Event) -> dict[str, Any]:
    return {"timeUnixNano": str(_time(event.time_ns)), "name": event.name, "attributes": _pairs(event.attributes)}


def _link_data(link: Link) -> dict[str, Any]:
    state = {"traceState": link.trace_state} if link.trace_state else {}
    return {"traceId": link.trace_id, "spanId": link.span_id, **state, "attributes": _pairs(link.attributes)}


def _pairs(attributes: Mapping[Any, Any], depth: int = _MAX_VALUE_DEPTH) -> list[dict[str, Any]]:
    """Return attributes as a list of ``KeyValue``."""
    return [
        {
            "key": key if type(key) is str else _key(key),
            "value": {"stringValue": value} if type(value) is str else _any_value(value, depth),
        }
        for key, value in attributes.items()
    ]


def _key(key: object) -> str:
    return str.__str__(key) if isinstance(key, str) else encode_string(key).text


def encode_value(value: Any) -> bytes:
    """Return the JSON of one ``AnyValue``."""
    return _json(_any_value(value, _MAX_VALUE_DEPTH))


def _any_value(value: Any, depth: int) -> dict[str, Any]:
    """Return a value as an ``AnyValue``."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if value is None or depth == 0:
        return {}
    if isinstance(value, str):  # of a subclass, whose own __str__ and __iter__ are not called
        return {"stringValue": str.__str__(value)}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs(value, depth - 1)}}
    if isinstance(value, _ARRAYS):
        return {"arrayValue": {"values": [_any_value(item, depth - 1) for item in value]}}
    return {"stringValue": encode_string(value).text}


def _int_value(value: int) -> dict[str, Any]:
    if _INT64_MIN <= value < _INT64_END:
        return {"intValue": str(value)}
    return {"stringValue": str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)}


def _double_value(value: float) -> dict[str, Any]:
    if value - value == 0.0:
        return {"doubleValue": value}
    return {"doubleValue": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}  # noqa: PLR0124


_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    str: lambda value: {"stringValue": value},
    bool: lambda value: {"boolValue": value},
    int: _int_value,
    float: _double_value,
    bytes: lambda value: {"bytesValue": base64.b64encode(value).decode("ascii")},
}
