"""Encode and decode OTLP as protobuf: spans of a ``TracesData``, log records of a ``LogsData``, responses and errors.

An ``ExportTraceServiceRequest`` has the same bytes as a ``TracesData``.

The encoder is written in Python, five times faster than the generated classes of `opentelemetry-proto`. The decoder uses
those classes, four times faster than one in Python. A message that they refuse (damaged, not UTF-8, nested too deeply) is
walked field by field, and each intact span is decoded separately. The classes are imported when a message is decoded.
Fields of OTLP that `SpanRecord` does not have (dropped counts, flags of links) are ignored, as are unknown ones.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple, TypeVar

from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord, by_frame, id_or_empty

_INT64_MIN, _INT64_END = -(2**63), 2**63
_UINT64_END = 1 << 64
_MAX_VALUE_MESSAGES = 92
"""Levels of messages that a value may have: receivers refuse a request with more than 100 levels in all."""
_MAP_MESSAGES, _ARRAY_MESSAGES = 3, 2
_RETRY_INFO = "/google.rpc.RetryInfo"
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_PARENT, _NO_TRACE = bytes(_SPAN_ID_BYTES), bytes(_TRACE_ID_BYTES)
_MAX_REMEMBERED_BYTES = 16 << 10
_NS_PER_S = 1_000_000_000
_FULL_SUCCESS = (b"", b"\x0a\x00")
"""Responses without rejected spans, the second of the Collector; they are recognised without importing the classes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_fixed64, _double, _flags = struct.Struct("<Q"), struct.Struct("<d"), struct.Struct("<BBI")
_both_times = struct.Struct("<BQBQ")
_from_hex = bytes.fromhex

T = TypeVar("T")
Group = tuple[Resource, Scope, Sequence[bytes]]
"""Resource, scope, and their spans, encoded by `encode_span`."""


