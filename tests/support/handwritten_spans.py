"""Spans written by hand, and what a run tells, in words that are short enough for a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from otel_agent_trace import AgentRun, AgentStep, SpanRecord, runs_from_spans
from otel_agent_trace.span import Event, Resource, Scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ERROR = 2


def span(
    span_id: str,
    parent: str | None,
    times: tuple[int, int | None],
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    error: str | None = None,
    events: tuple[Event, ...] = (),
    scope: str = "",
    trace: str = TRACE,
    service: str = "app",
) -> SpanRecord:
    """A span; values that are objects or lists of objects stand as JSON text, as nearly everybody writes them."""
    return SpanRecord(
        trace,
        span_id.rjust(16, "0"),
        None if parent is None else parent.rjust(16, "0"),
        name,
        times[0],
        times[1],
        {key: as_text(value) for key, value in (attributes or {}).items()},
        status_code=0 if error is None else ERROR,
        status_message=error or "",
        events=events,
        scope=Scope(scope),
        resource=Resource({"service.name": service}),
    )


def numbered_span(
    number: int,
    parent: int | None,
    times: tuple[int, int | None],
    name: str,
    attributes: Mapping[str, Any] | None = None,
    **options: Any,
) -> SpanRecord:
    """A span with a number for an id."""
    return span(f"{number:x}", None if parent is None else f"{parent:x}", times, name, attributes, **options)


def event(name: str, **attributes: Any) -> Event:
    """An event; ``gen_ai__x`` is written for ``gen_ai.x``."""
    return Event(name, 1, {key.replace("__", "."): as_text(value) for key, value in attributes.items()})


def as_text(value: Any) -> Any:
    structured = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
    return json.dumps(value) if structured else value


def only_run(*spans: SpanRecord) -> AgentRun:
    (run,) = runs_from_spans(spans)
    return run


def summary_of(run: AgentRun) -> dict[str, Any]:
    """What a run tells of itself; what it does not tell is not in it."""
    facts = {
        "agent": run.agent_name,
        "asked": run.user_input,
        "answered": run.final_output,
        "failed": None if run.error is None else run.error.message,
        "session": run.session_id,
        "user": run.user_id,
        "tokens": None if run.usage is None else (run.usage.input_tokens, run.usage.output_tokens),
        "steps": [summary_of_step(step) for step in run.steps],
    }
    return {name: value for name, value in facts.items() if value is not None}


def summary_of_step(step: AgentStep) -> tuple[Any, ...]:
    """Tools as (name, input, output), failed ones with the error's message last; models as (model, tokens in, out)."""
    if step.run is not None:
        return ("agent", summary_of(step.run))
    if step.kind.value == "model":
        tokens = (None, None) if step.usage is None else (step.usage.input_tokens, step.usage.output_tokens)
        failed = () if step.error is None else (step.error.message,)
        return ("model", step.model, *tokens, *failed)
    failed = () if step.error is None else (step.error.message,)
    return (step.kind.value, step.name, step.input, step.output, *failed)
