"""Run the receiver: its HTTP server in the event loop of the caller, its gRPC server in threads."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from typing import NamedTuple

import uvicorn

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.receiver.app import app
from otel_agent_trace.receiver.grpc_server import GrpcServer, serve_grpc
from otel_agent_trace.receiver.guard import LOOPBACK_NAMES
from otel_agent_trace.receiver.sink import Sink

HTTP_PORT, GRPC_PORT = semconv.OTLP_HTTP_PORT, semconv.OTLP_GRPC_PORT
_BACKLOG = 2048
_GRACE_S = 5


class Addresses(NamedTuple):
    """Hold the addresses of a receiver that is running, as exporters are given them."""

    http: str
    grpc: str | None = None


@contextlib.asynccontextmanager
async def running(
    sink: Sink,
    *,
    host: str = "127.0.0.1",
    http_port: int = HTTP_PORT,
    grpc_port: int | None = None,
    trusted_hosts: Collection[str] = (),
) -> AsyncIterator[Addresses]:
    """Receive OTLP for the time of a block, and yield the addresses; requests in progress are answered at its end.

    The sink is not closed.

    Args:
        sink: takes the requests.
        host: the address to listen on. Whoever can reach one that is not loopback can write into the store.
        http_port: the port of HTTP; 0 for any.
        grpc_port: the port of gRPC; 0 for any, None for no gRPC.
        trusted_hosts: further names for the `Host` of requests, as behind a proxy. Those of loopback are trusted where
            it listens on loopback; elsewhere any, unless some are given.

    Raises:
        ConfigurationError: a port cannot be used.
    """
    listener = _listening(host, http_port)
    names = (*LOOPBACK_NAMES, *trusted_hosts) if trusted_hosts or is_loopback(host) else None
    server = _Server(
        uvicorn.Config(
            app(sink, hosts=names),
            http="h11",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    with contextlib.closing(listener), _grpc(sink, host, grpc_port) as grpc_server:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            grpc_address = None if grpc_server is None else _url(host, grpc_server.port)
            yield Addresses(_url(host, listener.getsockname()[1]), grpc_address)
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Run without handlers for signals, which are the caller's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals as they are."""
        yield


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error  # create_server adds the address to its own text
        msg = f"{host}:{port}: {reason} (for OTLP over HTTP; --otlp-http-port N takes another)"
        raise ConfigurationError(msg) from error


@contextlib.contextmanager
def _grpc(sink: Sink, host: str, port: int | None) -> Iterator[GrpcServer | None]:
    if port is None:
        yield None
        return
    server = serve_grpc(sink, host, port)
    try:
        yield server
    finally:
        server.stop()


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
