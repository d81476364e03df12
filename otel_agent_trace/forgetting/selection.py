"""Decide which spans and log records belong to the runs that are to be removed."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import USER_IDS, session_id_in, user_id_in
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.scores_by_id import began_last_before
from otel_agent_trace.runs.stitch import assembled
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.sources.search import UserKeys
from otel_agent_trace.span import LogRecord, Problem, SpanRecord

S = TypeVar("S", bound="Selection")


def select(source: FilesSource, selection: S, on_problem: Callable[[Problem], None]) -> S:
    """Return a selection, which is empty at first, after it has noted all that a source holds."""
    traces = source.traces_and_logs(on_problem, selection.note_log)
    whole_traces = assembled(map(selection.note_trace, traces))
    for spans, group in itertools.groupby(whole_traces, key=operator.attrgetter("spans")):
        selection.note_runs([*group], spans)
    selection.complete(on_problem)
    return selection


class Selection:
    """Hold the ids of the traces, spans, responses and sessions to remove; a subclass decides which."""

    def __init__(self) -> None:
        self._sessions_of_others: set[str] = set()
        self.traces = set[str]()
        self.spans = set[tuple[str, str]]()
        self.responses = set[str]()
        self.sessions = set[str]()
        self._named = _NamedRuns()
        self.runs = 0
        """Number of runs: outermost ones, or of a trace of several users those of the user."""

    def __bool__(self) -> bool:
        return bool(self.traces or self.spans or self.sessions)

    @property
    def trace_ids(self) -> set[str]:
        """Return the ids of all traces of which anything is selected."""
        return self.traces | {trace_id for trace_id, _ in self.spans}

    def has_span(self, trace_id: str, span_id: str) -> bool:
        """Return whether a span is selected, or a log record that names it."""
        return trace_id in self.traces or (trace_id, span_id) in self.spans

    def has_log(self, log: LogRecord) -> bool:
        """Return whether a log record is selected: by its span, by what it names itself, or by its response, run or session."""
        if self.has_span(log.trace_id, log.span_id):
            return True
        own = self._names(log)
        if own is not None:
            return own
        if log.response_id in self.responses or log.session_id in self.sessions:
            return True
        return log.response_id is None and log.run_id is not None and self._named.has(log)

    def _names(self, log: LogRecord) -> bool | None:
        """Return whether a log record is selected by what it names itself; None where it names neither."""
        return None

    # ── noting what is read ──────────────────────────────────────────────────────────────────────────────────────────

    def note_trace(self, spans: list[SpanRecord]) -> list[SpanRecord]:
        """Return the spans of a trace, after a look at them."""
        return spans

    def note_log(self, log: LogRecord) -> None:
        """Note a log record whose span is not here."""

    def note_runs(self, found: Sequence[Assembled], spans: Sequence[SpanRecord]) -> None:
        """Select what is to be removed of some spans, given the outermost runs in them."""
        raise NotImplementedError

    def complete(self, on_problem: Callable[[Problem], None]) -> None:
        """Leave out the sessions that others take part in, when all has been read."""
        self.sessions -= self._sessions_of_others

    def _add(self, parts: Iterable[AgentRun], spans: Sequence[SpanRecord], *, is_whole: bool) -> None:
        """Select spans, of whole traces or of a part of theirs, and what belongs to them elsewhere."""
        if is_whole:
            self.traces.update(span.trace_id for span in spans)
        else:
            self.spans.update((span.trace_id, span.span_id) for span in spans)
        self.sessions.update(filter(None, (part.session_id for part in parts)))
        self.responses.update(filter(None, (span.attributes.get(semconv.RESPONSE_ID) for span in spans)))


class _NamedRuns:
    """Hold the runs that log records may name in place of a span: those that are selected, and others of the same ids.

    Of the others only those are held whose ids a program gave: ids that begin with that of the trace are used once.
    """

    def __init__(self) -> None:
        self._begun: dict[str, dict[tuple[str | None, bool], int]] = {}

    def note(self, kept: Iterable[AgentRun], selected: Iterable[AgentRun]) -> None:
        """Note runs that stay, and runs that are selected, with those below them."""
        for run in (part for outer in kept for part in outer.walk()):
            if not run.run_id.startswith(run.trace_id or ""):
                self._begun.setdefault(run.run_id, {})[run.trace_id, False] = run.started_at_ns
        for run in (part for outer in selected for part in outer.walk()):
            begun = self._begun.setdefault(run.run_id, {})
            begun[run.trace_id, True] = run.started_at_ns
            if begun.get((run.trace_id, False)) == run.started_at_ns:
                del begun[run.trace_id, False]

    def has(self, log: LogRecord) -> bool:
        """Return whether the run that a log record names is selected, as readers find it."""
        begun = self._begun.get(log.run_id or "", {})
        if log.trace_id:
            begun = {key: began_ns for key, began_ns in begun.items() if key[0] == log.trace_id}
        return bool(begun) and began_last_before(log.time_ns, begun)[1]


class RunSelection(Selection):
    """Select whole runs, with all that is below them; a trace keeps its other runs.

    Args:
        matches: returns whether a run, given with the spans of its traces, is to be removed.
    """

    def __init__(self, matches: Callable[[Assembled], bool]) -> None:
        super().__init__()
        self._matches = matches

    def note_runs(self, found: Sequence[Assembled], spans: Sequence[SpanRecord]) -> None:
        """Select the spans of matching runs, given the outermost runs in them."""
        are_matching = [*map(self._matches, found)]
        runs = [each.run for each, matches in zip(found, are_matching, strict=True) if matches]
        others = [each.run for each, matches in zip(found, are_matching, strict=True) if not matches]
        self._sessions_of_others.update(filter(None, (part.session_id for run in others for part in run.walk())))
        self._named.note(others, runs)
        if runs:
            selected = _at_or_below({*_span_ids(runs)}, spans) if others else spans
            self._add((part for run in runs for part in run.walk()), [*selected], is_whole=not others)
            self.runs += len(runs)


class UserSelection(Selection):
    """Select what belongs to the runs of a user, of a session, or of a user in a session.

    A trace is selected as a whole, unless a run in it names another user, or another session: then only the matching runs
    are, and other spans that name the user, with all spans below theirs.

    Args:
        query: the user, the session, or both.
    """

    def __init__(self, query: RunQuery) -> None:
        super().__init__()
        self._users = query.user_ids if query.user_id is not None else None
        self._session_ids = None if query.session_id is None else {query.session_id}
        self._named_traces: set[str] = set()
        self._keys = UserKeys(query)
        self.in_flight = 0
        """Number of runs of programs that are alive: they stay, as a whole, until they have ended."""

    def _names(self, log: LogRecord) -> bool | None:
        return self._fits(_user_on(log.attributes), log.session_id)

    def note_trace(self, spans: list[SpanRecord]) -> list[SpanRecord]:
        """Return the spans of a trace, and note whether one of them names user and session, as also spans without runs do."""
        if any(map(self._fits_span, spans)):
            self._named_traces.add(spans[0].trace_id)
        return spans

    def note_log(self, log: LogRecord) -> None:
        """Note a log record whose span is not here."""
        if log.trace_id and self._fits(_user_on(log.attributes), log.session_id):
            self.traces.add(log.trace_id)

    def note_runs(self, found: Sequence[Assembled], spans: Sequence[SpanRecord]) -> None:
        """Select what matches of some spans, given the outermost runs in them."""
        for each in found:
            self._keys.note(each)
        runs = [each.run for each in found]
        trace_ids = {span.trace_id for span in spans}
        parts = [part for run in runs for part in run.walk()]
        matching = [part for part in parts if self._fits_run(part)]
        others = [part for part in parts if self._fits_run(part) is False]
        is_named = bool(matching) or not trace_ids.isdisjoint(self._named_traces)
        self._named_traces -= trace_ids
        self._sessions_of_others.update(filter(None, (part.session_id for part in others)))
        in_flight = [run for run in runs if run.interrupted is False]
        stays = bool(in_flight) or not is_named
        self._named.note(runs if stays or others else (), () if stays else matching if others else runs)
        if not is_named:
            return
        if in_flight:
            self.in_flight += len(in_flight)
        elif others:
            named = (span.span_id for span in spans if self._fits_span(span))
            self._add(matching, [*_at_or_below({*_span_ids(matching), *named}, spans)], is_whole=False)
            self.runs += sum(1 for _ in self._outermost(runs))
        else:
            self._add(matching, spans, is_whole=True)
            self.runs += len(runs)

    def complete(self, on_problem: Callable[[Problem], None]) -> None:
        """Select the traces without any run, and report the ids of users that cannot be compared."""
        super().complete(on_problem)
        self.traces |= self._named_traces
        self._keys.report(on_problem)

    def _fits(self, user_id: str | None, session_id: str | None) -> bool | None:
        """Return whether these are the user and the session; None where one that counts is not known."""
        asked = ((user_id, self._users), (session_id, self._session_ids))
        found = [(value, wanted) for value, wanted in asked if wanted is not None]
        if any(value is not None and value not in wanted for value, wanted in found):
            return False
        return None if any(value is None for value, _ in found) else True

    def _fits_span(self, span: SpanRecord) -> bool | None:
        return self._fits(_user_on(span.attributes), _session_on(span.attributes))

    def _fits_run(self, run: AgentRun) -> bool | None:
        return self._fits(run.user_id, run.session_id)

    def _outermost(self, runs: Iterable[AgentRun]) -> Iterator[AgentRun]:
        """Yield the matching runs that are not below another one."""
        for run in runs:
            if self._fits_run(run):
                yield run
            else:
                yield from self._outermost(step.run for step in run.steps if step.run is not None)


def _span_ids(runs: Iterable[AgentRun]) -> Iterator[str]:
    """Yield the ids of the spans of runs and of their steps."""
    for run in runs:
        for part in run.walk():
            yield from filter(None, (part.span_id, *(step.span_id for step in part.steps)))


def _at_or_below(span_ids: Collection[str], spans: Sequence[SpanRecord]) -> Iterator[SpanRecord]:
    """Yield the spans with these ids and all spans below them."""
    below: dict[str | None, list[SpanRecord]] = {}
    for span in spans:
        below.setdefault(span.parent_span_id, []).append(span)
    pending = [span for span in spans if span.span_id in span_ids]
    seen: set[int] = set()
    while pending:
        span = pending.pop()
        if id(span) not in seen:  # a damaged trace may have cycles
            seen.add(id(span))
            yield span
            pending += below.get(span.span_id, ())


def _user_on(attributes: Mapping[str, Any]) -> str | None:
    found = next((attributes[key] for key in USER_IDS if attributes.get(key)), None)
    return user_id_in(attributes) if found is None else str(found)


def _session_on(attributes: Mapping[str, Any]) -> str | None:
    found = next((attributes[key] for key in semconv.SESSION_IDS if attributes.get(key)), None)
    return session_id_in(attributes) if found is None else str(found)
