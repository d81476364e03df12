"""Decode OTLP/JSON, as in OpenTelemetry's file format: one `TracesData` or `LogsData` object a line.

64-bit integers may be strings or numbers, ids in any case; unknown fields are ignored. `otlp_json_encoding` encodes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from otel_agent_trace.formats.otlp_json_encoding import (
    encode,
    encode_log,
    encode_log_record,
    encode_span,
    frame,
    join,
    join_logs,
)
from otel_agent_trace.json_repair import closed, repaired
from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord, id_or_empty

__all__ = [
    "BAD_SPAN",
    "Decoder",
    "OtlpJsonError",
    "decode",
    "decode_each",
    "decode_logs",
    "encode",
    "encode_log",
    "encode_log_record",
    "encode_span",
    "frame",
    "join",
    "join_logs",
    "salvage",
]

_INT64_MIN, _INT64_END = -(2**63), 2**63
_MAX_VALUE_DEPTH = 64
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16
_PARENT_ID_DIGITS = (0, _SPAN_ID_DIGITS)
_NO_PARENT = "0" * _SPAN_ID_DIGITS
_NO_TRACE = "0" * _TRACE_ID_DIGITS
_TIME_BITS = 64
_from_hex = bytes.fromhex
_HEX = frozenset("0123456789abcdefABCDEF")
_MAX_REMEMBERED_BYTES = 16 << 10

T = TypeVar("T")


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


_Int64 = Annotated[int, msgspec.Meta(ge=_INT64_MIN, le=_INT64_END - 1)]


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class _Value(_Wire):
    string_value: str | None = None
    int_value: _Int64 | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: bytes | None = None


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
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
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
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


_BEFORE_SPANS, _AFTER_SPANS = b'{"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":', b"}]}]}"
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
BAD_SPAN = "a span: "
"""Beginning of the reason why `decode_each` leaves out a whole span."""


class OtlpJsonError(ValueError):
    """Indicate that bytes are not an OTLP/JSON object; the message is the reason."""


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode(data: bytes) -> list[SpanRecord]:
    """Return the spans of one OTLP/JSON object, none for another signal and for an empty object.

    Raises:
        OtlpJsonError: the data is not JSON, not UTF-8, or not of that shape.
    """
    return Decoder().decode(data)


class Decoder:
    """Decode one object after another, as the lines of a file.

    Lines of one program begin with the same resource and scope, which are not decoded again if they are those of the
    previous line.
    """

    __slots__ = ("_head", "_resource", "_scope")

    def __init__(self) -> None:
        self._head = b""
        self._resource, self._scope = Resource(), Scope()

    def decode(self, data: bytes) -> list[SpanRecord]:
        """Return the spans of one object, as the function of the same name.

        Raises:
            OtlpJsonError: the data is not JSON, not UTF-8, or not of that shape.
        """
        try:
            if self._head and data.startswith(self._head) and data.endswith(_AFTER_SPANS):
                spans = _spans_decoder.decode(memoryview(data)[len(self._head) : -len(_AFTER_SPANS)])
                resource, scope = self._resource, self._scope
                if len(spans) == 1:
                    return [_record(spans[0], resource, scope)]
                return [_record(span, resource, scope) for span in spans]
        except _REFUSALS:
            pass  # decoding the whole object gives a better message
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
        """Keep the bytes before the spans of an object with this resource and scope only, as our encoder writes it."""
        if group.schema_url or part.schema_url or len(group.resource) > _MAX_REMEMBERED_BYTES:
            self._head = b""
            return
        self._head = _BEFORE_SPANS % (bytes(group.resource), bytes(part.scope))
        self._resource, self._scope = resource, scope


def _without_spans(wire: _TracesData, data: bytes) -> list[SpanRecord]:
    """Return no spans for another signal or an empty object.

    Raises:
        ValueError: it is an object of another kind.
    """
    if not bytes(wire.resource_logs) and not bytes(wire.resource_metrics) and data.strip() != b"{}":
        msg = "the JSON object has no resourceSpans"
        raise ValueError(msg)
    return []


def decode_logs(data: bytes, on_bad: Callable[[str], None] | None = None) -> list[LogRecord]:
    """Return the log records of one OTLP/JSON object; none for another signal.

    Args:
        data: the JSON object.
        on_bad: called with the reason for each part that is invalid, which is omitted; by default such a one is an error.

    Raises:
        OtlpJsonError: the data is not JSON, not UTF-8, or not of that shape.
    """
    try:
        raw = _decoder.decode(data).resource_logs
        if not bytes(raw):
            return []
        groups = _logs_decoder.decode(raw) if on_bad is None else _valid_parts(raw, list[_ResourceLogs], on_bad)
        return [log for group in groups for part in group.scope_logs for log in _logs_in(group, part)]
    except _REFUSALS as error:
        raise OtlpJsonError(str(error)) from error


def _logs_in(group: _ResourceLogs, part: _ScopeLogs) -> Iterator[LogRecord]:
    resource = _resource(bytes(group.resource), group.schema_url)
    scope = _scope(bytes(part.scope), part.schema_url)
    return (_log(record, resource, scope) for record in part.log_records)


def _log(record: _LogRecord, resource: Resource, scope: Scope) -> LogRecord:
    attributes = _attributes(record.attributes)
    severity = record.severity_number
    return LogRecord(
        id_or_empty(record.trace_id.lower()),
        id_or_empty(record.span_id.lower()),
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
        or 2 * len(_from_hex(ids)) != len(ids)  # `fromhex` skips blanks
    ):
        msg = f"expected ids of 32, 16 and 16 hex digits, got {len(trace_id)}, {len(span_id)} and {len(parent)} characters"
        raise ValueError(msg)
    if trace_id == _NO_TRACE or span_id == _NO_PARENT:
        msg = "the span has no trace id or no span id: all digits are zeros"
        raise ValueError(msg)
    if ids.lower() != ids:  # faster than `islower`
        trace_id, span_id, parent = trace_id.lower(), span_id.lower(), parent.lower()
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if start_ns < 0 or end_ns < 0 or (start_ns | end_ns) >> _TIME_BITS:
        start_ns, end_ns = _unsigned(start_ns), _unsigned(end_ns)
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


def _unsigned(time_ns: int) -> int:
    """Return a time as the unsigned integer of 64 bits that protobuf has; a negative one is then far in the future."""
    return time_ns % (1 << _TIME_BITS) if time_ns < 0 else min(time_ns, (1 << _TIME_BITS) - 1)


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
    return value.bytes_value


def _event(event: _Event) -> Event:
    return Event(event.name, event.time_unix_nano, _attributes(event.attributes))


def _link(link: _Link) -> Link:
    return Link(link.trace_id.lower(), link.span_id.lower(), _attributes(link.attributes), link.trace_state)


def _resource(data: bytes, schema_url: str) -> Resource:
    """Return a resource; one that has been decoded before is cached, as the lines of a program repeat it."""
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


# ── reading damaged lines ────────────────────────────────────────────────────────────────────────────────────────────

# Quotes are escaped in the strings of an intact object, so that each match is the beginning of an object.
_OBJECT = re.compile(rb'\{\s*"resource(?:Spans|Logs|Metrics)"')
_AROUND_A_SPAN = b"{[{[{["
_SPAN_KEY = b'"spanId"'
_LEAST_BYTES = 64
"""Less than the size of the ids of one span with their keys."""


def salvage(data: bytes) -> list[SpanRecord]:
    """Return the intact spans in bytes that `decode` refuses, in time and memory proportional to the number of bytes.

    A writer that is killed leaves an object without its end, to which the next writer appends another object. Each is
    decoded separately: an incomplete one up to its last whole span, one with a damaged span without that.
    """
    if _SPAN_KEY not in data:
        return []
    if b'"scopeSpans"' in data and not _OBJECT.search(data):  # the spans of one resource, as Java logs them
        data = b'{"resourceSpans":[' + data
    decoder = Decoder()
    return [record for piece in _pieces(data) for record in _spans_of_piece(decoder, piece)]


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield the pieces from the beginning of each object to that of the next."""
    begin = len(data)
    for match in _OBJECT.finditer(data):
        if match.start() - begin >= _LEAST_BYTES:
            yield data[begin : match.start()]
        begin = match.start()
    yield data[begin:]


