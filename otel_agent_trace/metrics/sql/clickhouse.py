"""Count the runs of our own tracer by ClickHouse, in the table of the Collector's exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.metrics.sql.dialects import CLICKHOUSE
from otel_agent_trace.metrics.sql.own_spans import (
    GIVEN,
    MAY_RESUME,
    ODD_TRACE,
    SAMPLED_STATE,
    facts_of,
    failures_of,
    for_steps,
    runs_of,
    steps_of,
)
from otel_agent_trace.metrics.sql.span_prices import CALLED, COST, RATES, rates_of_calls
from otel_agent_trace.metrics.sql.statements import Key, load, statements
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.repeats import LOOP
from otel_agent_trace.sources.clickhouse.connection import Connection, Row
from otel_agent_trace.sources.clickhouse.source import ClickHouseSource
from otel_agent_trace.sources.parquet.conditions import STATUS, Spelling, condition_of

_KEYS = {
    "agent": Key("agent", "agent_name"),
    "user_id": Key("user_id", "user_id"),
    "session_id": Key("session_id", "session_id"),
    "service": Key("service", "service_name"),
    "status": Key("status", STATUS),
    "environment": Key("environment", "environment"),
    "model": Key(
        "model",
        rows="SELECT run_number, arrayJoin(if(empty(called_models), [coalesce(model, '')], called_models)) AS text"
        " FROM chosen_runs",
    ),
}
_NO_FILTERS = frozenset({"tag", "run_id"})
_SPELLING = Spelling(
    parameter="{{{name}:{type}}}",
    contains="has({}, {{}})",
    is_any="notEmpty({})",
    duration_ns="toInt128(ended_at_ns) - started_at_ns",
    service="{}",
)
_MOST_NAMED = 3_000
"""Most ids of traces that a statement names, as servers take a parameter of 128 KiB at most; more are found again by it."""
_LONGEST_NS = 1 << 62


def _of_resource(key: str) -> str:
    return f"if(mapContains(ResourceAttributes, '{key}'), ResourceAttributes['{key}'], NULL)"


_RAW = (
    "SELECT TraceId AS trace_id, SpanId AS span_id, ParentSpanId AS parent_span_id,"
    " toUnixTimestamp64Nano(Timestamp) AS start_ns,"
    f" if(Duration >= {_LONGEST_NS}, 0, toUnixTimestamp64Nano(Timestamp) + toInt64(Duration)) AS end_ns,"
    " toString(ScopeName) AS scope_name, StatusCode = 'Error' AS is_error, StatusMessage AS status_message,"
    f" SpanAttributes AS attributes, {_of_resource(semconv.SERVICE_NAME)} AS service_name,"
    f" coalesce({', '.join(map(_of_resource, semconv.ENVIRONMENTS))}) AS environment,"
    f" arrayExists(name -> startsWith(name, '{semconv.EVALUATION_EVENTS}'), Events.Name) AS has_scores,"
    f" has(Events.Name, '{semconv.EXCEPTION_EVENT}') AS has_exception, match(TraceState, '{SAMPLED_STATE}') AS is_odd"
)
_PLACES = (
    "groupArray((sipHash64(span_id), if(parent_span_id = '', 0, sipHash64(parent_span_id)), start_ns,"
    " multiIf(kind = 'model', 1, kind = 'tool' OR (kind = 'agent' AND parent_span_id <> ''), 2, 0), if(kind IN ('tool', 'model'),"
    f" sipHash64(kind, coalesce(tool, ''), coalesce({GIVEN}, '')), 0), failure_type IS NOT NULL))"
)
"""Spans of a trace: the id, that of the parent, the start, the kind, what was called, and whether it failed."""
_IS_REPEATING = (
    "arrayExists(call -> call.5 <> 0 AND (call.6 OR call.4 = 2)"
    f" AND arrayCount(other -> other.5 = call.5, places) >= if(call.6, 2, {LOOP}), places)"
)
_ARE_PLACED = (
    "arrayAll(span -> span.2 = 0 OR arrayExists("
    "above -> above.1 = span.2 AND above.3 < span.3 AND above.4 <> 1{}, places), places)"
)
_NO_COST = " AND (above.4 <> 2 OR span.4 = 2)"
"""Condition for places in which no tool and no sub-agent has a cost: that of calls below it."""
_ODD = (
    f"SELECT trace_id FROM (SELECT trace_id, ({ODD_TRACE}) AS has_odd, {_PLACES} AS places FROM facts GROUP BY trace_id)"
    f" WHERE has_odd OR length(arrayDistinct(places.1)) <> length(places) OR {_IS_REPEATING} OR NOT {{}}"
)
_RESUMING = f"SELECT trace_id FROM facts GROUP BY trace_id HAVING {MAY_RESUME}"


_MODELS = "arrayConcat(requested_models, answering_models) AS models"


def can_count(query: RunQuery, by: Sequence[str]) -> bool:
    """Return whether these statements select the runs of a query, and group them by some keys."""
    is_selected = condition_of(query).is_exact and _NO_FILTERS.isdisjoint(query.given()) and query.limit is None
    return is_selected and _KEYS.keys() >= set(by)


@contextmanager
def opened_table(source: ClickHouseSource, prices: Prices) -> Iterator[ClickHouseSpans]:
    """Yield the spans of a table, with the costs of the calls in it.

    Raises:
        SourceError: there is no server, it denies access, or the table is not as the exporter makes it.
    """
    with source.connected() as connection:
        yield ClickHouseSpans(connection, source.services, prices)


class ClickHouseSpans:
    """Count the runs in a table, without the traces that have to be read.

    Args:
        connection: the connection to the server.
        services: the services of which one takes part in each trace; empty for all.
        prices: the prices.
    """

    def __init__(self, connection: Connection, services: Sequence[str], prices: Prices) -> None:
        self._connection = connection
        self._parameters: dict[str, Any] = {"services": list(services)} if services else {}
        among = f"SELECT TraceId FROM {connection.table} WHERE ServiceName IN {{services:Array(String)}}"
        where = f" WHERE TraceId IN ({among})" if services else ""
        self._facts = f"raw AS ({_RAW} FROM {connection.table}{where}), facts AS ({facts_of(CLICKHOUSE)}), "
        self._rates = rates_of_calls(prices, self._rows(CALLED) if prices.version else ())
        self._odd = _ODD.format(_ARE_PLACED.format(_NO_COST if self._rates.by_key else ""))
        if self._rates.unfit:
            self._parameters["unfit"] = self._rates.unfit
            self._odd += f" UNION DISTINCT {self._rates.unfit_traces('{unfit:Array(String)}')}"
        self._odd_ids = self._ids(self._odd)

    def _ids(self, statement: str) -> set[str]:
        return {trace_id for (trace_id,) in self._rows(statement)}

    def _rows(self, statement: str) -> list[Row]:
        return _rows(self._connection, f"WITH {self._facts[:-2]} {statement}", self._parameters)

    def odd(self) -> set[str]:
        """Return the ids of the traces that have to be read."""
        return self._odd_ids

    def add_resuming(self) -> bool:
        """Make those that may resume another one odd too; return whether there are any that were not."""
        before = len(self._odd_ids)
        self._odd_ids = self._odd_ids | self._ids(_RESUMING)
        self._odd += f" UNION DISTINCT {_RESUMING}"
        return len(self._odd_ids) > before

    def count(self, query: RunQuery, strata: Strata, *, replays: bool) -> None:
        """Count the runs in all other traces that a query selects."""
        condition = condition_of(query, _SPELLING)
        where = condition.sql if replays else f"({condition.sql}) AND replay_of IS NULL"
        parameters = self._parameters | condition.parameters
        keys = [_KEYS[name] for name in strata.by]
        usual = self._facts + self._usual(parameters)
        chosen = f"{usual}runs AS (SELECT *, {_MODELS} FROM ({runs_of(CLICKHOUSE)})), chosen_runs AS (SELECT * FROM runs WHERE {where}), "
        of_steps = self._of_steps(query, replays=replays)
        tables = f"{chosen}chosen_spans AS ({steps_of()}{of_steps}), "
        failures = "counted_runs"
        if not query.given():
            failures = f"({failures_of()}{'' if replays else ' AND fact.replay_of IS NULL'})"
        made = statements(
            *(for_steps(CLICKHOUSE), keys, strata),
            with_scores=False,
            with_chunks=False,
            failures=failures,
            tables=tables,
        )
        for statement in made:
            load(strata, statement, _rows(self._connection, statement.sql, parameters))

    def _of_steps(self, query: RunQuery, *, replays: bool) -> str:
        """Return the condition for the steps of the chosen runs; without filters the runs themselves need not be made."""
        if query.given():
            return " AND fact.trace_id IN (SELECT run_number FROM chosen_runs)"
        replayed = "SELECT trace_id FROM facts WHERE parent_span_id = '' AND replay_of IS NOT NULL"
        has_any = not replays and self._ids(f"{replayed} LIMIT 1")
        return f" AND fact.trace_id NOT IN ({replayed})" if has_any else ""

    def _usual(self, parameters: dict[str, Any]) -> str:
        facts = f"priced_facts AS ({self._priced(parameters)}), usual_facts AS (SELECT * FROM priced_facts"
        if not self._odd_ids:
            return f"{facts}), "
        odd = f"({self._odd})"
        if len(self._odd_ids) <= _MOST_NAMED:
            parameters["odd"] = sorted(self._odd_ids)
            odd = "{odd:Array(String)}"
        return f"{facts} WHERE trace_id NOT IN {odd}), "

    def _priced(self, parameters: dict[str, Any]) -> str:
        """Return the facts with the cost of each."""
        rates = self._rates
        if not rates.by_key:
            return "SELECT *, nullif(0, 0) AS cost FROM facts"
        parameters["keys"] = ["", *rates.by_key]
        parameters |= {name: [None, *column] for name, column in rates.columns().items()}
        place = f"transform({rates.key}, {{keys:Array(String)}}, range(1, {len(rates.by_key) + 2}), 1)"
        columns = ", ".join(f"{{{name}:Array(Nullable(Int64))}}[place] AS {name}" for name in RATES)
        return f"SELECT *, {COST} AS cost FROM (SELECT *, {columns} FROM (SELECT *, {place} AS place FROM facts))"


def _rows(connection: Connection, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a statement that names some of the parameters: with others the client takes `%` for its own."""
    named = {name: value for name, value in parameters.items() if f"{{{name}:" in statement}
    return connection.rows(statement, named)
