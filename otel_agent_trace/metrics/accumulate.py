"""How one run is counted into a tally."""

from __future__ import annotations

from collections import Counter

from otel_agent_trace import categories
from otel_agent_trace.metrics.series import bucket_start_ns
from otel_agent_trace.metrics.tally import CallTally, OutcomeTally, RunTally
from otel_agent_trace.metrics.texts import Occurrences, normalised
from otel_agent_trace.metrics.tokens import counting_calls, used_tokens
from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, RunStatus, StepError, StepKind, Usage

UNKNOWN = "unknown"
_NAME_CHARACTERS = 200
_ONE_RUN, _ONE_STEP = Occurrences(runs=1), Occurrences(steps=1)
_CATEGORY_OF_STATUS = {RunStatus.ERROR: categories.UNKNOWN, RunStatus.TIMEOUT: categories.TIMEOUT}


def count_run(tally: RunTally, run: AgentRun) -> None:
    """Count one outermost run with everything below it."""
    tokens = token_counts(used_tokens(run))
    agent = tally.agents.at(_label(run.agent_name))
    for outcomes in (tally.outcomes, agent.outcomes, *_bucket(tally, run)):
        _count_outcome(outcomes, run, tokens)
    if run.status is not RunStatus.RUNNING:
        tally.steps.add(len(run.steps))
    _count_run_error(tally, run)
    for nested in run.walk():
        _count_steps(tally, nested)


def token_counts(usage: Usage) -> Counter[str]:
    """The tokens by kind; a kind that nobody told of is missing."""
    return Counter({name: count for name in TOKEN_FIELDS if (count := getattr(usage, name))})


def _bucket(tally: RunTally, run: AgentRun) -> tuple[OutcomeTally, ...]:
    if tally.bucket_ns is None:
        return ()
    return (tally.series.at(bucket_start_ns(run.started_at_ns, tally.bucket_ns)),)


def _count_outcome(outcomes: OutcomeTally, run: AgentRun, tokens: Counter[str]) -> None:
    outcomes.statuses[run.status.value] += 1
    outcomes.tokens.update(tokens)
    if run.status is not RunStatus.RUNNING and run.ended_at_ns is not None:
        outcomes.latency_ns.add(run.ended_at_ns - run.started_at_ns)


def _count_steps(tally: RunTally, run: AgentRun) -> None:
    for step in run.steps:
        if step.run is not None:
            tally.agents.at(_label(step.run.agent_name)).nested_runs += 1
        if step.kind is StepKind.TOOL:
            _count_call(tally.tools.at(_label(step.name)), step)
        elif step.kind is StepKind.MODEL:
            _count_call(tally.models.at(_label(step.model)), step)
        error = _step_error(step)
        if error is not None:
            _count_error(tally, error, _ONE_STEP)
    for step in counting_calls(run):
        if step.usage is not None:
            tally.models.at(_label(step.model)).tokens.update(token_counts(step.usage))


def _count_call(call: CallTally, step: AgentStep) -> None:
    call.calls += 1
    call.errors += _step_error(step) is not None
    call.abandoned += step.abandoned
    if step.ended_at_ns is not None and not step.abandoned:
        call.latency_ns.add(step.ended_at_ns - step.started_at_ns)


def _step_error(step: AgentStep) -> StepError | None:
    """What failed a step: nothing if it was abandoned; a sub-agent's failure if its step tells none."""
    if step.abandoned:
        return None
    return step.run.error if step.error is None and step.run is not None else step.error


def _count_run_error(tally: RunTally, run: AgentRun) -> None:
    if run.error is not None:
        _count_error(tally, run.error, _ONE_RUN)
    elif run.status in _CATEGORY_OF_STATUS:
        tally.categories.at(_CATEGORY_OF_STATUS[run.status]).absorb(_ONE_RUN)


def _count_error(tally: RunTally, error: StepError, occurrences: Occurrences) -> None:
    tally.categories.at(_label(error.category)).absorb(occurrences)
    tally.error_types.at(_label(error.type)).count(normalised(error.message), occurrences)


def _label(name: str | None) -> str:
    return name[:_NAME_CHARACTERS] if name else UNKNOWN
