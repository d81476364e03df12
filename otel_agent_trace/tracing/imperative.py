"""Record steps and ends of runs with one call each, after they have happened."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import guarded
from otel_agent_trace.model import RunStatus, StepKind
from otel_agent_trace.tracing.active import ActiveRun, ActiveStep, end_status, step_kind
from otel_agent_trace.tracing.coercion import STEP_FIELDS, metadata_among, text_of
from otel_agent_trace.tracing.state import TracerState

_NS_PER_S = 1_000_000_000
_LAST_NS = 2**63 - 1


def log_step(state: TracerState, run: ActiveRun | None, fields: Mapping[str, Any]) -> int | str:
    """Emit a step that is over, and return its id; a step of a run that has ended is dropped and counted."""
    kind = step_kind(fields.get("kind") or StepKind.TOOL)
    started_ns, ended_ns = _times(fields, run.last_event_ns if run is not None else 0)
    if run is None:
        state.diagnostics.count("dropped: step after the end of its run")
        state.diagnostics.warn_once("late step", "a step was logged after the end of its run; such steps are dropped")
        return fields.get("step_id") or 0
    step = ActiveStep(
        run,
        kind,
        _name(fields) or _default_name(kind, fields.get("model")),
        _either(fields, "input", "tool_input"),
        step_id=fields.get("step_id"),
        metadata=metadata_among(state.diagnostics, fields, STEP_FIELDS),
        prompt_name=fields.get("prompt_name"),
        prompt_version=fields.get("prompt_version"),
    )
    step.model = fields.get("model")
    step.start(_parent(state, run, fields.get("parent_step_id")), started_ns, how="logged")
    step.output = _either(fields, "output", "tool_output")
    step.messages = fields.get("messages")
    step.usage = fields.get("usage")
    step.error = _either(fields, "error", "tool_error")
    step.end(ended_ns)
    return step.step_id


def end_run(
    state: TracerState,
    run: ActiveRun | None,
    *,
    final_output: Any = None,
    error: object = None,
    status: RunStatus | str | None = None,
    usage: Any = None,
) -> None:
    """End a run; one that has ended already is counted, and does not change."""
    given_status = None if status is None else end_status(status)
    if run is None:
        state.diagnostics.count("ended again")
        return
    if error is not None:
        run.error = error
    if given_status is not None:
        run.status = given_status
    if final_output is not None:
        run.final_output = final_output
    if usage is not None:
        run.usage = usage
    run.end()


def _name(fields: Mapping[str, Any]) -> str:
    name = _either(fields, "name", "tool_name")
    return "" if name is None else text_of(name)


def _default_name(kind: StepKind, model: object) -> str:
    """Return the name of a step without one: of a model call, the same as in a block."""
    if kind is not StepKind.MODEL:
        return str(kind)
    return ("" if model is None else text_of(model)) or semconv.OPERATION_CHAT


def _either(fields: Mapping[str, Any], name: str, tool_name: str) -> Any:
    value = fields.get(name)
    return fields.get(tool_name) if value is None else value


def _parent(state: TracerState, run: ActiveRun, parent_step_id: Any) -> Context:
    """Return the context of the parent step, or of the run if none is given or known."""
    known = None
    if parent_step_id is not None:
        known = guarded(state.diagnostics, "parent_step_id", run.context_of, parent_step_id)
    span = trace.NonRecordingSpan(known) if known is not None else run.span
    return trace.set_span_in_context(span, Context())


def _times(fields: Mapping[str, Any], previous_ns: int) -> tuple[int, int]:
    """Return start and end in Unix nanoseconds, from those of start, end and duration that are given."""
    started, ended = _unix_ns(fields, "started_at"), _unix_ns(fields, "ended_at")
    duration = fields.get("duration_s")
    if duration is not None:
        duration = _seconds_ns("duration_s", duration)
    if started is not None and ended is None and duration is not None:
        ended = started + duration
    ended_ns = ended if ended is not None else time.time_ns()
    if started is None:
        started = ended_ns - duration if duration is not None else min(previous_ns, ended_ns)
    return _bounded(started), _bounded(max(started, ended_ns))


def _bounded(unix_ns: int) -> int:
    return min(max(unix_ns, 1), _LAST_NS)


def _unix_ns(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    return _datetime_ns(name, value) if isinstance(value, datetime) else _seconds_ns(name, value)


def _datetime_ns(name: str, value: datetime) -> int:
    try:
        whole = int(value.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError, OSError):  # local time beyond the calendar's ends
        msg = f"{name} is {value!r}, which is not a valid time"
        raise ConfigurationError(msg) from None
    return whole * _NS_PER_S + value.microsecond * 1000


def _seconds_ns(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = (
            f"{name} is {value!r}; pass a datetime or seconds"
            if name != "duration_s"
            else f"duration_s is {value!r}; pass seconds"
        )
        raise ConfigurationError(msg)
    try:
        return int(value * _NS_PER_S)
    except (ValueError, OverflowError):
        msg = f"{name} is {value!r}, which is not a valid time"
        raise ConfigurationError(msg) from None
