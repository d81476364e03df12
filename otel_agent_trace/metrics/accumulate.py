"""Count one run into a tally; tokens as `usage` sums them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from otel_agent_trace import categories
from otel_agent_trace.metrics.error_messages import Occurrences, normalised
from otel_agent_trace.metrics.outcome_tally import CostTally, OutcomeTally, total_tokens
from otel_agent_trace.metrics.series import bucket_start_ns
from otel_agent_trace.metrics.table import Table
from otel_agent_trace.metrics.tally import CallTally, RunTally, ScoreTally
from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, RunStatus, Score, StepError, StepKind, Usage
from otel_agent_trace.prices import PricedPart, Prices, RunCost, cost_of, priced_parts
from otel_agent_trace.query import INTERRUPTED, PAUSED, status_of
from otel_agent_trace.runs.charged import agents_around, tools_around
from otel_agent_trace.runs.conduct import Conduct, conduct_of, error_of, has_failed, is_paused
from otel_agent_trace.runs.names import model_name, name_or_unknown, shortened
from otel_agent_trace.scores import number_of, scores_in
from otel_agent_trace.usage import counted_parts, sum_of

_ONE_RUN, _ONE_STEP = Occurrences(runs=1), Occurrences(steps=1)
CATEGORY_OF_STATUS = {RunStatus.ERROR: categories.OTHER, RunStatus.TIMEOUT: categories.TIMEOUT}


def count_run(
    tally: RunTally, run: AgentRun, prices: Prices, groups: Mapping[str, Iterable[str]] = MappingProxyType({})
) -> None:
    """Count an outermost run with everything below it, in the groups with the given names by key too."""
    counted = counted_parts(run)
    conduct = conduct_of(run)
    tokens, scores = _token_counts(sum_of(counted, run)), _scores_by_name(run)
    parts = priced_parts(counted, prices)
    cost = cost_of(parts)
    agent = tally.agents.at(name_or_unknown(run.agent_name))
    for outcomes in (tally.outcomes, agent.outcomes, *_bucket_tallies(tally, run)):
        _count_outcome(outcomes, run, tokens, cost, conduct)
    _count_scores(tally.scores, scores)
    _count_usage(tally, run, parts, cost)
    if cost.priced_calls:
        tally.prices.at(prices.version).count += cost.priced_calls
    for key, names in groups.items():
        for name in names:
            group = tally.groups[key].at(name)  # which the next name may drive out of the table
            _count_outcome(group.outcomes, run, tokens, cost, conduct)
            _count_scores(group.scores, scores)
    if _is_finished(run):
        tally.steps.add(sum(len(part.steps) for part in run.walk()))
    _count_run_error(tally, run)
    for nested in run.walk():
        _count_steps(tally, nested)
    _count_repeats(tally, conduct)


def _count_repeats(tally: RunTally, conduct: Conduct) -> None:
    for name in conduct.loops:
        tally.tools.at(name).loops += 1
    for (kind, name), calls in conduct.retries.items():
        (tally.tools if kind is StepKind.TOOL else tally.models).at(name).retries += len(calls)


def _scores_by_name(run: AgentRun) -> Mapping[str, list[Score]]:
    """Return the scores that count in a run and in all below it."""
    found = defaultdict[str, list[Score]](list)
    for score in scores_in(run):
        found[name_or_unknown(score.name)].append(score)
    return found


def _count_scores(table: Table[str, ScoreTally], scores: Mapping[str, list[Score]]) -> None:
    for name, of_name in scores.items():
        tally = table.at(name)
        tally.runs += 1
        for score in of_name:
            _count_score(tally, score)


def _count_score(tally: ScoreTally, score: Score) -> None:
    tally.count += 1
    if isinstance(score.value, bool):
        tally.true += score.value
        tally.false += not score.value
    elif (number := number_of(score)) is not None:
        tally.numbers.add(number)
    if score.label:
        tally.labels.at(shortened(score.label)).count += 1


def _token_counts(usage: Usage) -> Counter[str]:
    """Return the tokens by kind; a kind that was not reported is missing."""
    return Counter({name: count for name in TOKEN_FIELDS if (count := getattr(usage, name))})


def _bucket_tallies(tally: RunTally, run: AgentRun) -> tuple[OutcomeTally, ...]:
    if tally.bucket_ns is None:
        return ()
    return (tally.series.at(bucket_start_ns(run.started_at_ns, tally.bucket_ns)),)


def _count_usage(tally: RunTally, run: AgentRun, parts: Iterable[PricedPart], cost: RunCost) -> None:
    """Count tokens and cost for the model of each call, and the cost for each tool and sub-agent around it."""
    for part, around, pico_usd in parts:
        one = None if pico_usd is None else CostTally(1, pico_usd)
        if isinstance(part, AgentStep) and part.usage is not None:
            model = tally.models.at(model_name(part))
            _count_tokens(model, part, part.usage)
            if one is not None:
                model.cost.absorb(one)
        if one is not None and around:
            for name in tools_around(around):
                tally.tools.at(name).cost.absorb(one)
            for name in agents_around(run, around):
                tally.agents.at(name).nested_cost.absorb(one)
    for name, calls in cost.unpriced.items():
        tally.unpriced.at(shortened(name)).count += calls


def _count_outcome(
    outcomes: OutcomeTally, run: AgentRun, tokens: Counter[str], cost: RunCost, conduct: Conduct
) -> None:
    status = _outcome(run)
    outcomes.statuses[status] += 1
    outcomes.tokens.update(tokens)
    outcomes.cost.absorb(CostTally(cost.priced_calls, cost.pico_usd))
    outcomes.cost_squares += cost.pico_usd**2
    outcomes.token_squares += total_tokens(tokens) ** 2
    outcomes.loops += bool(conduct.loops)
    outcomes.retries += conduct.retry_count
    outcomes.success_with_tool_errors += status == RunStatus.SUCCESS.value and conduct.has_tool_errors
    if run.first_chunk_at_ns is not None:
        outcomes.first_chunk_ns.add(run.first_chunk_at_ns - run.started_at_ns)
    if _is_finished(run) and run.ended_at_ns is not None:
        outcomes.latency_ns.add(run.ended_at_ns - run.started_at_ns)


def _outcome(run: AgentRun) -> str:
    status = status_of(run)
    return RunStatus.RUNNING.value if status == INTERRUPTED else status


def _is_finished(run: AgentRun) -> bool:
    return _outcome(run) not in (RunStatus.RUNNING.value, PAUSED)


def _count_steps(tally: RunTally, run: AgentRun) -> None:
    for step in run.steps:
        if step.run is not None:
            tally.agents.at(name_or_unknown(step.run.agent_name)).nested_runs += 1
        if step.kind is StepKind.TOOL:
            _count_call(tally.tools.at(name_or_unknown(step.name)), step)
        elif step.kind is StepKind.MODEL:
            _count_call(tally.models.at(model_name(step)), step)
        error = error_of(step)
        if error is not None:
            _count_error(tally, error, _ONE_STEP)


def _count_call(call: CallTally, step: AgentStep) -> None:
    call.calls += 1
    call.errors += has_failed(step)
    call.abandoned += step.abandoned
    call.paused += is_paused(step)
    if (duration_ns := _complete_ns(step)) is not None:
        call.latency_ns.add(duration_ns)
    if step.first_chunk_at_ns is not None:
        call.first_chunk_ns.add(step.first_chunk_at_ns - step.started_at_ns)


def _complete_ns(step: AgentStep) -> int | None:
    """Return the duration of a call; None for one that was abandoned or paused, or has no end."""
    if step.ended_at_ns is None or step.abandoned or is_paused(step):
        return None
    return step.ended_at_ns - step.started_at_ns


def _count_tokens(call: CallTally, step: AgentStep, usage: Usage) -> None:
    call.tokens.update(_token_counts(usage))
    if (duration_ns := _complete_ns(step)) is not None and usage.output_tokens is not None:
        call.timed_output_tokens += usage.output_tokens
        call.output_ns += max(duration_ns, 0)


def _count_run_error(tally: RunTally, run: AgentRun) -> None:
    if run.error is not None:
        _count_error(tally, run.error, _ONE_RUN)
    elif run.status in CATEGORY_OF_STATUS:
        tally.categories.at(CATEGORY_OF_STATUS[run.status]).absorb(_ONE_RUN)


def _count_error(tally: RunTally, error: StepError, occurrences: Occurrences) -> None:
    tally.categories.at(name_or_unknown(error.category)).absorb(occurrences)
    tally.error_types.at(name_or_unknown(error.type)).count(normalised(error.message), occurrences)
