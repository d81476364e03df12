"""Decode Jaeger's JSON, as its HTTP API and the download button of its user interface return it.

Facts that Jaeger stores as tags are restored: kind, status, scope and trace state. Jaeger truncates times to
microseconds, drops link and scope attributes, flags and schema URLs, and stores arrays and maps as JSON texts.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.json_repair import closed
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord

_NS_PER_US = 1_000
_TIME_END = _DURATION_END = 2**63
_TRACE_ID_DIGITS, _SPAN_ID_DIGITS = 32, 16
_MOST_INT_DIGITS = 20
_NO_SERVICE = "OTLPResourceNoServiceName"
_KINDS = {
    "internal": semconv.KIND_INTERNAL,
    "server": semconv.KIND_SERVER,
    "client": semconv.KIND_CLIENT,
    "producer": semconv.KIND_PRODUCER,
    "consumer": semconv.KIND_CONSUMER,
}
_STATUS_CODES = {"UNSET": semconv.STATUS_UNSET, "OK": semconv.STATUS_OK, "ERROR": semconv.STATUS_ERROR}
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class NotJaegerError(ValueError):
    """Indicate that bytes are not traces in Jaeger's JSON; the message is the reason."""


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class _Tag(_Wire):
    key: str
    type: str = ""
    value: Any = None


class _Reference(_Wire):
    ref_type: str = ""
    trace_id: str = msgspec.field(default="", name="traceID")
    span_id: str = msgspec.field(default="", name="spanID")


class _Log(_Wire):
    timestamp: int = 0
    fields: list[_Tag] | None = None


class _Process(_Wire):
    service_name: str = ""
    tags: list[_Tag] | None = None


class _Span(_Wire):
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    parent_span_id: str | None = msgspec.field(default=None, name="parentSpanID")
    operation_name: str = ""
    references: list[_Reference] | None = None
    start_time: int = 0
    duration: int = 0
    tags: list[_Tag] | None = None
    logs: list[_Log] | None = None
    process_id: str = msgspec.field(default="", name="processID")


class _Warned(_Wire):
    trace_id: str = msgspec.field(name="traceID")
    warnings: list[str] | None = None


class _Trace(_Wire):
    spans: list[msgspec.Raw]
    processes: dict[str, _Process] | None = None


class _Error(_Wire):
    msg: str = ""


class _Document(_Wire):
    data: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    errors: list[_Error] | None = None


class _EmptyAnswer(_Wire, forbid_unknown_fields=True):
    """Define the response of the API without traces, which has nothing of Jaeger in it but its fields."""

    data: Annotated[list[Any], msgspec.Meta(max_length=0)] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[_Error] | None = None


_document_decoder = msgspec.json.Decoder(_Document)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_trace_decoder = msgspec.json.Decoder(_Trace)
_span_decoder = msgspec.json.Decoder(_Span)
_warned_decoder = msgspec.json.Decoder(_Warned)
_empty_decoder = msgspec.json.Decoder(_EmptyAnswer)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def decode(data: bytes, on_bad: Callable[[str], None] | None = None) -> list[SpanRecord]:
    """Return the spans of a response of the API, of a downloaded file, of one trace, or of a list of traces.

    Args:
        data: the JSON document.
        on_bad: called with the reason for each trace or span that cannot be decoded, which is omitted; by default such
            a one is an error.

    Raises:
        NotJaegerError: the data is not JSON, not UTF-8, or not of that shape.
    """
    report = _refuse if on_bad is None else on_bad
    try:
        traces = _traces(data, on_bad or _ignore)
    except _REFUSALS as error:
        raise NotJaegerError(str(error)) from error
    return [record for trace in traces for record in _records(trace, report)]


def is_empty(data: bytes) -> bool:
    """Return whether the data is a response of the API without traces: nothing was found, or an error is its reason."""
    try:
        _empty_decoder.decode(data)
    except _REFUSALS:
        return False
    return True


