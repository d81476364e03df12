"""Count what a Parquet export has, by reading all of it."""

from __future__ import annotations

import os
from typing import NamedTuple

from otel_agent_trace.sources.parquet import schema
from otel_agent_trace.sources.parquet.packages import pyarrow


class Contents(NamedTuple):
    """Hold what an export has; `first_ns` and `last_ns` are the earliest start and the latest end in Unix nanoseconds."""

    files: int
    runs: int
    spans: int
    size_bytes: int
    first_ns: int | None
    last_ns: int | None


def contents_of(folder: str) -> Contents:
    """Read all files of an export, and return what it has.

    Raises:
        SourceError: a file is missing, damaged, or not of an export.
        ConfigurationError: pyarrow is not installed.
    """
    names = [name for name in schema.COLUMNS if name != schema.DROPPED or os.path.lexists(os.path.join(folder, name))]
    rows = {name: _rows_of(folder, name) for name in names}
    sizes = [os.path.getsize(os.path.join(folder, name)) for name in names]
    return Contents(len(names), rows[schema.RUNS], rows[schema.SPANS], sum(sizes), *_times_of(folder))


def _rows_of(folder: str, name: str) -> int:
    """Return the number of rows of a file, each of which is decoded."""
    with schema.opened(folder, name) as file:
        try:
            return sum(len(batch) for batch in file.iter_batches())
        except (pyarrow().ArrowException, OSError) as error:
            raise schema.damaged(os.path.join(folder, name), error) from error


def _times_of(folder: str) -> tuple[int | None, int | None]:
    compute = pyarrow().compute
    with schema.opened(folder, schema.SPANS) as file:
        table = file.read(["started_at_ns", "ended_at_ns"])
    first_ns, last_ns = (compute.min(table.column("started_at_ns")), compute.max(table.column("ended_at_ns")))
    return first_ns.as_py(), last_ns.as_py()
