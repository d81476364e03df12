"""Read of each line what the index needs: quickly where our own tracer wrote it, else by the code that reads whole spans."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.dialects.agent_events import event_name_of
from otel_agent_trace.sources.file_formats.json_lines import JsonLines

_HEAD_END = b'"spans":['
_LINE_END = b"]}]}]}"
_MOST_HEADS = 256
_TRACE_ID_DIGITS = 32
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_IDS = re.compile("[0-9a-f]{32} [0-9a-f]{16} (?:[0-9a-f]{16})?")
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class Value(_Wire):
    """Represent an ``AnyValue`` whose texts and nested values are not decoded."""

    string_value: msgspec.Raw = None  # type: ignore[assignment]
    int_value: _Int64 | None = None
    bool_value: bool | None = None
    double_value: float | None = None
    array_value: msgspec.Raw = None  # type: ignore[assignment]
    kvlist_value: msgspec.Raw = None  # type: ignore[assignment]
    bytes_value: msgspec.Raw = None  # type: ignore[assignment]


class _Pair(_Wire):
    key: str = ""
    value: Value | None = None


class _Status(_Wire):
    code: int = 0
    message: str = ""


class _Span(_Wire):
    trace_id: str
    span_id: str
    parent_span_id: str = ""
    kind: int = 0
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    name: msgspec.Raw = msgspec.Raw()
    attributes: list[_Pair] = []
    status: _Status | None = None
    events: msgspec.Raw = msgspec.Raw()
    links: msgspec.Raw = msgspec.Raw()


class _Scope(_Wire):
    name: str = ""


class _ScopeSpans(_Wire):
    scope: _Scope
    spans: list[_Span]


class _ResourceSpans(_Wire):
    resource: msgspec.Raw
    scope_spans: list[_ScopeSpans]


class _Head(_Wire):
    resource_spans: list[_ResourceSpans]


_spans_decoder = msgspec.json.Decoder(list[_Span], strict=False)
_head_decoder = msgspec.json.Decoder(_Head, strict=False)
_read = JsonLines().read


class UnusualError(Exception):
    """Indicate a line that belongs to no trace, or to one that cannot be known from the line alone."""


class OwnSpan(msgspec.Struct, gc=False):
    """Hold what is needed of a span of our own tracer."""

    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    status: int
    has_message: bool
    attributes: dict[str, Value | None]
    service: str | None


class Line(NamedTuple):
    """Hold the traces in a line, as 32 hex digits, each with the spans, or None where those have to be read as a whole.

    `is_damaged` is whether something of it cannot be read, or is not read as it stands.
    """

    traces: dict[str, list[OwnSpan] | None]
    is_damaged: bool = False


class LineScanner:
    """Scan the lines of one file after another."""

    def __init__(self) -> None:
        self._heads: dict[bytes, str | bool | None] = {}
        self._format = JsonLines()

    def scan(self, line: bytes) -> Line:
        """Return what a line, without its line feed, has.

        Raises:
            UnusualError: it has what belongs to no trace by itself: events of agent programs, late evaluations.
        """
        at = line.find(_HEAD_END) + len(_HEAD_END)
        if line.endswith(_LINE_END) and at > len(_HEAD_END) and (line.isascii() or _is_utf8(line)):
            service = self._service_of(line[:at])
            if service is not False:
                try:
                    spans = _spans_decoder.decode(memoryview(line)[at - 1 : 1 - len(_LINE_END)])
                    return Line(_by_trace(spans, service))  # type: ignore[arg-type]
                except (msgspec.DecodeError, ValueError, RecursionError):
                    pass  # the reader of whole spans finds what there is
        return self._read(line)

    def _service_of(self, head: bytes) -> str | bool | None:
        """Return the service of the spans after a head; False where they are not of our own tracer, or where it is odd."""
        known = self._heads.get(head, True)
        if known is True:
            known = _service_in(head)
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[head] = known
        return known

    def _read(self, line: bytes) -> Line:
        """Return what the reader of whole spans finds in a line."""
        refusal: ValueError | None = None
        spans: Iterable[Any] = ()
        try:
            spans = self._format.read(line)
        except ValueError as error:
            refusal = error
        is_damaged = False
        traces: dict[str, list[OwnSpan] | None] = {span.trace_id: None for span in spans}
        if not traces:
            found = self._format.read_unusual(line, refusal)
            is_damaged = bool(found.reason or found.notice)
            for log in found.logs:
                if log.response_id is not None or (log.session_id is not None and event_name_of(log) is not None):
                    raise UnusualError
            ids = [span.trace_id for span in found.spans]
            traces = dict.fromkeys([*ids, *(log.trace_id for log in found.logs if _is_trace_id(log.trace_id))])
        if not all(map(_is_trace_id, traces)):
            raise UnusualError
        return Line(traces, is_damaged)


def _service_in(head: bytes) -> str | bool | None:
    try:
        (record,) = _read(head + b'{"traceId":"%032x","spanId":"%016x"}' % (1, 1) + _LINE_END)
    except ValueError:
        return False
    service = record.resource.attributes.get(semconv.SERVICE_NAME)
    is_ours = record.scope.name == semconv.SCOPE_NAME
    return service if is_ours and (service is None or type(service) is str) else False


def _by_trace(spans: list[_Span], service: str | None) -> dict[str, list[OwnSpan] | None]:
    """Return the spans by trace.

    Raises:
        ValueError: one is not as we write them.
    """
    traces: dict[str, list[OwnSpan] | None] = {}
    for span in spans:
        trace_id, span_id, parent_id, status = span.trace_id, span.span_id, span.parent_span_id, span.status
        if not _IDS.fullmatch(f"{trace_id} {span_id} {parent_id}") or trace_id == _NO_TRACE or span_id == _NO_SPAN:
            raise ValueError(trace_id)
        own = OwnSpan(
            span_id,
            parent_id,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            0 if status is None else status.code,
            status is not None and bool(status.message),
            {pair.key: pair.value for pair in span.attributes},
            service,
        )
        known = traces.get(trace_id)
        if known is None:
            traces[trace_id] = [own]
        else:
            known.append(own)
    return traces


def _is_trace_id(text: str) -> bool:
    return len(text) == _TRACE_ID_DIGITS and not text.strip("0123456789abcdef")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
