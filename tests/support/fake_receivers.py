"""A receiver of OTLP that fails as a test sets it, over HTTP or gRPC."""

from __future__ import annotations

import gzip
import http.server
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial as partial_call
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.span import LogRecord, SpanRecord
from tests.support.http_servers import serving
from tests.support.waiting import wait_until

PROTOBUF = "application/x-protobuf"


class Request(NamedTuple):
    """One request as it came."""

    number: int
    path: str
    headers: dict[str, str]
    body: bytes
    size: int
    spans: list[SpanRecord]
    logs: list[LogRecord]


class Answer(NamedTuple):
    """What is answered; of gRPC, `status` is a code, `body` the message, and headers are trailing metadata."""

    status: Any = 200
    body: bytes | str = b""
    headers: dict[str, Any] = {}
    content_type: str | None = PROTOBUF


OK = Answer()
RESET = Answer(0)
"""The connection is cut without an answer."""


def html(status: int = 200) -> Answer:
    return Answer(status, b"<!DOCTYPE html><html><body>Sign in</body></html>", content_type="text/html; charset=utf-8")


def partial(rejected: int, message: str) -> bytes:
    partial_success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial_success).SerializeToString()


def first(*answers: Answer) -> Callable[[Request], Answer]:
    """Those answers to the first requests, then all is well."""
    return lambda request: answers[request.number] if request.number < len(answers) else OK


def poisoned(answer: Answer, name: str = "poison") -> Callable[[Request], Answer]:
    """That answer to what holds a span of that name."""
    return lambda request: answer if any(span.name == name for span in request.spans) else OK


class FakeReceiver:
    """Counts requests, keeps the spans of those that it answers with success, and fails as `answer` says."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.answer: Callable[[Request], Answer] = lambda request: OK
        self.requests: list[Request] = []
        self.accepted: list[SpanRecord] = []
        self.logs: list[LogRecord] = []
        self._lock = threading.Lock()

    @property
    def http_endpoint(self) -> str:
        """The endpoint as OpenTelemetry's variables have it, also of gRPC."""
        return self.endpoint.replace("grpc://", "http://")

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        data = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        codec: Any = otlp_json if headers.get("content-type") == "application/json" else otlp_proto
        is_logs = "logs" in path
        spans = [] if is_logs else codec.decode(data)
        logs = codec.decode_logs(data) if is_logs else []
        with self._lock:
            request = Request(len(self.requests), path, headers, data, len(data), spans, logs)
            self.requests.append(request)
        answer = self.answer(request)
        if answer.status in (200, grpc.StatusCode.OK):
            with self._lock:
                self.accepted += spans
                self.logs += logs
        return answer

    def wait_for_requests(self, number: int) -> None:
        wait_until(lambda: len(self.requests) >= number, f"{number} requests")

    def ids(self) -> list[str]:
        """The ids of the accepted spans, sorted."""
        return sorted(span.span_id for span in self.accepted)


@contextmanager
def fake_http_receiver(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[FakeReceiver]:
    fake = FakeReceiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = fake.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            if answer is RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            payload = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.content_type is not None:
                self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: Any) -> None:
            """Say nothing on stderr."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever hangs up, or is killed, is expected here."""

    server = Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port_served:
        fake.endpoint = f"http{'s' if context else ''}://localhost:{port_served}"
        yield fake


@contextmanager
def fake_grpc_receiver(
    credentials: Any = None, options: Sequence[tuple[str, Any]] = (), port: int = 0
) -> Iterator[FakeReceiver]:
    fake = FakeReceiver()

    def export(signal: str, request: bytes, context: Any) -> bytes:
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        answer = fake.take(signal, headers, request)
        if answer.status in (200, grpc.StatusCode.OK):
            return answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        context.set_trailing_metadata(tuple(answer.headers.items()))
        return context.abort(answer.status, answer.body if isinstance(answer.body, str) else "")

    server = grpc.server(ThreadPoolExecutor(4), options=options)
    for signal, service in (("Export", "trace.v1.TraceService"), ("logs", "logs.v1.LogsService")):
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(partial_call(export, signal))}
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = (
        server.add_insecure_port(f"localhost:{port}")
        if credentials is None
        else server.add_secure_port("localhost:0", credentials)
    )
    fake.endpoint = f"grpc{'s' if credentials else ''}://localhost:{port}"
    server.start()
    yield fake
    server.stop(None).wait()
