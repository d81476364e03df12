"""Ten runs, their lines, and files of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from otel_agent_trace import AgentRun, run_to_spans
from tests.support.sample_runs import failed_run, lines_of, make_run


@pytest.fixture
def runs() -> list[AgentRun]:
    """Ten runs, oldest first, every third of which failed."""
    return [failed_run(number) if number % 3 == 2 else make_run(number) for number in range(10)]


@pytest.fixture
def lines(runs: list[AgentRun]) -> list[bytes]:
    """The lines of all runs, one for each span, the root of each last, as programs write them."""
    return [line for run in runs for line in reversed(lines_of(run_to_spans(run)))]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file."""

    def call(name: str, content: bytes | Iterable[bytes]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else b"".join(content))
        return path

    return call


@pytest.fixture
def path(write: Callable[..., Path], lines: list[bytes]) -> Path:
    """The file of the ten runs."""
    return write("runs.jsonl", lines)
