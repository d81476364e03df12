"""Define `SpanRecord`, a span as plain data, and `SpanSource`, the protocol of anything that spans are read from."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from otel_agent_trace import semconv

FLAG_REMOTE_PARENT = 0x200
"""OTLP's ``SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK``: the parent of a span belongs to another process."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Represent an event of a span; `time_ns` is Unix nanoseconds."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = {}


class Link(msgspec.Struct, frozen=True, gc=False):
    """Represent a reference from one span to another; ids as in `SpanRecord`."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any] = {}
    trace_state: str = ""


class Scope(msgspec.Struct, frozen=True, gc=False):
    """Represent the instrumentation scope that emitted a span."""

    name: str = ""
    version: str = ""
    attributes: Mapping[str, Any] = {}
    schema_url: str = ""


def is_newer_format(scope: Scope) -> bool:
    """Return whether spans of a scope were written by a later version of this library, in a format that this one does not know."""
    number = scope.attributes.get(semconv.FORMAT) if scope.attributes and scope.name == semconv.SCOPE_NAME else None
    return type(number) is int and number > semconv.FORMAT_NUMBER


class Resource(msgspec.Struct, frozen=True, gc=False):
    """Represent the program that emitted a span, by the attributes of its resource."""

    attributes: Mapping[str, Any] = {}
    schema_url: str = ""


class SpanRecord(msgspec.Struct, frozen=True, gc=False):
    """Represent a span as plain immutable data, without any notion of agents.

    Ids are lower-case hex (32 digits for the trace, 16 for a span), times Unix nanoseconds, `end_ns` None while the
    span is open. `kind` and `status_code` are numbered as in OTLP (kind: 1 internal, 2 server, 3 client, 4 producer, 5
    consumer; status: 0 unset, 1 ok, 2 error). `flags` are the OTLP flags of the span.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    start_ns: int
    end_ns: int | None
    attributes: Mapping[str, Any] = {}
    kind: int = 1
    status_code: int = 0
    status_message: str = ""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    resource: Resource = Resource()
    scope: Scope = Scope()
    trace_state: str = ""
    flags: int = 0


BODY_KEY = "body"
"""Attribute for the body of a log record that has been made an event of its span."""


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """Represent a log record as plain immutable data; ids as in `SpanRecord`, empty where it belongs to no span.

    `time_ns` is Unix nanoseconds, `name` the event's name, `severity_number` as in OTLP (1 to 24; 0: not known).
    """

    trace_id: str
    span_id: str
    name: str
    time_ns: int
    attributes: Mapping[str, Any] = {}
    body: Any = None
    severity_number: int = 0
    severity_text: str = ""
    resource: Resource = Resource()
    scope: Scope = Scope()

    @property
    def is_of_span(self) -> bool:
        """Return whether it names the span that it belongs to."""
        return bool(self.trace_id and self.span_id)

    @property
    def response_id(self) -> str | None:
        """Return the id of the model's response that an evaluation names; None for other records.

        It belongs to that response where its own span is not known: an evaluation may come later, in another trace.
        """
        return self._named(semconv.RESPONSE_ID)

    @property
    def run_id(self) -> str | None:
        """Return the id of the run that an evaluation names; None for other records.

        It belongs to that run where its own span is not known: to the one in its trace, or in any if it names none.
        """
        return self._named(semconv.RUN_ID)

    @property
    def is_of_run_only(self) -> bool:
        """Return whether it names a run, and neither a trace nor a response."""
        return not self.trace_id and self.response_id is None and self.run_id is not None

    def _named(self, key: str) -> str | None:
        if not self.name.startswith(semconv.EVALUATION_EVENTS):
            return None
        body = self.body if isinstance(self.body, Mapping) else {}
        ids = (fields.get(key) for fields in (self.attributes, body))
        return next((found for found in ids if type(found) is str and found), None)

    @property
    def session_id(self) -> str | None:
        """Return the id of the session that an event names, as those of agent programs do; None where there is none."""
        if self.is_entry:
            return None
        ids = (self.attributes.get(key) for key in semconv.SESSION_IDS)
        return next((found for found in ids if type(found) is str and found), None)

    @property
    def is_entry(self) -> bool:
        """Return whether it is a line of a program's log: what has an event name is an event, such as those of GenAI."""
        return not self.name

    @property
    def event(self) -> Event:
        """Return the record as an event of its span; the body is its attribute `body`, unless there is one already.

        A line of a log has its severity, body and logger in attributes of our own, by which `runs` recognises it.
        """
        if self.is_entry:
            entry = {
                semconv.LOG_SEVERITY: self.severity_text or severity_name(self.severity_number),
                semconv.LOG_LOGGER: self.scope.name,
                semconv.LOG_BODY: self.body,
            }
            return Event(semconv.LOG_EVENT, self.time_ns, {**self.attributes, **entry})
        if self.body in (None, "", {}) or BODY_KEY in self.attributes:
            return Event(self.name, self.time_ns, self.attributes)
        return Event(self.name, self.time_ns, {**self.attributes, BODY_KEY: self.body})


