"""Our receiver of OTLP, running in a thread of this process, or in a process of its own."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from otel_agent_trace import receiver
from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.span import LogRecord, SpanRecord

JSON, PROTOBUF = {"content-type": "application/json"}, {"content-type": "application/x-protobuf"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Receiver:
    """A receiver that runs, and the file that it writes."""

    def __init__(self, sink: receiver.StoreSink, addresses: receiver.Addresses) -> None:
        self.sink, self.addresses = sink, addresses
        self.port = int(addresses.http.rpartition(":")[2])

    def post(self, body: bytes, headers: Mapping[str, str], path: str = "/v1/traces", method: str = "POST") -> Answer:
        """Send a request on a connection of its own."""
        return request(self.port, body, headers, path, method)

    def spans(self) -> list[SpanRecord]:
        """The spans in the file."""
        return stored_spans(Path(self.sink.path))

    def logs(self) -> list[LogRecord]:
        """The log records in the file."""
        return [log for line in lines_of(Path(self.sink.path)) for log in otlp_json.decode_logs(line)]


def request(
    port: int, body: bytes, headers: Mapping[str, str], path: str = "/v1/traces", method: str = "POST"
) -> Answer:
    """Send a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
    finally:
        connection.close()


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file but for blank ones, none if there is no file."""
    return [line for line in path.read_bytes().split(b"\n") if line.strip()] if path.exists() else []


def stored_spans(path: Path) -> list[SpanRecord]:
    """The spans in a file."""
    return [span for line in lines_of(path) for span in otlp_json.decode(line)]


@contextmanager
def receiving(path: Path, *, grpc: bool = False, **options: Any) -> Iterator[Receiver]:
    """Run a receiver for the time of a block; `options` are those of `StoreSink`, and `trusted_hosts`."""
    trusted = options.pop("trusted_hosts", ())
    sink = receiver.StoreSink(path, **options)
    started, ends = threading.Event(), threading.Event()
    found: list[receiver.Addresses] = []

    async def serve() -> None:
        port = 0 if grpc else None
        async with receiver.running(sink, http_port=0, grpc_port=port, trusted_hosts=trusted) as addresses:
            found.append(addresses)
            started.set()
            await asyncio.to_thread(ends.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60)
        yield Receiver(sink, found[0])
    finally:
        ends.set()
        thread.join()
        sink.close()


PROGRAM = """
import asyncio, sys
from otel_agent_trace import receiver
async def main():
    sink = receiver.StoreSink(sys.argv[1])
    async with receiver.running(sink, http_port=0, grpc_port=0) as addresses:
        print(addresses.http.rpartition(":")[2], addresses.grpc.rpartition(":")[2], flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
"""A receiver that prints its ports, and writes the file that its argument names."""


def a_span(number: int, **fields: Any) -> SpanRecord:
    """One valid span."""
    given: dict[str, Any] = {"attributes": {"number": number}, **fields}
    return SpanRecord(TRACE, f"{number + 1:016x}", None, f"span {number}", 1_000 + number, 2_000 + number, **given)


def proto_of(*spans: SpanRecord) -> bytes:
    """A request of protobuf."""
    return otlp_proto.encode(spans)


def json_of(*spans: SpanRecord) -> bytes:
    """A request of JSON."""
    return otlp_json.encode(spans)
