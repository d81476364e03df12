"""How fast `otel-agent-trace export` sends a file of runs to a receiver, beside a bare load of the same bytes.

    python benchmarks/export.py ENDPOINT [--megabytes 200] [--file FILE] [--times 2]

ENDPOINT is that of a real Collector, such as http://localhost:4318 (one with the debug exporter alone measures best what
it accepts). Writes a file as `FileBackend` does, unless there is one, and sends it by turns

- bare: its lines, put together to requests of 4 MB of OTLP JSON without being decoded, by `httpx` in four threads;
- export: the command, as a process of its own, over HTTP (and over gRPC with --grpc HOST:PORT).

Prints megabytes of the file by second, the best, and the peak memory of the command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
from reading import write

_OPEN, _CLOSE = b'{"resourceSpans":[', b"]}"
_REQUEST_BYTES = 4_000_000
_THREADS = 4


def requests(path: str) -> Iterator[bytes]:
    """The lines of the file, some in one."""
    lines: list[bytes] = []
    size = 0
    with open(path, "rb") as file:
        for line in file:
            inner = line.strip()[len(_OPEN) : -len(_CLOSE)]
            lines.append(inner)
            size += len(inner)
            if size >= _REQUEST_BYTES:
                yield _OPEN + b",".join(lines) + _CLOSE
                lines, size = [], 0
    if lines:
        yield _OPEN + b",".join(lines) + _CLOSE


def bare(path: str, endpoint: str) -> float:
    """Seconds."""
    began = time.monotonic()
    headers = {"content-type": "application/json"}
    with httpx.Client(timeout=60, headers=headers) as client, ThreadPoolExecutor(_THREADS) as threads:

        def post(body: bytes) -> None:
            client.post(endpoint.rstrip("/") + "/v1/traces", content=body).raise_for_status()

        pending = []
        for body in requests(path):
            pending.append(threads.submit(post, body))
            if len(pending) > _THREADS:
                pending.pop(0).result()
        for each in pending:
            each.result()
    return time.monotonic() - began


def exported(path: str, endpoint: str) -> tuple[float, float]:
    """Seconds, and the peak memory in MB."""
    command = [sys.executable, "-m", "otel_agent_trace.cli", "export", path, "--to", endpoint, "--again"]
    began = time.monotonic()
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, peak_so_far(process.pid))
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - began, peak


def peak_so_far(pid: int) -> float:
    """What Linux says of a process; `ru_maxrss` would count its parent before the exec."""
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), 0.0)


def measure(path: str, endpoint: str, grpc: str | None, times: int) -> None:
    size = os.path.getsize(path) / 1e6
    ways = {"export": endpoint} | ({"export, gRPC": f"grpc://{grpc}"} if grpc else {})
    best = dict.fromkeys(["bare", *ways], float("inf"))
    peak = dict.fromkeys(ways, 0.0)
    for _ in range(times):
        best["bare"] = min(best["bare"], bare(path, endpoint))
        for way, target in ways.items():
            seconds, memory = exported(path, target)
            best[way], peak[way] = min(best[way], seconds), max(peak[way], memory)
    print(f"{'bare':14} {size / best['bare']:7.1f} MB/s")
    for way in ways:
        ratio = best["bare"] / best[way]
        print(f"{way:14} {size / best[way]:7.1f} MB/s, {ratio:.0%} of bare, peak memory {peak[way]:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("--grpc", metavar="HOST:PORT")
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--file")
    parser.add_argument("--times", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or os.path.join(folder, "traces.jsonl")
        if not os.path.exists(path):
            write(path, options.megabytes)
        measure(path, options.endpoint, options.grpc, options.times)


if __name__ == "__main__":
    main()
