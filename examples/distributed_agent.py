"""An agent whose tool is a program of its own: two processes, two files, one trace.

Run it:  python examples/distributed_agent.py [FOLDER]
The agent starts this file once more, as the tool, with the context of the trace in the environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from otel_agent_trace import AgentTracer, FileBackend, child_environment, load_runs
from otel_agent_trace.cli import main as command
from otel_agent_trace.demo import make_tools

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", nargs="?", default="distributed", type=Path)
parser.add_argument("--as-tool", metavar="QUERY", help="be the tool, and answer in JSON")
options = parser.parse_args()

role = "agent" if options.as_tool is None else "tool"
tracer = AgentTracer(backend=FileBackend(options.folder / f"{role}.jsonl"), agent_name="librarian")
library = make_tools()


@tracer.tool
def search(query: str) -> list[str]:
    """Runs in the tool's process; its parent is what that was started with."""
    return [hit["file"] for hit in library["search"](query, limit=2)]


def search_elsewhere(query: str) -> list[str]:
    program = [sys.executable, __file__, str(options.folder), "--as-tool", query]
    done = subprocess.run(program, env=child_environment(), stdout=subprocess.PIPE, check=True)  # noqa: S603
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@tracer.tool
def read(file: str) -> str:
    text: str = library["read"](file)
    return text


@tracer.agent
def answer(question: str) -> str:
    files = search_elsewhere(question)
    return max(read(files[0]).splitlines(), key=len)


if __name__ == "__main__":
    if options.as_tool is not None:
        json.dump(search(options.as_tool), sys.stdout)
    else:
        answer("When does the last train leave?")
        tracer.close()
        files = sorted(options.folder.glob("*.jsonl"))
        run = load_runs(files)[-1]
        print(f"run {run.run_id[:8]}, from {' and '.join(file.name for file in files)}:\n", flush=True)
        command(["show", str(options.folder), run.run_id])
