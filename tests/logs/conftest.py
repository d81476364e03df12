"""Loggers as they were before each test, and providers that record what is logged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, configure
from otel_agent_trace.tracing import logs


@pytest.fixture(autouse=True)
def loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop to watch the loggers of this process, and restore the logger of the tests, after each test."""
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    monkeypatch.setattr(logs._WATCHED, "lowest", None)
    logger = logging.getLogger("weather")
    yield
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def memory() -> InMemoryBackend:
    return InMemoryBackend()


@pytest.fixture
def traced(memory: InMemoryBackend) -> Callable[..., AgentTracer]:
    """A tracer of a provider that records logs in memory."""

    def make(level: str | int = "WARNING", **settings: Any) -> AgentTracer:
        backends = [memory, *settings.pop("backends", ())]
        provider = configure(backends=backends, logs=level, otlp=False, **settings)
        return AgentTracer(tracer_provider=provider, agent_name="weather")

    return make
