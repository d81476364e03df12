"""Find the runs of a Parquet export that a query selects, by DuckDB."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.parquet import schema
from otel_agent_trace.sources.parquet.conditions import condition_of, order_of
from otel_agent_trace.sources.parquet.packages import duckdb


def selected_numbers(folder: str, query: RunQuery) -> list[int] | None:
    """Return the numbers of the runs in the traces that a query may select, in ascending order; None for all runs.

    Raises:
        SourceError: ``runs.parquet`` is missing, damaged, or not of an export.
        ConfigurationError: pyarrow or DuckDB are not installed.
    """
    condition = condition_of(query)
    order = order_of(query, is_exact=condition.is_exact)
    if not (condition.parameters or order or query.tool_error is not None):
        return None
    chosen = f"SELECT trace_id FROM runs WHERE {condition.sql}{order}"
    statement = f"SELECT run_number FROM runs WHERE trace_id IN ({chosen}) ORDER BY run_number"
    with opened_database(folder) as connection:
        rows = connection.execute(statement, condition.parameters).fetchall()
    return [number for (number,) in rows]


@contextmanager
def opened_database(folder: str) -> Iterator[Any]:
    """Yield a connection of DuckDB that has the two files of an export as ``runs`` and ``spans``.

    Raises:
        SourceError: a file is missing, damaged, or not of an export; also where the block finds that.
        ConfigurationError: pyarrow or DuckDB are not installed.
    """
    engine = duckdb()
    for name in (schema.RUNS, schema.SPANS):
        schema.opened(folder, name).close()
    with closing(engine.connect(":memory:")) as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
            for view, name in (("runs", schema.RUNS), ("spans", schema.SPANS)):
                connection.read_parquet(glob.escape(os.path.join(folder, name))).create_view(view)
            yield connection
        except engine.Error as error:
            of_damage = (engine.IOException, engine.InvalidInputException, engine.SerializationException)
            if isinstance(error, of_damage) or type(error) is engine.Error:  # of a page that is cut
                raise schema.damaged(folder, error) from error
            raise
