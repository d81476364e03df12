"""Record an agent, and read its run back as a program does that replays it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import AgentRun, AgentTracer, FileBackend, InMemoryBackend, load_runs


@pytest.fixture
def memory() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


@pytest.fixture
def tracer(memory: InMemoryBackend, trace_file: Path) -> AgentTracer:
    return AgentTracer(backends=[memory, FileBackend(trace_file)], user_ids="plain")


@pytest.fixture(params=["memory", "file", "dict"])
def recorded(request: pytest.FixtureRequest, memory: InMemoryBackend, trace_file: Path) -> Callable[[], list[AgentRun]]:
    """Return a function that reads the recorded runs, from where a program finds them."""

    def read() -> list[AgentRun]:
        if request.param == "file":
            return load_runs(trace_file)
        runs = memory.runs()
        return runs if request.param == "memory" else [AgentRun.from_dict(run.to_dict()) for run in runs]

    return read
