"""Fixtures over what `otlp_receivers` has: receivers on ports of their own, ended when the test is over."""

from __future__ import annotations

import http.server
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from tests.support.export_command import Exporter
from tests.support.fake_receivers import FakeReceiver, fake_grpc_receiver, fake_http_receiver
from tests.support.http_servers import serving
from tests.support.otlp_receivers import Relay, Sink, free_ports, listens, rotel_program, start_rotel
from tests.support.requirements import cannot_run
from tests.support.waiting import DEADLOCK_S, wait_until


@pytest.fixture
def http_sink() -> Iterator[Sink]:
    """A sink for OTLP over HTTP on a port of its own."""
    sink = Sink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sink.take(self.path, self.headers.items(), self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing on stderr."""

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        sink.endpoint = f"http://127.0.0.1:{port}"
        yield sink


@pytest.fixture
def grpc_sink() -> Iterator[Sink]:
    """A sink for OTLP over gRPC on a port of its own."""
    sink = Sink()

    class Service(TraceServiceServicer):
        def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> Any:
            headers = [(name, str(value)) for name, value in context.invocation_metadata()]
            sink.take("Export", headers, request.SerializeToString())
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Service(), server)
    sink.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield sink
    server.stop(None).wait()


@pytest.fixture
def rotel(http_sink: Sink, tmp_path: Path) -> Iterator[Relay]:
    """The collector Rotel, which relays everything to a sink of ours."""
    program = rotel_program()
    for _ in range(3):  # a port that was free may be taken by another the moment after
        ports = free_ports(2)
        process = start_rotel(program, ports, http_sink.endpoint, tmp_path)
        try:
            if _runs(process, ports):
                grpc_port, http_port = ports
                by_protocol = {"grpc": grpc_port, "http/protobuf": http_port}
                yield Relay({name: f"http://127.0.0.1:{port}" for name, port in by_protocol.items()}, http_sink)
                return
        finally:
            _end(process)
    cannot_run(f"Rotel does not run here: {(tmp_path / 'rotel.log').read_text()[-500:]}")


def _runs(process: subprocess.Popen[bytes], ports: list[int]) -> bool:
    wait_until(lambda: process.poll() is not None or all(map(listens, ports)), "Rotel")
    return process.poll() is None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(DEADLOCK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def http_receiver() -> Iterator[FakeReceiver]:
    """A receiver over HTTP that fails as a test sets it."""
    with fake_http_receiver() as fake:
        yield fake


@pytest.fixture
def grpc_receiver() -> Iterator[FakeReceiver]:
    """The same over gRPC."""
    with fake_grpc_receiver() as fake:
        yield fake


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Exporter:
    """The command `export`, with a state folder of this test."""
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return Exporter(home, capsys)


@pytest.fixture
def receivers(http_receiver: FakeReceiver, grpc_receiver: FakeReceiver) -> dict[str, FakeReceiver]:
    """The two by their protocols."""
    return {"http/protobuf": http_receiver, "grpc": grpc_receiver}
