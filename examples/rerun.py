"""Run a failed run again: the agent executes, recorded answers take the place of its tools, and one of them is patched.

Run it:  python examples/rerun.py [FILE]
FILE has traces of examples/instrumented_agent.py, whose last failed run is taken; without it, the agent is asked a question
that it fails to answer. The tool that failed returns a number this time, and the difference is printed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, StepError, diff_runs, load_runs, replay_run
from otel_agent_trace.demo import QUESTIONS, NoAnswerError, make_tools, run_agent
from otel_agent_trace.errors import AgentTraceError, RunNotFoundError

_NUMBER = 12
_WIDTH = 60


def ask(question: str, tracer: AgentTracer) -> None:
    try:
        run_agent(question, make_tools(), tracer)
    except NoAnswerError as error:
        print(f"the agent failed: {error}")


def failed_run(file: str | None) -> AgentRun:
    if file is None:
        memory = InMemoryBackend()
        ask(QUESTIONS[-1], AgentTracer(backend=memory))
        return memory.runs()[0]
    runs = load_runs(file, status="error", tool_error="*")
    if not runs:
        raise RunNotFoundError(f"no failed run with a failed tool in {file}")
    return runs[-1]


def run_again(run: AgentRun) -> AgentRun | None:
    """Execute the agent once more; the first tool that failed returns a number, all others what they did."""
    failed = next(step for step in run.steps if step.error is not None)
    print(f"patched: step {failed.step_id}, {failed.name}, which raised {short(failed.error)}, returns {_NUMBER}")
    with replay_run(run, patch={failed.step_id: _NUMBER}, on_miss="live") as session:
        ask(run.user_input, AgentTracer())
    print(f"answered from the recording: {', '.join(session.answered)}; live: {', '.join(session.live) or 'nothing'}")
    return session.run


def print_difference(before: AgentRun, after: AgentRun) -> None:
    difference = diff_runs(before, after)
    for one in difference.differences:
        print(f"run: {one.field}: {short(one.a)} -> {short(one.b)}")
    for step in difference.walk():
        for one in step.differences:
            print(f"step {step.a_path} {step.step.name}: {one.field}: {short(one.a)} -> {short(one.b)}")


def short(value: Any) -> str:
    text = repr(str(value) if isinstance(value, str | StepError) else value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a failed run again with one tool patched.")
    parser.add_argument("file", nargs="?")
    try:
        before = failed_run(parser.parse_args().file)
        after = run_again(before)
    except AgentTraceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if after is not None:
        print_difference(before, after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
