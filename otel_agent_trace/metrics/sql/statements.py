"""Make the statements of a report, and load their rows into its tallies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from otel_agent_trace.categories import category_of_type
from otel_agent_trace.metrics.accumulate import CATEGORY_OF_STATUS
from otel_agent_trace.metrics.error_messages import READ_CHARACTERS, Occurrences, normalised
from otel_agent_trace.metrics.groups import group_name
from otel_agent_trace.metrics.series import FIRST_MONDAY_NS
from otel_agent_trace.metrics.sql.aggregates import (
    CALLS,
    COST,
    COUNTED_RUNS,
    COUNTED_STEPS,
    FAILED,
    FIRST_CHUNKS,
    OUTCOMES,
    Aggregate,
    Aggregates,
    add_cost,
)
from otel_agent_trace.metrics.sql.dialects import Dialect
from otel_agent_trace.metrics.strata import LEAST_PROBABILITY, WHOLE, Strata
from otel_agent_trace.metrics.table import Table
from otel_agent_trace.metrics.tally import RunTally, ScoreTally
from otel_agent_trace.model import RunStatus
from otel_agent_trace.runs.names import NAME_CHARACTERS, name_or_unknown, shortened
from otel_agent_trace.sources.parquet.values import value_of

_COUNTED = f"counted_runs AS ({COUNTED_RUNS}), counted_steps AS ({COUNTED_STEPS})"
"""Tables that each statement begins with; the engine has ``chosen_runs`` and ``chosen_spans``, those that a query selects."""
IS_WHOLE = f"NOT coalesce(sampling_probability >= {LEAST_PROBABILITY!r} AND sampling_probability < 1, false)"
"""Condition for a run of the weight 1: others are of a sample, of which figures need each trace by itself."""


class Key(NamedTuple):
    """Hold a key of groups, and expressions over ``counted_runs`` for the value under it and its type.

    `type` is NULL for a text, else that of `sources.parquet.values`. Where a run may have several values, `rows` selects
    them with its `run_number`. `parameters` are of all three.
    """

    name: str
    text: str = "text"
    type: str = "NULL"
    rows: str | None = None
    parameters: Mapping[str, Any] = MappingProxyType({})

    @property
    def runs(self) -> str:
        """Return ``counted_runs`` with the values of each."""
        return f"counted_runs JOIN ({self.rows}) AS named USING (run_number)" if self.rows else "counted_runs"


class Statement(NamedTuple):
    """Hold a statement, its parameters, and the function that adds a row of it to a tally."""

    sql: str
    parameters: Mapping[str, Any]
    add: Callable[..., None]


def load(strata: Strata, statement: Statement, rows: Iterable[Sequence[Any]]) -> None:
    """Add the rows of a statement."""
    for values in rows:
        statement.add(strata.at(WHOLE), *values)


def statements(
    dialect: Dialect,
    keys: Sequence[Key],
    strata: Strata,
    *,
    with_scores: bool = True,
    with_chunks: bool = True,
    failures: str = "counted_runs",
    tables: str = "",
) -> Iterator[Statement]:
    """Yield the statements of a report with groups by some keys, each to be loaded before the next.

    Without `with_scores` the engine has none, and no column of them; without `with_chunks` no times of first chunks.
    `failures` has the errors of the runs, `tables` are what a statement has to define first.
    """
    made = _Statements(dialect, tables)
    yield made.of_agents(OUTCOMES)
    yield made.of_unpriced()
    yield made.of_steps_per_run()
    yield made.of_calls(CALLS)
    if with_chunks:
        yield made.of_agents(FIRST_CHUNKS)
        yield made.of_calls(FIRST_CHUNKS)
    yield made.of_nested_runs()
    yield from made.of_errors(failures)
    if with_scores:
        of_values, of_runs = made.of_scores()
        yield of_values
        if _has_scores(strata):
            yield of_runs
    has_chunks = any(tally.outcomes.first_chunk_ns.count for _, tally in strata.sample().parts)
    counted = (OUTCOMES, FIRST_CHUNKS) if has_chunks else (OUTCOMES,)
    if strata.bucket_ns is not None:
        yield from (made.of_series(aggregates, strata.bucket_ns) for aggregates in counted)
    for key in keys:
        yield from (made.of_groups(aggregates, key) for aggregates in counted)
        yield from made.of_scores(key) if _has_scores(strata) else ()


def _has_scores(strata: Strata) -> bool:
    return any(len(tally.scores.items()) for _, tally in strata.sample().parts)


class _Statements:
    """Make statements in a dialect."""

    def __init__(self, dialect: Dialect, tables: str) -> None:
        self._dialect, self._tables = dialect, tables

    def of_agents(self, aggregates: Aggregates) -> Statement:
        def add(tally: RunTally, agent: str, *values: Any) -> None:
            name = name_or_unknown(agent)
            for outcomes in (tally.outcomes, tally.agents.at(name).outcomes):
                _add(aggregates.rows, outcomes, values)

        return self._counted([self._name("agent_name")], aggregates, "counted_runs", add)

    def of_unpriced(self) -> Statement:
        def add(tally: RunTally, model: str, calls: int) -> None:
            tally.unpriced.at(model).count += calls

        return self._grouped(["model"], ["count(*)"], f"({self._dialect.unpriced}) AS unpriced_calls", add)

    def of_series(self, aggregates: Aggregates, bucket_ns: int) -> Statement:
        since = f"(started_at_ns - {FIRST_MONDAY_NS})"
        start = f"started_at_ns - (({since} % {bucket_ns}) + {bucket_ns}) % {bucket_ns}"

        def add(tally: RunTally, start_ns: int, *values: Any) -> None:
            _add(aggregates.rows, tally.series.at(start_ns), values)

        return self._counted([start], aggregates, "counted_runs", add)

    def of_groups(self, aggregates: Aggregates, key: Key) -> Statement:
        def add(tally: RunTally, text: str | None, type_text: str | None, *values: Any) -> None:
            _add(aggregates.rows, tally.groups[key.name].at(_name_of_group(text, type_text)).outcomes, values)

        return self._counted([key.text, key.type], aggregates, key.runs, add, key.parameters)

    def of_calls(self, aggregates: Aggregates) -> Statement:
        def add(tally: RunTally, kind: str, name: str, *values: Any) -> None:
            table = tally.tools if kind == "tool" else tally.models
            _add(aggregates.rows, table.at(name_or_unknown(name)), values)

        rows = "(SELECT * FROM counted_steps WHERE kind IN ('tool', 'model')) AS calls"
        return self._counted(["kind", self._name("call_name")], aggregates, rows, add)

    def of_steps_per_run(self) -> Statement:
        def add(tally: RunTally, steps: int, runs: int) -> None:
            tally.steps.add_bin(runs, runs * steps, steps, steps)

        return self._grouped(["step_count"], ["count(*)"], "counted_runs WHERE is_finished", add)

    def of_nested_runs(self) -> Statement:
        def add(tally: RunTally, name: str, runs: int, *cost: int | None) -> None:
            agent = tally.agents.at(name_or_unknown(name))
            agent.nested_runs += runs
            add_cost(agent.nested_cost, *cost)

        expressions = ["count(*)", *(each.format(wide=self._dialect.wide) for each in COST)]
        rows = "counted_steps WHERE agent_name IS NOT NULL"
        return self._grouped([self._name("agent_name")], expressions, rows, add)

    def of_errors(self, failures: str) -> Iterator[Statement]:
        names = [
            self._name("error_category"),
            "error_type",
            self._dialect.head.format("error_message", READ_CHARACTERS),
        ]
        runs = f"{failures} WHERE error_type IS NOT NULL OR status IN ({FAILED})"
        yield self._grouped([*names, "status"], ["count(*)"], runs, _add_run_error)
        yield self._grouped(names, ["count(*)"], "counted_steps WHERE failed", _add_step_error)

    def of_scores(self, key: Key | None = None) -> Iterator[Statement]:
        """Yield the statement of values of scores and that of runs with some, or those of the groups by a key."""
        table_of = _scores_of(key)
        groups: list[str] = [] if key is None else ["text", "type"]
        parameters: Mapping[str, Any] = {} if key is None else key.parameters
        rows = f"({self._dialect.scores}) AS counted_scores"
        if key is not None:
            named = f"SELECT run_number, {key.text} AS text, {key.type} AS type FROM {key.runs}"
            rows += f" JOIN ({named}) AS grouped USING (run_number)"
        name = self._name("score_name")

        def add_runs(tally: RunTally, *values: Any) -> None:
            *group, score, runs = values
            table_of(tally, *group).at(score).runs += runs

        def add_scores(tally: RunTally, *values: Any) -> None:
            *group, score, value, is_bool, label, times = values
            _add_score(table_of(tally, *group).at(score), value, is_bool, label, times)

        name = f"CASE WHEN {name} = '' THEN '{name_or_unknown(None)}' ELSE {name} END"
        runs = self._dialect.distinct.format("run_number")
        values = [*groups, name, "score_value", "is_bool", "label"]
        yield self._grouped(values, ["count(*)"], rows, add_scores, parameters)
        yield self._grouped([*groups, name], [runs], rows, add_runs, parameters)

    def _name(self, column: str) -> str:
        return self._dialect.name_of(column, NAME_CHARACTERS)

    def _counted(
        self,
        names: Sequence[str],
        aggregates: Aggregates,
        rows: str,
        add: Callable[..., None],
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> Statement:
        """Return a statement of aggregates by names, and by the bins of their distribution."""
        bins = self._dialect.bin_of(aggregates.binned)
        expressions = [
            expression.format(wide=self._dialect.wide) for row in aggregates.rows for expression in row.expressions
        ]
        return self._grouped(names, expressions, f"{rows} WHERE {aggregates.where}", add, parameters, bins=bins)

    def _grouped(
        self,
        names: Sequence[str],
        expressions: Sequence[str],
        rows: str,
        add: Callable[..., None],
        parameters: Mapping[str, Any] = MappingProxyType({}),
        *,
        bins: str | None = None,
    ) -> Statement:
        columns = ", ".join(f"{name} AS name{place}" for place, name in enumerate(names))
        groups = ", ".join([*(f"name{place}" for place in range(len(names))), *([bins] if bins else [])])
        sql = f"WITH {self._tables}{_COUNTED} SELECT {columns}, {', '.join(expressions)} FROM {rows} GROUP BY {groups}"
        return Statement(sql, parameters, add)


def _add(aggregates: Iterable[Aggregate], tally: Any, values: Sequence[Any]) -> None:
    rest = iter(values)
    for aggregate in aggregates:
        aggregate.add(tally, *itertools.islice(rest, len(aggregate.expressions)))


def _name_of_group(text: str | None, type_text: str | None) -> str:
    return group_name(text if text is None or type_text is None else value_of(text, type_text))


def _scores_of(key: Key | None) -> Callable[..., Table[str, ScoreTally]]:
    if key is None:
        return lambda tally: tally.scores
    return lambda tally, text, type_text: tally.groups[key.name].at(_name_of_group(text, type_text)).scores


def _add_score(tally: ScoreTally, value: float | None, is_bool: bool, label: str | None, times: int) -> None:
    tally.count += times
    if is_bool:
        tally.true += times * (value == 1)
        tally.false += times * (value != 1)
    elif value is not None:
        tally.numbers.add(value, times)
    if label:
        tally.labels.at(shortened(label)).count += times


def _add_run_error(tally: RunTally, *values: Any) -> None:
    category, error_type, message, status, runs = values
    if error_type is None:
        tally.categories.at(CATEGORY_OF_STATUS[RunStatus(status)]).absorb(Occurrences(runs=runs))
    else:
        _add_error(tally, category, error_type, message, Occurrences(runs=runs))


def _add_step_error(tally: RunTally, category: str | None, error_type: str, message: str | None, steps: int) -> None:
    _add_error(tally, category, error_type, message, Occurrences(steps=steps))


def _add_error(tally: RunTally, category: str | None, error_type: str, message: str | None, times: Occurrences) -> None:
    known = category_of_type(error_type) if category is None else category
    tally.categories.at(name_or_unknown(known)).absorb(times)
    tally.error_types.at(name_or_unknown(error_type)).count(normalised(message or ""), times)
