"""OTLP/JSON, as the OpenTelemetry protocol's file format has it: one `TracesData` object a line.

Reading accepts 64-bit integers as strings or numbers and ids in any case; unknown fields are ignored. Writing gives
lower-case hex ids, 64-bit integers as strings, enums as integers, `bytes` as base64, and one line without a line feed.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord, by_frame
from otel_agent_trace.values import encode_string

_INT64_MIN, _INT64_END = -(2**63), 2**63
_MAX_VALUE_DEPTH = 64
_ARRAYS = (list, tuple, set, frozenset)
"""What is written as an array; an iterator, or a range without bounds, is never looked into."""
_DECIMAL_BITS = 2000  # CPython refuses to write longer integers in decimal
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16
_PARENT_ID_DIGITS = (0, _SPAN_ID_DIGITS)
_NO_PARENT = "0" * _SPAN_ID_DIGITS
_TIME_BITS = 64
_from_hex = bytes.fromhex
_TIME_END = 1 << _TIME_BITS
_MAX_REMEMBERED_BYTES = 16 << 10


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_Int64 = Annotated[int, msgspec.Meta(ge=_INT64_MIN, le=_INT64_END - 1)]
_Time = Annotated[int, msgspec.Meta(ge=0)]


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class _Value(_Wire):
    string_value: str | None = None
    int_value: _Int64 | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Array(_Wire):
    values: list[_Value] = []


class _Pair(_Wire):
    key: str = ""
    value: _Value | None = None


class _Pairs(_Wire):
    values: list[_Pair] = []


class _Event(_Wire):
    time_unix_nano: int = 0
    name: str = ""
    attributes: list[_Pair] = []


class _Link(_Wire):
    trace_id: str = ""
    span_id: str = ""
    trace_state: str = ""
    attributes: list[_Pair] = []


class _Status(_Wire):
    code: int = 0
    message: str = ""


class _Span(_Wire):
    # in the order in which we write them: keys that come as expected are found at once
    trace_id: str
    span_id: str
    parent_span_id: str = ""
    kind: int = 0
    start_time_unix_nano: _Time = 0
    end_time_unix_nano: _Time = 0
    name: str = ""
    attributes: list[_Pair] = []
    status: _Status | None = None
    events: list[_Event] = []
    links: list[_Link] = []
    trace_state: str = ""
    flags: int = 0


class _Scope(_Wire):
    name: str = ""
    version: str = ""
    attributes: list[_Pair] = []


class _ScopeSpans(_Wire):
    scope: msgspec.Raw = msgspec.Raw(b"{}")
    spans: list[_Span] = []
    schema_url: str = ""


class _Resource(_Wire):
    attributes: list[_Pair] = []


class _ResourceSpans(_Wire):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_ScopeSpans] = []
    schema_url: str = ""


class _TracesData(_Wire):
    resource_spans: list[_ResourceSpans] | None = None
    resource_logs: msgspec.Raw = msgspec.Raw()
    resource_metrics: msgspec.Raw = msgspec.Raw()


class _LogRecord(_Wire):
    trace_id: str = ""
    span_id: str = ""
    time_unix_nano: int = 0
    observed_time_unix_nano: int = 0
    event_name: str = ""
    body: _Value | None = None
    attributes: list[_Pair] = []
    severity_number: Any = 0
    severity_text: Any = ""


class _ScopeLogs(_Wire):
    log_records: list[_LogRecord] = []
    scope: msgspec.Raw = msgspec.Raw(b"{}")
    schema_url: str = ""


class _ResourceLogs(_Wire):
    scope_logs: list[_ScopeLogs] = []
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    schema_url: str = ""


class _ScopeParts(_Wire):
    scope: msgspec.Raw = msgspec.Raw(b"{}")
    spans: list[msgspec.Raw] = []
    schema_url: str = ""


class _ResourceParts(_Wire):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_ScopeParts] = []
    schema_url: str = ""


class _TracesParts(_Wire):
    resource_spans: list[_ResourceParts]


_decoder = msgspec.json.Decoder(_TracesData, strict=False)
_parts_decoder = msgspec.json.Decoder(_TracesParts, strict=False)
_spans_decoder = msgspec.json.Decoder(list[_Span], strict=False)
_logs_decoder = msgspec.json.Decoder(list[_ResourceLogs], strict=False)
_resource_decoder = msgspec.json.Decoder(_Resource | None, strict=False)
_scope_decoder = msgspec.json.Decoder(_Scope | None, strict=False)


_BEFORE_SPANS, _AFTER_SPANS = b'{"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":', b"}]}]}"
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class OtlpJsonError(ValueError):
    """Bytes that are no OTLP/JSON object; the message says why."""


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode(data: bytes) -> list[SpanRecord]:
    """The spans of one OTLP/JSON object; an object without spans (another signal, an empty one) has none.

    Raises:
        OtlpJsonError: no JSON, not UTF-8, or not of that shape.
    """
    return Decoder().decode(data)


class Decoder:
    """Decodes one object after another, as they stand in a file.

    The lines of one program begin alike: what stands before the spans of the last one is remembered, not parsed again.
    """

    __slots__ = ("_head", "_resource", "_scope")

    def __init__(self) -> None:
        self._head = b""
        self._resource, self._scope = Resource(), Scope()

    def decode(self, data: bytes) -> list[SpanRecord]:
        """The spans of one object, as the function of this name gives them.

        Raises:
            OtlpJsonError: no JSON, not UTF-8, or not of that shape.
        """
        try:
            if self._head and data.startswith(self._head) and data.endswith(_AFTER_SPANS):
                spans = _spans_decoder.decode(memoryview(data)[len(self._head) : -len(_AFTER_SPANS)])
                resource, scope = self._resource, self._scope
                if len(spans) == 1:
                    return [_record(spans[0], resource, scope)]
                return [_record(span, resource, scope) for span in spans]
        except _REFUSALS:
            pass  # the whole tells better what is wrong
        try:
            wire = _decoder.decode(data)
            if wire.resource_spans is None:
                return _without_spans(wire, data)
            return [record for group in wire.resource_spans for record in self._group(group)]
        except _REFUSALS as error:
            raise OtlpJsonError(str(error)) from error

    def _group(self, group: _ResourceSpans) -> Iterator[SpanRecord]:
        resource = _resource(bytes(group.resource), group.schema_url)
        for part in group.scope_spans:
            scope = _scope(bytes(part.scope), part.schema_url)
            self._remember(group, part, resource, scope)
            for span in part.spans:
                yield _record(span, resource, scope)

    def _remember(self, group: _ResourceSpans, part: _ScopeSpans, resource: Resource, scope: Scope) -> None:
        """Note how an object with these spans alone begins, if it is written as we do."""
        if group.schema_url or part.schema_url or len(group.resource) > _MAX_REMEMBERED_BYTES:
            self._head = b""
            return
        self._head = _BEFORE_SPANS % (bytes(group.resource), bytes(part.scope))
        self._resource, self._scope = resource, scope


def _without_spans(wire: _TracesData, data: bytes) -> list[SpanRecord]:
    """Other signals and empty objects have no spans; whatever else it is, it is no OTLP."""
    if not bytes(wire.resource_logs) and not bytes(wire.resource_metrics) and data.strip() != b"{}":
        msg = "a JSON object without resourceSpans"
        raise ValueError(msg)
    return []


def decode_logs(data: bytes) -> list[LogRecord]:
    """The log records of one OTLP/JSON object that belong to a span; an object of another signal has none.

    Raises:
        OtlpJsonError: no JSON, not UTF-8, or not of that shape.
    """
    try:
        raw = bytes(_decoder.decode(data).resource_logs)
        groups = _logs_decoder.decode(raw) if raw else []
        return [log for group in groups for part in group.scope_logs for log in _logs_of_spans(group, part)]
    except _REFUSALS as error:
        raise OtlpJsonError(str(error)) from error


def _logs_of_spans(group: _ResourceLogs, part: _ScopeLogs) -> Iterator[LogRecord]:
    resource = _resource(bytes(group.resource), group.schema_url)
    scope = _scope(bytes(part.scope), part.schema_url)
    for record in part.log_records:
        if record.trace_id and record.span_id:
            yield _log(record, resource, scope)


def _log(record: _LogRecord, resource: Resource, scope: Scope) -> LogRecord:
    attributes = _attributes(record.attributes)
    severity = record.severity_number
    return LogRecord(
        record.trace_id.lower(),
        record.span_id.lower(),
        record.event_name or str(attributes.pop("event.name", "")),
        record.time_unix_nano or record.observed_time_unix_nano,
        attributes,
        _value(record.body, _MAX_VALUE_DEPTH),
        severity if type(severity) is int else 0,
        record.severity_text if type(record.severity_text) is str else "",
        resource,
        scope,
    )


def _record(span: _Span, resource: Resource, scope: Scope) -> SpanRecord:
    status, parent, trace_id, span_id = span.status, span.parent_span_id, span.trace_id, span.span_id
    ids = trace_id + span_id + parent
    if (
        len(trace_id) != _TRACE_ID_DIGITS
        or len(span_id) != _SPAN_ID_DIGITS
        or len(parent) not in _PARENT_ID_DIGITS
        or 2 * len(_from_hex(ids)) != len(ids)  # blanks are skipped
    ):
        msg = (
            f"ids of {len(trace_id)}, {len(span_id)} and {len(parent)} characters where 32, 16 and 16 hex digits belong"
        )
        raise ValueError(msg)
    if ids.lower() != ids:  # quicker than `islower`
        trace_id, span_id, parent = trace_id.lower(), span_id.lower(), parent.lower()
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if start_ns >= _TIME_END or end_ns >= _TIME_END:
        msg = "a time of more than 64 bits"
        raise ValueError(msg)
    return SpanRecord(
        trace_id,
        span_id,
        parent if parent and parent != _NO_PARENT else None,
        span.name,
        start_ns,
        end_ns or None,
        _attributes(span.attributes),
        span.kind,
        status.code if status is not None else 0,
        status.message if status is not None else "",
        tuple([_event(event) for event in span.events]) if span.events else (),
        tuple([_link(link) for link in span.links]) if span.links else (),
        resource,
        scope,
        span.trace_state,
        span.flags,
    )


def _attributes(pairs: list[_Pair]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        if value is None:
            attributes[pair.key] = None
        elif value.string_value is not None:
            attributes[pair.key] = value.string_value
        elif value.int_value is not None:
            attributes[pair.key] = value.int_value
        else:
            attributes[pair.key] = _value(value, _MAX_VALUE_DEPTH)
    return attributes


def _value(value: _Value | None, depth: int) -> Any:
    if value is None or depth == 0:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return value.int_value
    if value.bool_value is not None:
        return value.bool_value
    if value.double_value is not None:
        return value.double_value
    if value.array_value is not None:
        return [_value(item, depth - 1) for item in value.array_value.values]
    if value.kvlist_value is not None:
        return {pair.key: _value(pair.value, depth - 1) for pair in value.kvlist_value.values}
    if value.bytes_value is not None:
        return base64.b64decode(value.bytes_value)
    return None


def _event(event: _Event) -> Event:
    return Event(event.name, event.time_unix_nano, _attributes(event.attributes))


def _link(link: _Link) -> Link:
    return Link(link.trace_id.lower(), link.span_id.lower(), _attributes(link.attributes), link.trace_state)


def _resource(data: bytes, schema_url: str) -> Resource:
    """Lines of one program repeat their resource: it is decoded once."""
    read = _remembered_resource if len(data) <= _MAX_REMEMBERED_BYTES else _read_resource
    return read(data, schema_url)


def _scope(data: bytes, schema_url: str) -> Scope:
    read = _remembered_scope if len(data) <= _MAX_REMEMBERED_BYTES else _read_scope
    return read(data, schema_url)


def _read_resource(data: bytes, schema_url: str) -> Resource:
    resource = _resource_decoder.decode(data)
    return Resource(_attributes(resource.attributes) if resource else {}, schema_url)


def _read_scope(data: bytes, schema_url: str) -> Scope:
    scope = _scope_decoder.decode(data) or _Scope()
    return Scope(scope.name, scope.version, _attributes(scope.attributes), schema_url)


_remembered_resource = functools.lru_cache(maxsize=256)(_read_resource)
_remembered_scope = functools.lru_cache(maxsize=256)(_read_scope)


# ── reading what is damaged ──────────────────────────────────────────────────────────────────────────────────────────

# No string of an intact object can hold these: its quotes would be escaped. So each is where an object begins.
_OBJECT = re.compile(rb'\{\s*"resource(?:Spans|Logs|Metrics)"')
_TOKEN = re.compile(rb'"[^"]*"?|[\[\]{}]')
_QUOTE = ord('"')
_OPENING = {ord("}"): ord("{"), ord("]"): ord("[")}
_AROUND_A_SPAN, _AFTER_A_SPAN = b"{[{[{[", b"]}]}]}"
_SPAN_KEY = b'"spanId"'
_LEAST_BYTES = 64
"""Fewer than the ids of one span with their keys."""


def salvage(data: bytes) -> list[SpanRecord]:
    """The spans that are whole in bytes that `decode` refuses; takes time and memory in proportion to the bytes.

    A writer that is killed leaves an object without its end; the next one that appends glues another object to it. Each
    is read by itself, torn ones up to the last span that is whole, and of those in which a span is damaged the others.
    """
    if _SPAN_KEY not in data:
        return []
    decoder = Decoder()
    return [record for piece in _pieces(data) for record in _spans_of_piece(decoder, piece)]


def _pieces(data: bytes) -> Iterator[bytes]:
    """From where an object begins to where the next one does."""
    begin = len(data)
    for match in _OBJECT.finditer(data):
        if match.start() - begin >= _LEAST_BYTES:
            yield data[begin : match.start()]
        begin = match.start()
    yield data[begin:]


def _spans_of_piece(decoder: Decoder, piece: bytes) -> list[SpanRecord]:
    for candidate in (piece, _closed(piece)):
        try:
            return decoder.decode(candidate)
        except OtlpJsonError:
            pass
    try:
        return decode_each(candidate, _ignore)
    except OtlpJsonError:
        return []


def _closed(piece: bytes) -> bytes:
    """The object that a piece begins with, without what follows it; a torn one is ended after its last whole span."""
    bare = piece.replace(rb"\\", b"__").replace(rb"\"", b"__")
    open_brackets = bytearray()
    end_of_span = 0
    for match in _TOKEN.finditer(bare):
        sign = bare[match.start()]
        if sign == _QUOTE:
            continue
        if sign not in _OPENING:
            open_brackets.append(sign)
            continue
        if open_brackets.pop() != _OPENING[sign]:
            break
        if not open_brackets:
            return piece[: match.end()]
        if open_brackets == _AROUND_A_SPAN:
            end_of_span = match.end()
    return piece[:end_of_span] + _AFTER_A_SPAN


def decode_each(data: bytes, on_bad: Callable[[str], None]) -> list[SpanRecord]:
    """The spans that can be read of one object in which not all can; `on_bad` is told what is wrong with each other.

    Raises:
        OtlpJsonError: no JSON, not UTF-8, or no spans by resource and scope.
    """
    try:
        groups = _parts_decoder.decode(data).resource_spans
    except _REFUSALS as error:
        raise OtlpJsonError(str(error)) from error
    records = []
    for group in groups:
        for part in group.scope_spans:
            for span in part.spans:
                try:
                    records.append(_record_of_part(group, part, span))
                except _REFUSALS as error:
                    on_bad(str(error))
    return records


def _ignore(reason: str) -> None:
    """The line as a whole is reported."""


def _record_of_part(group: _ResourceParts, part: _ScopeParts, span: msgspec.Raw) -> SpanRecord:
    resource = _resource(bytes(group.resource), group.schema_url)
    scope = _scope(bytes(part.scope), part.schema_url)
    return _record(_spans_decoder.decode(b"[%b]" % bytes(span))[0], resource, scope)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_to_json = msgspec.json.Encoder().encode


def encode(spans: Sequence[SpanRecord]) -> bytes:
    """One OTLP/JSON object with these spans, grouped by resource and scope, without a line feed.

    What UTF-8 or OTLP cannot say (lone surrogates, integers beyond 64 bits) is written as text, never refused.
    """
    return join((resource, scope, list(map(encode_span, group))) for resource, scope, group in by_frame(spans))


def join(groups: Iterable[tuple[Resource, Scope, Sequence[bytes]]]) -> bytes:
    """One OTLP/JSON object out of spans of one resource and scope each, as `encode_span` gives them."""
    blocks = (
        b"%b%b%b" % (head.removeprefix(_OPEN), b",".join(spans), tail.removesuffix(_CLOSE))
        for resource, scope, spans in groups
        for head, tail in (frame(resource, scope),)
    )
    return _OPEN + b",".join(blocks) + _CLOSE


_OPEN, _CLOSE = b'{"resourceSpans":[', b"]}"


def frame(resource: Resource, scope: Scope) -> tuple[bytes, bytes]:
    """What stands before and after the spans of one resource and scope in an OTLP/JSON object of their own."""
    head = b'%b{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[' % (
        _OPEN,
        _json({"attributes": _pairs(resource.attributes)}),
        _json(_scope_data(scope)),
    )
    tail = b"]%b}]%b}%b" % (_schema_url(scope.schema_url), _schema_url(resource.schema_url), _CLOSE)
    return head, tail


def encode_log(log: LogRecord) -> bytes:
    """Return one OTLP/JSON object with this log record alone, without a line feed."""
    return b'{"resourceLogs":[{"resource":%b,"scopeLogs":[{"scope":%b,"logRecords":[%b]%b}]%b}]}' % (
        _json({"attributes": _pairs(log.resource.attributes)}),
        _json(_scope_data(log.scope)),
        _json(_log_data(log)),
        _schema_url(log.scope.schema_url),
        _schema_url(log.resource.schema_url),
    )


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
    """The JSON object of one span."""
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
    """JSON in UTF-8, whatever the texts hold: a lone surrogate is written as its escape."""
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
    """The nearest time that OTLP can say: it has 64 bits, and none before 1970."""
    return time_ns if 0 <= time_ns < _TIME_END else 0 if time_ns < 0 else _TIME_END - 1


def _event_data(event: Event) -> dict[str, Any]:
    return {"timeUnixNano": str(_time(event.time_ns)), "name": event.name, "attributes": _pairs(event.attributes)}


def _link_data(link: Link) -> dict[str, Any]:
    state = {"traceState": link.trace_state} if link.trace_state else {}
    return {"traceId": link.trace_id, "spanId": link.span_id, **state, "attributes": _pairs(link.attributes)}


def _pairs(attributes: Mapping[Any, Any], depth: int = _MAX_VALUE_DEPTH) -> list[dict[str, Any]]:
    """A list of ``KeyValue``."""
    return [
        {
            "key": key if type(key) is str else encode_string(key).text,
            "value": {"stringValue": value} if type(value) is str else _any_value(value, depth),
        }
        for key, value in attributes.items()
    ]


def _any_value(value: Any, depth: int) -> dict[str, Any]:
    """One ``AnyValue``."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if value is None or depth == 0:
        return {}
    if isinstance(value, str):  # of a class whose own __iter__ is nobody's business
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