def _spans_of_piece(decoder: Decoder, piece: bytes) -> list[SpanRecord]:
    try:
        return decoder.decode(piece)
    except OtlpJsonError:
        pass
    try:
        return decode_each(closed(repaired(piece).data, _AROUND_A_SPAN), _ignore)
    except OtlpJsonError:
        return []


def _ignore(reason: str) -> None:
    """Do nothing, since the whole line is reported."""


def decode_each(data: bytes, on_bad: Callable[[str], None]) -> list[SpanRecord]:
    """Return the spans of one object without their invalid parts; `on_bad` is called with the reason for each of these.

    An invalid value costs itself, or the attribute, event or link that it is in; a span without valid ids costs itself.

    Raises:
        OtlpJsonError: the data is not JSON, not UTF-8, or has no spans by resource and scope.
    """
    try:
        groups = _parts_decoder.decode(data).resource_spans
    except _REFUSALS as error:
        raise OtlpJsonError(str(error)) from error
    return [record for group in groups for record in _valid_records(group, on_bad)]


def _valid_records(group: _ResourceParts, on_bad: Callable[[str], None]) -> Iterator[SpanRecord]:
    """Yield the records of the spans with valid ids."""
    resource = _valid_resource(group.resource, group.schema_url, on_bad)
    for part in group.scope_spans:
        scope = _valid_scope(part.scope, part.schema_url, on_bad)
        for data in part.spans:
            try:
                span = _valid_parts(data, _Span, on_bad)
                if not _is_parent_id(span.parent_span_id):
                    on_bad("parentSpanId: expected 16 hex digits")
                    span.parent_span_id = ""
                yield _record(span, resource, scope)
            except _REFUSALS as error:
                on_bad(f"{BAD_SPAN}{error}")


