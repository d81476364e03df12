"""An agent in asyncio: tools at the same time, a tool that streams, and a sub-agent, all in one trace.

Run it:  python examples/async_agent.py [traces.jsonl]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, load_run
from otel_agent_trace.demo import make_tools
from otel_agent_trace.replay import walk_run

FILE = sys.argv[1] if len(sys.argv) > 1 else "traces.jsonl"
tracer = AgentTracer(backend=FileBackend(FILE), agent_name="night-assistant")
library = make_tools()


@tracer.tool
async def search(query: str) -> list[str]:
    hits = await asyncio.to_thread(library["search"], query, limit=1)
    return [hit["file"] for hit in hits]


@tracer.tool
async def read_lines(file: str) -> AsyncIterator[str]:
    """One step, from the first line to the last; its output is the list of all lines."""
    text = await asyncio.to_thread(library["read"], file)
    for line in text.splitlines():
        yield line


@tracer.agent
async def summarise(files: list[str]) -> str:
    """A run within the run: one step there, with a run of its own."""
    longest = []
    for file in files:
        lines = [line async for line in read_lines(file)]
        longest.append(max(lines, key=len))
    return " / ".join(longest)


async def prepare_night() -> str:
    async with tracer.run(user_input="What should I know before the night begins?") as run:
        found = await asyncio.gather(search("mirror fans"), search("last train"), search("bread"))
        run.final_output = await summarise([file for files in found for file in files])
        return run.run_id


def print_run(run: AgentRun) -> None:
    print(f"{run.agent_name}: {run.status}")
    for depth, step in walk_run(run):
        print(f"{'  ' * (depth + 1)}{step.kind} {step.name} {step.input}")


if __name__ == "__main__":
    run_id = asyncio.run(prepare_night())
    tracer.close()
    print_run(load_run(FILE, run_id))