class OtlpProtoError(ValueError):
    """Indicate that bytes are not a valid message; the error's message is the reason."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(spans: Iterable[SpanRecord]) -> bytes:
    """Return one message with spans, grouped by resource and scope.

    Lone surrogates, which UTF-8 does not have, and integers of more than 64 bits are written as texts.
    """
    return join((resource, scope, list(map(encode_span, group))) for resource, scope, group in by_frame(spans))


def join(groups: Iterable[Group]) -> bytes:
    """Return one message with encoded spans."""
    return b"".join(part for group in groups for part in _group_parts(*group))


def _group_parts(resource: Resource, scope: Scope, spans: Sequence[bytes]) -> Iterator[bytes]:
    before, after = _scope_part(scope), _text_field(b"\x1a", scope.schema_url)
    block_size = len(before) + sum(map(len, spans)) + len(after)
    own, url = _resource_part(resource), _text_field(b"\x1a", resource.schema_url)
    block_head = b"\x12" + _varint(block_size)
    yield b"\x0a" + _varint(len(own) + len(block_head) + block_size + len(url)) + own + block_head + before
    yield from spans
    yield after + url


def _resource_part(resource: Resource) -> bytes:
    parts: list[bytes] = []
    _put_attributes(parts, b"\x0a", resource.attributes)
    return _field(b"\x0a", b"".join(parts))


def _scope_part(scope: Scope) -> bytes:
    parts = [_text_field(b"\x0a", scope.name), _text_field(b"\x12", scope.version)]
    _put_attributes(parts, b"\x1a", scope.attributes)
    return _field(b"\x0a", b"".join(parts))


def encode_span(span: SpanRecord) -> bytes:
    """Return one span as a field of a ``ScopeSpans``."""
    parts = [_ids(span), _times(span), _name_field(b"\x2a", span.name)]
    if span.trace_state:
        parts.append(_text_field(b"\x1a", span.trace_state))
    if span.kind:
        parts.append(b"\x30" + _varint(span.kind))
    _put_attributes(parts, b"\x4a", span.attributes)
    if span.events:
        parts += [_event_field(event) for event in span.events]
    if span.links:
        parts += [_link_field(link) for link in span.links]
    if span.status_code or span.status_message:
        parts.append(_status_field(span))
    if span.flags:
        parts.append(_flags.pack(0x85, 0x01, span.flags & 0xFFFFFFFF))
    body = b"".join(parts)
    return b"\x12%b%b" % (_varint(len(body)), body)


join_logs = join
"""Return one ``LogsData`` with encoded log records: its fields have the numbers of those of a ``TracesData``."""


def encode_log_record(log: LogRecord) -> bytes:
    """Return one log record as a field of a ``ScopeLogs``."""
    parts = [b"\x09", _time(log.time_ns)]
    if log.severity_number > 0:
        parts.append(b"\x10" + _varint(log.severity_number))
    parts.append(_name_field(b"\x1a", log.severity_text))
    if log.body is not None:
        parts.append(_field(b"\x2a", value_bytes(log.body)))
    _put_attributes(parts, b"\x32", log.attributes)
    parts += [_id_field(b"\x4a", log.trace_id), _id_field(b"\x52", log.span_id), _name_field(b"\x62", log.name)]
    return _field(b"\x12", b"".join(parts))


def _ids(span: SpanRecord) -> bytes:
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) == _TRACE_ID_DIGITS and len(span_id) == _SPAN_ID_DIGITS:
        try:
            if parent is None:
                return _from_hex(f"0a10{trace_id}1208{span_id}")
            if len(parent) == _SPAN_ID_DIGITS:
                return _from_hex(f"0a10{trace_id}1208{span_id}2208{parent}")
        except ValueError:
            pass  # not hex: each id is encoded separately
    return _id_field(b"\x0a", trace_id) + _id_field(b"\x12", span_id) + _id_field(b"\x22", parent or "")


def _id_field(tag: bytes, digits: str) -> bytes:
    """Return the field of an id; an invalid one is omitted, so that the receiver rejects the span."""
    try:
        data = _from_hex(digits)
    except ValueError:
        return b""
    return _field(tag, data) if data else b""


def _times(span: SpanRecord) -> bytes:
    try:
        return _both_times.pack(0x39, span.start_ns, 0x41, span.end_ns or 0)
    except struct.error:
        return b"\x39" + _time(span.start_ns) + b"\x41" + _time(span.end_ns or 0)


def _time(time_ns: int) -> bytes:
    """Return the nearest time of 64 bits."""
    return _fixed64.pack(min(max(time_ns, 0), _UINT64_END - 1))


def _event_field(event: Event) -> bytes:
    parts = [b"\x09", _time(event.time_ns), _text_field(b"\x12", event.name)]
    _put_attributes(parts, b"\x1a", event.attributes)
    return _field(b"\x5a", b"".join(parts))


def _link_field(link: Link) -> bytes:
    ids = _id_field(b"\x0a", link.trace_id), _id_field(b"\x12", link.span_id)
    parts = [*ids, _text_field(b"\x1a", link.trace_state)]
    _put_attributes(parts, b"\x22", link.attributes)
    return _field(b"\x6a", b"".join(parts))


def _status_field(span: SpanRecord) -> bytes:
    code = b"\x18" + _varint(span.status_code) if span.status_code else b""
    return _field(b"\x7a", _text_field(b"\x12", span.status_message) + code)


def _put_attributes(parts: list[bytes], tag: bytes, attributes: Mapping[str, Any]) -> None:
    """Append a field for each attribute; short fields, and the heads of long ones, are repeated, and so cached."""
    append, short_pair = parts.append, _short_pair
    for key, value in attributes.items():
        kind = type(value)
        if kind is str:
            if len(value) <= _SHORT_CHARS and len(key) <= _SHORT_CHARS:
                append(short_pair(tag, key, value))
            else:
                text = _utf8(value)
                append(_text_head(tag, key, len(text)))
                append(text)
        elif kind is int and len(key) <= _SHORT_CHARS:
            append(_int_pair(tag, key, value))
        else:
            append(_pair_field(tag, key, value_bytes(value)))


_SHORT_CHARS = 64


@functools.lru_cache(maxsize=4096)
def _short_pair(tag: bytes, key: str, value: str) -> bytes:
    text = _utf8(value)
    return _text_head(tag, key, len(text)) + text


@functools.lru_cache(maxsize=4096)
def _int_pair(tag: bytes, key: str, value: int) -> bytes:
    return _pair_field(tag, key, _int_value(value))


def _text_head(tag: bytes, key: str, size: int) -> bytes:
    """Return the bytes before the text in the field of an attribute."""
    text_head = b"\x0a" + _varint(size)
    key_field = _name_field(b"\x0a", key)
    head = b"%b\x12%b%b" % (key_field, _varint(len(text_head) + size), text_head)
    return b"%b%b%b" % (tag, _varint(len(head) + size), head)


def _pair_field(tag: bytes, key: str, value: bytes) -> bytes:
    return _field(tag, _text_field(b"\x0a", key) + _field(b"\x12", value))


def value_bytes(value: Any, messages: int = _MAX_VALUE_MESSAGES) -> bytes:
    """Return a value as an ``AnyValue``; inner values below the allowed levels are JSON texts."""
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if value is None:
        return b""
    if isinstance(value, Mapping):
        left = messages - _MAP_MESSAGES
        if left < 0:
            return _deep_text(value)
        pairs = [_pair_field(b"\x0a", str(key), value_bytes(item, left)) for key, item in value.items()]
        return _field(b"\x32", b"".join(pairs))
    if isinstance(value, Iterable):
        left = messages - _ARRAY_MESSAGES
        if left < 0:
            return _deep_text(value)
        return _field(b"\x2a", b"".join([_field(b"\x0a", value_bytes(item, left)) for item in value]))
    return _field(b"\x0a", _utf8(str(value)))


def _deep_text(value: Any) -> bytes:
    try:
        text = json.dumps(value, default=str)
    except (RecursionError, ValueError, TypeError):  # nested too deeply for Python, a cycle, or keys that are no texts
        text = "..."
    return _field(b"\x0a", _utf8(text))


def _int_value(value: int) -> bytes:
    if _INT64_MIN <= value < _INT64_END:
        return b"\x18" + _varint(value)
    return _field(b"\x0a", b"%d" % value)


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    str: lambda value: _field(b"\x0a", _utf8(value)),
    bool: lambda value: b"\x10\x01" if value else b"\x10\x00",
    int: _int_value,
    float: lambda value: b"\x21" + _double.pack(value),
    bytes: lambda value: _field(b"\x3a", value),
}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _text_field(tag: bytes, text: str) -> bytes:
    return _field(tag, _utf8(text)) if text else b""


def _name_field(tag: bytes, text: str) -> bytes:
    """Return the field of a name, which is cached if it is short, as names are repeated."""
    return _cached_field(tag, text) if len(text) <= _SHORT_CHARS else _text_field(tag, text)


_cached_field = functools.lru_cache(maxsize=4096)(_text_field)


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


def _long_varint(number: int) -> bytes:
    number &= _UINT64_END - 1
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_SHORT = [_long_varint(number) for number in range(1 << 12)]


def _varint(number: int) -> bytes:
    return _SHORT[number] if 0 <= number < 1 << 12 else _long_varint(number)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def _classes() -> dict[str, Any]:
    """Return the generated classes and their error by name; importing them takes as long as a short command."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415
    from google.rpc.status_pb2 import Status as RpcStatus  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse  # noqa: PLC0415
    from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope  # noqa: PLC0415
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as ProtoLogRecord  # noqa: PLC0415
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData  # noqa: PLC0415
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ProtoResource  # noqa: PLC0415
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData  # noqa: PLC0415

    classes: tuple[Any, ...] = (
        ExportTraceServiceResponse,
        InstrumentationScope,
        LogsData,
        ProtoLogRecord,
        ProtoResource,
        RetryInfo,
        RpcStatus,
        Span,
        TracesData,
    )
    return {"DecodeError": DecodeError, **{each.DESCRIPTOR.name: each for each in classes}}


