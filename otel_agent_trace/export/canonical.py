"""Write runs of any tracer in the form of ours: OTLP JSON Lines with the current names of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs import run_to_spans


def write_runs(runs: Iterable[AgentRun], write: Callable[[bytes], object]) -> int:
    """Write each run and its sub-agents as lines of OTLP JSON that read back as an equal run.

    The same runs give the same bytes each time.

    Args:
        runs: the runs to write.
        write: a function that is called with the lines of each run.

    Returns:
        The number of runs.
    """
    number = 0
    for run in runs:
        write(otlp_json.encode(run_to_spans(run)).rstrip(b"\n") + b"\n")
        number += 1
    return number
