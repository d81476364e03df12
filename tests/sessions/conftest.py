"""Files of runs, and a source that counts how often it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from otel_agent_trace import AgentRun, Problem, SpanRecord
from otel_agent_trace.span import Capabilities
from tests.support.sample_runs import write_runs_to


class CountedSource:
    """Runs that are made, or taken from a list, each time they are read."""

    capabilities = Capabilities(runs=True)
    name = "counted"

    def __init__(self, runs: Callable[[], Iterable[AgentRun]]) -> None:
        self.made, self.passes = runs, 0

    def runs(self) -> Iterator[AgentRun]:
        self.passes += 1
        yield from self.made()

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        raise AssertionError("a source of runs is asked for its runs")


@pytest.fixture(scope="session")
def counted() -> type[CountedSource]:
    return CountedSource


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write runs to a file, a line for each, and return its path."""

    def to_file(runs: Iterable[AgentRun], name: str = "traces.jsonl") -> Path:
        return write_runs_to(tmp_path / name, runs)

    return to_file
