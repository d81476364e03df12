"""A tracer that keeps its runs in memory, and programs in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import context as otel_context

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend


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
