"""Define what is counted of runs, calls and scores: one row for each figure, with its SQL and the place in the tally.

The SQL is over `COUNTED_RUNS`, `CALLS` and the like; a statement groups it by the weight and the name of what it is of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from otel_agent_trace.metrics.outcome_tally import CostTally, OutcomeTally
from otel_agent_trace.metrics.tally import CallTally
from otel_agent_trace.model import FAILED_STATUSES, TOKEN_FIELDS, RunStatus
from otel_agent_trace.query import PAUSED

RUNNING = RunStatus.RUNNING.value
UNFINISHED = (RUNNING, PAUSED)


class Aggregate(NamedTuple):
    """Hold expressions over a group of rows, and the function that adds their values to a tally.

    In these ``{wide}`` stands for that of the dialect.
    """

    expressions: tuple[str, ...]
    add: Callable[..., object]


class Aggregates(NamedTuple):
    """Hold what is counted of one kind of thing, of which one value is counted by bins: its distribution.

    Things of which `where` does not hold are left out.
    """

    binned: str
    rows: tuple[Aggregate, ...]
    where: str = "true"


def _status(status: str) -> Aggregate:
    def add(tally: OutcomeTally, count: int) -> None:
        if count:
            tally.statuses[status] += count

    return Aggregate((f"count(CASE WHEN outcome = '{status}' THEN 1 END)",), add)


def _tokens(field: str, condition: str | None = None) -> Aggregate:
    def add(tally: OutcomeTally | CallTally, count: int | None) -> None:
        if count:
            tally.tokens[field] += count

    value = field if condition is None else f"CASE WHEN {condition} THEN {field} END"
    return Aggregate((f"sum({{wide}}({value}))",), add)


def _number(name: str, condition: str | None = None) -> Aggregate:
    return _added(name, "count(*)" if condition is None else f"count(CASE WHEN {condition} THEN 1 END)")


def _sum(name: str, value: str) -> Aggregate:
    return _added(name, f"sum({{wide}}({value}))")


def _added(name: str, expression: str) -> Aggregate:
    def add(tally: OutcomeTally | CallTally, number: int | None) -> None:
        setattr(tally, name, getattr(tally, name) + int(number or 0))

    return Aggregate((expression,), add)


def _distribution(name: str) -> Aggregate:
    def add(tally: OutcomeTally | CallTally, count: int, *of_bin: int) -> None:
        if count:
            getattr(tally, name).add_bin(count, *of_bin)

    return Aggregate((f"count({name})", f"sum({{wide}}({name}))", f"min({name})", f"max({name})"), add)


def add_cost(tally: CostTally, calls: int | None, pico_usd: int | None) -> None:
    """Add the values of `COST` to a tally."""
    if calls:
        tally.absorb(CostTally(int(calls), int(pico_usd or 0)))


def _add_cost(tally: OutcomeTally | CallTally, *values: int | None) -> None:
    add_cost(tally.cost, *values)


FAILED = ", ".join(f"'{status}'" for status in FAILED_STATUSES)
"""Statuses of runs that failed, as literals of a list."""
COST = "sum({wide}(priced_calls))", "sum({wide}(cost_pico_usd))"
"""Expressions for a cost: the calls that have a price, and their sum."""


_LATENCY = _distribution("latency_ns")
_COST = Aggregate(COST, _add_cost)
_PICO_USD = "CAST(coalesce(cost_pico_usd, 0) AS DECIMAL(19, 0))"
_ALL_TOKENS = "(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
_HAS_TOKENS = "is_innermost AND kind = 'model'"
_IS_TIMED = f"{_HAS_TOKENS} AND latency_ns IS NOT NULL AND output_tokens IS NOT NULL"

OUTCOMES = Aggregates(
    "latency_ns",
    (
        *map(_status, (*(status.value for status in RunStatus), PAUSED)),
        _LATENCY,
        *map(_tokens, TOKEN_FIELDS),
        _sum("token_squares", f"{_ALL_TOKENS} * {_ALL_TOKENS}"),
        _number("loops", "has_loop"),
        _sum("retries", "retries"),
        _number("success_with_tool_errors", f"outcome = '{RunStatus.SUCCESS.value}' AND has_tool_errors"),
        _COST,
        _sum("cost_squares", f"{_PICO_USD} * {_PICO_USD}"),
    ),
)
CALLS = Aggregates(
    "latency_ns",
    (
        _number("calls"),
        _number("errors", "failed"),
        _number("abandoned", "abandoned"),
        _number("paused", "paused"),
        _LATENCY,
        *(_tokens(field, _HAS_TOKENS) for field in TOKEN_FIELDS),
        _number("loops", "is_loop"),
        _number("retries", "is_retry"),
        _sum("timed_output_tokens", f"CASE WHEN {_IS_TIMED} THEN output_tokens END"),
        _sum("output_ns", f"CASE WHEN {_IS_TIMED} THEN latency_ns END"),
        _COST,
    ),
)
# The condition is of a column, so that engines skip the parts of a table that have none.
FIRST_CHUNKS = Aggregates("first_chunk_ns", (_distribution("first_chunk_ns"),), "first_chunk_at_ns IS NOT NULL")
MOST_TOKENS = 1 << 30
"""Most tokens of a run of which the square can be summed."""
MOST_PICO_USD = 1 << 53
"""Highest cost of a run in 1e-12 dollars of which the square can be summed."""
IS_LOW_COST = f"coalesce(cost_pico_usd, 0) <= {MOST_PICO_USD}"
ARE_FEW_TOKENS = " AND ".join(
    f"coalesce({name}, 0) BETWEEN {-MOST_TOKENS} AND {MOST_TOKENS}" for name in ("input_tokens", "output_tokens")
)

_OUTCOME = (
    f"CASE WHEN status = '{RunStatus.SUCCESS.value}' AND interrupted_for IS NOT NULL THEN '{PAUSED}' ELSE status END"
)
_IS_FINISHED = f"outcome NOT IN ({', '.join(map(repr, UNFINISHED))})"
_LATENCY_NS = "greatest(ended_at_ns - started_at_ns, 0)"
_FIRST_CHUNK_NS = (
    "CASE WHEN first_chunk_at_ns IS NOT NULL THEN greatest(first_chunk_at_ns - started_at_ns, 0) END AS first_chunk_ns"
)

COUNTED_RUNS = (
    f"SELECT *, CASE WHEN {_IS_FINISHED} AND ended_at_ns IS NOT NULL THEN {_LATENCY_NS} END AS latency_ns,"
    f" {_IS_FINISHED} AS is_finished, {_FIRST_CHUNK_NS} FROM (SELECT *, {_OUTCOME} AS outcome FROM chosen_runs)"
)
"""Runs with `outcome`, `is_finished`, `first_chunk_ns`, and `latency_ns` where it counts."""
COUNTED_STEPS = (
    f"SELECT *, {_FIRST_CHUNK_NS}, error_type IS NOT NULL AND NOT abandoned AND NOT paused AS failed,"
    f" CASE WHEN ended_at_ns IS NOT NULL AND NOT abandoned AND NOT paused THEN {_LATENCY_NS} END AS latency_ns,"
    " CASE WHEN kind = 'model' THEN coalesce(nullif(request_model, ''), model) ELSE name END AS call_name"
    " FROM chosen_spans WHERE kind IS NOT NULL"
)
"""Steps with `failed`, `call_name`, `first_chunk_ns`, and `latency_ns` where it counts."""
