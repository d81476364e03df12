"""Find the run and the step around any code, through OpenTelemetry's context."""

from __future__ import annotations

from opentelemetry.context import Context

from otel_agent_trace.model import StepKind
from otel_agent_trace.tracing.active import INERT, ActiveRun, ActiveStep
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, current_context


def current_run() -> ActiveRun:
    """Return the run that this code is part of; outside of any, one that records nothing."""
    return surrounding_run() or _inert_run()


def surrounding_run() -> ActiveRun | None:
    """Return the run that this code is part of, None outside of any."""
    return run_in(current_context())


def run_in(context: Context) -> ActiveRun | None:
    """Return the run in a context, None if there is none of this process."""
    run = context.get(RUN_KEY)
    return run if isinstance(run, ActiveRun) else None


def inside_a_run() -> bool:
    """Return whether this code is part of a run, in this process or in the one that sent the function here."""
    return current_context().get(RUN_KEY) is not None


def current_step() -> ActiveStep:
    """Return the step that this code is part of; outside of any, one that records nothing."""
    step = current_context().get(STEP_KEY)
    return step if isinstance(step, ActiveStep) else ActiveStep(_inert_run(), StepKind.OTHER, "")


def _inert_run() -> ActiveRun:
    return ActiveRun(INERT, {})
