"""Define ``otel-agent-trace explain``: which span and attribute each fact of a run was read from."""

from __future__ import annotations

import click

from otel_agent_trace import reading
from otel_agent_trace.cli.options import json_option, run_argument, service_option, source_argument
from otel_agent_trace.cli.sources import read_by
from otel_agent_trace.cli.streams import stdout_console, write_json


@click.command("explain")
@source_argument
@run_argument
@service_option
@json_option
def command(source: str | None, run: str | None, *, service: str | None, as_json: bool) -> None:
    """Show where each fact of one run of SOURCE was read: in which span, and in which attribute or event of it.

    Facts that were inferred are marked, and attributes that no dialect understood are listed. RUN is a run id, the
    beginning of one, or "last" (the default); SOURCE#RUN names both in one word.
    """
    explanation = read_by(reading.explain_run, source, run, service)
    if as_json:
        write_json(explanation.to_dict())
        return
    from otel_agent_trace.cli.printing import print_explanation  # noqa: PLC0415 - --json does without rich

    print_explanation(explanation, stdout_console())
