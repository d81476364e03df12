"""What the receiver of OTLP costs a span, in CPU time of its process, against a bare starlette application that only parses.

    python benchmarks/receiver.py [--seconds 5] [--spans 512]

Each server is a process of its own, to which four threads send batches that were encoded before: of steps of agents, with
12 attributes and 1.5 KB of messages, ten in a trace, each time of new traces (but for gzip). With sampling, a tenth of
the traces are kept. The CPU time is that of the server's process, from the first request to the last; the
ratio is between medians of rounds that take turns.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import http.client
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.span import Resource, Scope, SpanRecord

THREADS = 4
BEGINNING = """
import asyncio, contextlib, sys, threading, time
"""
OURS = (
    BEGINNING
    + """
from otel_agent_trace import TailSampling, receiver
async def main():
    sampling = TailSampling(rest=0.1) if sys.argv[3:] else False
    sink = receiver.StoreSink(sys.argv[1], redact=sys.argv[2] == "redacted", sampling=sampling)
    async with receiver.running(sink, http_port=0) as addresses:
        print(addresses.http.rpartition(":")[2], flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(time.process_time(), flush=True)
asyncio.run(main())
"""
)
BARE = (
    BEGINNING
    + """
import gzip, json, socket, uvicorn
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
async def receive(request):
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    json.loads(body) if request.headers["content-type"] == "application/json" else TracesData.FromString(body)
    return Response(b"")
async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/v1/traces", receive, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", http="h11"))
    asyncio.create_task(server.serve([listener]))
    print(listener.getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(time.process_time(), flush=True)
    server.should_exit = True
asyncio.run(main())
"""
)


class Body(NamedTuple):
    """The body of a request, and its headers."""

    data: bytes
    headers: dict[str, str]

    def anew(self, number: int) -> bytes:
        """The body with trace ids of its own."""
        return self.data.replace(HIGH, number.to_bytes(8, "big")).replace(HIGH.hex().encode(), b"%016x" % number)


HIGH = bytes.fromhex("a7c5e0f1b3d29486")
"""First half of all trace ids."""


def bodies(spans: int) -> dict[str, list[Body]]:
    """Bodies of batches of spans, by what they are."""
    batches = [[step(batch * spans + number) for number in range(spans)] for batch in range(8)]
    protobuf, json = {"content-type": "application/x-protobuf"}, {"content-type": "application/json"}
    return {
        "protobuf": [Body(otlp_proto.encode(batch), protobuf) for batch in batches],
        "JSON": [Body(otlp_json.encode(batch), json) for batch in batches],
        "protobuf, gzip": [
            Body(gzip.compress(otlp_proto.encode(batch), 6), {**protobuf, "content-encoding": "gzip"})
            for batch in batches
        ],
    }


RESOURCE = Resource({"service.name": "support", "service.version": "1.4.2", "telemetry.sdk.language": "python"})
SCOPE = Scope("opentelemetry.instrumentation.openai", "0.62.0")


def step(number: int) -> SpanRecord:
    """One step of an agent."""
    question = f"Where is order {number}? It was to be here on Friday, and nobody has written since. " * 8
    return SpanRecord(
        HIGH.hex() + hashlib.sha256(b"%d" % (number // 10)).hexdigest()[:16],
        f"{number + 1:016x}",
        None if number % 10 == 9 else f"{number // 10 * 10 + 10:016x}",
        "chat gpt-5-mini",
        1_764_000_000_000_000_000 + number * 1000,
        1_764_000_000_900_000_000 + number * 1000,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2026-01-01",
            "gen_ai.response.id": f"chatcmpl-{number}",
            "gen_ai.usage.input_tokens": 400 + number % 100,
            "gen_ai.usage.output_tokens": 90,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.conversation.id": f"conversation-{number // 100}",
            "gen_ai.input.messages": otlp_json_text("user", question),
            "gen_ai.output.messages": otlp_json_text("assistant", question[:400]),
            "server.address": "api.openai.com",
        },
        3,
        resource=RESOURCE,
        scope=SCOPE,
        flags=0x101,
    )


def otlp_json_text(role: str, text: str) -> str:
    return f'[{{"role":"{role}","parts":[{{"type":"text","content":"{text}"}}]}}]'


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._port = int(self._line())
        self._numbers = itertools.count(1)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cpu_s(self) -> float:
        """The CPU time of its process in seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def cost_us(self, given: list[Body], spans: int, seconds: float) -> float:
        """The CPU time in microseconds a span, of requests for some seconds."""
        began_s, until, counts = self.cpu_s(), time.monotonic() + seconds, [0] * THREADS
        threads = [threading.Thread(target=self._send, args=(given, until, counts, place)) for place in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (self.cpu_s() - began_s) / (sum(counts) * spans) * 1e6

    def _send(self, given: list[Body], until: float, counts: list[int], place: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        while time.monotonic() < until:
            body = given[counts[place] % len(given)]
            connection.request("POST", "/v1/traces", body.anew(next(self._numbers)), body.headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            counts[place] += 1
        connection.close()


@contextmanager
def started(code: str, *words: str) -> Iterator[Server]:
    """Run a server for the time of a block."""
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--spans", type=int, default=512)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        started(BARE) as bare,
        started(OURS, f"{folder}/a.jsonl", "redacted") as ours,
        started(OURS, f"{folder}/b.jsonl", "as it is") as unredacted,
        started(OURS, f"{folder}/c.jsonl", "redacted", "sampled") as sampling,
    ):
        servers = {"bare": bare, "receiver": ours, "receiver, redact=False": unredacted, "receiver, sampling": sampling}
        for what, given in bodies(options.spans).items():
            costs: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(5):
                for name, server in servers.items():
                    costs[name].append(server.cost_us(given, options.spans, options.seconds / 5))
            medians = {name: statistics.median(each) for name, each in costs.items()}
            print(f"{what}: {len(given[0].data) / options.spans:.0f} bytes a span")
            for name, cost_us in medians.items():
                print(
                    f"  {name:24}{cost_us:7.1f} us a span {1e6 / cost_us:8.0f} spans/s {cost_us / medians['bare']:6.1f}"
                )


if __name__ == "__main__":
    main()
