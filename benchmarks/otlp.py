"""What sending runs by OTLP costs the traced program, against the bare SDK with the same batch processor and exporter.

    python benchmarks/otlp.py [--seconds 20]

As `overhead.py`, but spans go through a BatchSpanProcessor and the OTLP/HTTP exporter to a server in another process that
takes everything; each block is flushed before the clock stops, and all CPU time of the process counts, that of the
sending thread included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import overhead
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_agent_trace import AgentTracer, configure

SINK = """
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def sink() -> Iterator[str]:
    """The address of a server that takes everything."""
    process = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def flushed(run: Callable[[], object], provider: TracerProvider) -> Callable[[], object]:
    """The run; the last of a block waits until all is sent."""
    count = 0

    def flushing() -> object:
        nonlocal count
        count += 1
        result = run()
        if count % overhead.BLOCK == 0:
            provider.force_flush()
        return result

    return flushing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with sink() as endpoint:
        plain = TracerProvider()
        plain.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
        ours = configure(otlp=endpoint)
        kinds = {
            "untraced": overhead.untraced,
            "bare SDK + OTLP": flushed(overhead.bare_run(plain), plain),
            "configure(otlp=...)": flushed(overhead.traced_run(AgentTracer(tracer_provider=ours)), ours),
        }
        best = overhead.measure(kinds, [], seconds)
        ours.shutdown()
        plain.shutdown()
    base = best["untraced"]
    reference = best["bare SDK + OTLP"] - base
    for name, cost in best.items():
        print(f"{name:26} {cost:9.1f} us a run   {(cost - base) / reference:5.2f} x the bare SDK")


if __name__ == "__main__":
    main()
