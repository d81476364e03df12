"""Add scores to runs of a local file, as further lines of it."""

from __future__ import annotations

import os
import re

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.backends.held_lines import LOGS_KEPT
from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.index.choice import store_at
from otel_agent_trace.tracing.tracer import AgentTracer

_OTLP_LINE = re.compile(rb'\{[ \t]*"resource(?:Spans|Logs|Metrics)"')
_HEAD_BYTES = 4096


def scored_file(path: str) -> str:
    """Return the live file of the store at a path, to which scores can be added.

    Raises:
        SourceError: it is not one store of OTLP JSON Lines.
    """
    store = store_at(path, FilesSource([path]).files())
    is_elsewhere = store is not None and os.path.lexists(path) and not store.files()
    if store is None or is_elsewhere or not _takes_lines(store.path):
        raise SourceError(f"{path}: not a file to which a score can be appended; name a file of OTLP JSON Lines")
    return store.path


def score_in_file(
    path: str,
    run_id: str,
    name: str,
    value: float | None = None,
    *,
    label: str | None = None,
    explanation: str | None = None,
    step_id: str | None = None,
    source: str | None = None,
) -> None:
    """Add a score, of which the arguments are those of `AgentTracer.score`, to the file that `scored_file` returned.

    Raises:
        SourceError: it could not be written.
    """
    backend = FileBackend(path)
    with AgentTracer(backend=backend) as tracer:
        tracer.score(run_id, name, value, label=label, explanation=explanation, step_id=step_id, source=source)
    if not backend.stats().get(LOGS_KEPT):
        raise SourceError(f"{path}: the score could not be written")


def _takes_lines(path: str) -> bool:
    """Return whether a file holds OTLP JSON Lines, or does not exist yet, as after its rotation."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES).lstrip()
    except FileNotFoundError:
        return True
    return not head or _OTLP_LINE.match(head) is not None
