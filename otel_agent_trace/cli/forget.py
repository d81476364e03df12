"""Define ``otel-agent-trace forget``: remove the runs of a user or of a session from local files."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.removing import as_kept, report_removed
from otel_agent_trace.cli.sources import hints_on_error, source_of, warn_of_files_beside
from otel_agent_trace.forgetting import forget


@click.command("forget")
@source_argument
@click.option("--user", "user_id", metavar="ID", help="The runs of this user, by plain id or pseudonym.")
@click.option(
    "--session", "session_id", metavar="ID", help="The runs of this session; with --user, of that user in it."
)
@click.option("--apply", is_flag=True, help="Change the files; without it, only count what would be removed.")
@json_option
def command(source: str | None, user_id: str | None, session_id: str | None, *, apply: bool, as_json: bool) -> int:
    """Remove the runs of a user or of a session from the files of SOURCE, with their sub-agents, scores and log records.

    Without --apply it writes nothing, and prints what would be removed. Each file that has something is written anew
    beside itself and renamed, with mode 0600; programs that write to it with this library go on in the new file.

    The exit status is 1 if something could not be removed.
    """
    if user_id is None and session_id is None:
        raise click.UsageError("give --user ID, --session ID, or both", click.get_current_context())
    name = source_of(source)
    with reporting_progress() as reporter, hints_on_error(name):
        forgotten = forget(
            name,
            user_id=user_id,
            session_id=session_id,
            apply=apply,
            on_problem=lambda problem: reporter.on_problem(as_kept(problem)),
            on_progress=reporter.on_progress,
        )
    warn_of_files_beside(name)
    return report_removed(forgotten, as_json=as_json)
