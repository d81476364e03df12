"""The one run that a command line names."""

from __future__ import annotations

from otel_agent_trace import reading
from otel_agent_trace.cli.reading_talk import reading_talk
from otel_agent_trace.cli.sources import explained, target_of
from otel_agent_trace.model import AgentRun


def run_of(first: str | None, second: str | None, service: str | None) -> AgentRun:
    """Read the run meant by ``[SOURCE] [RUN]``, of a service if one is named."""
    target = target_of(first, second)
    with reading_talk() as reading_so_far, explained(target.source, target.guess):
        return reading.load_run(
            target.source,
            target.run,
            service=service,
            on_problem=reading_so_far.on_problem,
            on_progress=reading_so_far.on_progress,
        )
