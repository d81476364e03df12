"""Runs from anywhere, as asked for."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from otel_agent_trace.errors import AmbiguousRunError, BadRecordError, ConfigurationError, RunNotFoundError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.model import AgentRun, RunStatus
from otel_agent_trace.query import Selection, of_service
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.runs.explain import RunExplanation, explain
from otel_agent_trace.runs.stitch import runs_of
from otel_agent_trace.sources import Progress, name_of, open_source
from otel_agent_trace.span import Problem, SpanRecord, Wanted, narrowed

_log = logging.getLogger("otel_agent_trace")
_SHOWN_RUNS = 5


def iter_runs(
    source: Any,
    *,
    agent: str | None = None,
    status: RunStatus | str | None = None,
    tool: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    service: str | None = None,
    since: Any = None,
    until: Any = None,
    limit: int | None = None,
    newest_first: bool = False,
    strict: bool = False,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[AgentRun]:
    """Yield the outermost runs of a source, each once and complete.

    Args:
        source: a path, a glob, a directory, the address of a Jaeger, a backend, or a list of them.
        agent: the agent's name.
        status: running, success, error or timeout.
        tool: a tool that the run, or a sub-agent of it, called.
        user_id: the user, as the program knows them or as the pseudonym that the traces carry.
        session_id: the conversation.
        service: a service that takes part in the trace.
        since: began at that time or later: a datetime, a timedelta or "7d" (ago), or ISO 8601.
        until: began before that time.
        limit: how many runs at most.
        newest_first: the newest first, which holds `limit` runs in memory (all of them without a limit), and of a
            Jaeger reads no more than it takes; otherwise runs come as they are completed while reading, in bounded
            memory.
        strict: raise at the first thing that cannot be read, instead of reporting it.
        on_problem: is told what cannot be read; without it a warning is logged.
        on_progress: is told the bytes done and, where it is known, their total; of a Jaeger the traces.

    Raises:
        SourceError: the source cannot be read at all.
        BadRecordError: with `strict`, a record that cannot be read.
        ConfigurationError: a filter that cannot be meant.
    """
    selection = Selection.of(
        agent=agent, status=status, tool=tool, user_id=user_id, session_id=session_id, since=since, until=until
    )
    _check_limit(limit)
    wanted = Wanted(since_ns=selection.since_ns, until_ns=selection.until_ns, service=service)
    readable = narrowed(open_source(source, on_progress=on_progress), wanted)
    traces = of_service(readable.traces(_reporter(strict, on_problem)), service)
    if newest_first:
        return iter(_newest(traces, selection, limit, early=getattr(readable, "newest_first", False)))
    return islice(_selected(traces, selection), limit)


def load_runs(source: Any, **filters: Any) -> list[AgentRun]:
    """The runs of a source, oldest first; takes what `iter_runs` takes.

    With `limit` and without `newest_first`, the oldest ones. Raises what `iter_runs` raises.
    """
    if filters.get("newest_first"):
        return list(iter_runs(source, **filters))
    limit = filters.pop("limit", None)
    _check_limit(limit)
    runs = sorted(iter_runs(source, **filters), key=_age)
    return runs if limit is None else runs[:limit]


def load_run(
    source: Any,
    run_id: str | None = None,
    *,
    service: str | None = None,
    strict: bool = False,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> AgentRun:
    """One run: by its id, its trace id, the beginning of either, or "last"; a sub-agent's run is found as well.

    Without an id: the only run there is. `service` and what follows is as in `iter_runs`.

    Raises:
        RunNotFoundError: no run has that id, or there is none at all.
        AmbiguousRunError: several runs fit.
        SourceError: as `iter_runs`.
    """
    if run_id == "last":
        return _last(source, service=service, strict=strict, on_problem=on_problem, on_progress=on_progress)
    readable = narrowed(open_source(source, on_progress=on_progress), Wanted(service=service, run_id=run_id))
    traces = of_service(readable.traces(_reporter(strict, on_problem)), service)
    found = list(_fitting(_selected(traces, Selection()), run_id))
    exact = [run for run, is_exact in found if is_exact]
    candidates = exact or [run for run, _ in found]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise RunNotFoundError(_nothing_in(source) if run_id is None else f"no run {run_id!r} in {name_of(source)}")
    raise AmbiguousRunError(_several(source, run_id, candidates))


def explain_run(
    source: Any,
    run_id: str | None = None,
    *,
    service: str | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
) -> RunExplanation:
    """What `load_run` gives, fact by fact with the span and the attribute that each came from; raises what it raises.

    The source is read twice.
    """
    run = load_run(source, run_id, service=service, on_problem=on_problem, on_progress=on_progress)
    readable = narrowed(open_source(source), Wanted(service=service, run_id=run.trace_id))
    for spans in of_service(readable.traces(lambda _: None), service):
        if spans and spans[0].trace_id == run.trace_id:
            explained = (below for outer in explain(spans) for below in outer.walk())
            found = next((below for below in explained if below.run.run_id == run.run_id), None)
            if found is not None:
                return found
    raise RunNotFoundError(f"run {run.run_id!r} is no longer in {name_of(source)}")


def _last(source: Any, **options: Any) -> AgentRun:
    for run in iter_runs(source, limit=1, newest_first=True, **options):
        return run
    raise RunNotFoundError(_nothing_in(source))


def runs_from_spans(spans: Iterable[Any]) -> list[AgentRun]:
    """The outermost runs in spans that are at hand, oldest first: `SpanRecord`s or spans of the OpenTelemetry SDK."""
    reader = SdkReader()
    records = (span if isinstance(span, SpanRecord) else reader.record(span) for span in spans)
    return sorted(runs_of(by_trace(records).values()), key=_age)


def _check_limit(limit: int | None) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        msg = f"limit must be a number of runs, 0 or more, not {limit!r}"
        raise ConfigurationError(msg)


def _selected(traces: Iterable[list[SpanRecord]], selection: Selection) -> Iterator[AgentRun]:
    return (run for run in runs_of(traces) if selection.takes(run))


def _age(run: AgentRun) -> tuple[int, str]:
    return run.started_at_ns, run.run_id


def _newest(
    traces: Iterator[list[SpanRecord]], selection: Selection, limit: int | None, *, early: bool
) -> list[AgentRun]:
    """The newest runs; `early`: nothing in a trace is newer than the latest start in the one before."""
    if limit is None:
        return sorted(_selected(traces, selection), key=_age, reverse=True)
    newest: list[_Aged] = []
    counter = itertools.count()
    looked_at = _until(traces, newest, limit) if early else traces
    for run in _selected(looked_at if limit else (), selection):
        heapq.heappush(newest, (_age(run), next(counter), run))
        if len(newest) > limit:
            heapq.heappop(newest)
    return [run for _, _, run in sorted(newest, reverse=True)]


_Aged = tuple[tuple[int, str], int, AgentRun]


def _until(traces: Iterable[list[SpanRecord]], newest: list[_Aged], limit: int) -> Iterator[list[SpanRecord]]:
    """The traces, until as many runs are found as are wanted, and what comes is older."""
    for spans in traces:
        yield spans
        if len(newest) == limit and newest[0][0][0] > max(span.start_ns for span in spans):
            return


def _fitting(runs: Iterable[AgentRun], run_id: str | None) -> Iterator[tuple[AgentRun, bool]]:
    """The runs that an id may mean, each with whether it is exactly that."""
    for outer in runs:
        if run_id is None:
            yield outer, False
            continue
        begun = False
        for run in outer.walk():
            if run.run_id == run_id or (run is outer and run.trace_id == run_id):
                yield run, True
            elif not begun and _begins(run, outer, run_id):  # ids below often begin like the outer one's
                begun = run is outer
                yield run, False


def _begins(run: AgentRun, outer: AgentRun, run_id: str) -> bool:
    return run.run_id.startswith(run_id) or (run is outer and (run.trace_id or "").startswith(run_id))


def _reporter(strict: bool, on_problem: Callable[[Problem], None] | None) -> Callable[[Problem], None]:
    if strict:
        return _raise
    return _warn if on_problem is None else on_problem


def _raise(problem: Problem) -> None:
    raise BadRecordError(problem.path, problem.line, problem.reason)


def _warn(problem: Problem) -> None:
    _log.warning("%s (skipped)", problem)


def _nothing_in(source: Any) -> str:
    return f"no runs in {name_of(source)}"


def _several(source: Any, run_id: str | None, runs: list[AgentRun]) -> str:
    shown = ", ".join(run.run_id for run in runs[:_SHOWN_RUNS])
    more = f" and {len(runs) - _SHOWN_RUNS} more" if len(runs) > _SHOWN_RUNS else ""
    what = "is not enough" if run_id is None else f"fits {len(runs)} runs"
    asked = "no run id" if run_id is None else repr(run_id)
    return f"{asked} {what} in {name_of(source)}: {shown}{more}"
