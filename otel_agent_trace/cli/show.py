"""Define ``otel-agent-trace show``: one run as a tree of steps."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import full_option, json_option, run_argument, service_option, source_argument
from otel_agent_trace.cli.sources import run_of
from otel_agent_trace.cli.streams import stdout_console, write_json


@click.command("show")
@source_argument
@run_argument
@service_option
@full_option
@json_option
def command(source: str | None, run: str | None, *, service: str | None, full: bool, as_json: bool) -> None:
    """Show one run of SOURCE as a tree: its steps with their inputs, outputs and durations.

    RUN is a run id, the beginning of one, or "last" (the default); SOURCE#RUN names both in one word.
    """
    shown = run_of(source, run, service)
    if as_json:
        write_json(shown.to_dict())
        return
    from otel_agent_trace.cli.printing import print_run  # noqa: PLC0415 - --json does without rich

    print_run(shown, stdout_console(), full=full)