def salvage(data: bytes) -> list[SpanRecord]:
    """Return the whole spans in a document that ends early; the services, which follow the spans, may be missing."""
    try:
        return decode(closed(data, *_AROUND_A_SPAN), _ignore)
    except NotJaegerError:
        return []


_AROUND_A_SPAN = (b"{[{[", b"[{[")


def _ignore(reason: str) -> None:
    """Do nothing, since the whole document is reported."""


def adjusted(data: bytes) -> set[str]:
    """Return the ids of traces in which Jaeger changed times, as it does if a span is not within its parent's time.

    Raises:
        NotJaegerError: the data is not JSON, not UTF-8, or not of that shape.
    """
    if _ADJUSTED not in data:
        return set()
    try:
        spans = [
            raw for trace in _traces(data) for raw in _trace_decoder.decode(trace).spans if _ADJUSTED in bytes(raw)
        ]
        warned = map(_warned_decoder.decode, spans)
        return {_id(span.trace_id, _TRACE_ID_DIGITS) for span in warned if span.warnings}
    except _REFUSALS as error:
        raise NotJaegerError(str(error)) from error


_ADJUSTED = b"timestamps were adjusted by"


def _refuse(reason: str) -> None:
    raise NotJaegerError(reason)


def _traces(data: bytes, report: Callable[[str], None] = _ignore) -> list[msgspec.Raw]:
    if data.lstrip()[:1] == b"[":
        return _list_decoder.decode(data)
    document = _document_decoder.decode(data)
    for error in document.errors or ():
        report(f"Jaeger's answer is an error: {error.msg}")
    if isinstance(document.data, msgspec.UnsetType):
        _trace_decoder.decode(data)  # a single trace; anything else is an error
        return [msgspec.Raw(data)]
    return document.data or []


def _records(data: msgspec.Raw, report: Callable[[str], None]) -> Iterator[SpanRecord]:
    try:
        trace = _trace_decoder.decode(data)
        resources = {key: _resource(process) for key, process in (trace.processes or {}).items()}
    except _REFUSALS as error:
        report(f"not a trace in Jaeger's JSON: {error}")
        return
    for raw in trace.spans:
        try:
            span = _span_decoder.decode(raw)
            yield _record(span, resources.get(span.process_id, _NO_RESOURCE))
        except _REFUSALS as error:
            report(f"not a span in Jaeger's JSON: {error}")


_NO_RESOURCE = Resource()


def _resource(process: _Process) -> Resource:
    service = process.service_name
    named = {} if service in ("", _NO_SERVICE) else {semconv.SERVICE_NAME: service}
    return Resource(named | _attributes(process.tags))


def _record(span: _Span, resource: Resource) -> SpanRecord:
    attributes = _attributes(span.tags)
    trace_id, span_id = _id(span.trace_id, _TRACE_ID_DIGITS), _id(span.span_id, _SPAN_ID_DIGITS)
    references = [reference for reference in span.references or () if reference.span_id.strip("0")]
    parent = _parent(span, trace_id, references)
    kind = _take_kind(attributes)
    status_code = _take_status(attributes)
    start_ns = _known(span.start_time * _NS_PER_US)
    end_ns = _known(start_ns + _signed(span.duration) * _NS_PER_US) if start_ns else 0
    attributes.pop("internal.span.format", None)
    return SpanRecord(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=None if parent is None else _id(parent.span_id, _SPAN_ID_DIGITS),
        name=span.operation_name,
        start_ns=start_ns,
        end_ns=end_ns,
        status_message=_take_text(attributes, "otel.status_description"),
        scope=_take_scope(attributes),
        trace_state=_take_text(attributes, "w3c.tracestate"),
        attributes=attributes,
        kind=kind,
        status_code=status_code,
        events=tuple([_event(log) for log in span.logs or ()]),
        links=tuple([_link(reference) for reference in references if not _is_parent_only(reference, parent)]),
        resource=resource,
    )