def _parsed(name: str, data: bytes | memoryview) -> Any:
    """Return a message, parsed by the generated class of a name.

    Raises:
        OtlpProtoError: it is not such a message, or nested too deeply for the class.
    """
    classes = _classes()
    try:
        return classes[name].FromString(data)
    except (classes["DecodeError"], ValueError) as error:
        raise OtlpProtoError(str(error)) from error


def decode(data: bytes | memoryview, on_loss: Callable[[str], object] | None = None) -> list[SpanRecord]:
    """Return the spans of one message.

    Values that are nested too deeply are None, and bytes in texts that are not UTF-8 are U+FFFD.

    Args:
        data: the message.
        on_loss: called with the reason if there are such values or texts.

    Raises:
        OtlpProtoError: it is not a ``TracesData``.
    """
    try:
        groups = _parsed("TracesData", data).resource_spans
    except OtlpProtoError:
        spans = list(_walked_spans(data, nullcontext()))
        if spans and on_loss is not None:  # each part is intact, so that only the depth or a text was refused
            levels = _MAX_VALUE_MESSAGES // _ARRAY_MESSAGES
            on_loss(f"values of more than about {levels} levels, without the innermost, or bytes that are not UTF-8")
        return spans
    return [span for group in groups for span in _group(group)]


def decode_each(data: bytes | memoryview, on_bad: Callable[[str], object]) -> list[SpanRecord]:
    """Return the spans of one message but for those with invalid ids; `on_bad` is called with the reason for each of these.

    Raises:
        OtlpProtoError: it is not a ``TracesData``.
    """
    try:
        groups = _parsed("TracesData", data).resource_spans
    except OtlpProtoError:
        return decode(data)
    return [span for group in groups for span in _group(group, on_bad)]


