"""How long reading runs from a Jaeger takes, against a bare client that fetches the same answers.

    python benchmarks/jaeger.py http://localhost:16686 [--otlp http://localhost:4318] [--runs 10000]

With `--otlp`, that many runs of 11 spans are sent there first; the Jaeger must have room for them. Then all of its runs are
read, and what was asked for while doing so is asked for again by `httpx` alone, which reads the answers and drops them.
Prints the seconds of both (the best of three) and the peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from reading import write

from otel_agent_trace import iter_runs
from otel_agent_trace.export import export_spans

_RUN_MEGABYTES = 0.0265


def fill(endpoint: str, runs: int) -> None:
    """Send runs as `reading.py` has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "traces.jsonl")
        write(path, runs * _RUN_MEGABYTES)
        print(f"sent {export_spans(path, endpoint, limit=runs).spans} spans")


@contextmanager
def noted(requests: list[tuple[str, Any]]) -> Iterator[None]:
    """Note what any client asks for."""
    plain = httpx.Client.stream

    def stream(client: httpx.Client, method: str, url: str, **more: Any) -> Any:
        requests.append((str(client.base_url.join(url)), more.get("params")))
        return plain(client, method, url, **more)

    httpx.Client.stream = stream  # type: ignore[method-assign]
    try:
        yield
    finally:
        httpx.Client.stream = plain  # type: ignore[method-assign]


def read(url: str) -> int:
    return sum(1 for _ in iter_runs(url))


def bare(requests: list[tuple[str, Any]]) -> int:
    with httpx.Client(timeout=60) as client:
        return sum(len(client.get(url, params=params).content) for url, params in requests)


def seconds(call: Any, *arguments: Any) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.monotonic()
        call(*arguments)
        best = min(best, time.monotonic() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jaeger")
    parser.add_argument("--otlp")
    parser.add_argument("--runs", type=int, default=10_000)
    arguments = parser.parse_args()
    if arguments.otlp:
        fill(arguments.otlp, arguments.runs)
    requests: list[tuple[str, Any]] = []
    with noted(requests):
        runs = read(arguments.jaeger)
    size = bare(requests)
    ours, theirs = seconds(read, arguments.jaeger), seconds(bare, requests)
    print(f"{runs} runs in {len(requests)} answers of {size / 1e6:.0f} MB")
    print(f"iter_runs    {ours:6.2f} s   {ours / theirs:.2f} x the bare client")
    print(f"bare client  {theirs:6.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
