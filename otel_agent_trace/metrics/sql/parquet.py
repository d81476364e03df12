"""Count the runs of a Parquet export by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_agent_trace.metrics.sql.aggregates import ARE_FEW_TOKENS, IS_LOW_COST
from otel_agent_trace.metrics.sql.dialects import DUCKDB, Dialect
from otel_agent_trace.metrics.sql.statements import IS_WHOLE, Key, load, statements
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.prices import Prices, PricesGiven
from otel_agent_trace.query import RunQuery, score_name_in
from otel_agent_trace.sources.parquet.conditions import STATUS, condition_of
from otel_agent_trace.sources.parquet.schema import prices_of
from otel_agent_trace.sources.parquet.selection import opened_database

_FETCHED_ROWS = 10_000
_FIELDS = {
    "agent": "agent_name",
    "user_id": "user_id",
    "session_id": "session_id",
    "user": "user_id",
    "session": "session_id",
    "service": "service_name",
    "version": "service_version",
    "status": STATUS,
    "environment": "environment",
}
_PROMPTS = ("prompt_name", "prompt_version")
_LISTS = {"tag": "tags", "tool": "tools", "provider": "providers"}
_MAPS = ("metadata", "resource")
_IS_COUNTED = f"{IS_WHOLE} AND priced_calls IS NOT NULL AND {ARE_FEW_TOKENS} AND {IS_LOW_COST}"


def count_parquet(
    folder: str, query: RunQuery, strata: Strata, *, replays: bool, prices: PricesGiven = None
) -> list[int] | None:
    """Count the runs of a folder that a query selects, and return the numbers of those that have to be read.

    Returns None, and counts nothing, where SQL cannot select exactly these.

    Args:
        folder: the folder with ``runs.parquet`` and ``spans.parquet``.
        query: the filters; order and limit must be None.
        strata: the tallies to count in, which have the width of buckets and the keys of groups.
        replays: whether runs that are replays of others count too.
        prices: as for `compute_metrics`; the export has the costs by its own, so these have to be the same.

    Raises:
        SourceError: a file is missing, damaged, or not of an export.
        ConfigurationError: DuckDB is not installed.
    """
    condition = condition_of(query)
    keys = [key_of(name) for name in strata.by]
    if not condition.is_exact or query.limit is not None or None in keys:
        return None
    if Prices.of(prices).version != prices_of(folder):
        return None
    with opened_database(folder) as connection:
        where = condition.sql if replays else f"({condition.sql}) AND replay_of IS NULL"
        sampled = f"SELECT run_number FROM runs WHERE ({where}) AND NOT ({_IS_COUNTED}) ORDER BY run_number"
        numbers = connection.execute(sampled, condition.parameters or None).fetchall()
        choose(connection, f"({where}) AND {_IS_COUNTED}", condition.parameters)
        count(connection, strata, [key for key in keys if key is not None])
    return [number for (number,) in numbers]


def choose(connection: Any, where: str, parameters: dict[str, Any]) -> None:
    """Make ``chosen_runs`` and ``chosen_spans`` out of ``runs`` and ``spans``, by a condition over ``runs``."""
    connection.execute("CREATE TEMP TABLE chosen AS SELECT run_number FROM runs LIMIT 0")
    connection.execute(
        f"INSERT INTO chosen SELECT run_number FROM runs WHERE ({where}) IS NOT TRUE", parameters or None
    )
    (number,) = connection.execute("SELECT count(*) FROM chosen").fetchone()
    chosen = " ANTI JOIN chosen USING (run_number)" if number else ""
    for table in ("runs", "spans"):
        connection.execute(f"CREATE TEMP VIEW chosen_{table} AS SELECT * FROM {table}{chosen}")


def count(
    connection: Any, strata: Strata, keys: Sequence[Key], dialect: Dialect = DUCKDB, *, with_all: bool = True
) -> None:
    """Count the chosen runs; without `with_all` there are no scores and first chunks."""
    for statement in statements(dialect, keys, strata, with_scores=with_all, with_chunks=with_all):
        result = connection.execute(statement.sql, dict(statement.parameters) or None)
        while rows := result.fetchmany(_FETCHED_ROWS):
            load(strata, statement, rows)


def key_of(name: str) -> Key | None:
    """Return a key of groups, which is one that `metrics.groups` knows; None for one that SQL cannot group by."""
    if name in _FIELDS:
        return Key(name, text=_FIELDS[name])
    if name in _LISTS:
        return _of_several(name, f"SELECT run_number, unnest({_LISTS[name]}) AS text, NULL AS type FROM chosen_runs")
    if name == "model":
        return Key(name, rows=_MODELS)
    if name in _PROMPTS:
        return _of_several(name, _of_prompt(name))
    score = score_name_in(name)
    if score is not None:
        return _of_several(name, _WORDS, key=score)
    place, _, key = name.partition(".")
    if place not in _MAPS:
        return None
    value = "map_extract({}, $key)[1]"
    return Key(name, value.format(place), value.format(f"{place}_types"), parameters={"key": key})


def _of_several(name: str, values: str, **parameters: Any) -> Key:
    """Return the key with rows of values by run: each value of a run once, and one without a text for a run that has none."""
    rows = (
        f"SELECT DISTINCT run_number, left(text, 200) AS text, type FROM ({values}) "
        f"UNION ALL SELECT run_number, NULL, NULL FROM chosen_runs ANTI JOIN ({values}) AS values USING (run_number)"
    )
    return Key(name, type="type", rows=rows, parameters=parameters)


def _of_prompt(name: str) -> str:
    """Return the rows of what a run has in a field, or if it has none, what its steps and sub-agents have."""
    return (
        f"SELECT run_number, {name} AS text, NULL AS type FROM chosen_runs WHERE {name} IS NOT NULL UNION ALL "
        f"SELECT run_number, span.{name}, NULL FROM chosen_spans AS span JOIN chosen_runs AS run USING (run_number) "
        f"WHERE span.{name} IS NOT NULL AND run.{name} IS NULL"
    )


_WORDS = (
    "SELECT run_number, word.text AS text, word.type AS type FROM (SELECT run_number, is_of_run,"
    " bool_or(is_of_run) OVER (PARTITION BY run_number) AS has_own, CASE WHEN label IS NULL AND value IS NOT NULL"
    " THEN {'text': value_text, 'type': ''} ELSE {'text': label, 'type': NULL} END AS word"
    " FROM (SELECT run_number, unnest(scores, recursive := true) FROM chosen_runs) WHERE name = $key)"
    " WHERE is_of_run = has_own"
)
"""Values of scores of a name, labels first: those of the run, or if it has none, those of its steps and sub-agents."""
_CALLED = (
    "SELECT DISTINCT run_number, left(coalesce(nullif(request_model, ''), nullif(model, ''), 'unknown'), 200) AS text"
    " FROM chosen_spans WHERE kind = 'model'"
)
_MODELS = (
    f"SELECT run_number, text FROM ({_CALLED}) UNION ALL "
    f"SELECT run_number, model FROM chosen_runs ANTI JOIN ({_CALLED}) AS called USING (run_number)"
)
"""Rows of the models that a run called, or where it called none, of its own."""
