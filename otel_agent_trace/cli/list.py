"""Define ``otel-agent-trace list``: the runs of a source, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from otel_agent_trace.cli.options import filter_options, json_option, limit_option, prices_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.cli.streams import stderr_console, stdout_console, write_json, write_message
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import name_of, open_source, prices_for
from otel_agent_trace.sources.census import Census
from otel_agent_trace.sources.search import nothing_found_text, search
from otel_agent_trace.views.summaries import RunSummary, summary_of

_LIMIT = 20


@click.command("list")
@source_argument
@filter_options
@limit_option("runs", _LIMIT)
@prices_option
@json_option
def command(source: str | None, limit: int, *, as_json: bool, prices: str | None, **filters: Any) -> None:
    """List the runs of SOURCE, newest first."""
    query = RunQuery.of(**filters, prices=prices_for(source_of(source), prices))
    census = Census()
    summaries = _summaries(source_of(source), query.but(limit=limit or None, newest_first=True), census)
    if as_json:
        write_json([summary.to_dict() for summary in summaries])
        return
    if not summaries:
        write_message(nothing_found_text(query, name_of(source_of(source)), census))
        return
    from otel_agent_trace.cli.printing import print_runs  # noqa: PLC0415 - --json does without rich

    print_runs(summaries, stdout_console(), datetime.now().astimezone())
    if len(summaries) == limit:
        which = "first" if query.sort else "newest"
        stderr_console().print(f"(the {which} {limit}; --limit 0 lists all)", style="dim")


def _summaries(source: str, query: RunQuery, census: Census) -> list[RunSummary]:
    with reporting_progress() as reporter, hints_on_error(source):
        opened = open_source(source, on_progress=reporter.on_progress, media=False)
        return [
            *search(
                opened,
                query,
                reporter.on_problem,
                lambda found: summary_of(found.run, query.costs.of(found.run)),
                census,
            )
        ]
