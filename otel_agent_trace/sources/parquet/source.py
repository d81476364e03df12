"""Provide `ParquetSource`, which reads the spans of a Parquet export in bounded memory."""

from __future__ import annotations

import bisect
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import Any

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources.parquet import schema
from otel_agent_trace.sources.parquet.packages import pyarrow
from otel_agent_trace.sources.parquet.records import RECORD_COLUMNS, RecordReader
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
        with ExitStack() as stack:
            runs, spans = (
                stack.enter_context(schema.opened(self.folder, name)) for name in (schema.RUNS, schema.SPANS)
            )
            if schema.export_id_of(runs) != schema.export_id_of(spans):
                msg = f"{self.folder}: its two files are not of one export; export again"
                raise SourceError(msg)
            try:
                yield from _whole_traces(self._by_run(spans, numbers), _shared_traces(runs))
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


def _shared_traces(runs: Any) -> dict[str, int]:
    """Return how many runs the traces have that have several."""
    pa = pyarrow()
    counts = pa.compute.value_counts(runs.read(["trace_id"]).column("trace_id"))
    several = counts.filter(pa.compute.greater(counts.field("counts"), 1))
    return {row["values"]: row["counts"] for row in several.to_pylist()}


def _whole_traces(by_run: Iterable[list[SpanRecord]], shared: dict[str, int]) -> Iterator[list[SpanRecord]]:
    """Yield the spans of each trace together."""
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