def _valid_resource(data: msgspec.Raw, schema_url: str, on_bad: Callable[[str], None]) -> Resource:
    try:
        return _resource(bytes(data), schema_url)
    except _REFUSALS:
        valid = _valid_or_default(data, _Resource, _within("resource", on_bad))
        return Resource(_attributes(valid.attributes), schema_url)


def _valid_scope(data: msgspec.Raw, schema_url: str, on_bad: Callable[[str], None]) -> Scope:
    try:
        return _scope(bytes(data), schema_url)
    except _REFUSALS:
        valid = _valid_or_default(data, _Scope, _within("scope", on_bad))
        return Scope(valid.name, valid.version, _attributes(valid.attributes), schema_url)


def _is_parent_id(text: str) -> bool:
    return len(text) in _PARENT_ID_DIGITS and _HEX.issuperset(text)


def _valid_parts(data: msgspec.Raw, kind: Any, on_bad: Callable[[str], None]) -> Any:
    """Return a value of a type without those parts of it that have other types; `on_bad` is called with each reason.

    Raises:
        ValueError: a part that is needed is missing or invalid, or the data is no JSON.
    """
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except msgspec.ValidationError as error:
        if get_origin(kind) is list:
            return _valid_items(data, get_args(kind)[0], on_bad)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind(**_valid_fields(data, kind, on_bad))
        on_bad(str(error))
        raise


def _valid_or_default(data: msgspec.Raw, kind: type[T], on_bad: Callable[[str], None]) -> T:
    try:
        valid: T = _valid_parts(data, kind, on_bad)
    except _REFUSALS:
        return kind()
    return valid


def _valid_items(data: msgspec.Raw, kind: Any, on_bad: Callable[[str], None]) -> list[Any]:
    items = []
    for item in _decoded(_list_decoder, data, on_bad):
        with suppress(*_REFUSALS):
            items.append(_valid_parts(item, kind, on_bad))
    return items


def _valid_fields(data: msgspec.Raw, kind: type[msgspec.Struct], on_bad: Callable[[str], None]) -> dict[str, Any]:
    given = _decoded(_fields_decoder, data, on_bad)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in given:
            with nullcontext() if field.required else suppress(*_REFUSALS):
                fields[field.name] = _valid_parts(
                    given[field.encode_name], field.type, _within(field.encode_name, on_bad)
                )
        elif field.required:
            msg = f"there is no {field.encode_name}"
            raise ValueError(msg)
    return fields


def _decoded(decoder: msgspec.json.Decoder[T], data: msgspec.Raw, on_bad: Callable[[str], None]) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        on_bad(str(error))
        raise


def _within(name: str, on_bad: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that calls `on_bad` with the name of a field before the reason."""
    return lambda reason: on_bad(f"{name}: {reason}")
