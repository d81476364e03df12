"""Define ``otel-agent-trace diff``: two runs side by side, and where they differ."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import full_option, json_option, service_option
from otel_agent_trace.cli.sources import run_of
from otel_agent_trace.cli.streams import stdout_console, write_json

_SAME, _DIFFERENT = 0, 1


@click.command("diff")
@click.argument("a")
@click.argument("b")
@service_option
@full_option
@json_option
def command(a: str, b: str, *, service: str | None, full: bool, as_json: bool) -> int:
    """Compare two runs, A on the left and B on the right: their steps, inputs, outputs, errors and tokens.

    A and B are SOURCE#RUN, or SOURCE for its last run. Ids and times are no difference. The exit status is 1 if the runs
    differ, else 0.
    """
    from otel_agent_trace.replay.diff import diff_runs  # noqa: PLC0415 - other commands and --help do without

    diff = diff_runs(run_of(a, None, service), run_of(b, None, service))
    if as_json:
        write_json(diff.to_dict())
    else:
        from otel_agent_trace.cli.printing import print_diff  # noqa: PLC0415 - --json does without rich

        print_diff(diff, stdout_console(), full=full)
    return _DIFFERENT if diff else _SAME
