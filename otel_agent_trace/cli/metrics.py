"""Define ``otel-agent-trace metrics``: the figures of many runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

import click

from otel_agent_trace.cli.options import filter_options, json_option, prices_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_message
from otel_agent_trace.metrics import MetricsComparison, MetricsReport
from otel_agent_trace.metrics.compute import compute_comparison
from otel_agent_trace.metrics.conditions import FIGURES, FailCondition, fail_condition
from otel_agent_trace.metrics.dropped import counts_of
from otel_agent_trace.metrics.engines import ENGINES, source_metrics
from otel_agent_trace.metrics.groups import KEYS
from otel_agent_trace.metrics.sides import Sides, sides_of
from otel_agent_trace.model import at_time
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import name_of, open_source, prices_for
from otel_agent_trace.sources.census import Census
from otel_agent_trace.sources.search import nothing_found_text, search

M = TypeVar("M", MetricsReport, MetricsComparison)
_OK, _FAILED = 0, 1


@click.command("metrics")
@source_argument
@filter_options
@click.option("--bucket", metavar="WIDTH", help="Also show the course of time, in buckets of this width: 15m, 1h, 1d.")
@click.option(
    "--by",
    metavar="KEY",
    multiple=True,
    help=f"Also figures for each group of runs, by {', '.join(KEYS)}; may be repeated.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="How to count: duckdb, the default for Parquet, or parse: read each run. The report is the same.",
)
@click.option("--replays", is_flag=True, help="Count runs that are replays of others, too.")
@click.option(
    "--compare",
    metavar="WHAT",
    help="Compare two sets of runs: 7d (the last 7 days with the 7 days before) or KEY=BEFORE,AFTER for two groups of --by: version=1.2,1.3.",
)
@click.option(
    "--fail-if",
    metavar="CONDITION",
    multiple=True,
    help=f"Exit with status 1 where this holds, as 'success_rate<.95'; < or > after {', '.join(FIGURES)}; may be repeated.",
)
@prices_option
@json_option
def command(
    source: str | None,
    bucket: str | None,
    by: tuple[str, ...],
    compare: str | None,
    fail_if: tuple[str, ...],
    *,
    engine: str | None,
    as_json: bool,
    replays: bool,
    prices: str | None,
    **filters: Any,
) -> int:
    """Measure success rate, latency, tokens, cost, tools, models, scores and errors of the runs of SOURCE that match the filters."""
    conditions, known_prices = [fail_condition(text) for text in fail_if], prices_for(source_of(source), prices)
    for condition in conditions:
        condition.check(known_prices)
    query = RunQuery.of(**filters).but(sort=None)
    if compare is None:
        how: dict[str, Any] = {"engine": engine, "bucket": bucket, "by": by, "replays": replays, "prices": known_prices}
        report = _report(source, query, explain=not as_json, **how)
        _write(report, as_json=as_json)
        return _status(report, conditions)
    if bucket is not None or by:
        raise click.UsageError("--compare goes with neither --bucket nor --by", click.get_current_context())
    comparison = _comparison(source, query, compare, explain=not as_json, replays=replays, prices=known_prices)
    _write(comparison, as_json=as_json)
    return _status(comparison.after, conditions)


def _sides(compare: str, query: RunQuery) -> tuple[Sides, RunQuery]:
    """Return what is compared, and the query that finds no other runs."""
    until = datetime.now(timezone.utc) if query.until_ns is None else at_time(query.until_ns)
    sides = sides_of(compare, until)
    if sides.since is None:
        return sides, query
    if query.since_ns is not None:
        msg = f"--compare {compare} goes with --until, at which its time ends, but not with --since"
        raise click.UsageError(msg, click.get_current_context())
    return sides, query.but(since=sides.since, until=until)


def _report(source: str | None, query: RunQuery, *, explain: bool, **how: Any) -> MetricsReport:
    """Return the report of the runs that a query finds; with `explain`, write a message if there are none."""
    name, census = source_of(source), Census()
    with reporting_progress() as reporter, hints_on_error(name):
        on: dict[str, Any] = {"on_problem": reporter.on_problem, "on_progress": reporter.on_progress}
        report = source_metrics(name, query, census=census, **on, **how)
    if explain and not report.runs:
        write_message(nothing_found_text(query, name_of(name), census))
    return report


def _comparison(source: str | None, asked: RunQuery, compare: str, *, explain: bool, **how: Any) -> MetricsComparison:
    """Return the comparison of the runs that a query finds; with `explain`, write a message if there are none."""
    sides, query = _sides(compare, asked)
    name, census = source_of(source), Census()
    with reporting_progress() as reporter, hints_on_error(name):
        opened = open_source(name, on_progress=reporter.on_progress, media=False)
        dropped = sides.dropped(counts_of(opened), asked)
        runs = search(opened, query, reporter.on_problem, lambda found: found.run, census)
        comparison = compute_comparison(runs, sides, dropped=dropped, **how)
    if explain and not (comparison.before.runs or comparison.after.runs):
        write_message(nothing_found_text(query, name_of(name), census))
    return comparison


def _write(measured: MetricsReport | MetricsComparison, *, as_json: bool) -> None:
    if as_json:
        write_json(measured.to_dict())
        return
    from otel_agent_trace.cli import printing  # noqa: PLC0415 - --json does without rich

    if isinstance(measured, MetricsReport):
        printing.print_report(measured, stdout_console())
    else:
        printing.print_comparison(measured, stdout_console())


def _status(report: MetricsReport, conditions: Sequence[FailCondition]) -> int:
    """Write a line for each condition under which the report fails, or passes in doubt, and return the exit status."""
    status = _OK
    for condition in conditions:
        failure = condition.failure(report)
        if failure is not None:
            status = _FAILED
            write_message(f"failed: {failure}")
        elif (doubt := condition.doubt(report)) is not None:
            write_message(f"passed: {doubt}")
    return status
