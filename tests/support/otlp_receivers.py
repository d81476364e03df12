"""Receivers of OTLP: one of ours in this process, over HTTP and gRPC, and two that others made."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from tests.support.requirements import cannot_run
from tests.support.waiting import DEADLOCK_S, wait_until

Sent = TypeVar("Sent")

# ── OTLP as protobuf → records ───────────────────────────────────────────────────────────────────────────────────────


def records_of(requests: Iterable[ExportTraceServiceRequest]) -> list[SpanRecord]:
    """The spans of some requests."""
    return [
        record_of(
            span,
            Resource(attributes_of(group.resource.attributes), group.schema_url),
            Scope(part.scope.name, part.scope.version, attributes_of(part.scope.attributes), part.schema_url),
        )
        for request in requests
        for group in request.resource_spans
        for part in group.scope_spans
        for span in part.spans
    ]


def record_of(span: Span, resource: Resource, scope: Scope) -> SpanRecord:
    """One span, read by its protobuf fields alone."""
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex() or None,
        name=span.name,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=attributes_of(span.attributes),
        kind=span.kind,
        status_code=span.status.code,
        status_message=span.status.message,
        events=tuple(Event(event.name, event.time_unix_nano, attributes_of(event.attributes)) for event in span.events),
        links=tuple(
            Link(link.trace_id.hex(), link.span_id.hex(), attributes_of(link.attributes), link.trace_state)
            for link in span.links
        ),
        resource=resource,
        scope=scope,
        trace_state=span.trace_state,
        flags=span.flags,
    )


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Received(NamedTuple):
    """One request as it came: the path (of gRPC: the method), the headers in lower case, and its message."""

    path: str
    headers: dict[str, str]
    request: ExportTraceServiceRequest


class Sink:
    """Takes OTLP and keeps it."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.received: list[Received] = []

    def take(self, path: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Keep a request."""
        lowered = {name.lower(): value for name, value in headers}
        data = gzip.decompress(body) if lowered.get("content-encoding") == "gzip" else body
        self.received.append(Received(path, lowered, ExportTraceServiceRequest.FromString(data)))

    def records(self) -> list[SpanRecord]:
        """All spans that came."""
        return records_of(received.request for received in list(self.received))

    def wait_for(self, number: int) -> list[SpanRecord]:
        """The spans, as soon as there are so many."""
        return wait_until(
            lambda: found if len(found := self.records()) >= number else [], f"{number} spans at the sink"
        )


# ── others ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Relay(NamedTuple):
    """A collector in another process, its addresses by protocol, and where it sends to."""

    endpoints: dict[str, str]
    sink: Sink


def rotel_program() -> Path:
    try:
        import rotel  # type: ignore[import-untyped]
    except ImportError:
        cannot_run("the package rotel is not installed")
    program = Path(rotel.__file__).with_name("rotel-agent")
    if not os.access(program, os.X_OK):
        cannot_run(f"{program} cannot be run")
    return program


def start_rotel(program: Path, ports: list[int], target: str, folder: Path) -> subprocess.Popen[bytes]:
    options = {
        "--otlp-grpc-endpoint": f"127.0.0.1:{ports[0]}",
        "--otlp-http-endpoint": f"127.0.0.1:{ports[1]}",
        "--exporter": "otlp",
        "--otlp-exporter-endpoint": target,
        "--otlp-exporter-protocol": "http",
        "--batch-timeout": "20ms",
        "--pid-file": "rotel.pid",
        "--log-file": "rotel-agent.log",
    }
    command = [str(program), "start", *(word for option in options.items() for word in option)]
    with open(folder / "rotel.log", "wb") as log:
        try:
            return subprocess.Popen(command, cwd=folder, env={"HOME": str(folder)}, stdout=log, stderr=log)
        except OSError as error:
            cannot_run(f"{program} cannot be run: {error}")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def free_ports(number: int) -> list[int]:
    """Ports on which nobody listens now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def received_by_oteltap(send: Callable[[str], Sent], number: int) -> tuple[Sent, list[Span]]:
    """Send to oteltap, which keeps spans alone; return what `send` returned, and so many spans that came."""
    try:
        import oteltap
    except (ImportError, OSError) as error:
        cannot_run(f"oteltap cannot be used: {error}")

    async def receive() -> tuple[Sent, list[Span]]:
        [port] = free_ports(1)
        settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
        async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver:
            spans: Any = receiver.stream_traces()
            first = asyncio.ensure_future(anext(spans))
            sent = await asyncio.to_thread(send, f"http://127.0.0.1:{port}")
            received = [await asyncio.wait_for(first, DEADLOCK_S)]
            while len(received) < number:
                received.append(await asyncio.wait_for(anext(spans), DEADLOCK_S))
            await spans.aclose()
            return sent, received

    return asyncio.run(receive())
