"""OTLP as protobuf: the spans of an ``ExportTraceServiceRequest``, which is a ``TracesData`` by its bytes, and the answers.

Of a ``LogsData`` the records that belong to spans are read.

Written by hand: a few times faster than the generated classes, and readers need not import them. Fields that OTLP has and
`SpanRecord` has not (dropped counts, flags of links) are ignored, unknown fields as well.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord, by_frame

_INT64_MIN, _INT64_END = -(2**63), 2**63
_UINT64_END = 1 << 64
_MAX_VALUE_DEPTH = 64
_MAX_VALUE_MESSAGES = 92
"""Receivers refuse a request with more than 100 messages within each other; so many are left for one value."""
_MAP_MESSAGES, _ARRAY_MESSAGES = 3, 2
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_PARENT = bytes(_SPAN_ID_BYTES)
_MAX_REMEMBERED_BYTES = 16 << 10
_NS_PER_S = 1_000_000_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_fixed64, _double, _flags = struct.Struct("<Q"), struct.Struct("<d"), struct.Struct("<BBI")
_both_times = struct.Struct("<BQBQ")
_from_hex = bytes.fromhex

T = TypeVar("T")
Group = tuple[Resource, Scope, Sequence[bytes]]
"""Spans of one resource and scope, each as `encode_span` gives it."""


class NotOtlpError(ValueError):
    """Bytes that are no such message; the message of the error says why."""


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(spans: Iterable[SpanRecord]) -> bytes:
    """One message with these spans, grouped by resource and scope.

    What UTF-8 or OTLP cannot say (lone surrogates, integers beyond 64 bits) is written as text, never refused.
    """
    return join((resource, scope, list(map(encode_span, group))) for resource, scope, group in by_frame(spans))


def join(groups: Iterable[Group]) -> bytes:
    """One message out of encoded spans."""
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
    """One span, as it stands among the spans of a scope."""
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


def _ids(span: SpanRecord) -> bytes:
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) == _TRACE_ID_DIGITS and len(span_id) == _SPAN_ID_DIGITS:
        try:
            if parent is None:
                return _from_hex(f"0a10{trace_id}1208{span_id}")
            if len(parent) == _SPAN_ID_DIGITS:
                return _from_hex(f"0a10{trace_id}1208{span_id}2208{parent}")
        except ValueError:
            pass  # no hex: each for itself
    return _id_field(b"\x0a", trace_id) + _id_field(b"\x12", span_id) + _id_field(b"\x22", parent or "")


def _id_field(tag: bytes, digits: str) -> bytes:
    """An id; one that is none is left out, so that a receiver can say so."""
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
    """A time; what 64 bits cannot say is the nearest that they can."""
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
    """Append a field for each attribute; short ones, and the heads of others, come again and again: they are kept."""
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
    """What stands before the text of an attribute that is one."""
    text_head = b"\x0a" + _varint(size)
    key_field = _name_field(b"\x0a", key)
    head = b"%b\x12%b%b" % (key_field, _varint(len(text_head) + size), text_head)
    return b"%b%b%b" % (tag, _varint(len(head) + size), head)


def _pair_field(tag: bytes, key: str, value: bytes) -> bytes:
    return _field(tag, _text_field(b"\x0a", key) + _field(b"\x12", value))


def value_bytes(value: Any, messages: int = _MAX_VALUE_MESSAGES) -> bytes:
    """One ``AnyValue``; what would be too deep in it is JSON text."""
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
    except (RecursionError, ValueError, TypeError):  # deeper than Python goes, in itself, or with odd keys
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
    """A text that comes again and again."""
    return _kept_field(tag, text) if len(text) <= _SHORT_CHARS else _text_field(tag, text)


_kept_field = functools.lru_cache(maxsize=4096)(_text_field)


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


def decode(data: bytes | memoryview) -> list[SpanRecord]:
    """The spans of one message; of a file of many, each of which is preceded by its length, give one at a time.

    Raises:
        NotOtlpError: it is no such message.
    """
    try:
        return [span for tag, group in _fields(data) if tag == 0x0A for span in _group(group)]
    except ValueError as error:
        raise NotOtlpError(str(error)) from error


def trace_ids(data: bytes | memoryview) -> set[bytes]:
    """The ids, in hex, of the traces that the spans or log records of a message belong to.

    Raises:
        NotOtlpError: it is no such message.
    """
    try:
        found = {_trace_id(dict(_fields(record))) for record in _records(data)}
    except ValueError as error:
        raise NotOtlpError(str(error)) from error
    return {bytes(trace_id).hex().encode() for trace_id in found if len(trace_id) == _TRACE_ID_BYTES}


def holds_logs(data: bytes | memoryview) -> bool:
    """Whether it is a ``LogsData``: log records have no text or bytes in their first field, all else has.

    Raises:
        NotOtlpError: it is no such message.
    """
    first = _first_record(data)
    return first is not None and 0x0A not in first


def holds_metrics(data: bytes | memoryview) -> bool:
    """Whether it is a ``MetricsData``: metrics begin as spans do, but have no times of their own.

    Raises:
        NotOtlpError: it is no such message.
    """
    first = _first_record(data)
    return first is not None and 0x0A in first and not first.keys() & {0x39, 0x41}


def _first_record(data: bytes | memoryview) -> dict[int, Any] | None:
    try:
        return next((dict(_fields(record)) for record in _records(data)), None)
    except ValueError as error:
        raise NotOtlpError(str(error)) from error


def decode_logs(data: bytes | memoryview) -> list[LogRecord]:
    """The log records of a ``LogsData`` that belong to a span.

    Raises:
        NotOtlpError: it is no such message.
    """
    try:
        logs = [_log(record) for record in _records(data)]
    except ValueError as error:
        raise NotOtlpError(str(error)) from error
    return [log for log in logs if log.trace_id and log.span_id]


def _records(data: bytes | memoryview) -> Iterator[memoryview]:
    """The spans, or log records, or metrics of a message."""
    for tag, group in _fields(data):
        for inner, block in _fields(group) if tag == 0x0A else ():
            if inner == 0x12:
                yield from (record for innermost, record in _fields(block) if innermost == 0x12)


def _trace_id(found: Mapping[int, Any]) -> bytes:
    """That of a span, or of a log record, which has attributes where only spans have an id."""
    ids = (found.get(0x0A, b""), found.get(0x4A, b""))
    return next((bytes(each) for each in ids if len(each) == _TRACE_ID_BYTES), b"")


def _log(data: memoryview) -> LogRecord:
    found = dict(_fields(data))
    attributes = _attributes(part for tag, part in _fields(data) if tag == 0x32)
    body = _value(found.get(0x2A, b""), _MAX_VALUE_DEPTH)
    name = _text(found.get(0x62, b"")) or str(attributes.pop("event.name", ""))
    time_ns = _unsigned(found.get(0x09, b"")) or _unsigned(found.get(0x59, b""))
    trace_id, span_id = (bytes(found.get(tag, b"")).hex() for tag in (0x4A, 0x52))
    return LogRecord(trace_id, span_id, name, time_ns, attributes, body)


def salvage(data: bytes | memoryview) -> list[SpanRecord]:
    """The spans that are whole in a message that `decode` refuses, as one that ends early."""
    return [span for tag, group in _readable_fields(data) if tag == 0x0A for span in _whole_spans(group)]


def _whole_spans(group: memoryview) -> Iterator[SpanRecord]:
    parts = list(_readable_fields(group))
    resource = _readable_head(parts, _remembered_resource) or Resource()
    for tag, block in parts:
        inner = list(_readable_fields(block, torn=False)) if tag == 0x12 else []
        scope = _readable_head(inner, _remembered_scope) or Scope()
        for innermost, part in inner:
            if innermost == 0x12:
                with suppress(ValueError):
                    yield _span(part, resource, scope)


def _readable_fields(data: bytes | memoryview, *, torn: bool = True) -> Iterator[tuple[int, Any]]:
    """The fields before the damage and, with `torn`, what is left of the one that is."""
    with suppress(ValueError):
        yield from _fields(data, torn=torn)


def _readable_head(parts: Sequence[tuple[int, Any]], read: Callable[[bytes, str], T]) -> T | None:
    """The resource or scope among the fields of what they are said of."""
    with suppress(ValueError):
        url = next((_text(part) for tag, part in parts if tag == 0x1A), "")
        return read(b"".join(part for tag, part in parts if tag == 0x0A), url)
    return None


class PartialSuccess(NamedTuple):
    """What a receiver says of a request that it took: how many spans it did not take, and why."""

    rejected_spans: int = 0
    message: str = ""


def decode_response(data: bytes) -> PartialSuccess:
    """An ``ExportTraceServiceResponse``.

    Raises:
        NotOtlpError: it is no such message.
    """
    try:
        found = dict(_fields(_all_of(data, 0x0A)))
        return PartialSuccess(max(_signed(found.get(0x08, 0)), 0), _text(found.get(0x12, b"")))
    except ValueError as error:
        raise NotOtlpError(str(error)) from error


class Status(NamedTuple):
    """Why a receiver refused a request, in its words, and after how many seconds it wants to be asked again."""

    message: str = ""
    retry_after_s: float | None = None


def decode_status(data: bytes) -> Status:
    """A ``google.rpc.Status``, which OTLP has as the body of an error.

    Raises:
        NotOtlpError: it is no such message.
    """
    try:
        message = _text(dict(_fields(data)).get(0x12, b""))
        delays = [_retry_delay_s(detail) for tag, detail in _fields(data) if tag == 0x1A]
        return Status(message, next((delay for delay in delays if delay is not None), None))
    except ValueError as error:
        raise NotOtlpError(str(error)) from error


def _retry_delay_s(detail: memoryview) -> float | None:
    """Of an ``Any`` that is a ``google.rpc.RetryInfo``."""
    found = dict(_fields(detail))
    if not bytes(found.get(0x0A, b"")).endswith(b"/google.rpc.RetryInfo"):
        return None
    duration = dict(_fields(_all_of(found.get(0x12, b""), 0x0A)))
    return _signed(duration.get(0x08, 0)) + _int32(duration.get(0x10, 0)) / _NS_PER_S


def _fields(data: bytes | memoryview, *, torn: bool = False) -> Iterator[tuple[int, Any]]:
    """The fields of a message by their tags (number and wire type): unsigned integers, else views of the bytes.

    With `torn`, what is left is given of texts, bytes and messages that end early.
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
            msg = f"field {tag >> 3} has {size} bytes where {end - position} are left"
            raise ValueError(msg)
        yield tag, view[position:stop]
        position = stop