def id_or_empty(digits: str) -> str:
    """Return the id of a log record, an empty text for one of zeros: OpenTelemetry's id outside any span."""
    return digits if digits.strip("0") else ""


_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_NUMBERS_A_SEVERITY = 4


def severity_name(number: int) -> str:
    """Return the name of a severity number of OTLP, an empty text if it has none."""
    place, above = divmod(number - 1, _NUMBERS_A_SEVERITY)
    if not 0 <= place < len(_SEVERITIES):
        return ""
    return _SEVERITIES[place] + (str(above + 1) if above else "")


def with_logs(spans: list[SpanRecord], logs: Iterable[LogRecord]) -> list[SpanRecord]:
    """Return the spans of a trace with their log records as further events, in order of time, or as they come.

    Log records of other spans are left out; each record counts once, since lines of a file may be repeated.
    """
    events: dict[str, dict[tuple[int, str, str], Event]] = {}
    for log in logs:
        event = log.event
        events.setdefault(log.span_id, {}).setdefault(_identity_of(event), event)
    return [
        msgspec.structs.replace(
            span, events=tuple(sorted((*span.events, *more.values()), key=operator.attrgetter("time_ns")))
        )
        if (more := events.get(span.span_id))
        else span
        for span in spans
    ]


def _identity_of(event: Event) -> tuple[int, str, str]:
    return event.time_ns, event.name, repr(sorted(event.attributes.items()))


def logs_without_spans(spans: Iterable[SpanRecord], logs: Iterable[LogRecord]) -> list[LogRecord]:
    """Return the log records that belong to none of the spans."""
    known = {span.span_id for span in spans}
    return [log for log in logs if log.span_id not in known]


def by_frame(spans: Iterable[SpanRecord]) -> Iterable[tuple[Resource, Scope, list[SpanRecord]]]:
    """Return the spans grouped by resource and scope (the same objects), in the order of their first span."""
    groups: dict[tuple[int, int], tuple[Resource, Scope, list[SpanRecord]]] = {}
    for span in spans:
        group = groups.setdefault((id(span.resource), id(span.scope)), (span.resource, span.scope, []))
        group[2].append(span)
    return groups.values()


class Problem(msgspec.Struct, frozen=True):
    """Represent a piece of a source that could not be read: its path, its line (0: no line), and the reason."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}" if self.line else f"{self.path}: {self.reason}"

    @property
    def warning(self) -> str:
        """Return the problem as the text of a warning: readers go on without the piece."""
        return f"{self} (skipped)"


class Notice(Problem, frozen=True):
    """Represent what somebody who reads a source should know although all of it could be read."""

    @property
    def warning(self) -> str:
        """Return the notice as the text of a warning."""
        return str(self)


def ignore_problem(problem: Problem) -> None:
    """Ignore a problem that another reading reports, or nobody asks for."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Describe what a `SpanSource` can do beside `traces`, in its attribute `capabilities`.

    Readers filter and sort themselves where a source does not, and check again what it returns.
    """

    filters: frozenset[str] = frozenset()
    """Fields of `RunQuery` by which `narrowed(query)` leaves out traces without a matching run."""
    whole_queries: bool = False
    """True if `narrowed` takes whole queries, with order and limit.

    What it returns yields all traces which the runs are read from that the query selects, and may leave out any other.
    """
    newest_first: bool = False
    """True if `traces` yields the newest first, by the latest `start_ns` of their spans."""
    logs: bool = False
    """True if there is `traces_and_logs(on_problem, on_log)`.

    It yields the same as `traces`, and calls `on_log` with log records that belong to no span of this source: with those
    of a trace before the rest of it is yielded, with others at any time.
    """
    runs: bool = False
    """True if there is `runs()`, which yields the outermost runs themselves."""


class SpanSource(Protocol):
    """Read spans from wherever they are kept.

    `traces` yields the spans of one trace together, each trace once, in any order; the spans of a trace may come in any
    order and more than once. It MUST report what it cannot read to `on_problem` and go on, and MUST raise `SourceError`
    when the whole source is unreadable. It MAY be called again, and then reads again. The lists that it yields belong
    to the caller.

    A source MAY have `capabilities: Capabilities`, which describe its further methods, such as `narrowed(query:
    RunQuery) -> SpanSource` (the query holds only the fields which `capabilities.filters` names); and `name: str`, its
    name in messages, without secrets.
    """

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace."""
        ...


def capabilities_of(source: object) -> Capabilities:
    """Return what a source can do beside `traces`: nothing, unless it has `capabilities`."""
    capabilities: Capabilities = getattr(source, "capabilities", _NONE)
    return capabilities


_NONE = Capabilities()


def traces_and_logs(
    source: SpanSource, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
) -> Iterator[list[SpanRecord]]:
    """Yield the traces of a source; `on_log` is called with log records that belong to no span of it, if it has any."""
    reader: Any = source
    logged = capabilities_of(source).logs
    traces: Iterator[list[SpanRecord]] = (
        reader.traces_and_logs(on_problem, on_log) if logged else source.traces(on_problem)
    )
    return traces