def _id(text: str, digits: int) -> str:
    """Return an id with leading zeros, which Jaeger omits, as in trace ids of 64 bits."""
    if not text or len(text) > digits or not text.isascii() or not text.isalnum():
        msg = f"expected an id of {digits} hex digits, got {len(text)} characters"
        raise ValueError(msg)
    if not int(text, 16):
        msg = "an id is all zeros"
        raise ValueError(msg)
    return text.lower().zfill(digits)


def _known(time_ns: int) -> int:
    """Return a time, or 0 for one that is none: negative, or of more than 63 bits."""
    return time_ns if 0 < time_ns < _TIME_END else 0


def _signed(duration: int) -> int:
    """Return a duration in microseconds as a signed integer: Jaeger writes a negative one as a very large one."""
    return duration - 2 * _DURATION_END if duration >= _DURATION_END else duration


# ── parents and links ────────────────────────────────────────────────────────────────────────────────────────────────


def _parent(span: _Span, trace_id: str, references: Sequence[_Reference]) -> _Reference | None:
    """Return the reference to the parent; if a span links to its own parent, Jaeger keeps the link only."""
    if span.parent_span_id and span.parent_span_id.strip("0"):
        return _Reference("CHILD_OF", trace_id, span.parent_span_id)
    own = [reference for reference in references if _id(reference.trace_id, _TRACE_ID_DIGITS) == trace_id]
    others = (reference for reference in own if reference.span_id != span.span_id)
    return next(filter(_is_child, own), next(others, None))


def _is_child(reference: _Reference) -> bool:
    return reference.ref_type == "CHILD_OF"


def _is_parent_only(reference: _Reference, parent: _Reference | None) -> bool:
    """Return whether a reference is that to the parent, not a link."""
    return parent is not None and _is_child(reference) and reference.span_id == parent.span_id


def _link(reference: _Reference) -> Link:
    return Link(_id(reference.trace_id, _TRACE_ID_DIGITS), _id(reference.span_id, _SPAN_ID_DIGITS))


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _attributes(tags: Iterable[_Tag] | None) -> dict[str, Any]:
    return {tag.key: _tag_value(tag) for tag in tags or ()}


def _tag_value(tag: _Tag) -> Any:
    """Return the value of a tag, converted to the tag's type if that is possible."""
    value, convert = tag.value, _CONVERSIONS.get(tag.type.lower())
    if convert is None or value is None:
        return value
    try:
        return convert(value)
    except (ValueError, TypeError, OverflowError):
        return value


def _int(value: Any) -> Any:
    """Return an integer, which Jaeger writes as a text if JavaScript cannot represent it."""
    return int(value) if isinstance(value, str) and len(value) <= _MOST_INT_DIGITS else value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int64": _int,
    "float64": float,
    "bool": lambda value: {"true": True, "false": False}.get(value, value),
    "binary": _bytes,
}


def _take_kind(attributes: dict[str, Any]) -> int:
    kind = _KINDS.get(str(attributes.get("span.kind")))
    if kind is None:
        return 0
    del attributes["span.kind"]
    return kind


def _take_status(attributes: dict[str, Any]) -> int:
    """Take the status code from the tag ``otel.status_code``, or from ``error``, which older clients set alone."""
    code = _STATUS_CODES.get(str(attributes.get("otel.status_code")))
    if code is not None:
        del attributes["otel.status_code"]
    if attributes.get("error") is True and code in (None, semconv.STATUS_ERROR):
        del attributes["error"]
        return semconv.STATUS_ERROR
    return code or semconv.STATUS_UNSET


def _take_scope(attributes: dict[str, Any]) -> Scope:
    name, version = (
        _take_text(attributes, f"otel.scope.{part}") or _take_text(attributes, f"otel.library.{part}")
        for part in ("name", "version")
    )
    return Scope(name, version)


def _take_text(attributes: dict[str, Any], key: str) -> str:
    value = attributes.get(key)
    if not isinstance(value, str):
        return ""
    del attributes[key]
    return value


def _event(log: _Log) -> Event:
    attributes = _attributes(log.fields)
    return Event(_take_text(attributes, "event"), _known(log.timestamp * _NS_PER_US), attributes)
