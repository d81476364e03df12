"""``otel-agent-trace metrics``: figures of many runs."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace import reading
from otel_agent_trace.cli.options import filter_options, json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import explained, source_of
from otel_agent_trace.cli.streams import output, write_json
from otel_agent_trace.metrics import MetricsReport, compute_metrics
from otel_agent_trace.query import RunQuery


@click.command("metrics")
@source_argument
@filter_options
@click.option("--bucket", metavar="WIDTH", help="Also over time, in buckets of that width: 15m, 1h, 1d.")
@json_option
def command(source: str | None, bucket: str | None, *, as_json: bool, **filters: Any) -> None:
    """Success rate, latency, tokens, tools, models and errors of the runs of SOURCE, all of them or those that fit."""
    report = _report(source_of(source), bucket, RunQuery.of(**filters).but(sort=None))
    if as_json:
        write_json(report.to_dict())
        return
    from otel_agent_trace.cli.report_tables import print_report  # noqa: PLC0415 - --json does without rich

    print_report(report, output())


def _report(source: str, bucket: str | None, query: RunQuery) -> MetricsReport:
    with reporting_progress() as reading_so_far, explained(source):
        runs = reading.iter_runs(
            source, query, on_problem=reading_so_far.on_problem, on_progress=reading_so_far.on_progress
        )
        return compute_metrics(runs, bucket=bucket)
