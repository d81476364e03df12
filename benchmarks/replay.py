"""Compare a replay of a run of 1,000 steps with recording the same run into memory: medians of ratios, sync and async."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable

from otel_agent_trace import AgentTracer, InMemoryBackend, replay_run

STEPS = 1_000
RESULT = {"text": "x" * 1_000, "score": 0.5}
backend = InMemoryBackend(max_runs=1)
tracer = AgentTracer(backend=backend)


@tracer.tool
def fetch(number: int, query: str) -> dict[str, object]:
    return RESULT


@tracer.tool
async def fetch_later(number: int, query: str) -> dict[str, object]:
    return RESULT


@tracer.agent
def agent() -> None:
    for number in range(STEPS):
        fetch(number, "rain")


@tracer.agent
async def agent_later() -> None:
    for number in range(STEPS):
        await fetch_later(number, "rain")


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    work()
    taken = time.perf_counter() - start
    gc.enable()
    return taken


def main(rounds: int) -> None:
    for name, work in (("sync", agent), ("async", lambda: asyncio.run(agent_later()))):
        ratios = []
        work()
        for _ in range(rounds):
            recording_s = seconds(work)
            (run,) = backend.runs()
            with replay_run(run):
                replaying_s = seconds(work)
            ratios.append(replaying_s / recording_s)
        print(f"{name}: {statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}), {rounds} rounds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
