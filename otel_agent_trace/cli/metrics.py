"""Define ``otel-agent-trace metrics``: the figures of many runs."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace.cli.options import filter_options, json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_message
from otel_agent_trace.metrics import MetricsReport, compute_metrics
from otel_agent_trace.metrics.dropped import dropped_that_fit
from otel_agent_trace.metrics.groups import KEYS
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import name_of, open_source
from otel_agent_trace.sources.census import Census
from otel_agent_trace.sources.search import nothing_found_text, search


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
@click.option("--replays", is_flag=True, help="Count runs that are replays of others, too.")
@json_option
def command(
    source: str | None, bucket: str | None, by: tuple[str, ...], *, as_json: bool, replays: bool, **filters: Any
) -> None:
    """Measure success rate, latency, tokens, tools, models, scores and errors of the runs of SOURCE that match the filters."""
    query, census = RunQuery.of(**filters).but(sort=None), Census()
    report = _report(source_of(source), query, census, bucket=bucket, by=by, replays=replays)
    if as_json:
        write_json(report.to_dict())
        return
    if not report.runs:
        write_message(nothing_found_text(query, name_of(source_of(source)), census))
    from otel_agent_trace.cli.printing import print_report  # noqa: PLC0415 - --json does without rich

    print_report(report, stdout_console())


def _report(source: str, query: RunQuery, census: Census, **how: Any) -> MetricsReport:
    with reporting_progress() as reporter, hints_on_error(source):
        opened = open_source(source, on_progress=reporter.on_progress, media=False)
        runs = search(opened, query, reporter.on_problem, lambda found: found.run, census)
        counts = dropped_that_fit(opened.dropped(), query) if hasattr(opened, "dropped") else []
        return compute_metrics(runs, dropped=counts, **how)