def salvage(data: bytes | memoryview) -> list[SpanRecord]:
    """Return the intact spans of a message that `decode` refuses, as one that is incomplete."""
    return list(_walked_spans(data, suppress(ValueError), torn=True))


def trace_ids(data: bytes | memoryview) -> set[bytes]:
    """Return the trace ids, in hex, of the spans or log records of a message.

    Raises:
        OtlpProtoError: it is not such a message.
    """
    try:
        groups = _parsed("TracesData", data).resource_spans
        found = {span.trace_id for group in groups for part in group.scope_spans for span in part.spans}
    except OtlpProtoError:
        found = set()
    if not any(len(each) == _TRACE_ID_BYTES for each in found):  # log records, or spans that are damaged
        found = {_trace_id(_by_tag(record)) for record in _records(data)}
    return {each.hex().encode() for each in found if len(each) == _TRACE_ID_BYTES}


def decode_logs(data: bytes | memoryview) -> list[LogRecord]:
    """Return the log records of a ``LogsData``.

    Raises:
        OtlpProtoError: it is not such a message.
    """
    try:
        return [log for group in _parsed("LogsData", data).resource_logs for log in _logs_of(group)]
    except OtlpProtoError:  # a message around them is damaged
        return [_log(_bounded("LogRecord", record), Resource(), Scope()) for record in _records(data)]


def _logs_of(group: Any) -> Iterator[LogRecord]:
    resource = _resource(group.resource.SerializeToString(), group.schema_url)
    for part in group.scope_logs:
        scope = _scope(part.scope.SerializeToString(), part.schema_url)
        yield from (_log(record, resource, scope) for record in part.log_records)


class PartialSuccess(NamedTuple):
    """Hold the number of spans of an accepted request that the receiver rejected, and its message."""

    rejected_spans: int = 0
    message: str = ""


def decode_response(data: bytes) -> PartialSuccess:
    """Decode an ``ExportTraceServiceResponse``.

    Raises:
        OtlpProtoError: it is not such a message.
    """
    if data in _FULL_SUCCESS:
        return PartialSuccess()
    partial = _parsed("ExportTraceServiceResponse", data).partial_success
    return PartialSuccess(max(partial.rejected_spans, 0), partial.error_message)


