"""Define what is counted of runs, calls and scores: one row for each figure, with its SQL and the place in the tally.

The SQL is over `COUNTED_RUNS`, `CALLS` and the like; a statement groups it by the weight and the name of what it is of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from otel_agent_trace.metrics.tally import CallTally, OutcomeTally
from otel_agent_trace.model import TOKEN_FIELDS, RunStatus
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
    """Hold what is counted of one kind of thing, of which one value is counted by bins: its distribution."""

    binned: str
    rows: tuple[Aggregate, ...]


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
    def add(tally: CallTally, count: int) -> None:
        setattr(tally, name, getattr(tally, name) + count)

    return Aggregate(("count(*)" if condition is None else f"count(CASE WHEN {condition} THEN 1 END)",), add)


def _add_latency(tally: OutcomeTally | CallTally, count: int, *of_bin: int) -> None:
    if count:
        tally.latency_ns.add_bin(count, *of_bin)


_LATENCY = Aggregate(
    ("count(latency_ns)", "sum({wide}(latency_ns))", "min(latency_ns)", "max(latency_ns)"), _add_latency
)

OUTCOMES = Aggregates(
    "latency_ns",
    (*map(_status, (*(status.value for status in RunStatus), PAUSED)), _LATENCY, *map(_tokens, TOKEN_FIELDS)),
)
CALLS = Aggregates(
    "latency_ns",
    (
        _number("calls"),
        _number("errors", "failed"),
        _number("abandoned", "abandoned"),
        _number("paused", "paused"),
        _LATENCY,
        *(_tokens(field, "is_innermost AND kind = 'model'") for field in TOKEN_FIELDS),
    ),
)

_OUTCOME = (
    f"CASE WHEN status = '{RunStatus.SUCCESS.value}' AND interrupted_for IS NOT NULL THEN '{PAUSED}' ELSE status END"
)
_IS_FINISHED = f"outcome NOT IN ({', '.join(map(repr, UNFINISHED))})"
_LATENCY_NS = "greatest(ended_at_ns - started_at_ns, 0)"

COUNTED_RUNS = (
    f"SELECT *, CASE WHEN {_IS_FINISHED} AND ended_at_ns IS NOT NULL THEN {_LATENCY_NS} END AS latency_ns,"
    f" {_IS_FINISHED} AS is_finished FROM (SELECT *, {_OUTCOME} AS outcome FROM chosen_runs)"
)
"""Runs with `outcome`, `is_finished`, and `latency_ns` where it counts."""
COUNTED_STEPS = (
    "SELECT *, error_type IS NOT NULL AND NOT abandoned AND NOT paused AS failed,"
    f" CASE WHEN ended_at_ns IS NOT NULL AND NOT abandoned AND NOT paused THEN {_LATENCY_NS} END AS latency_ns,"
    " CASE WHEN kind = 'model' THEN coalesce(nullif(request_model, ''), model) ELSE name END AS call_name"
    " FROM chosen_spans WHERE kind IS NOT NULL"
)
"""Steps with `failed`, `call_name`, and `latency_ns` where it counts."""
