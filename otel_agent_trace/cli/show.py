"""Define ``otel-agent-trace show``: one run as a tree of steps, or one session as a conversation."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import full_option, json_option, run_argument, service_option, source_argument
from otel_agent_trace.cli.sources import run_of, target_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_json_with_list


@click.command("show")
@source_argument
@run_argument
@click.option("--session", metavar="ID", help="Show the runs of this session as one conversation.")
@service_option
@full_option
@json_option
def command(
    source: str | None, run: str | None, *, session: str | None, service: str | None, full: bool, as_json: bool
) -> None:
    """Show one run of SOURCE as a tree: its steps with their inputs, outputs and durations.

    RUN is a run id, the beginning of one, or "last" (the default); SOURCE#RUN names both in one word. With --session ID
    the runs of a session are shown in order, each with its question and its answer.
    """
    if session is not None:
        target = target_of(source, run, without=None)
        if target.run is not None:
            msg = f"--session shows all runs of a session: RUN ({target.run}) cannot be given too"
            raise click.UsageError(msg)
        _show_session(session, target.source, service, full=full, as_json=as_json)
        return
    shown = run_of(source, run, service)
    if as_json:
        write_json(shown.to_dict())
        return
    from otel_agent_trace.cli.printing import print_run  # noqa: PLC0415 - --json does without rich

    print_run(shown, stdout_console(), full=full)


def _show_session(session_id: str, source: str, service: str | None, *, full: bool, as_json: bool) -> None:
    from otel_agent_trace.cli.sessions import session_called  # noqa: PLC0415 - a run does without

    session = session_called(session_id, source, service)
    if as_json:
        write_json_with_list(session.to_dict(), "runs", (run.to_dict() for run in session.runs))
        return
    from otel_agent_trace.cli.printing import print_session  # noqa: PLC0415 - --json does without rich

    print_session(session, stdout_console(), full=full)
