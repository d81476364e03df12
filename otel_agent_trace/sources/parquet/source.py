"""Provide `ParquetSource`, which reads the spans of a Parquet export in bounded memory."""

from __future__ import annotations

import bisect
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from typing import Any

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.parquet import schema
from otel_agent_trace.sources.parquet.packages import pyarrow
from otel_agent_trace.sources.parquet.records import RECORD_COLUMNS, RecordReader
from otel_agent_trace.sources.parquet.schema import NS_PER_US
from otel_agent_trace.span import Capabilities, Problem, SpanRecord, SpanSource

_BATCH_ROWS = 1024
_run_number = operator.itemgetter("run_number")


class ParquetSource:
    """Read a folder that ``export --to parquet`` has written; a `SpanSource`.

    In memory are one batch of spans, the spans of one run, and those of runs that share a trace until the last of them.

    Args:
        folder: the folder with ``runs.parquet`` and ``spans.parquet``.
        on_progress: called now and then with the number of spans read and their total.
    """

    capabilities = Capabilities(whole_queries=True)

    def __init__(
        self, folder: str | PathLike[str], *, on_progress: Callable[[int, int | None], None] | None = None
    ) -> None:
        self.folder = self.name = os.fspath(folder)
        self._on_progress = on_progress

    def narrowed(self, query: RunQuery) -> SpanSource:
        """Return a source of the traces that a query may select."""
        return _Narrowed(self, query)

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace.

        Raises:
            SourceError: a file is missing, damaged, or not of an export.
            ConfigurationError: pyarrow is not installed.
        """
        return self.traces_of_runs(None)

    def traces_of_runs(self, numbers: Sequence[int] | None) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace; `numbers` are those of its runs in ascending order, None for all."""
        yield from whole_traces(self.spans_by_run(numbers), [self.trace_ids()])

    def spans_by_run(self, numbers: Sequence[int] | None = None) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each run; `numbers` are as for `traces_of_runs`.

        Raises:
            SourceError: as `traces` does.
        """
        with self._opened(schema.RUNS, schema.SPANS) as (_, spans):
            yield from self._by_run(spans, numbers)

    def trace_ids(self) -> Any:
        """Return the trace id of each run, as a column of pyarrow.

        Raises:
            SourceError: as `traces` does.
        """
        with self._opened(schema.RUNS) as (runs,):
            return runs.read(["trace_id"]).column("trace_id")

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling had dropped from the source of the export, by agent, status and hour.

        Raises:
            SourceError: a file is missing, damaged, or not of this export.
        """
        if not os.path.lexists(os.path.join(self.folder, schema.DROPPED)):
            return []
        with self._opened(schema.RUNS, schema.DROPPED) as (_, file):
            table = file.read()
            hours = table.column("hour").cast(pyarrow().int64()).to_pylist()
            rows = table.drop_columns(["hour"]).to_pylist()
        return [DroppedTraces(hour_ns=hour * NS_PER_US, **row) for row, hour in zip(rows, hours, strict=True)]

    def own_prices(self) -> Prices | None:
        """Return the prices of one's own with which the export was written, before those that are known; None without any.

        Raises:
            SourceError: a file is missing, damaged, or not of this export.
        """
        with self._opened(schema.RUNS) as (runs,):
            text = schema.own_prices_in(runs)
            return Prices.of_own_text(text) if text else None

    @contextmanager
    def _opened(self, *names: str) -> Iterator[list[Any]]:
        """Yield files of the folder.

        Raises:
            SourceError: they are not of one export, or one is missing or damaged, as the block may find.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(schema.opened(self.folder, name)) for name in names]
            if len({*map(schema.export_id_of, files)}) > 1:
                msg = f"{self.folder}: its files are not of one export; export again"
                raise SourceError(msg)
            try:
                yield files
            except (pyarrow().ArrowException, OSError, msgspec.DecodeError, UnicodeError) as error:
                raise schema.damaged(self.folder, error) from error

    def _by_run(self, file: Any, numbers: Sequence[int] | None) -> Iterator[list[SpanRecord]]:
        reader, total, read = RecordReader(), file.metadata.num_rows, 0
        for _, rows in itertools.groupby(self._rows(file, numbers), _run_number):
            records = [reader.record(row) for row in rows]
            yield records
            read += len(records)
            if self._on_progress is not None:
                self._on_progress(read, total)

    def _rows(self, file: Any, numbers: Sequence[int] | None) -> Iterator[Mapping[str, Any]]:
        pa = pyarrow()
        groups = [number for number in range(file.num_row_groups) if numbers is None or _has_any(file, number, numbers)]
        wanted = None if numbers is None else pa.array(numbers, pa.int64())
        for batch in file.iter_batches(_BATCH_ROWS, groups, RECORD_COLUMNS) if groups else ():
            if wanted is not None:
                batch = batch.filter(pa.compute.is_in(batch.column("run_number"), wanted))  # noqa: PLW2901
            yield from batch.to_pylist()


def _has_any(file: Any, group: int, numbers: Sequence[int]) -> bool:
    """Return whether a row group may have spans of some runs, by the least and the greatest number in it."""
    column = next(index for index, name in enumerate(schema.SPAN_COLUMNS) if name == "run_number")
    statistics = file.metadata.row_group(group).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    place = bisect.bisect_left(numbers, statistics.min)
    return place < len(numbers) and numbers[place] <= statistics.max


def _shared_traces(trace_ids: Sequence[Any]) -> dict[str, int]:
    """Return how many runs the traces have that have several; the columns have the trace id of each run."""
    pa = pyarrow()
    column = pa.chunked_array([chunk for column in trace_ids for chunk in column.chunks], pa.string())
    counts = pa.compute.value_counts(column)
    several = counts.filter(pa.compute.greater(counts.field("counts"), 1))
    return {row["values"]: row["counts"] for row in several.to_pylist()}


def whole_traces(by_run: Iterable[list[SpanRecord]], trace_ids: Sequence[Any]) -> Iterator[list[SpanRecord]]:
    """Yield the spans of each trace together, out of those of each run; the columns have the trace id of each run."""
    shared = _shared_traces(trace_ids)
    begun: dict[str, list[SpanRecord]] = {}
    for spans in by_run:
        trace_id = spans[0].trace_id
        if trace_id not in shared:
            yield spans
            continue
        begun.setdefault(trace_id, []).extend(spans)
        shared[trace_id] -= 1
        if not shared[trace_id]:
            yield begun.pop(trace_id)
    yield from begun.values()


class _Narrowed:
    """Read the traces that a query may select; a `SpanSource`."""

    def __init__(self, source: ParquetSource, query: RunQuery) -> None:
        self._source, self._query = source, query

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace."""
        from otel_agent_trace.sources.parquet.selection import selected_numbers  # noqa: PLC0415 - imports DuckDB

        return self._source.traces_of_runs(selected_numbers(self._source.folder, self._query))
