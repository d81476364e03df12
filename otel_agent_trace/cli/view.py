"""Define ``otel-agent-trace view``: a local page of a source."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing

import click

from otel_agent_trace import semconv
from otel_agent_trace.cli.options import prices_option, source_argument
from otel_agent_trace.cli.sources import hints_on_error, local_source, source_of
from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.extras import needed_by
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import open_source
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.search import search


@click.command("view")
@source_argument
@click.option(
    "--host", default="127.0.0.1", metavar="HOST", help="Listen there; by default only this machine reaches it."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8765, metavar="N", help="Port of the page; 0: any.")
@click.option("--no-open", is_flag=True, help="Open no browser.")
@click.option("--trusted-host", multiple=True, metavar="NAME", help="A further name of this server, as behind a proxy.")
@click.option("--receive", is_flag=True, help="Receive spans and logs by OTLP into SOURCE, which need not exist yet.")
@click.option(
    "--otlp-http-port",
    type=click.IntRange(0, 65535),
    default=semconv.OTLP_HTTP_PORT,
    metavar="N",
    help="Port of OTLP/HTTP; 0: any.",
)
@click.option(
    "--otlp-grpc-port",
    type=click.IntRange(0, 65535),
    default=semconv.OTLP_GRPC_PORT,
    metavar="N",
    help="Port of OTLP/gRPC; 0: any.",
)
@prices_option
def command(
    source: str | None,
    *,
    host: str,
    port: int,
    no_open: bool,
    trusted_host: tuple[str, ...],
    receive: bool,
    otlp_http_port: int,
    otlp_grpc_port: int,
    prices: str | None,
) -> None:
    """Show the runs of SOURCE on a page of this machine, as they are and as they go on, until Ctrl-C.

    The first line on standard output is the address of the page. Where other machines can reach it, the address has a
    token, without which there is no data.
    """
    name = local_source(source) if receive else source_of(source)
    if not receive:
        with hints_on_error(name):
            _check(name)
    with needed_by("view", "view"):
        from otel_agent_trace.viewer.library import Library  # noqa: PLC0415 - an extra
        from otel_agent_trace.viewer.server import Options, serve  # noqa: PLC0415
    library = Library(name, Prices.of(prices), is_new=receive)
    options = Options(host=host, port=port, trusted_hosts=trusted_host, opens_browser=not no_open)
    beside = functools.partial(_receiving, name, host, otlp_http_port, otlp_grpc_port, trusted_host)
    serve(library, options, click.echo, write_message, beside if receive else None)


@asynccontextmanager
async def _receiving(
    name: str, host: str, http_port: int, grpc_port: int, trusted_hosts: Sequence[str]
) -> AsyncIterator[Sequence[str]]:
    """Receive spans and logs by OTLP into a store for the time of a block, and yield lines about where."""
    from otel_agent_trace.receiver import StoreSink, running  # noqa: PLC0415 - an extra

    ports = {"http_port": http_port, "grpc_port": grpc_port}
    with closing(StoreSink(name)) as sink:
        async with running(sink, host=host, **ports, trusted_hosts=trusted_hosts) as addresses:
            sampled = [] if sink.sampling is None else [f"received traces are sampled: {sink.sampling}"]
            at = f"{addresses.http} (OTLP/HTTP) and {addresses.grpc} (OTLP/gRPC)"
            yield [f"spans and logs are received at {at}", *sampled]


def _check(name: str) -> None:
    """Check that a source can be read; of a server, that it answers.

    Raises:
        SourceError: it cannot.
    """
    opened = open_source(name, media=False)
    if isinstance(opened, FilesSource):
        opened.check()
        return
    newest = RunQuery(newest_first=True, limit=1)
    for _ in search(opened, newest, lambda _: None, lambda found: found.run):
        return
