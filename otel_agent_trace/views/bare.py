"""Leave out of a run whatever was asked, answered, read or computed in it, so that it can be shown to others."""

from __future__ import annotations

from typing import Any, Literal

from otel_agent_trace import semconv
from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, StepError, Usage

_SERVICE = (semconv.SERVICE_NAME, semconv.SERVICE_VERSION)


def without_content(run: AgentRun) -> AgentRun:
    """Return a run, and those of its sub-agents, with names, ids of spans, times, tokens and classes of errors only."""
    bare: dict[int, AgentRun] = {}
    for part in reversed([*run.walk()]):  # sub-agents before what called them
        bare[id(part)] = _bare_run(part, tuple(_bare_step(step, bare) for step in part.steps))
    return bare[id(run)]


def _bare_run(run: AgentRun, steps: tuple[AgentStep, ...]) -> AgentRun:
    return AgentRun(
        run_id=run.run_id,
        agent_name=run.agent_name,
        status=run.status,
        started_at_ns=run.started_at_ns,
        ended_at_ns=run.ended_at_ns,
        steps=steps,
        trace_id=run.trace_id,
        trace_ids=run.trace_ids,
        span_id=run.span_id,
        parent_run_id=run.parent_run_id,
        resource={name: run.resource[name] for name in _SERVICE if name in run.resource},
        dialect=run.dialect,
        recorded_by=run.recorded_by,
        interrupted=run.interrupted,
        interrupted_for=_mark(run.interrupted_for),
        error=_bare_error(run.error),
        model=run.model,
        usage=_bare_usage(run.usage),
        abandoned=run.abandoned,
        first_chunk_at_ns=run.first_chunk_at_ns,
        sampling_probability=run.sampling_probability,
    )


def _bare_step(step: AgentStep, runs: dict[int, AgentRun]) -> AgentStep:
    return AgentStep(
        step_id=step.step_id,
        index=step.index,
        kind=step.kind,
        name=step.name,
        started_at_ns=step.started_at_ns,
        ended_at_ns=step.ended_at_ns,
        span_id=step.span_id,
        parent_step_id=step.parent_step_id,
        run=None if step.run is None else runs[id(step.run)],
        interrupted_for=_mark(step.interrupted_for),
        error=_bare_error(step.error),
        model=step.model,
        usage=_bare_usage(step.usage),
        abandoned=step.abandoned,
        first_chunk_at_ns=step.first_chunk_at_ns,
    )


def _mark(value: Any) -> Literal[True] | None:
    """Return whether there is a value, without it: what a signal interrupted is distinguished by that."""
    return None if value is None else True


def _bare_error(error: StepError | None) -> StepError | None:
    return None if error is None else StepError(type=error.type, category=error.category)


def _bare_usage(usage: Usage | None) -> Usage | None:
    return None if usage is None else Usage(**{name: getattr(usage, name) for name in TOKEN_FIELDS})
