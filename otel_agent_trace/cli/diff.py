"""Define ``otel-agent-trace diff``: two runs side by side, and where they differ."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import full_option, json_option, prices_option, service_option
from otel_agent_trace.cli.sources import run_of, target_of
from otel_agent_trace.cli.streams import stdout_console, write_json
from otel_agent_trace.prices import run_cost
from otel_agent_trace.sources import prices_for
from otel_agent_trace.views.summaries import cost_data

_SAME, _DIFFERENT = 0, 1


@click.command("diff")
@click.argument("a")
@click.argument("b")
@service_option
@full_option
@prices_option
@json_option
def command(a: str, b: str, *, service: str | None, full: bool, prices: str | None, as_json: bool) -> int:
    """Compare two runs, A on the left and B on the right: their steps, inputs, outputs, errors, tokens and cost.

    A and B are SOURCE#RUN, or SOURCE for its last run. Ids and times are no difference. The exit status is 1 if the runs
    differ, else 0.
    """
    from otel_agent_trace.replay.diff import diff_runs  # noqa: PLC0415 - other commands and --help do without

    prices_a, prices_b = (prices_for(target_of(side, None).source, prices) for side in (a, b))
    diff = diff_runs(run_of(a, None, service), run_of(b, None, service))
    costs = run_cost(diff.a, prices_a), run_cost(diff.b, prices_b)
    if as_json:
        data = diff.to_dict()
        sides = {side: {**data[side], **cost_data(cost)} for side, cost in zip("ab", costs, strict=True)}
        write_json({**data, **sides})
    else:
        from otel_agent_trace.cli.printing import print_diff  # noqa: PLC0415 - --json does without rich

        print_diff(diff, stdout_console(), full=full, costs=costs)
    return _DIFFERENT if diff else _SAME