def encode_response(rejected: int, message: str) -> bytes:
    """Encode an ``ExportTraceServiceResponse`` or an ``ExportLogsServiceResponse``, whose fields have the same numbers."""
    count = b"\x08" + _varint(rejected) if rejected else b""
    partial = count + _text_field(b"\x12", message)
    return _field(b"\x0a", partial) if partial else b""


class Status(NamedTuple):
    """Hold the message of a receiver that refused a request, and after how many seconds to retry, if it is given."""

    message: str = ""
    retry_after_s: float | None = None


def decode_status(data: bytes) -> Status:
    """Decode a ``google.rpc.Status``, the body of an error response in OTLP.

    Raises:
        OtlpProtoError: it is not such a message.
    """
    status = _parsed("Status", data)
    infos = [_parsed("RetryInfo", each.value) for each in status.details if each.type_url.endswith(_RETRY_INFO)]
    delays = [info.retry_delay.seconds + info.retry_delay.nanos / _NS_PER_S for info in infos]
    return Status(status.message, delays[0] if delays else None)


def encode_status(code: int, message: str) -> bytes:
    """Encode a ``google.rpc.Status``."""
    return b"\x08" + _varint(code) + _text_field(b"\x12", message)


# ── generated messages → records ─────────────────────────────────────────────────────────────────────────────────────


def _group(group: Any, on_bad: Callable[[str], object] | None = None) -> Iterator[SpanRecord]:
    resource = _resource(group.resource.SerializeToString(), group.schema_url)
    for part in group.scope_spans:
        scope = _scope(part.scope.SerializeToString(), part.schema_url)
        for span in part.spans:
            try:
                record = _span(span, resource, scope)
            except OtlpProtoError as error:
                if on_bad is None:
                    raise
                on_bad(str(error))
            else:
                yield record


def _span(span: Any, resource: Resource, scope: Scope) -> SpanRecord:
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) != _TRACE_ID_BYTES or len(span_id) != _SPAN_ID_BYTES or len(parent) not in (0, _SPAN_ID_BYTES):
        msg = f"expected ids of 16, 8 and 8 bytes, got {len(trace_id)}, {len(span_id)} and {len(parent)}"
        raise OtlpProtoError(msg)
    if trace_id == _NO_TRACE or span_id == _NO_PARENT:
        msg = "the span has no trace id or no span id: all bytes are zeros"
        raise OtlpProtoError(msg)
    # each look at a field makes an object: those that are mostly empty are looked at once
    status = span.status if span.HasField("status") else None
    events, links = span.events, span.links
    return SpanRecord(
        trace_id.hex(),
        span_id.hex(),
        parent.hex() if parent and parent != _NO_PARENT else None,
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano or None,
        _attributes(span.attributes),
        span.kind,
        status.code if status is not None else 0,
        status.message if status is not None else "",
        tuple([_event(event) for event in events]) if events else (),
        tuple([_link(link) for link in links]) if links else (),
        resource,
        scope,
        span.trace_state,
        span.flags,
    )


def _event(event: Any) -> Event:
    return Event(event.name, event.time_unix_nano, _attributes(event.attributes))


def _link(link: Any) -> Link:
    return Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes), link.trace_state)


