"""Decode what exporters print for people: the JSON of Python's ConsoleSpanExporter and Go's stdouttrace, and of their logs.

Python prints `to_json()` of each span or log record, with times in microseconds and without instrumentation scopes; Go prints
the fields of its structs. Both are objects of their own, which a program may also have collected in a list. Phoenix's API has
Python's objects with other fields for kind and status.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord

_NS_PER_S = 1_000_000_000
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_MARK = re.compile(
    rb'"trace_id"\s*:\s*"0x|"SpanContext"\s*:\s*\{|"observed_timestamp"\s*:|"ObservedTimestamp"\s*:'
    rb'|"context"\s*:\s*\{(?:\s*"(?:trace|span)_id"\s*:\s*"\w+"\s*,?){2}\s*\}'
)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)?")
_STATE_ENTRY = re.compile(r"\{key=([^,{}]*), value=([^{}]*)\}")
_KINDS = {
    "INTERNAL": semconv.KIND_INTERNAL,
    "SERVER": semconv.KIND_SERVER,
    "CLIENT": semconv.KIND_CLIENT,
    "PRODUCER": semconv.KIND_PRODUCER,
    "CONSUMER": semconv.KIND_CONSUMER,
}
_STATUS_CODES = {"OK": semconv.STATUS_OK, "ERROR": semconv.STATUS_ERROR}
_OPENINFERENCE_KIND = "openinference.span.kind"
_LAST_KIND = semconv.KIND_CONSUMER


class ConsoleJsonError(ValueError):
    """Indicate that bytes are not the JSON of a span or log record; the message is the reason."""


class Printed(NamedTuple):
    """Hold the spans and log records that an exporter printed."""

    spans: list[SpanRecord]
    logs: list[LogRecord]


def is_printed(data: bytes) -> bool:
    """Return whether a text has a key with which these exporters print, and OTLP and Jaeger do not."""
    return _MARK.search(data) is not None


def decode(data: bytes, on_bad: Callable[[str], None]) -> Printed:
    """Return the span or log record of an object, or those of a list of objects.

    Args:
        data: the JSON of one span or log record, or of a list of them.
        on_bad: called with the reason for each item of a list that is neither, which is omitted.

    Raises:
        ConsoleJsonError: the data is not JSON, not UTF-8, or one object that is neither.
    """
    try:
        if data.lstrip()[:1] != b"[":
            return _printed([_item(msgspec.Raw(data))])
        items = _list_decoder.decode(data)
    except _REFUSALS as error:
        raise ConsoleJsonError(str(error)) from error
    valid = []
    for item in items:
        try:
            valid.append(_item(item))
        except _REFUSALS as error:
            on_bad(f"neither a span nor a log record: {error}")
    return _printed(valid)


def _printed(items: Iterable[SpanRecord | LogRecord]) -> Printed:
    printed = Printed([], [])
    for item in items:
        if isinstance(item, SpanRecord):
            printed.spans.append(item)
        else:
            printed.logs.append(item)
    return printed


def _item(data: msgspec.Raw) -> SpanRecord | LogRecord:
    keys = _keys_decoder.decode(data)
    for key, kind in _ITEMS.items():
        if key in keys:
            item: SpanRecord | LogRecord = msgspec.json.decode(data, type=kind).record()
            return item
    msg = "the object has neither context nor SpanContext"
    raise ValueError(msg)


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _PythonContext(msgspec.Struct):
    trace_id: str
    span_id: str
    trace_state: Any = ""


class _PythonStatus(msgspec.Struct):
    status_code: str = ""
    description: str | None = None


class _PythonEvent(msgspec.Struct):
    name: str = ""
    timestamp: Any = None
    attributes: dict[str, Any] | None = None

    def event(self) -> Event:
        return Event(self.name, time_ns(self.timestamp) or 0, self.attributes or {})


class _PythonLink(msgspec.Struct):
    context: _PythonContext
    attributes: dict[str, Any] | None = None

    def link(self) -> Link:
        context = self.context
        ids = _digits(context.trace_id, 32), _digits(context.span_id, 16)
        return Link(*ids, self.attributes or {}, _python_state(context.trace_state))


class _PythonScope(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    schema_url: str | None = None
    attributes: dict[str, Any] | None = None

    def scope(self) -> Scope:
        return Scope(self.name or "", self.version or "", self.attributes or {}, self.schema_url or "")


class _PythonSpan(msgspec.Struct):
    context: _PythonContext
    name: str = ""
    kind: Any = ""
    parent_id: str | None = None
    start_time: Any = None
    end_time: Any = None
    status: _PythonStatus | None = None
    span_kind: str = ""
    status_code: str = ""
    status_message: str | None = None
    attributes: dict[str, Any] | None = None
    events: list[_PythonEvent] | None = None
    links: list[_PythonLink] | None = None
    resource: dict[str, Any] | None = None
    instrumentation_scope: _PythonScope | None = None

    def record(self) -> SpanRecord:
        context, status = self.context, self.status or _PythonStatus(self.status_code, self.status_message)
        kind_of_phoenix = {_OPENINFERENCE_KIND: self.span_kind} if self.span_kind else {}
        return SpanRecord(
            trace_id=_id(context.trace_id, 32),
            span_id=_id(context.span_id, 16),
            parent_span_id=_parent_id(self.parent_id),
            name=self.name,
            start_ns=time_ns(self.start_time) or 0,
            end_ns=time_ns(self.end_time),
            attributes=kind_of_phoenix | (self.attributes or {}),
            kind=_KINDS.get(_enum_name(self.kind), semconv.KIND_INTERNAL),
            status_code=_STATUS_CODES.get(_enum_name(status.status_code), semconv.STATUS_UNSET),
            status_message=status.description or "",
            events=tuple([event.event() for event in self.events or ()]),
            links=tuple([link.link() for link in self.links or ()]),
            resource=_python_resource(self.resource),
            scope=(self.instrumentation_scope or _PythonScope()).scope(),
            trace_state=_python_state(context.trace_state),
        )


class _PythonLog(msgspec.Struct):
    body: Any = None
    severity_number: Any = 0
    severity_text: str | None = None
    attributes: dict[str, Any] | None = None
    timestamp: Any = None
    observed_timestamp: Any = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None
    resource: Any = None

    def record(self) -> LogRecord:
        attributes = dict(self.attributes or {})
        return LogRecord(
            _digits(self.trace_id, 32),
            _digits(self.span_id, 16),
            self.event_name or str(attributes.pop("event.name", "")),
            time_ns(self.timestamp) or time_ns(self.observed_timestamp) or 0,
            attributes,
            self.body,
            self.severity_number if type(self.severity_number) is int else 0,
            self.severity_text or "",
            _python_resource(self.resource),
        )


def _python_resource(given: Any) -> Resource:
    """Return a resource; older versions print its attributes without an object around them."""
    if not isinstance(given, dict):
        return Resource()
    attributes = given.get("attributes")
    if isinstance(attributes, dict):
        return Resource(attributes, str(given.get("schema_url") or ""))
    return Resource(given)


def _python_state(text: Any) -> str:
    """Return the header of a trace state, which is printed as ``['{key=a, value=1}']``."""
    return ",".join(f"{key}={value}" for key, value in _STATE_ENTRY.findall(str(text)))


def _enum_name(member: Any) -> str:
    """Return the name of an enum's member, which is printed as ``SpanKind.INTERNAL`` or ``StatusCode.OK``."""
    return str(member).rpartition(".")[2].upper()


