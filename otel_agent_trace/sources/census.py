"""Count the spans and log records that were read, for messages about sources without runs; report times that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from otel_agent_trace import semconv
from otel_agent_trace.runs.left_out import Outside, OutsideLogs, leaves_of
from otel_agent_trace.runs.times import unknown_times
from otel_agent_trace.span import BODY_KEY, Event, LogRecord, Notice, Problem, SpanRecord

_SHOWN_SCOPES = 5
_SHOWN_TRACES = 5
_NOTHING = ("", None)


class Census:
    """Count spans by instrumentation scope, and log records, while they are read.

    Attributes:
        runs: the number of outermost runs that were found in the spans, whether or not they match a query.
        keeps_places: whether it keeps the places of all spans of a source, none of which may then be left out.
        logs: the number of log records; of those that are events of a span, only the ones with a body are known as such.

    Args:
        keeps_places: whether to keep which places the spans of each trace have, for `outside`.
    """

    def __init__(self, *, keeps_places: bool = False) -> None:
        self.runs = 0
        self.logs = 0
        self.keeps_places = keeps_places
        self._places: dict[str, dict[str, tuple[str, frozenset[str]]]] | None = {} if keeps_places else None
        self._known_places: dict[frozenset[str], frozenset[str]] = {}
        self._scopes = Counter[str]()
        self._outside_logs = Counter[tuple[str, str]]()
        self._places_of_logs: dict[tuple[str, str], set[str]] = {}

    def watch(self, traces: Iterable[list[SpanRecord]]) -> Iterator[list[SpanRecord]]:
        """Yield the traces, and count their spans."""
        for spans in traces:
            self._scopes.update([span.scope.name for span in spans])
            self.logs += sum(_was_log(event) for span in spans for event in span.events)
            if self._places is not None and spans:
                self._places[spans[0].trace_id] = {
                    span.span_id: (span.scope.name, self._places_in(span)) for span in spans
                }
            yield spans

    def note_log(self, log: LogRecord) -> None:
        """Count a log record that belongs to no span."""
        self.logs += 1
        key = _why_outside(log), log.scope.name
        fields = {**log.attributes, "body": log.body, "severity": log.severity_text}
        name = f"log record {log.name}".rstrip()
        self._outside_logs[key] += 1
        self._places_of_logs.setdefault(key, set()).update(
            [f"{name}: {place}" for place, value in fields.items() if value not in _NOTHING]
        )

    def note_run(self, spans: Iterable[SpanRecord]) -> None:
        """Count a run that was found, with all spans of its traces that were read for it."""
        self.runs += 1
        if self._places is not None:
            for span in spans:
                self._places.get(span.trace_id, {}).pop(span.span_id, None)

    def outside(self) -> tuple[Outside, ...]:
        """Return the spans that belong to no run, by scope, the most frequent first; empty unless places are kept."""
        counts, places = Counter[str](), dict[str, set[str]]()
        for spans in (self._places or {}).values():
            for scope, names in spans.values():
                counts[scope] += 1
                places.setdefault(scope, set()).update(names)
        return tuple([Outside(scope, count, tuple(sorted(places[scope]))) for scope, count in counts.most_common()])

    def outside_logs(self) -> tuple[OutsideLogs, ...]:
        """Return the log records that belong to no span, by reason and scope, the most frequent first."""
        return tuple(
            [
                OutsideLogs(*key, count, tuple(sorted(self._places_of_logs[key])))
                for key, count in self._outside_logs.most_common()
            ]
        )

    def _places_in(self, span: SpanRecord) -> frozenset[str]:
        names = frozenset([place for place, value in leaves_of(span) if value not in _NOTHING])
        return self._known_places.setdefault(names, names)

    @property
    def spans(self) -> int:
        """Return the number of spans."""
        return self._scopes.total()

    def text(self) -> str:
        """Return what was read, such as ``3 spans, of the scopes a (2), b (1), and 1 log record``."""
        records = f"{self.logs:,} log {'record' if self.logs == 1 else 'records'}"
        if not self.spans:
            return f"no spans and {records}"
        return self._spans_text() + (f", and {records}" if self.logs else "")

    def _spans_text(self) -> str:
        shown = ", ".join(
            f"{name or '(no name)'} ({count:,})" for name, count in self._scopes.most_common(_SHOWN_SCOPES)
        )
        more = f" and {len(self._scopes) - _SHOWN_SCOPES} more" if len(self._scopes) > _SHOWN_SCOPES else ""
        spans, scopes = ("span" if self.spans == 1 else "spans"), ("scope" if len(self._scopes) == 1 else "scopes")
        return f"{self.spans:,} {spans}, of the {scopes} {shown}{more}"


def _was_log(event: Event) -> bool:
    return BODY_KEY in event.attributes or semconv.LOG_SEVERITY in event.attributes


def _why_outside(log: LogRecord) -> str:
    if log.response_id is not None:
        return "of a response that was not read"
    if log.run_id is not None:
        return "of a run that was not read"
    if not log.trace_id:
        return "of no trace"
    return "of a span that was not read" if log.span_id else "of a trace that is not one run"


def noting_times(
    traces: Iterable[list[SpanRecord]], on_problem: Callable[[Problem], None]
) -> Iterator[list[SpanRecord]]:
    """Yield the traces, and report times that are none, of the first few traces that have some."""
    odd_traces = 0
    for spans in traces:
        unknown = unknown_times(spans)
        if unknown is not None and odd_traces < _SHOWN_TRACES:
            odd_traces += 1
            reason = (
                f"{unknown.starts} starts and {unknown.ends} ends of spans are no times (0, before 1970, or an end before "
                "the start); the earliest and latest times of the spans below stand for them"
            )
            on_problem(Notice(f"trace {spans[0].trace_id}", 0, reason))
        yield spans
