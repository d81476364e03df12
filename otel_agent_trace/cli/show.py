"""Define ``otel-agent-trace show``: one run as a tree of steps, or one session as a conversation."""

from __future__ import annotations

from typing import Any

import click

from otel_agent_trace.cli.options import (
    full_option,
    json_option,
    prices_option,
    run_argument,
    service_option,
    source_argument,
)
from otel_agent_trace.cli.sources import run_of, target_of
from otel_agent_trace.cli.streams import stdout_console, write_json, write_json_with_list
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices, run_cost
from otel_agent_trace.sources import prices_for
from otel_agent_trace.views.summaries import cost_data


@click.command("show")
@source_argument
@run_argument
@click.option("--session", metavar="ID", help="Show the runs of this session as one conversation.")
@service_option
@full_option
@prices_option
@json_option
def command(
    source: str | None,
    run: str | None,
    *,
    session: str | None,
    service: str | None,
    full: bool,
    prices: str | None,
    as_json: bool,
) -> None:
    """Show one run of SOURCE as a tree: its steps with their inputs, outputs and durations.

    RUN is a run id, the beginning of one, or "last" (the default); SOURCE#RUN names both in one word. With --session ID
    the runs of a session are shown in order, each with its question and its answer.
    """
    known_prices = prices_for(target_of(source, run).source, prices)
    if session is not None:
        target = target_of(source, run, without=None)
        if target.run is not None:
            msg = f"--session shows all runs of a session: RUN ({target.run}) cannot be given too"
            raise click.UsageError(msg)
        _show_session(session, target.source, service, known_prices, full=full, as_json=as_json)
        return
    shown = run_of(source, run, service)
    if as_json:
        write_json(_run_data(shown, known_prices))
        return
    from otel_agent_trace.cli.printing import print_run  # noqa: PLC0415 - --json does without rich

    print_run(shown, stdout_console(), full=full, cost=run_cost(shown, known_prices))


def _show_session(
    session_id: str, source: str, service: str | None, prices: Prices, *, full: bool, as_json: bool
) -> None:
    from otel_agent_trace.cli.sessions import session_called  # noqa: PLC0415 - a run does without

    session = session_called(session_id, source, service, prices)
    if as_json:
        write_json_with_list(session.to_dict(), "runs", (_run_data(run, prices) for run in session.runs))
        return
    from otel_agent_trace.cli.printing import print_session  # noqa: PLC0415 - --json does without rich

    print_session(session, stdout_console(), full=full)


def _run_data(run: AgentRun, prices: Prices) -> dict[str, Any]:
    return {**run.to_dict(), **cost_data(run_cost(run, prices))}
