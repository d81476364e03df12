"""The arguments and options that several commands share; the names of the filters are those of the reading functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from otel_agent_trace.model import RunStatus

F = TypeVar("F", bound=Callable[..., Any])

_TIME_HELP = "a time (2026-05-01, 2026-05-01T12:00) or an age (90s, 15m, 24h, 7d)"
_FILTERS = (
    click.option(
        "--status", type=click.Choice([status.value for status in RunStatus]), help="Only runs that ended so."
    ),
    click.option("--agent", metavar="NAME", help="Only runs of this agent."),
    click.option("--tool", metavar="NAME", help="Only runs that called this tool."),
    click.option("--user", "user_id", metavar="ID", help="Only runs of this user."),
    click.option("--session", "session_id", metavar="ID", help="Only runs of this session."),
    click.option("--service", metavar="NAME", help="Only runs in whose trace this service takes part."),
    click.option("--since", metavar="TIME", help=f"Only runs that started then or later: {_TIME_HELP}."),
    click.option("--until", metavar="TIME", help="Only runs that started before."),
)

source_argument = click.argument("source", required=False)
run_argument = click.argument("run", required=False)
service_option = click.option("--service", metavar="NAME", help="Look only at traces in which this service takes part.")
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
full_option = click.option("--full", is_flag=True, help="Show every step and every value whole.")


def filter_options(function: F) -> F:
    """Which runs of the source are meant."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function
