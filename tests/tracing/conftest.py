"""A tracer that keeps its runs in memory, and programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry import context as otel_context

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend
from tests.support.processes import ROOT
from tests.support.waiting import DEADLOCK_S


@pytest.fixture
def memory() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture
def tracer(memory: InMemoryBackend) -> AgentTracer:
    return AgentTracer(backend=memory)


@pytest.fixture
def the_run(memory: InMemoryBackend) -> Callable[[], AgentRun]:
    """The only run in memory."""

    def find() -> AgentRun:
        (run,) = memory.runs()
        return run

    return find


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """After each test the OpenTelemetry context is what it was before."""
    before = otel_context.get_current()
    yield
    assert otel_context.get_current() is before


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a process of its own, in an empty folder."""

    def call(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        wanted = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **environment}
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=DEADLOCK_S,
            cwd=tmp_path,
            check=False,
            env={name: value for name, value in wanted.items() if value is not None},
        )

    return call
