"""Read of each line what the index needs: quickly where our own tracer wrote it, else by the code that reads spans."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.dialects.agent_events import event_name_of
from otel_agent_trace.sources.file_formats.json_lines import JsonLines

_HEAD_END = b'"spans":['
_LINE_END = b"]}]}]}\n"
_MOST_HEADS = 256
_NO_TRACE = "0" * 32
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Wire(msgspec.Struct, rename="camel", gc=False):
    pass


class Value(_Wire):
    """Represent an ``AnyValue`` whose text is not decoded; other than a text or a number, it is none of these."""

    string_value: msgspec.Raw = msgspec.Raw()
    int_value: _Int64 | None = None
    double_value: float | None = None


class Pair(_Wire):
    """Represent an attribute."""

    key: str
    value: Value


class Status(_Wire):
    """Represent the status of a span."""

    code: int = 0
    message: str = ""


class OwnSpan(_Wire):
    """Represent what is needed of a span of our own tracer."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[Pair] = []
    status: Status | None = None
    trace_state: str = ""
    service: str | None = None
    """Name of the service in its resource, which a line has before its spans."""


_decoder = msgspec.json.Decoder(list[OwnSpan], strict=False)
_read = JsonLines().read


class UnusualError(Exception):
    """Indicate a line that belongs to no trace, or to one that cannot be known from the line alone."""


class Found(NamedTuple):
    """Hold the ids of the traces in a line, as 32 hex digits, whose spans have to be read as a whole.

    `is_damaged` is whether something of it cannot be read, or is not read as it stands, `names_runs` whether it has
    scores that name a run in any trace.
    """

    trace_ids: Collection[str]
    is_damaged: bool = False
    names_runs: bool = False


class LineScanner:
    """Scan the lines of one file after another."""

    def __init__(self) -> None:
        self._head = b""
        self._service: str | bool | None = False
        self._services: dict[bytes, str | bool | None] = {}
        self._trace_id = ""
        self._format = JsonLines()

    def own_spans(self, line: bytes) -> list[OwnSpan] | None:
        """Return the spans in a line, with its line feed, that our own tracer wrote; None for any other line."""
        if not line.endswith(_LINE_END):
            return None
        if not (self._head and line.startswith(self._head)):
            self._note_head(line)
        service = self._service
        if service is False or not (line.isascii() or _is_utf8(line)):
            return None
        try:
            spans = _decoder.decode(memoryview(line)[len(self._head) - 1 : 1 - len(_LINE_END)])
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None
        for span in spans:
            span.service = service  # type: ignore[assignment]
            if span.trace_id != self._trace_id:
                if not is_trace_id(span.trace_id):
                    return None
                self._trace_id = span.trace_id
        return spans

    def _note_head(self, line: bytes) -> None:
        """Note the head of a line, up to its spans, with the service; False if it is odd, or not of our tracer."""
        begin, found, _ = line.partition(_HEAD_END)
        self._head = head = begin + found if found else b""
        if head not in self._services:
            if len(self._services) >= _MOST_HEADS:
                self._services.clear()
            self._services[head] = _service_in(head)
        self._service = self._services[head]

    def trace_ids(self, line: bytes) -> Collection[str]:
        """Return the ids of the traces in a line, with its line feed.

        Raises:
            UnusualError: as of `read`, or it names a run in any trace.
        """
        spans = self.own_spans(line)
        if spans is not None:
            return {span.trace_id for span in spans}
        found = self.read(line)
        if found.names_runs:
            raise UnusualError
        return found.trace_ids

    def read(self, line: bytes) -> Found:
        """Return what the reader of whole spans finds in a line, with its line feed.

        Raises:
            UnusualError: it has what belongs to no trace by itself: events of agent programs, scores of responses.
        """
        line = line[:-1]
        refusal: ValueError | None = None
        spans: Iterable[Any] = ()
        try:
            spans = self._format.read(line)
        except ValueError as error:
            refusal = error
        is_damaged = names_runs = False
        trace_ids = dict.fromkeys([span.trace_id for span in spans])
        if not trace_ids:
            found = self._format.read_unusual(line, refusal)
            is_damaged = bool(found.reason or found.notice)
            for log in found.logs:
                names_runs = names_runs or log.is_of_run_only
                if log.response_id is not None or (log.session_id is not None and event_name_of(log) is not None):
                    raise UnusualError
            ids = [span.trace_id for span in found.spans]
            trace_ids = dict.fromkeys([*ids, *(log.trace_id for log in found.logs if _is_known_id(log.trace_id))])
        if not all(map(_is_known_id, trace_ids)):
            raise UnusualError
        return Found(trace_ids, is_damaged, names_runs)


def _service_in(head: bytes) -> str | bool | None:
    try:
        (record,) = _read(head + b'{"traceId":"%032x","spanId":"%016x"}' % (1, 1) + _LINE_END[:-1])
    except ValueError:
        return False
    service = record.resource.attributes.get(semconv.SERVICE_NAME)
    is_ours = record.scope.name == semconv.SCOPE_NAME
    return service if is_ours and (service is None or type(service) is str) else False


def is_trace_id(text: str) -> bool:
    """Return whether a text is the id of a trace: 32 hex digits, and not all zeros."""
    return _is_known_id(text) and text != _NO_TRACE


def _is_known_id(text: str) -> bool:
    return len(text) == len(_NO_TRACE) and not text.strip("0123456789abcdef")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
