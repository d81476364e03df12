"""The one run that a command line names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from otel_agent_trace import reading
from otel_agent_trace.cli.progress import reporting_progress
from otel_agent_trace.cli.sources import explained, target_of
from otel_agent_trace.model import AgentRun

T = TypeVar("T")


def run_of(first: str | None, second: str | None, service: str | None) -> AgentRun:
    """Read the run meant by ``[SOURCE] [RUN]``, of a service if one is named."""
    return read_by(reading.load_run, first, second, service)


def read_by(read: Callable[..., T], first: str | None, second: str | None, service: str | None) -> T:
    """What a reading function gives for the run that is meant."""
    target = target_of(first, second)
    with reporting_progress() as reading_so_far, explained(target.source, target.guess):
        return read(
            target.source,
            target.run,
            service=service,
            on_problem=reading_so_far.on_problem,
            on_progress=reading_so_far.on_progress,
        )
