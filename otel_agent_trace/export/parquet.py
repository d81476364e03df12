"""Write runs of any tracer as Parquet: a folder with ``runs.parquet``, ``spans.parquet`` and ``dropped.parquet``."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from os import PathLike
from typing import Any

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.export.parquet_rows import Row, row_of_dropped, rows_of
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices, PricesGiven
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.parquet.packages import pyarrow
from otel_agent_trace.sources.parquet.schema import COLUMNS, opened, schema_of

_BATCH_ROWS = 2048
_GROUP_ROWS, _GROUP_BYTES = 122_880, 64 << 20


def write_parquet(
    runs: Iterable[AgentRun],
    folder: str | PathLike[str],
    *,
    prices: PricesGiven = None,
    dropped: Iterable[DroppedTraces] = (),
) -> int:
    """Write runs and their spans as Parquet, as a folder that can be read as a source, in bounded memory.

    The files are written beside those of an earlier export, and replace them at the end; an error changes nothing.

    Args:
        runs: the outermost runs.
        folder: the folder to make, or an earlier export.
        prices: what model calls cost, as for `compute_metrics`.
        dropped: how many traces the sampler of these runs dropped, as for `compute_metrics`.

    Returns:
        The number of runs.

    Raises:
        ConfigurationError: the folder has something else than an export; pyarrow is not installed; or `prices` are none.
        OSError: a file cannot be written.
    """
    path, known_prices = os.fspath(folder), Prices.of(prices)
    pyarrow()
    _check_replaceable(path)
    with _folder(path), _Tables(path, known_prices) as tables:
        tables.dropped.add([row_of_dropped(count) for count in dropped])
        number = 0
        for run in runs:
            row, spans = rows_of(number, run, known_prices)
            tables.runs.add([row])
            tables.spans.add(spans)
            number += 1
    return number


def _check_replaceable(folder: str) -> None:
    """Check that a folder does not exist, is empty, or has an export and nothing else.

    Raises:
        ConfigurationError: it has something else.
    """
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        raise ConfigurationError(f"{folder}: Parquet is written as a folder, and this is none")
    there = {name for name in os.listdir(folder) if not name.startswith(".")}
    try:
        for name in COLUMNS:
            if name in there:
                opened(folder, name).close()
    except SourceError as error:
        raise ConfigurationError(f"not overwritten: {error}") from error
    others = sorted(there - {*COLUMNS})
    if others:
        raise ConfigurationError(f"{folder}: not written to, since it has {others[0]!r}: name a new or an empty folder")


@contextmanager
def _folder(path: str) -> Iterator[None]:
    """Make a folder, which is removed again if the block raises and has left nothing in it."""
    is_new = not os.path.lexists(path)
    os.makedirs(path, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                os.rmdir(path)
        raise


class _Tables:
    """Hold the files while they are written; leaving the block puts them in place, an error removes them."""

    def __init__(self, folder: str, prices: Prices) -> None:
        marks = uuid.uuid4().hex, prices.version, prices.own_text
        self._stack = ExitStack()
        tables = [_Table(folder, name, schema_of(columns, *marks)) for name, columns in COLUMNS.items()]
        self.runs, self.spans, self.dropped = self._tables = tables

    def __enter__(self) -> _Tables:
        for table in self._tables:
            self._stack.callback(table.remove)
            table.open()
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        with self._stack:
            for table in self._tables:
                table.close(is_whole=error_type is None)
            for table in reversed(self._tables) if error_type is None else ():  # a folder is an export by the first
                table.put_in_place()


class _Table:
    """Write rows to a temporary file, in row groups of bounded size."""

    def __init__(self, folder: str, name: str, schema: Any) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._rows: list[Row] = []
        self._batches: list[Any] = []
        self._beside: str | None = None
        self._writer: Any = None

    def open(self) -> None:
        """Open the file; raises OSError if that fails."""
        descriptor, self._beside = tempfile.mkstemp(dir=self._folder, prefix=f".{self._name}.")
        os.close(descriptor)
        self._writer = pyarrow().parquet.ParquetWriter(self._beside, self._schema, compression="zstd")

    def add(self, rows: list[Row]) -> None:
        """Add rows."""
        self._rows += rows
        if len(self._rows) >= _BATCH_ROWS:
            self._convert()
            if sum(batch.nbytes for batch in self._batches) >= _GROUP_BYTES or self._number() >= _GROUP_ROWS:
                self._write()

    def _number(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def _convert(self) -> None:
        """Make columns of the rows, which take much less memory."""
        empty = dict.fromkeys(self._schema.names)
        self._batches.append(pyarrow().RecordBatch.from_pylist([empty | row for row in self._rows], self._schema))
        self._rows = []

    def _write(self) -> None:
        self._writer.write_table(pyarrow().Table.from_batches(self._batches, self._schema), _GROUP_ROWS)
        self._batches = []

    def close(self, *, is_whole: bool) -> None:
        """Close the file, after what is left of the rows if all were written."""
        try:
            if is_whole:
                self._convert()
                self._write()
        finally:
            self._writer.close()

    def put_in_place(self) -> None:
        """Rename the file to its name."""
        if self._beside is not None:
            os.replace(self._beside, os.path.join(self._folder, self._name))
            self._beside = None

    def remove(self) -> None:
        """Remove the file unless it was renamed."""
        if self._beside is not None:
            with suppress(OSError):
                os.unlink(self._beside)