def _log(record: Any, resource: Resource, scope: Scope) -> LogRecord:
    attributes = _attributes(record.attributes)
    return LogRecord(
        id_or_empty(record.trace_id.hex()),
        id_or_empty(record.span_id.hex()),
        record.event_name or str(attributes.pop("event.name", "")),
        record.time_unix_nano or record.observed_time_unix_nano,
        attributes,
        _value(record.body),
        record.severity_number,
        record.severity_text,
        resource,
        scope,
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        attributes[pair.key] = value.string_value or _value(value)  # most are texts
    return attributes


def _value(value: Any) -> Any:
    """Return the value of an ``AnyValue``, whose depth the generated classes limit."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


def _resource(data: bytes, schema_url: str) -> Resource:
    return (_remembered_resource if len(data) <= _MAX_REMEMBERED_BYTES else _read_resource)(data, schema_url)


def _scope(data: bytes, schema_url: str) -> Scope:
    return (_remembered_scope if len(data) <= _MAX_REMEMBERED_BYTES else _read_scope)(data, schema_url)


def _read_resource(data: bytes, schema_url: str) -> Resource:
    return Resource(_attributes(_bounded("Resource", data).attributes), schema_url)


def _read_scope(data: bytes, schema_url: str) -> Scope:
    scope = _bounded("InstrumentationScope", data)
    return Scope(scope.name, scope.version, _attributes(scope.attributes), schema_url)


_remembered_resource = functools.lru_cache(maxsize=256)(_read_resource)
"""Cached resources, as the messages of a program repeat them, so that their records share one object."""
_remembered_scope = functools.lru_cache(maxsize=256)(_read_scope)


# ── messages that the generated classes refuse ───────────────────────────────────────────────────────────────────────


def _walked_spans(
    data: bytes | memoryview, on_damage: AbstractContextManager[Any], *, torn: bool = False
) -> Iterator[SpanRecord]:
    """Yield the spans of a message, each decoded alone.

    Args:
        data: the message.
        on_damage: entered around each part that may be damaged: raises the ValueError, or suppresses it.
        torn: whether to read as much as there is of an incomplete message.
    """
    for tag, group in _until_damage(_fields(data, torn=torn), on_damage):
        if tag == 0x0A:
            parts = list(_until_damage(_fields(group, torn=torn), on_damage))
            resource = _head(parts, _resource, on_damage) or Resource()
            for inner, block in parts:
                if inner == 0x12:
                    yield from _walked_scope(block, resource, on_damage)


def _walked_scope(
    block: memoryview, resource: Resource, on_damage: AbstractContextManager[Any]
) -> Iterator[SpanRecord]:
    parts = list(_until_damage(_fields(block), on_damage))
    scope = _head(parts, _scope, on_damage) or Scope()
    for tag, part in parts:
        if tag == 0x12:
            with on_damage:
                yield _span(_bounded("Span", part), resource, scope)


def _until_damage(
    fields: Iterator[tuple[int, Any]], on_damage: AbstractContextManager[Any]
) -> Iterator[tuple[int, Any]]:
    with on_damage:
        yield from fields


def _head(
    parts: Sequence[tuple[int, Any]], read: Callable[[bytes, str], T], on_damage: AbstractContextManager[Any]
) -> T | None:
    """Return the resource or scope among the fields of a group of spans; protobuf merges several of them."""
    with on_damage:
        url = next((str(part, errors="replace") for tag, part in reversed(parts) if tag == 0x1A), "")
        return read(b"".join(part for tag, part in parts if tag == 0x0A), url)
    return None


def holds_logs(data: bytes | memoryview) -> bool:
    """Return whether a message is a ``LogsData``: only log records have no text or bytes in their first field.

    Raises:
        OtlpProtoError: it is not a message of OTLP.
    """
    first = next(_records(data), None)
    return first is not None and 0x0A not in _by_tag(first)


def holds_metrics(data: bytes | memoryview) -> bool:
    """Return whether a message is a ``MetricsData``: metrics begin as spans do, but have no times.

    Raises:
        OtlpProtoError: it is not a message of OTLP.
    """
    first = next((_by_tag(record) for record in _records(data)), None)
    return first is not None and 0x0A in first and not first.keys() & {0x39, 0x41}


def _records(data: bytes | memoryview) -> Iterator[memoryview]:
    """Yield the spans, log records or metrics of a message."""
    for tag, group in _fields(data):
        for inner, block in _fields(group) if tag == 0x0A else ():
            if inner == 0x12:
                yield from (record for innermost, record in _fields(block) if innermost == 0x12)


def _by_tag(data: memoryview) -> dict[int, Any]:
    return dict(_fields(data))


def _trace_id(found: Mapping[int, Any]) -> bytes:
    """Return the trace id of a span or a log record, which have it in different fields."""
    ids = (found.get(0x0A, b""), found.get(0x4A, b""))
    return next((bytes(each) for each in ids if len(each) == _TRACE_ID_BYTES), b"")


_Nesting = dict[int, "_Nesting"]  # nested fields by the tag of the outer one, on the way to values and texts
_TEXT: _Nesting = {}
_ANY_VALUE: _Nesting = {}
_PAIR: _Nesting = {0x0A: _TEXT, 0x12: _ANY_VALUE}
_ANY_VALUE.update({0x0A: _TEXT, 0x2A: {0x0A: _ANY_VALUE}, 0x32: {0x0A: _PAIR}})
_NESTINGS: dict[str, _Nesting] = {
    "Span": {
        0x1A: _TEXT,
        0x2A: _TEXT,
        0x4A: _PAIR,
        0x7A: {0x12: _TEXT},
        0x5A: {0x12: _TEXT, 0x1A: _PAIR},
        0x6A: {0x1A: _TEXT, 0x22: _PAIR},
    },
    "LogRecord": {0x1A: _TEXT, 0x2A: _ANY_VALUE, 0x32: _PAIR, 0x62: _TEXT},
    "Resource": {0x0A: _PAIR},
    "InstrumentationScope": {0x0A: _TEXT, 0x12: _TEXT, 0x1A: _PAIR},
}


def _bounded(name: str, data: bytes | memoryview) -> Any:
    """Return a parsed message, without its innermost values if it is nested too deeply, and with U+FFFD in texts.

    Raises:
        OtlpProtoError: it is not such a message.
    """
    try:
        return _parsed(name, data)
    except OtlpProtoError:
        return _parsed(name, _pruned(data, _NESTINGS[name], _MAX_VALUE_MESSAGES))


def _pruned(data: bytes | memoryview, nesting: _Nesting, messages: int) -> bytes:
    """Return a message of at most about `messages` levels, with empty values below, and texts that are UTF-8."""
    parts: list[bytes | memoryview] = []
    for tag, part in _fields(data):
        head, inner = _varint(tag), nesting.get(tag)
        if tag & 7 == _VARINT:
            parts += head, _varint(part)
        elif tag & 7 != _BYTES:
            parts += head, part
        elif inner is None:
            parts += head, _varint(len(part)), part
        elif inner is _TEXT:
            parts.append(_field(head, str(part, errors="replace").encode()))
        else:
            is_too_deep = inner is _ANY_VALUE and messages <= 0
            parts.append(_field(head, b"" if is_too_deep else _pruned(part, inner, messages - 1)))
    return b"".join(parts)


def _fields(data: bytes | memoryview, *, torn: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield the tag (number and wire type) and value of each field: an unsigned integer, or a view of the bytes.

    With `torn`, incomplete texts, bytes and messages are yielded as far as they go.

    Raises:
        OtlpProtoError: it is not a message.
    """
    view = memoryview(data)
    position, end = 0, len(view)
    while position < end:
        tag = view[position]
        position += 1
        if tag > 0x7F:
            tag, position = _read_varint(view, position - 1)
        kind = tag & 7
        if kind == _VARINT and tag > 7:
            value, position = _read_varint(view, position)
            yield tag, value
            continue
        if kind == _BYTES:
            size, position = _read_varint(view, position)
        else:
            size = _fixed_size(kind)
        stop = position + size
        if torn and kind == _BYTES and stop > end:
            stop = end
        if stop > end or tag < 8:
            msg = f"field {tag >> 3} has {size} bytes, but only {end - position} are left"
            raise OtlpProtoError(msg)
        yield tag, view[position:stop]
        position = stop


def _fixed_size(kind: int) -> int:
    if kind == _FIXED64:
        return 8
    if kind == _FIXED32:
        return 4
    msg = f"wire type {kind} does not occur in OTLP"
    raise OtlpProtoError(msg)


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            digit = view[position]
            position += 1
            value |= (digit & 0x7F) << shift
            if digit < 0x80:
                return value & (_UINT64_END - 1), position
            shift += 7
            if shift >= 70:
                msg = "a number has more than 64 bits"
                raise OtlpProtoError(msg)
    except IndexError:
        msg = "the message ends within a number"
        raise OtlpProtoError(msg) from None
