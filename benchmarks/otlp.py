"""What sending runs by OTLP costs the traced program, against the bare SDK with the same batch processor and exporter.

    python benchmarks/otlp.py [--seconds 20]

As `overhead.py`, but spans go to a server in another process that takes everything, once through a BatchSpanProcessor and
the official exporter over HTTP and once through ours. A run is 10 tool calls. Three times are taken: CPU of the process,
the sending thread included, until all is sent (the best block); CPU of the program's own thread; and how long a run takes.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
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


class Kind:
    """One way to run: its best block in CPU time of the process, and how long each run took the program's thread."""

    def __init__(self, run: Callable[[], object], flush: Callable[[], object] = lambda: None) -> None:
        self._run, self._flush = run, flush
        self.process_us = self.thread_us = float("inf")
        self.latencies_us: list[float] = []

    def block(self) -> None:
        """Some runs; all is sent before the clock of the process stops, and nothing waits when that of a run begins."""
        gc.collect()
        process_ns, thread_ns = time.process_time_ns(), time.thread_time_ns()
        for _ in range(overhead.BLOCK):
            began_ns = time.perf_counter_ns()
            self._run()
            self.latencies_us.append((time.perf_counter_ns() - began_ns) / 1000)
        thread_ns = time.thread_time_ns() - thread_ns
        self._flush()
        self.thread_us = min(self.thread_us, thread_ns / overhead.BLOCK / 1000)
        self.process_us = min(self.process_us, (time.process_time_ns() - process_ns) / overhead.BLOCK / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with sink() as endpoint:
        plain, same = TracerProvider(), configure(provider=TracerProvider(), otlp=endpoint)
        plain.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
        ours = configure(otlp=endpoint)
        kinds = {
            "untraced": Kind(overhead.untraced),
            "bare SDK, official OTLP": Kind(overhead.bare_run(plain), plain.force_flush),
            "bare SDK, our OTLP": Kind(overhead.bare_run(same), same.force_flush),
            "configure(otlp=...)": Kind(overhead.traced_run(AgentTracer(tracer_provider=ours)), ours.force_flush),
        }
        measure(list(kinds.values()), seconds)
        for provider in (plain, same, ours):
            provider.shutdown()
    untraced, reference, *_ = kinds.values()
    for name, kind in kinds.items():
        ratio = (kind.process_us - untraced.process_us) / (reference.process_us - untraced.process_us)
        median, *_, late = statistics.quantiles(kind.latencies_us, n=100)[49:]
        print(
            f"{name:24} CPU of the process {kind.process_us:7.1f} us a run ({ratio:4.2f} x), "
            f"of the program's thread {kind.thread_us:7.1f}; a run took {median:7.1f}, 1 of 100 {late:8.1f}"
        )


def measure(kinds: list[Kind], seconds: float) -> None:
    """Blocks of all kinds in turn."""
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        for kind in kinds[turn:] + kinds[:turn]:
            kind.block()
        turn = (turn + 1) % len(kinds)


if __name__ == "__main__":
    main()
