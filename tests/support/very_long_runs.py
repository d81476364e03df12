"""A run of very many steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otel_agent_trace import run_to_spans
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind
from tests.support.sample_runs import BEGAN_NS, lines_of

_MS_NS = 1_000_000
_KINDS = (StepKind.MODEL, StepKind.TOOL, StepKind.TOOL, StepKind.RETRIEVAL)


def long_run(count: int) -> AgentRun:
    """A run of so many steps, which lie in each other up to ten deep and of which every hundredth failed."""
    steps = tuple(
        AgentStep(
            step_id=number,
            index=number - 1,
            span_id=f"{number:016x}",
            kind=_KINDS[number % len(_KINDS)],
            name=("gpt-4o", "search", "read_file", "index")[number % len(_KINDS)],
            parent_step_id=None if number % 10 == 1 else number - 1,
            input={"query": f"number {number}"},
            output=f"result {number}",
            started_at_ns=BEGAN_NS + number * _MS_NS,
            ended_at_ns=BEGAN_NS + (number + 10 - number % 10) * _MS_NS,
        )
        for number in range(1, count + 1)
    )
    times: dict[str, Any] = {"started_at_ns": BEGAN_NS, "ended_at_ns": BEGAN_NS + (count + 20) * _MS_NS}
    ids: dict[str, Any] = {"run_id": "long", "trace_id": "a" * 32, "span_id": "b" * 16}
    return AgentRun(agent_name="worker", status=RunStatus.SUCCESS, steps=steps, **ids, **times)


def write_long_run(path: Path, count: int) -> Path:
    """Write such a run to a file, a line for each span, and return its path."""
    path.write_bytes(b"".join(lines_of(run_to_spans(long_run(count)))))
    return path
