"""Measure the runs of a source with the engine that counts them fastest: all engines give the same report."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.metrics.compute import compute_report, empty_strata
from otel_agent_trace.metrics.dropped import counts_of, dropped_of
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.metrics.sql.odd_traces import CountedSpans, OddTraces, TracesOf, among
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices, PricesGiven
from otel_agent_trace.query import RunQuery
from otel_agent_trace.reading import problem_reporter
from otel_agent_trace.sources import Progress, name_of, open_source, prices_for
from otel_agent_trace.sources.census import Census
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.index.files import files_of
from otel_agent_trace.sources.index.segments import StaleError
from otel_agent_trace.sources.parquet.source import ParquetSource
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import Problem

DUCKDB, PARSE = "duckdb", "parse"
ENGINES = (DUCKDB, PARSE)


def source_metrics(
    source: Any,
    query: RunQuery | None = None,
    *,
    engine: str | None = None,
    bucket: str | timedelta | None = None,
    by: str | Iterable[str] | None = None,
    replays: bool = False,
    prices: PricesGiven = None,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Progress | None = None,
    census: Census | None = None,
) -> MetricsReport:
    """Return the report of the runs of a source that a query selects, as `compute_metrics` of its runs would be.

    Args:
        source: as for `iter_runs`.
        query: the filters.
        engine: ``duckdb`` counts a Parquet export, or files of OTLP JSON Lines, by SQL; ``parse`` reads the runs one
        after
            the other. By default it is DuckDB for a Parquet export, if it is installed, else ``parse``. What SQL cannot
            count exactly is read with any engine.
        bucket: as for `compute_metrics`.
        by: as for `compute_metrics`.
        replays: as for `compute_metrics`.
        prices: as for `compute_metrics`.
        on_problem: as for `iter_runs`.
        on_progress: as for `iter_runs`.
        census: counts what is read, where runs are.

    Raises:
        SourceError: the source cannot be read at all.
        ConfigurationError: an argument is not valid, or the engine cannot count such a source, or is not installed.
    """
    if engine not in (None, *ENGINES):
        raise ConfigurationError(f"engine must be one of {', '.join(ENGINES)}, got {shown(engine)}")
    query = RunQuery() if query is None else query.but(sort=None, newest_first=False)
    opened = open_source(source, on_progress=on_progress, media=False)
    report = problem_reporter(False, on_problem)
    call = _Call(
        opened, query, empty_strata(bucket, by), bucket, replays, report, name_of(source), prices_for(opened, prices)
    )
    counted = None if engine == PARSE else _counted(call, engine)
    if counted is not None:
        return counted
    runs = search(opened, query, report, _run_of, census)
    return call.computed(runs)


class _Call(NamedTuple):
    """Hold what is to be counted; `strata` are empty until SQL has counted."""

    source: Any
    query: RunQuery
    strata: Strata
    bucket: str | timedelta | None
    replays: bool
    on_problem: Callable[[Problem], None]
    name: str
    prices: Prices

    def counted(self) -> MetricsReport:
        """Return the report of what was counted by SQL."""
        for _, tally in self.strata.sample().parts:
            if tally.outcomes.cost.calls:
                tally.prices.at(self.prices.version).count = tally.outcomes.cost.calls
        return MetricsReport(self.strata)

    def computed(self, runs: Iterable[AgentRun]) -> MetricsReport:
        """Return the report of runs that are read, and of the traces that the sampler of the source dropped.

        They are counted together, as the numbers of what was dropped weigh the runs of a sample.
        """
        dropped = dropped_of(counts_of(self.source), self.query)
        return compute_report(
            runs, dropped, bucket=self.bucket, by=self.strata.by, replays=self.replays, prices=self.prices
        )


def _counted(call: _Call, engine: str | None) -> MetricsReport | None:
    """Return the report by SQL; None where runs have to be read.

    Raises:
        ConfigurationError: the engine was asked for, and cannot count such a source, or is not installed.
    """
    if isinstance(call.source, ParquetSource):
        return _of_parquet(call) if engine == DUCKDB or _is_installed() else None
    if engine != DUCKDB:
        return _of_clickhouse(call) if isinstance(call.source, ClickHouseSource) else None
    if isinstance(call.source, FilesSource):
        return _of_files(call, call.source)
    raise ConfigurationError(
        f"{call.name}: DuckDB counts files, and one folder that 'otel-agent-trace export --to parquet' has written"
    )


def _is_installed() -> bool:
    return importlib.util.find_spec("duckdb") is not None


def _of_parquet(call: _Call) -> MetricsReport | None:
    from otel_agent_trace.metrics.sql.parquet import count_parquet  # noqa: PLC0415 - rarely needed

    numbers = count_parquet(call.source.folder, call.query, call.strata, replays=call.replays, prices=call.prices)
    if numbers is None:
        return None
    odd = OddTraces(numbers, lambda numbers, _: call.source.traces_of_runs(numbers))
    return call.counted() + _read(call, odd)


def _of_files(call: _Call, source: FilesSource) -> MetricsReport | None:
    from otel_agent_trace.metrics.sql import otlp_json  # noqa: PLC0415 - rarely needed

    if not otlp_json.can_count(call.query, call.strata.by):
        return None
    before = _places_of(source)
    with otlp_json.opened_files(source.files(), call.prices) as spans:
        if spans is None or before is None or before != _places_of(source):
            return None
        return _with_odd_traces(call, spans, among(source))


def _places_of(source: FilesSource) -> set[tuple[str, str]] | None:
    """Return the path and identity of each file, which change when one is closed or compressed; None meanwhile."""
    try:
        return {(status.path, status.identity) for status in files_of(source.files)}
    except StaleError:
        return None


def _of_clickhouse(call: _Call) -> MetricsReport | None:
    from otel_agent_trace.metrics.sql import clickhouse  # noqa: PLC0415 - rarely needed

    source: Any = call.source
    if not clickhouse.can_count(call.query, call.strata.by):
        return None
    with clickhouse.opened_table(source, call.prices) as spans:
        return _with_odd_traces(call, spans, source.traces_of)


def _with_odd_traces(call: _Call, spans: CountedSpans, traces_of: TracesOf) -> MetricsReport:
    """Return the report of the traces that SQL counts, and of those that have to be read."""
    odd = OddTraces(spans.odd(), traces_of)
    read = _read(call, odd)
    if odd.is_linked and spans.add_resuming():
        read = _read(call, OddTraces(spans.odd(), traces_of))
    spans.count(call.query, call.strata, replays=call.replays)
    return call.counted() + read


def _read(call: _Call, odd: OddTraces) -> MetricsReport:
    """Return the report of runs that are read, and of dropped traces."""
    return call.computed(search(odd, call.query, call.on_problem, _run_of))


def _run_of(found: Any) -> AgentRun:
    run: AgentRun = found.run
    return run
