"""Read the runs of a source that a query selects."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace.errors import BadRecordError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.keywords import called_with, suggests_keywords
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import QueryKeywords, RunQuery, age
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.runs.explain import RunExplanation, explain
from otel_agent_trace.runs.stitch import runs_of
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.sources import Progress, name_of, open_source
from otel_agent_trace.sources.census import Census
from otel_agent_trace.sources.search import Found, find, search
from otel_agent_trace.span import Notice, Problem, SpanRecord

_log = logging.getLogger("otel_agent_trace")


class ReadKeywords(QueryKeywords, frozen=True, kw_only=True):
    """Define the keywords of `iter_runs` and `load_runs`: the filters of `RunQuery`, and how to read.

    Args:
        strict: whether to raise a `BadRecordError` for the first record that cannot be read.
        on_problem: called with a `Problem` for each record that cannot be read; by default a warning is logged.
        on_progress: called now and then with the bytes read and, where it is known, their total; for servers with
            the number of traces.
    """

    strict: bool = False
    on_problem: Callable[[Problem], None] | None = None
    on_progress: Progress | None = None


class ReadCall(ReadKeywords, frozen=True):
    """Hold the arguments of a call of `iter_runs` or `load_runs`; a filter given as keyword replaces that of `query`."""

    source: Any
    query: RunQuery = RunQuery()

    def merged_query(self) -> RunQuery:
        """Return the query with the filters that were given as keywords."""
        return self.replacing(self.query)


@called_with(ReadCall)
def iter_runs(call: ReadCall) -> Iterator[AgentRun]:
    """Yield the outermost runs of a source, each once and complete, as `AgentRun`s.

    `source` is a path, a glob, a directory, the address of a server, a backend that can be read, or a list of
    them. Runs are selected by the fields of `RunQuery`, as keywords, in a `query`, or both, where a keyword replaces the
    field of the query. Without an order, runs are yielded as they are completed while reading, in bounded memory. With
    `newest_first` or `sort` they are yielded in that order, and `limit` runs are held in memory (all of them without a
    limit); servers are then read only as far as needed for the newest.

    With `strict` the first record that cannot be read raises an error; otherwise `on_problem` is called with a `Problem`
    for each, or a warning is logged. A text that was repaired, such as invalid UTF-8, is read: that is a `Notice`, which
    `strict` does not raise. `on_progress` is called now and then with the bytes read and, where it is known,
    their total; for servers with the number of traces.

    Raises:
        SourceError: the source cannot be read at all.
        BadRecordError: a record cannot be read, and `strict` is set.
        ConfigurationError: a filter has an invalid value.
        TypeError: a keyword is unknown; the message names the closest one.
    """
    return _runs(call, call.merged_query())


@called_with(ReadCall)
def load_runs(call: ReadCall) -> list[AgentRun]:
    """Return the runs of a source as a list, oldest first unless `sort` or `newest_first` is given.

    Takes the arguments of `iter_runs`, and raises the same errors. With `limit` and without another order, the oldest
    runs are returned.
    """
    query = call.merged_query()
    if query.order is not None:
        return list(_runs(call, query))
    runs = _runs(call, query.but(limit=None))
    return sorted(runs, key=age) if query.limit is None else heapq.nsmallest(query.limit, runs, key=age)


def _runs(call: ReadCall, query: RunQuery) -> Iterator[AgentRun]:
    source = open_source(call.source, on_progress=call.on_progress)
    return search(source, query, problem_reporter(call.strict, call.on_problem), lambda found: found.run)


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
    """Return one run of a source, which may be that of a sub-agent.

    Args:
        source: as for `iter_runs`.
        run_id: the id of the run, one of its trace ids, the beginning of either, or "last" for the run that started
            last; by default the only run of the source.
        service: look only at traces in which this service takes part.
        strict: whether to raise a `BadRecordError` for the first record that cannot be read.
        on_problem: as for `iter_runs`.
        on_progress: as for `iter_runs`.

    Raises:
        RunNotFoundError: no run has that id, or the source has no run.
        AmbiguousRunError: several runs match.
        SourceError: the source cannot be read at all.
        BadRecordError: a record cannot be read, and `strict` is set.
    """
    return _find_run(
        source, RunQuery(run_id=run_id, service=service), problem_reporter(strict, on_problem), on_progress
    ).run


@suggests_keywords
def explain_run(
    source: Any,
    run_id: str | None = None,
    *,
    service: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> RunExplanation:
    """Return an explanation of the run that `load_run` returns: each fact, and the span and attribute it was read from.

    Takes the arguments of `load_run` but `strict`, and raises the same errors. The run of a backend that keeps no spans
    is explained by those that `run_to_spans` makes of it.
    """
    census = Census(keeps_places=True)
    run, whole = _find_run(
        source, RunQuery(run_id=run_id, service=service), problem_reporter(False, on_problem), on_progress, census
    )
    explained = (below for outer in explain(whole.spans or run_to_spans(whole.run)) for below in outer.walk())
    explanation = next(below for below in explained if below.run.run_id == run.run_id)
    return msgspec.structs.replace(explanation, outside=census.outside(), outside_logs=census.outside_logs())


def _find_run(
    source: Any,
    query: RunQuery,
    on_problem: Callable[[Problem], None],
    on_progress: Progress | None,
    census: Census | None = None,
) -> Found:
    return find(open_source(source, on_progress=on_progress), query, on_problem, name_of(source), census)


def runs_from_spans(spans: Iterable[Any]) -> list[AgentRun]:
    """Return the outermost runs in an iterable of spans, oldest first.

    Args:
        spans: `SpanRecord`s, or spans of the OpenTelemetry SDK, in any order.
    """
    reader = SdkReader()
    records = (span if isinstance(span, SpanRecord) else reader.record(span) for span in spans)
    return sorted(runs_of(by_trace(records).values()), key=age)


def problem_reporter(strict: bool, on_problem: Callable[[Problem], None] | None) -> Callable[[Problem], None]:
    """Return what is called with each `Problem`: a function that raises it if `strict`, else `on_problem` or the log."""
    if strict:
        return _raise
    return _log_problem if on_problem is None else on_problem


def _raise(problem: Problem) -> None:
    if isinstance(problem, Notice):
        _log_problem(problem)
        return
    raise BadRecordError(problem.path, problem.line, problem.reason)


def _log_problem(problem: Problem) -> None:
    _log.warning("%s", problem.warning)
