"""Model calls with a provider, a model and tokens, and runs of them, for tests of what these cost."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind, Usage

AT_NOON_NS = int(datetime(2026, 11, 20, 12, tzinfo=timezone.utc).timestamp()) * 10**9
"""A time after the last change of a price that the tests go by."""
_SECOND_NS = 10**9


def model_call(
    model: str | None = "gpt-4o",
    provider: str | None = "openai",
    *,
    number: int = 1,
    at_ns: int = AT_NOON_NS,
    within: int | None = None,
    attributes: dict[str, Any] | None = None,
    **usage: Any,
) -> AgentStep:
    """A call; `usage` are fields of `Usage`, `within` is the id of the step around it."""
    named = {} if provider is None else {"gen_ai.provider.name": provider}
    return AgentStep(
        step_id=number,
        index=number - 1,
        kind=StepKind.MODEL,
        name=model or "chat",
        model=model,
        usage=Usage(**usage) if usage else None,
        parent_step_id=within,
        started_at_ns=at_ns,
        ended_at_ns=at_ns + _SECOND_NS,
        attributes={**named, **(attributes or {})},
    )


def tool_call(name: str, number: int, within: int | None = None, run: AgentRun | None = None) -> AgentStep:
    """A call of a tool, or with a run one of a sub-agent."""
    return AgentStep(
        step_id=number,
        index=number - 1,
        kind=StepKind.TOOL if run is None else StepKind.AGENT,
        name=name,
        parent_step_id=within,
        started_at_ns=AT_NOON_NS,
        ended_at_ns=AT_NOON_NS + _SECOND_NS,
        run=run,
    )


def run_of(*steps: AgentStep, run_id: str = "a" * 32, **fields: Any) -> AgentRun:
    """A run with steps."""
    known: dict[str, Any] = {
        "agent_name": "weather",
        "status": RunStatus.SUCCESS,
        "started_at_ns": AT_NOON_NS,
        "ended_at_ns": AT_NOON_NS + _SECOND_NS,
        "trace_id": run_id[:32],
    }
    return AgentRun(run_id=run_id, steps=steps, **{**known, **fields})
