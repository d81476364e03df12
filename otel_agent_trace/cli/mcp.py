"""Define ``otel-agent-trace mcp``: the runs of a source for coding agents."""

from __future__ import annotations

import click

from otel_agent_trace.cli.options import prices_option, source_argument
from otel_agent_trace.cli.sources import source_of
from otel_agent_trace.extras import needed_by
from otel_agent_trace.prices import Prices


@click.command("mcp")
@source_argument
@prices_option
def command(source: str | None, *, prices: str | None) -> None:
    """Serve the runs of SOURCE to a coding agent by the Model Context Protocol, on standard input and output.

    The tools list, search, show, explain, compare and measure runs, and change nothing. SOURCE need not exist yet.
    """
    with needed_by("mcp", "mcp"):
        from otel_agent_trace.mcp.server import server_of  # noqa: PLC0415 - an extra
    server_of(source_of(source), Prices.of(prices)).run("stdio")
