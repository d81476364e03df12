"""Define ``otel-agent-trace metrics``: the figures of many runs."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace import reading
from otel_agent_trace.cli.options import filter_options, json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_message
from otel_agent_trace.metrics import MetricsReport, compute_metrics
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import name_of
from otel_agent_trace.sources.search import nothing_found_text


@click.command("metrics")
@source_argument
@filter_options
@click.option("--bucket", metavar="WIDTH", help="Also show the course of time, in buckets of this width: 15m, 1h, 1d.")
@json_option
def command(source: str | None, bucket: str | None, *, as_json: bool, **filters: Any) -> None:
    """Measure success rate, latency, tokens, tools, models and errors of the runs of SOURCE that match the filters."""
    query = RunQuery.of(**filters).but(sort=None)
    report = _report(source_of(source), bucket, query)
    if as_json:
        write_json(report.to_dict())
        return
    if not report.runs:
        write_message(nothing_found_text(query, name_of(source_of(source))))
    from otel_agent_trace.cli.printing import print_report  # noqa: PLC0415 - --json does without rich

    print_report(report, stdout_console())


def _report(source: str, bucket: str | None, query: RunQuery) -> MetricsReport:
    with reporting_progress() as reporter, hints_on_error(source):
        runs = reading.iter_runs(source, query, on_problem=reporter.on_problem, on_progress=reporter.on_progress)
        return compute_metrics(runs, bucket=bucket)