# ── Go ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Go(msgspec.Struct, rename="pascal"):
    pass


class _GoContext(_Go):
    trace_id: str = msgspec.field(name="TraceID")
    span_id: str = msgspec.field(name="SpanID")
    trace_state: str = ""


class _GoValue(_Go):
    value: Any = None


class _GoPair(_Go):
    key: str
    value: _GoValue


_GoPairs = list[_GoPair]


class _GoEvent(_Go):
    name: str = ""
    time: Any = None
    attributes: _GoPairs | None = None


class _GoLink(_Go):
    span_context: _GoContext
    attributes: _GoPairs | None = None


class _GoStatus(_Go):
    code: Any = ""
    description: str = ""


class _GoScope(_Go):
    name: str = ""
    version: str = ""
    schema_url: str = msgspec.field(default="", name="SchemaURL")
    attributes: Any = None

    def scope(self) -> Scope:
        return Scope(self.name, self.version, {}, self.schema_url)


class _GoSpan(_Go):
    span_context: _GoContext
    name: str = ""
    parent: _GoContext | None = None
    span_kind: Any = 0
    start_time: Any = None
    end_time: Any = None
    attributes: _GoPairs | None = None
    events: list[_GoEvent] | None = None
    links: list[_GoLink] | None = None
    status: _GoStatus | None = None
    resource: _GoPairs | None = None
    instrumentation_scope: _GoScope | None = None
    instrumentation_library: _GoScope | None = None

    def record(self) -> SpanRecord:
        context, status = self.span_context, self.status or _GoStatus()
        kind = self.span_kind
        return SpanRecord(
            trace_id=_id(context.trace_id, 32),
            span_id=_id(context.span_id, 16),
            parent_span_id=_parent_id(None if self.parent is None else self.parent.span_id),
            name=self.name,
            start_ns=time_ns(self.start_time) or 0,
            end_ns=time_ns(self.end_time) or None,
            attributes=_go_attributes(self.attributes),
            kind=kind if type(kind) is int and 0 <= kind <= _LAST_KIND else semconv.KIND_INTERNAL,
            status_code=_STATUS_CODES.get(_enum_name(status.code), semconv.STATUS_UNSET),
            status_message=status.description,
            events=tuple([_go_event(event) for event in self.events or ()]),
            links=tuple([_go_link(link) for link in self.links or ()]),
            resource=Resource(_go_attributes(self.resource)),
            scope=(self.instrumentation_scope or self.instrumentation_library or _GoScope()).scope(),
            trace_state=context.trace_state,
        )


