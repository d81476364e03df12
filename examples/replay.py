"""Walk through a recorded run, step by step, as it happened.

Run it:  python examples/replay.py FILE [RUN_ID] [--list] [--dry-run]
RUN_ID is an id, the beginning of one, or "last" (the default). --list lists the runs in place of that, --dry-run only
names the steps; no step is ever run again. Make a file with examples/instrumented_agent.py.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from otel_agent_trace import AgentRun, AgentStep
from otel_agent_trace.errors import AgentTraceError, RunNotFoundError
from otel_agent_trace.replay import iter_runs, load_run, walk_run

_WIDTH = 100


def print_run(run: AgentRun, *, dry_run: bool) -> None:
    print(f"{run.run_id}  {run.agent_name}  {run.status}")
    print(f"asked: {short(run.user_input)}")
    for depth, step in walk_run(run):
        print_step(step, "  " * (depth + 1), dry_run=dry_run)
    print(f"answered: {short(run.final_output)}" if run.error is None else f"failed: {short(str(run.error))}")


def print_step(step: AgentStep, indent: str, *, dry_run: bool) -> None:
    took = "unfinished" if step.duration_s is None else f"{step.duration_s * 1000:.1f} ms"
    print(f"{indent}{step.index}. {step.kind} {short(step.name)} ({took})")
    if dry_run:
        return
    print(f"{indent}   in:  {short(step.input)}")
    print(
        f"{indent}   out: {short(step.output)}" if step.error is None else f"{indent}   error: {short(str(step.error))}"
    )


def print_list(file: str) -> None:
    runs = list(iter_runs(file, newest_first=True))
    if not runs:
        raise RunNotFoundError(f"no runs in {file}")
    for run in runs:
        print(f"{run.run_id}  {run.status:<8}  {len(run.steps):>3} steps  {short(run.user_input)}")


def short(value: Any) -> str:
    """A value on one line; `repr` escapes what a file may hold and a terminal should not be sent."""
    text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Walk through a recorded run.")
    parser.add_argument("file")
    parser.add_argument("run_id", nargs="?", default="last")
    parser.add_argument("--list", action="store_true", help="list the runs of the file instead")
    parser.add_argument("--dry-run", action="store_true", help="only name the steps, not what went in and came out")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    try:
        if arguments.list:
            print_list(arguments.file)
        else:
            print_run(load_run(arguments.file, arguments.run_id), dry_run=arguments.dry_run)
    except AgentTraceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
