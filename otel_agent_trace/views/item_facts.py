"""Find what each item of a run is shown as: its kind, name, status and times."""

from __future__ import annotations

from otel_agent_trace.categories import TIMEOUT
from otel_agent_trace.model import FAILED_STATUSES, RunStatus, StepKind
from otel_agent_trace.query import INTERRUPTED, PAUSED, status_of
from otel_agent_trace.runs.conduct import is_paused
from otel_agent_trace.views.figures import duration_text
from otel_agent_trace.views.items import Item, RunItems
from otel_agent_trace.views.values_text import one_line

OK = "ok"
ERROR = RunStatus.ERROR.value
_NAME_CHARS = 200
_NS_PER_S = 1_000_000_000


def kind_of(item: Item) -> str:
    """Return the kind of an item; a run is of kind agent."""
    return StepKind.AGENT.value if item.step is None else item.step.kind.value


def name_of(item: Item) -> str:
    """Return the name of an item on one line, of at most 200 characters: its own, its agent's or its model's."""
    agent_name = None if item.run is None else item.run.agent_name
    name = (None if item.step is None else item.step.name) or agent_name or item.subject.model or ""
    return one_line(name[: 4 * _NAME_CHARS])[:_NAME_CHARS]


def status_of_item(items: RunItems, item: Item) -> str:
    """Return the status of an item: ok, error, running, interrupted, paused or timeout.

    A step that has not ended is interrupted where its run has, or is known to be gone.
    """
    if item.error is not None:
        return RunStatus.TIMEOUT.value if _took_too_long(item) else ERROR
    if item.step is not None and is_paused(item.step):
        return PAUSED
    if item.subject.ended_at_ns is None and not (item.step is None and items.run.status is not RunStatus.RUNNING):
        return RunStatus.RUNNING.value if is_live(items) else INTERRUPTED
    status = RunStatus.SUCCESS.value if item.run is None else status_of(item.run)
    is_settled = status in (*FAILED_STATUSES, PAUSED) and not (item.step and item.step.abandoned)
    return status if is_settled else OK


def is_live(items: RunItems) -> bool:
    """Return whether a run is running, as far as is known."""
    return status_of(items.run) == RunStatus.RUNNING


def offset_text(items: RunItems, item: Item) -> str:
    """Return how long after the run an item began; empty where either is not known."""
    if not item.subject.started_at_ns or not items.run.started_at_ns:
        return ""
    return offset_of(item.subject.started_at_ns - items.run.started_at_ns)


def offset_of(since_ns: int) -> str:
    """Return a time since the start of a run with its sign."""
    return f"{'+' if since_ns >= 0 else ''}{duration_text(since_ns / _NS_PER_S)}"


def _took_too_long(item: Item) -> bool:
    if item.run is not None and item.run.status is RunStatus.TIMEOUT:
        return True
    return item.error is not None and item.error.category == TIMEOUT
