"""Spans as rows of `otel_traces`, as the Collector's `clickhouseexporter` writes them: attribute values are texts."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.formats.clickhouse_rows import COLUMNS
from otel_agent_trace.span import SpanRecord

_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUSES = ("Unset", "Ok", "Error")
_NS_PER_S = 10**9
_START_NS, _EVENTS_NS = (column for column in COLUMNS if "Timestamp" in column)


def row_of(span: SpanRecord) -> dict[str, Any]:
    """Return the row of a span, by the names of columns, as JSON has it."""
    resource = as_texts(span.resource.attributes)
    return {
        "Timestamp": _moment(span.start_ns),
        "TraceId": span.trace_id,
        "SpanId": span.span_id,
        "ParentSpanId": span.parent_span_id or "",
        "TraceState": span.trace_state,
        "SpanName": span.name,
        "SpanKind": _KINDS[span.kind],
        "ServiceName": resource.get(semconv.SERVICE_NAME, ""),
        "ResourceAttributes": resource,
        "ScopeName": span.scope.name,
        "ScopeVersion": span.scope.version,
        "SpanAttributes": as_texts(span.attributes),
        "Duration": ((span.end_ns or 0) - span.start_ns) % 2**64,
        "StatusCode": _STATUSES[span.status_code],
        "StatusMessage": span.status_message,
        "Events.Timestamp": [_moment(event.time_ns) for event in span.events],
        "Events.Name": [event.name for event in span.events],
        "Events.Attributes": [as_texts(event.attributes) for event in span.events],
        "Links.TraceId": [link.trace_id for link in span.links],
        "Links.SpanId": [link.span_id for link in span.links],
        "Links.TraceState": [link.trace_state for link in span.links],
        "Links.Attributes": [as_texts(link.attributes) for link in span.links],
    }


def values_of(span: SpanRecord) -> tuple[Any, ...]:
    """Return the values that ClickHouse has for `formats.clickhouse_rows.COLUMNS` in the row of a span."""
    row = row_of(span)
    events_ns = [event.time_ns for event in span.events]
    times = {_START_NS: span.start_ns, _EVENTS_NS: events_ns}
    return tuple(times[column] if column in times else row[column] for column in COLUMNS)


def as_texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return attributes with the texts of their values, as `pcommon.Value.AsString` makes them."""
    return {key: _as_text(value) for key, value in attributes.items()}


def _moment(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, _NS_PER_S)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(seconds))}.{rest:09d}"


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, int) else _json(value)


def _number(value: float) -> str:
    """Return a number with the fewest digits, in Go's spelling: whole numbers without a point, no padded exponents."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    mantissa, _, exponent = repr(value).partition("e")
    if value and not 1e-6 <= abs(value) < 1e21:
        return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
    text = f"{value:.{max(0, 17 - int(exponent or 0))}f}" if exponent else mantissa
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _json(value: Any) -> str:
    """Return the JSON of an array or a map: keys sorted, no blanks; two separators of lines are escaped."""
    if isinstance(value, Mapping):
        members = (f"{_json(key)}:{_json(value[key])}" for key in sorted(value, key=str.encode))
        return f"{{{','.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_json, value))}]"
    if isinstance(value, bytes):
        return _json(base64.b64encode(value).decode())
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return "null" if value is None else _as_text(value)
