"""Provide `SeveralExports`, which reads several Parquet exports as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from otel_agent_trace.prices import Prices
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.parquet.source import ParquetSource, whole_traces
from otel_agent_trace.span import Problem, SpanRecord


class SeveralExports:
    """Read several folders that ``export --to parquet`` has written; a `SpanSource`.

    In memory is what `ParquetSource` holds, and the trace ids of all runs.

    Args:
        folders: the folders.
        on_progress: called now and then with the number of spans read in a folder and their total.
    """

    def __init__(self, folders: Sequence[str], *, on_progress: Callable[[int, int | None], None] | None = None) -> None:
        self.name = ", ".join(folders)
        self._exports = [ParquetSource(folder, on_progress=on_progress) for folder in folders]

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, once, from all folders that have some.

        Raises:
            SourceError: a file is missing, damaged, or not of an export.
            ConfigurationError: pyarrow is not installed.
        """
        by_run = chain.from_iterable(export.spans_by_run() for export in self._exports)
        yield from whole_traces(by_run, [export.trace_ids() for export in self._exports])

    def own_prices(self) -> Prices | None:
        """Return the prices of one's own with which all exports were written; None without any, or if they differ.

        Raises:
            SourceError: a file is missing, damaged, or not of an export.
        """
        first, *others = [export.own_prices() for export in self._exports]
        return first if all(other == first for other in others) else None

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling had dropped from the sources of the exports, by agent, status and hour.

        Raises:
            SourceError: a file is missing, damaged, or not of an export.
        """
        return [count for export in self._exports for count in export.dropped()]
