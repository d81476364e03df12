"""Summarise runs, and shorten their ids, for lists of many."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.prices import NO_COST, RunCost
from otel_agent_trace.views.values_text import shared_length, shortened

_QUESTION_CHARS = 200
_SERVICE = (semconv.SERVICE_NAME, semconv.SERVICE_VERSION, *semconv.ENVIRONMENTS)
_RANDOM_ID = re.compile(r"[0-9a-f-]{32,}")


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a run without its steps and large values, and counts of them, those of its sub-agents included.

    `steps` and `errors` count steps and failed steps, `tools` the calls by name of the tool; `user_input` is the
    beginning of the question on one line; so is `run.interrupted_for` of its value. `cost` is that of the model calls.
    """

    run: AgentRun
    user_input: str
    steps: int
    errors: int
    tools: dict[str, int]
    cost: RunCost = NO_COST

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able data; times are ISO 8601, durations seconds."""
        run, usage = self.run, self.run.usage
        return {
            "run_id": run.run_id,
            "agent_name": run.agent_name,
            "status": run.status.value,
            "interrupted": run.interrupted,
            "interrupted_for": run.interrupted_for,
            "started_at": run.started_at.isoformat(),
            "duration_s": run.duration_s,
            "steps": self.steps,
            "errors": self.errors,
            "tools": self.tools,
            "input_tokens": usage.input_tokens if usage else None,
            "output_tokens": usage.output_tokens if usage else None,
            **cost_data(self.cost),
            "error": str(run.error) if run.error is not None else None,
            "user_input": self.user_input,
            "user_id": run.user_id,
            "session_id": run.session_id,
            "model": run.model,
            "tags": list(run.tags),
            "service_name": run.service_name,
            "service_version": run.service_version,
            "environment": run.environment,
            "trace_id": run.trace_id,
            "trace_ids": list(run.trace_ids),
            "dialect": run.dialect,
        }


def cost_data(cost: RunCost) -> dict[str, Any]:
    """Return a cost as JSON-able data: dollars, None where no call was priced, and how many calls were not."""
    return {"cost_usd": cost.usd, "unpriced_calls": cost.unpriced_calls}


def summary_of(run: AgentRun, cost: RunCost = NO_COST) -> RunSummary:
    """Return the summary of a run, small enough to keep many."""
    steps = _all_steps(run)
    return RunSummary(
        run=msgspec.structs.replace(
            run,
            steps=(),
            user_input=None,
            final_output=None,
            interrupted_for=None if run.interrupted_for is None else shortened(run.interrupted_for, _QUESTION_CHARS),
            config=None,
            metadata={},
            attributes={},
            resource={key: run.resource[key] for key in _SERVICE if key in run.resource},
        ),
        user_input=shortened(run.user_input, _QUESTION_CHARS),
        steps=len(steps),
        errors=sum(step.error is not None for step in steps),
        tools=dict(Counter(step.name for step in steps if step.kind is StepKind.TOOL)),
        cost=cost,
    )


def short_ids(ids: list[str], shortest: int = 8) -> dict[str, str]:
    """Return for each id its shortest unique prefix of at least `shortest` characters.

    Ids that are not random stay whole: the prefix "order-1" of "order-100" may be the id of a run that is not listed.
    """
    ordered = sorted(set(ids))
    short: dict[str, str] = {}
    for before, run_id, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        shared = max(shared_length(before, run_id), shared_length(run_id, after))
        short[run_id] = run_id[: max(shortest, shared + 1)] if _RANDOM_ID.fullmatch(run_id) else run_id
    return short


def _all_steps(run: AgentRun) -> list[AgentStep]:
    return [step for one in run.walk() for step in one.steps]
