"""Compare sessions of 1,000 and of 10,000 runs of 10 KB each: time and the peak of memory of listing one and walking through it.

Each measurement is a process of its own. The file is read without an index, and then with one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from otel_agent_trace import AgentRun, RunStatus, load_sessions, run_to_spans
from otel_agent_trace.formats import otlp_json

SIZES = (1_000, 10_000)
CONTENT = "rain in Lyon, " * 350  # in question and answer: 10 KB of each run
BEGAN_NS, SECOND_NS = 1_795_475_000_000_000_000, 1_000_000_000


def write(path: str, count: int) -> None:
    with open(path, "wb") as file:
        for number in range(count):
            began = BEGAN_NS + number * SECOND_NS
            run = AgentRun(
                run_id=f"{number + 1:032x}",
                trace_id=f"{number + 1:032x}",
                span_id=f"{number + 1:016x}",
                agent_name="weather",
                session_id="long",
                status=RunStatus.SUCCESS,
                started_at_ns=began,
                ended_at_ns=began + SECOND_NS // 2,
                user_input=f"{number} {CONTENT}",
                final_output=f"{number} {CONTENT}",
            )
            file.write(otlp_json.encode(run_to_spans(run)).rstrip(b"\n") + b"\n")


def measure(path: str) -> None:
    """Print the seconds of listing and of walking, and the peak of memory in KiB after each."""
    begin = time.perf_counter()
    (session,) = load_sessions(path)
    listed = time.perf_counter()
    peak_listed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in session.runs)
    walked = time.perf_counter()
    assert count == len(session.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([listed - begin, walked - listed, peak_listed, peak]))


def measured(path: str, index: str) -> list[float]:
    environment = {**os.environ, "OTEL_AGENT_TRACE_INDEX": index}
    command = [sys.executable, __file__, path]
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    figures: list[float] = json.loads(found)
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for index in ("off", "on"):
            figures = []
            for count in SIZES:
                path = os.path.join(folder, f"{count}.jsonl")
                if not os.path.exists(path):
                    write(path, count)
                size_mb = os.path.getsize(path) / 1e6
                if index == "on":
                    measured(path, index)  # makes the index
                list_s, walk_s, listed_kib, peak_kib = measured(path, index)
                figures.append((list_s, walk_s, listed_kib, peak_kib))
                print(
                    f"index {index}, {count:,} runs, {size_mb:.0f} MB: list {list_s:.2f} s, walk {walk_s:.2f} s, "
                    f"peak {listed_kib / 1024:.0f} and {peak_kib / 1024:.0f} MiB"
                )
            ratios = [more / fewer for fewer, more in zip(*figures, strict=True)]
            print(
                f"index {index}, ten times the runs: time x {ratios[0]:.1f} and {ratios[1]:.1f}, peak x {ratios[3]:.2f}"
            )


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
