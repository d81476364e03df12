"""Define ``otel-agent-trace status``: what a store has, and whether it is sound."""

from __future__ import annotations

import click
import msgspec

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.sources import hints_on_error, local_source
from otel_agent_trace.cli.streams import stdout_console, write_json
from otel_agent_trace.sources.status import status_of


@click.command("status")
@source_argument
@json_option
def command(source: str | None, *, as_json: bool) -> None:
    """Show what a store has: segments, runs, bytes, journals, index, binary parts, sampling, and damage.

    It reads the whole store, as 'verify' does, which names each damage.
    """
    name = local_source(source)
    with hints_on_error(name):
        status = status_of(name)
    if as_json:
        write_json(msgspec.to_builtins(status))
        return
    from otel_agent_trace.cli.render import Rows  # noqa: PLC0415 - --json does without rich
    from otel_agent_trace.views.store import status_rows  # noqa: PLC0415

    stdout_console().print(Rows(status_rows(status), indent=0))
