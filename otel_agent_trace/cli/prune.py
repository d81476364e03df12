"""Define ``otel-agent-trace prune``: remove old runs, or others that are not needed, from local files."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace.cli.options import json_option, some_filters, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.removing import as_kept, report_removed
from otel_agent_trace.cli.sources import hints_on_error, source_of
from otel_agent_trace.forgetting import prune
from otel_agent_trace.query import RunQuery
from otel_agent_trace.store.settings import store_settings


@click.command("prune")
@source_argument
@some_filters("--until", "--status", "--agent", "--user")
@click.option(
    "--keep-bytes",
    metavar="N",
    help="Of the runs that the other options select, or of all, the oldest until the files take no more than this on disk: bytes, or 500MB, 2GB.",
)
@click.option("--apply", is_flag=True, help="Change the files; without it, only count what would be removed.")
@json_option
def command(source: str | None, keep_bytes: str | None, *, apply: bool, as_json: bool, **filters: Any) -> int:
    """Remove whole runs from the files of SOURCE, with their sub-agents, scores and log records.

    --until 30d removes those that started before that. A run that several options name must fit all of them. Without
    --apply it writes nothing, and prints what would be removed. Runs in flight stay.

    The exit status is 1 if something could not be removed.
    """
    query = RunQuery.of(**filters)
    size = None if keep_bytes is None else store_settings({"keep_bytes": keep_bytes}, {}).keep_bytes
    if not query.is_filter and size is None:
        msg = "name what to remove: give --until, --keep-bytes, --status, --agent or --user"
        raise click.UsageError(msg, click.get_current_context())
    name = source_of(source)
    with reporting_progress() as reporter, hints_on_error(name):
        removed = prune(
            name,
            query,
            keep_bytes=size,
            apply=apply,
            on_problem=lambda problem: reporter.on_problem(as_kept(problem)),
            on_progress=reporter.on_progress,
        )
    return report_removed(removed, as_json=as_json)
