"""What sampling adds to the cost of tracing: the same runs with it and without.

    python benchmarks/sampling.py [--seconds 20]

One process rotates blocks of runs of 10 tool calls: untraced, traced, and traced with sampling, into memory and into a file.
The figure of a kind is its best block (CPU time a run); a ratio is that with sampling to that without, what the untraced run
takes left out. It also opens 10,000 traces at once and prints the memory that they take.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OTEL_AGENT_TRACE_USER_KEY", "benchmark")

from otel_agent_trace import AgentTracer, FileBackend, InMemoryBackend, SpanSink, TailSampling

ROWS = [{"title": f"Result {i}", "score": i / 7, "snippet": "lorem ipsum " * 12} for i in range(5)]
BLOCK = 5
OPEN_TRACES, HOLD_BYTES = 10_000, 32 << 20


def work(index: int) -> dict[str, object]:
    """The tool itself."""
    return {"results": ROWS, "total": index}


def untraced() -> None:
    for index in range(10):
        work(index)


def traced(tracer: AgentTracer) -> Callable[[], object]:
    """The run, written by our decorators."""
    tool = tracer.tool("search")(work)

    @tracer.agent("answer")
    def run(user_input: str) -> str:
        for index in range(10):
            tool(index)
        return "Mild."

    return lambda: run(user_input="What is the weather like?")


def subjects(folder: str) -> dict[str, Callable[[], object]]:
    policies = {"": False, ", sampled": TailSampling(), ", all kept": TailSampling(rest=1)}
    found: dict[str, Callable[[], object]] = {"untraced": untraced}
    for name, policy in policies.items():
        found[f"memory{name}"] = traced(AgentTracer(backend=InMemoryBackend(max_runs=100), sampling=policy))
        path = os.path.join(folder, f"{len(found)}.jsonl")
        found[f"file{name}"] = traced(AgentTracer(backend=FileBackend(path), sampling=policy))
    return found


def measure(kinds: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the CPU seconds a run of the best block of each kind."""
    best = dict.fromkeys(kinds, float("inf"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, run in kinds.items():
            gc.disable()
            begin = time.process_time()
            for _ in range(BLOCK):
                run()
            best[name] = min(best[name], (time.process_time() - begin) / BLOCK)
            gc.enable()
    return best


def held_bytes(backend: Callable[[], object]) -> int:
    """Return by how much the memory of a process grows with open traces when they are sampled and every step has ended."""
    return growth_bytes(backend, TailSampling(hold_bytes=HOLD_BYTES, rest=0)) - growth_bytes(backend, None)


def growth_bytes(backend: Callable[[], object], policy: TailSampling | None) -> int:
    """Return by how much the memory of a child process grows with the steps of open traces."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        kept = SpanSink() if policy is None else backend()
        tracer = AgentTracer(backend=kept, sampling=policy or False)
        runs = [tracer.start_run(user_input="?") for _ in range(OPEN_TRACES)]
        before = resident_bytes()
        for run_id in runs:
            for index in range(5):
                tracer.log_step(run_id, tool_name="search", tool_output=work(index))
        os.write(write, str(resident_bytes() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, encoding="ascii") as pipe:
        return int(pipe.read())


def resident_bytes() -> int:
    """Return the memory of this process; known on Linux only."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        best = measure(subjects(folder), arguments.seconds)
        for name, seconds in best.items():
            plain = name.partition(",")[0]
            ratio = (seconds - best["untraced"]) / max(best[plain] - best["untraced"], 1e-9)
            print(f"{name:<20} {seconds * 1e6:8.1f} µs a run   {ratio:5.2f} x unsampled")
        path = os.path.join(folder, "open.jsonl")
        for name, backend in (("file", lambda: FileBackend(path)), ("memory", InMemoryBackend)):
            size = held_bytes(backend)
            print(f"{OPEN_TRACES:,} open traces, {name}: {size / 2**20:.1f} MiB held of {HOLD_BYTES >> 20}")


if __name__ == "__main__":
    main()