def _fixed_size(kind: int) -> int:
    if kind == _FIXED64:
        return 8
    if kind == _FIXED32:
        return 4
    msg = f"wire type {kind}, which OTLP has not"
    raise ValueError(msg)


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
                msg = "a number of more than 64 bits"
                raise ValueError(msg)
    except IndexError:
        msg = "it ends within a number"
        raise ValueError(msg) from None


def _all_of(data: bytes | memoryview, tag: int) -> bytes | memoryview:
    """The message in that field; where it comes more than once, they are one."""
    return _merged([part for found, part in _fields(data) if found == tag])


def _merged(parts: Sequence[memoryview]) -> bytes | memoryview:
    """Messages put together as protobuf does it, which is what joining their bytes does."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _group(data: memoryview) -> Iterator[SpanRecord]:
    url = _text_in(data, 0x1A)
    resource = _of_head(_all_of(data, 0x0A), url, _remembered_resource, _read_resource)
    for tag, block in _fields(data):
        if tag == 0x12:
            scope = _of_head(_all_of(block, 0x0A), _text_in(block, 0x1A), _remembered_scope, _read_scope)
            for inner, part in _fields(block):
                if inner == 0x12:
                    yield _span(part, resource, scope)


def _of_head(data: bytes | memoryview, url: str, remembered: Callable[..., Any], read: Callable[..., Any]) -> Any:
    """Messages of one program repeat their heads: they are decoded once."""
    return (remembered if len(data) <= _MAX_REMEMBERED_BYTES else read)(bytes(data), url)


def _read_resource(data: bytes, schema_url: str) -> Resource:
    return Resource(_attributes(part for tag, part in _fields(data) if tag == 0x0A), schema_url)


def _read_scope(data: bytes, schema_url: str) -> Scope:
    attributes = _attributes(part for tag, part in _fields(data) if tag == 0x1A)
    return Scope(_text_in(data, 0x0A), _text_in(data, 0x12), attributes, schema_url)


_remembered_resource = functools.lru_cache(maxsize=256)(_read_resource)
_remembered_scope = functools.lru_cache(maxsize=256)(_read_scope)


def _text_in(data: bytes | memoryview, tag: int) -> str:
    return _text(dict(_fields(data)).get(tag, b""))


def _text(part: bytes | memoryview) -> str:
    return str(part, "utf-8")


_REPEATED = frozenset((0x4A, 0x5A, 0x6A, 0x7A))
"""Fields of a span that come more than once, or are put together when they do."""


def _span(data: memoryview, resource: Resource, scope: Scope) -> SpanRecord:
    found: dict[int, Any] = {}
    many: dict[int, list[memoryview]] = {tag: [] for tag in _REPEATED}
    for tag, part in _fields(data):
        if tag in _REPEATED:
            many[tag].append(part)
        else:
            found[tag] = part
    trace_id, span_id, parent = (bytes(found.get(tag, b"")) for tag in (0x0A, 0x12, 0x22))
    if len(trace_id) != _TRACE_ID_BYTES or len(span_id) != _SPAN_ID_BYTES or len(parent) not in (0, _SPAN_ID_BYTES):
        msg = f"ids of {len(trace_id)}, {len(span_id)} and {len(parent)} bytes where 16, 8 and 8 belong"
        raise ValueError(msg)
    status = dict(_fields(_merged(many[0x7A])))
    return SpanRecord(
        trace_id.hex(),
        span_id.hex(),
        parent.hex() if parent and parent != _NO_PARENT else None,
        _text(found.get(0x2A, b"")),
        _unsigned(found.get(0x39, b"")),
        _unsigned(found.get(0x41, b"")) or None,
        _attributes(many[0x4A]),
        _int32(found.get(0x30, 0)),
        _int32(status.get(0x18, 0)),
        _text(status.get(0x12, b"")),
        tuple([_event(part) for part in many[0x5A]]),
        tuple([_link(part) for part in many[0x6A]]),
        resource,
        scope,
        _text(found.get(0x1A, b"")),
        _unsigned(found.get(0x85, b"")),
    )


def _event(data: memoryview) -> Event:
    found = dict(_fields(data))
    pairs = [part for tag, part in _fields(data) if tag == 0x1A]
    return Event(_text(found.get(0x12, b"")), _unsigned(found.get(0x09, b"")), _attributes(pairs))


def _link(data: memoryview) -> Link:
    found = dict(_fields(data))
    pairs = [part for tag, part in _fields(data) if tag == 0x22]
    trace_id, span_id = (bytes(found.get(tag, b"")).hex() for tag in (0x0A, 0x12))
    return Link(trace_id, span_id, _attributes(pairs), _text(found.get(0x1A, b"")))


def _attributes(pairs: Iterable[memoryview], depth: int = _MAX_VALUE_DEPTH) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for pair in pairs:
        key, values = "", []
        for tag, part in _fields(pair):
            if tag == 0x0A:
                key = _text(part)
            elif tag == 0x12:
                values.append(part)
        attributes[key] = _value(_merged(values), depth)
    return attributes


def _value(data: bytes | memoryview, depth: int) -> Any:
    """An ``AnyValue``: of several that it may hold the last, and None below the depth."""
    last = 0
    parts: list[Any] = []
    for tag, part in _fields(data) if depth else ():
        if tag in _READERS:
            if tag != last:
                last, parts = tag, []
            parts.append(part)
    if not parts:
        return None
    return _READERS[last](_merged(parts) if last in _MERGING else parts[-1], depth - 1)


def _array(data: memoryview, depth: int) -> list[Any]:
    return [_value(part, depth) for tag, part in _fields(data) if tag == 0x0A]


def _map(data: memoryview, depth: int) -> dict[str, Any]:
    return _attributes((part for tag, part in _fields(data) if tag == 0x0A), depth)


def _unsigned(part: bytes | memoryview) -> int:
    return int.from_bytes(part, "little")


def _signed(number: int) -> int:
    return number - _UINT64_END if number >= _INT64_END else number


def _int32(number: int) -> int:
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


_MERGING = frozenset((0x2A, 0x32))
_READERS: dict[int, Callable[[Any, int], Any]] = {
    0x0A: lambda part, _: _text(part),
    0x10: lambda part, _: part != 0,
    0x18: lambda part, _: _signed(part),
    0x21: lambda part, _: _double.unpack(part)[0],
    0x2A: _array,
    0x32: _map,
    0x3A: lambda part, _: bytes(part),
}
