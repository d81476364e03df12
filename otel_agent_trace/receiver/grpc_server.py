"""Receive OTLP over gRPC, by the services of traces and of logs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.otlp_answers import Signal, encode_response
from otel_agent_trace.receiver.deliveries import Delivery
from otel_agent_trace.receiver.refusals import RefusedError
from otel_agent_trace.receiver.sink import Sink

_SERVICES: dict[Signal, str] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
_THREADS = 8
"""Most requests at once: others wait, before their messages are received."""
_GRACE_S = 5.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcServer:
    """Hold a gRPC server that is running.

    Args:
        server: the server of `grpc`.
        port: its port.
    """

    def __init__(self, server: Any, port: int) -> None:
        self._server = server
        self.port = port

    def stop(self) -> None:
        """Answer the requests that are being received, for some seconds, and end."""
        self._server.stop(_GRACE_S).wait()


def serve_grpc(sink: Sink, host: str = "127.0.0.1", port: int = semconv.OTLP_GRPC_PORT) -> GrpcServer:
    """Start a gRPC server, without encryption, and return it.

    Args:
        sink: takes the requests.
        host: the address to listen on.
        port: the port; 0 for any.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc"),
        handlers=[_handler(sink, signal, service) for signal, service in _SERVICES.items()],
        options=[("grpc.max_receive_message_length", sink.limits.packed_bytes), ("grpc.so_reuseport", 0)],
    )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        msg = f"{address}: the port cannot be used (for OTLP over gRPC; --otlp-grpc-port N takes another)"
        raise ConfigurationError(msg) from error
    server.start()
    return GrpcServer(server, bound)


def _handler(sink: Sink, signal: Signal, service: str) -> Any:
    """Return the handler of a service, whose messages stay bytes."""
    method = grpc.unary_unary_rpc_method_handler(_exporting(sink, signal))
    return grpc.method_handlers_generic_handler(service, {"Export": method})


def _exporting(sink: Sink, signal: Signal) -> Callable[[bytes, Any], bytes]:
    def export(body: bytes, context: Any) -> bytes:
        try:
            receipt = sink.submit(Delivery(signal, body)).result()
        except RefusedError as error:
            _abort(context, error)
        return encode_response(signal, receipt.rejected, receipt.message, as_json=False)

    return export


def _abort(context: Any, error: RefusedError) -> NoReturn:
    context.abort(_CODES[error.reason.grpc_code], str(error))
    raise AssertionError  # `abort` raises