class _GoLog(_Go):
    timestamp: Any = None
    observed_timestamp: Any = None
    event_name: str = ""
    severity: Any = 0
    severity_text: str = ""
    body: _GoValue | None = None
    attributes: _GoPairs | None = None
    trace_id: str = msgspec.field(default="", name="TraceID")
    span_id: str = msgspec.field(default="", name="SpanID")
    resource: _GoPairs | None = None
    scope: _GoScope | None = None

    def record(self) -> LogRecord:
        return LogRecord(
            _digits(self.trace_id, 32),
            _digits(self.span_id, 16),
            self.event_name,
            time_ns(self.timestamp) or time_ns(self.observed_timestamp) or 0,
            _go_attributes(self.attributes),
            self.body.value if self.body is not None else None,
            self.severity if type(self.severity) is int else 0,
            self.severity_text,
            Resource(_go_attributes(self.resource)),
            (self.scope or _GoScope()).scope(),
        )


def _go_attributes(pairs: Iterable[_GoPair] | None) -> dict[str, Any]:
    return {pair.key: pair.value.value for pair in pairs or ()}


def _go_event(event: _GoEvent) -> Event:
    return Event(event.name, time_ns(event.time) or 0, _go_attributes(event.attributes))


def _go_link(link: _GoLink) -> Link:
    context = link.span_context
    ids = _digits(context.trace_id, 32), _digits(context.span_id, 16)
    return Link(*ids, _go_attributes(link.attributes), context.trace_state)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


_ITEMS: Mapping[str, Any] = {
    "context": _PythonSpan,
    "SpanContext": _GoSpan,
    "observed_timestamp": _PythonLog,
    "ObservedTimestamp": _GoLog,
}
"""Types of objects by a key that only these have."""
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_keys_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _digits(text: str | None, digits: int) -> str:
    """Return an id in hex digits, without ``0x``; an empty text for one of zeros."""
    known = (text or "").removeprefix("0x").lower()
    return known.zfill(digits) if known.strip("0") else ""


def _id(text: str, digits: int) -> str:
    """Return an id.

    Raises:
        ValueError: it is invalid, or has zeros only.
    """
    known = _digits(text, digits)
    if len(known) != digits or not known.isalnum() or int(known, 16) == 0:
        msg = f"expected an id of {digits} hex digits, got {len(text)} characters"
        raise ValueError(msg)
    return known


def _parent_id(text: str | None) -> str | None:
    return _id(text, 16) if _digits(text, 16) and text is not None else None


def time_ns(text: Any) -> int | None:
    """Return a time of ISO 8601 as Unix nanoseconds; 0 for one before 1970, as Go's zero time; None for no time."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    date, clock, fraction, zone = match.groups()
    at = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in (None, 'Z') else zone}")
    try:
        seconds = calendar.timegm(at.astimezone(timezone.utc).timetuple())
    except OverflowError:  # the first or last day of the calendar, in another zone
        return 0
    return max(seconds * _NS_PER_S + int((fraction or "").ljust(9, "0")), 0)
