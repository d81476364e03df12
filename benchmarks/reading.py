"""How fast a file of runs is read into `AgentRun`s, every field of every step read.

    python benchmarks/reading.py [--megabytes 200]

Writes a file as `FileBackend` does (one span a line, 11 spans of about 2 KB a run), reads it three times with
`iter_runs`, and prints megabytes by CPU second (the best), beside a bare read of its lines and a plain
`msgspec.json.decode` of each line in the same process.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OTEL_AGENT_TRACE_USER_KEY", "benchmark")

import msgspec

from otel_agent_trace import AgentTracer, FileBackend, iter_runs

ROWS = [
    {"title": f"Result {i}", "url": f"https://example.org/{i}", "score": i / 7, "snippet": "lorem ipsum " * 12}
    for i in range(5)
]


def write(path: str, megabytes: float) -> None:
    """Runs until the file is that large; few are traced, their lines are repeated under other ids."""
    sample = path + ".sample"
    tracer = AgentTracer(backend=FileBackend(sample))
    for _ in range(200):
        with tracer.run(user_input="What is the weather?" * 5, user_id="u1", session_id="s1", model="gpt-4") as run:
            for index in range(10):
                try:
                    with run.step("search", {"query": "weather", "limit": index}) as step:
                        if index == 6:
                            raise ValueError("the seventh call fails")
                        step.output = {"results": ROWS, "total": index}
                except ValueError:
                    pass
            run.final_output = "It will be mild and mostly dry. " * 10
    with open(sample, "rb") as file:
        lines = file.read()
    with open(path, "wb") as file:
        generation = 0
        while file.tell() < megabytes * 1e6:
            prefix = b'"traceId":"%08x' % generation
            file.write(_renamed(lines, prefix))
            generation += 1


def _renamed(lines: bytes, prefix: bytes) -> bytes:
    parts = lines.split(b'"traceId":"')
    return parts[0] + b"".join(prefix + part[8:] for part in parts[1:])


def read_every_field(path: str) -> int:
    """Touch all that a run holds."""
    seen = 0
    for run in iter_runs(path):
        for name in run.__struct_fields__:
            seen += getattr(run, name) is not None
        for step in run.steps:
            for name in step.__struct_fields__:
                seen += getattr(step, name) is not None
    return seen


def lines_only(path: str) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def decoded_only(path: str) -> int:
    with open(path, "rb") as file:
        return sum(bool(msgspec.json.decode(line)) for line in file)


def speed(path: str, read: Callable[[str], int]) -> float:
    """Megabytes by CPU second, the best of three."""
    size = os.path.getsize(path) / 1e6
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        read(path)
        best = min(best, time.process_time() - started)
    return size / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "traces.jsonl")
        write(path, parser.parse_args().megabytes)
        for read in (lines_only, decoded_only, read_every_field):
            print(f"{read.__name__:18} {speed(path, read):8.1f} MB by CPU second")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
