"""Runs from anywhere, as asked for."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from otel_agent_trace.errors import BadRecordError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.keywords import called_with, suggests_keywords
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import RunQuery, age
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.runs.explain import RunExplanation, explain
from otel_agent_trace.runs.stitch import runs_of
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.sources import Progress, name_of, open_source
from otel_agent_trace.sources.search import Found, find, search
from otel_agent_trace.span import Problem, SpanRecord

_log = logging.getLogger("otel_agent_trace")


class ReadKeywords(RunQuery, frozen=True, kw_only=True):
    """The keywords of `iter_runs` and `load_runs`: which runs, and how to read.

    Args:
        strict: raise at the first thing that cannot be read, instead of reporting it.
        on_problem: is told what cannot be read; without it a warning is logged.
        on_progress: is told the bytes done and, where it is known, their total; of a Jaeger the traces.
    """

    strict: bool = False
    on_problem: Callable[[Problem], None] | None = None
    on_progress: Progress | None = None


class ReadCall(ReadKeywords, frozen=True):
    """A call of `iter_runs` or `load_runs`; keywords go before what `query` says."""

    source: Any
    query: RunQuery = RunQuery()

    def asked(self) -> RunQuery:
        """Return all that is asked for."""
        return self.query.but(**self.given())


@called_with(ReadCall)
def iter_runs(call: ReadCall) -> Iterator[AgentRun]:
    """Yield the outermost runs of a source, each once and complete.

    `source` is a path, a glob, a directory, the address of a Jaeger, a backend that can be read, or a list of them.
    Which runs is said by the fields of `RunQuery` as keywords, by a `query`, or both (keywords go before it). Runs come as they are
    completed while reading, in bounded memory; with `newest_first` or `sort` in that order, which holds `limit` runs in
    memory (all of them without a limit), and of a Jaeger reads no more than it takes for the newest. `strict` raises at
    the first thing that cannot be read; else `on_problem` is told, or without it a warning is logged. `on_progress` is
    told the bytes done and, where it is known, their total; of a Jaeger the traces.

    Raises:
        SourceError: the source cannot be read at all.
        BadRecordError: with `strict`, a record that cannot be read.
        ConfigurationError: a filter that cannot be meant.
        TypeError: a keyword that there is not; it names the closest one.
    """
    return _runs(call, call.asked())


@called_with(ReadCall)
def load_runs(call: ReadCall) -> list[AgentRun]:
    """Return the runs of a source, oldest first, or as `sort` or `newest_first` says; takes what `iter_runs` takes.

    With `limit` and without such an order, the oldest ones. Raises what `iter_runs` raises.
    """
    query = call.asked()
    if query.order is not None:
        return list(_runs(call, query))
    runs = _runs(call, query.but(limit=None))
    return sorted(runs, key=age) if query.limit is None else heapq.nsmallest(query.limit, runs, key=age)


def _runs(call: ReadCall, query: RunQuery) -> Iterator[AgentRun]:
    source = open_source(call.source, on_progress=call.on_progress)
    return search(source, query, _reporter(call.strict, call.on_problem), lambda found: found.run)


@suggests_keywords
def load_run(
    source: Any,
    run_id: str | None = None,
    *,
    service: str | None = None,
    strict: bool = False,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> AgentRun:
    """Return one run: by its id, a trace id of it, the beginning of either, or "last"; a sub-agent's run is found as well.

    Without an id: the only run there is. `service` and what follows is as in `iter_runs`.

    Raises:
        RunNotFoundError: no run has that id, or there is none at all.
        AmbiguousRunError: several runs fit.
        SourceError: as `iter_runs`.
    """
    return _found(source, run_id, service, _reporter(strict, on_problem), on_progress).run


@suggests_keywords
def explain_run(
    source: Any,
    run_id: str | None = None,
    *,
    service: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> RunExplanation:
    """Return what `load_run` gives, fact by fact with the span and the attribute that each came from.

    A run of a backend that keeps no spans is explained from those that `run_to_spans` makes of it. Raises what
    `load_run` raises.
    """
    run, whole = _found(source, run_id, service, _reporter(False, on_problem), on_progress)
    explained = (below for outer in explain(whole.spans or run_to_spans(whole.run)) for below in outer.walk())
    return next(below for below in explained if below.run.run_id == run.run_id)


def _found(
    source: Any,
    run_id: str | None,
    service: str | None,
    on_problem: Callable[[Problem], None],
    on_progress: Progress | None,
) -> Found:
    query = RunQuery(run_id=run_id, service=service)
    return find(open_source(source, on_progress=on_progress), query, on_problem, name_of(source))


def runs_from_spans(spans: Iterable[Any]) -> list[AgentRun]:
    """Return the outermost runs in spans at hand, oldest first: `SpanRecord`s or spans of the OpenTelemetry SDK."""
    reader = SdkReader()
    records = (span if isinstance(span, SpanRecord) else reader.record(span) for span in spans)
    return sorted(runs_of(by_trace(records).values()), key=age)


def _reporter(strict: bool, on_problem: Callable[[Problem], None] | None) -> Callable[[Problem], None]:
    if strict:
        return _raise
    return _warn if on_problem is None else on_problem


def _raise(problem: Problem) -> None:
    raise BadRecordError(problem.path, problem.line, problem.reason)


def _warn(problem: Problem) -> None:
    _log.warning("%s (skipped)", problem)
