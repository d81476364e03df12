"""Read a store with its index: of a query, only the traces that it may select."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.query import COST, RunQuery
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.index.build import IndexBuilder
from otel_agent_trace.sources.index.choice import index_paths, make_cache_folder, remove_database, store_at
from otel_agent_trace.sources.index.costs import KeptCosts
from otel_agent_trace.sources.index.files import Listing, journals_of
from otel_agent_trace.sources.index.query import is_narrowed, selection_of
from otel_agent_trace.sources.index.reading import Index
from otel_agent_trace.sources.index.schema import UnusableIndexError, open_database
from otel_agent_trace.sources.index.segments import StaleError, WrongIndexError
from otel_agent_trace.sources.index.tails import Tail
from otel_agent_trace.sources.index.traces import NO_TRACE
from otel_agent_trace.sources.located_lines import traces_in_lines
from otel_agent_trace.sources.scanned_files import ScannedFile
from otel_agent_trace.span import Capabilities, Problem, SpanRecord, SpanSource
from otel_agent_trace.store.names import StoreFiles

MOST_ALWAYS_READ = 2_000
"""Traces that are read with every query, since others may belong to them; with more, all files are read."""
_MOST_DAMAGED = 200
"""Lines with damage that are read with every query; a store with more is read without the index."""
_FIRST_BATCH, _LARGEST_BATCH = 32, 256
_MOST_TRIES = 10


@contextlib.contextmanager
def opened_index(store: StoreFiles) -> Iterator[tuple[Index, str]]:
    """Yield the index of a store, and its path.

    Raises:
        UnusableIndexError: there is none, and none can be made.
    """
    beside, elsewhere = index_paths(store)
    try:
        connection, path = open_database(beside), beside
    except UnusableIndexError:
        if not make_cache_folder():
            raise
        connection, path = open_database(elsewhere), elsewhere
    with contextlib.closing(connection):
        yield Index(connection), path


class AlwaysRead(NamedTuple):
    """Hold what is read with every query: the numbers of traces that others may belong to, and what is not indexed."""

    numbers: set[int]
    open_ids: set[str]
    tails: Sequence[Tail]
    journals: Sequence[ScannedFile]

    def also(self, numbers: set[int]) -> AlwaysRead:
        """Return this with further traces.

        Raises:
            StaleError: there are too many.
        """
        every = self.numbers | numbers
        if len(every) > MOST_ALWAYS_READ:
            raise StaleError
        return self._replace(numbers=every)


class IndexedSource(FilesSource):
    """Read a store with its index; without it, where the index cannot answer, or cannot be made.

    Args:
        path: the path of the live file, or of its folder.
        store: the store.
        on_progress: called now and then with the bytes read or indexed, and their total.
        media: as for `FilesSource`.
    """

    capabilities = Capabilities(logs=True, whole_queries=True)

    def __init__(
        self,
        path: str | PathLike[str],
        store: StoreFiles,
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
        media: bool = True,
    ) -> None:
        super().__init__([path], on_progress=on_progress, media=media)
        self.store = store

    def narrowed(self, query: RunQuery) -> SpanSource:
        """Return a source of the traces that a query may select."""
        return _Narrowed(self, query) if is_narrowed(query) else self

    def selected(self, query: RunQuery, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the traces that a query may select: those that the index names, or all where it cannot."""
        report = _once(on_problem)
        yielded: set[str] = set()
        wrong: str | None = None
        try:
            with opened_index(self.store) as (index, path):
                try:
                    for spans in self._by_index(index, query, report):
                        yielded.add(spans[0].trace_id)
                        yield spans
                    return
                except (sqlite3.DatabaseError, WrongIndexError) as error:
                    wrong = None if isinstance(error, sqlite3.OperationalError) else path
        except (UnusableIndexError, StaleError):
            pass
        if wrong is not None:
            remove_database(wrong)
        for spans in self.traces(report):
            if spans[0].trace_id not in yielded:
                yield spans

    def _by_index(
        self, index: Index, query: RunQuery, on_problem: Callable[[Problem], None]
    ) -> Iterator[list[SpanRecord]]:
        kept = KeptCosts(index, query.costs) if query.needs_costs and query.costs.prices.version else None
        always = self.begun(index, kept.fill if kept is not None and query.order_name == COST else None)
        yield from self.always_read(index, always, on_problem)
        yield from self._candidates(index, query, always.numbers, on_problem, kept)
        if kept is not None:
            index.connection.execute("COMMIT")
            kept.write()

    def begun(self, index: Index, fill: Callable[[], object] | None = None) -> AlwaysRead:
        """Bring the index up to date, begin a transaction of one state of it, and return what is read with every query.

        Args:
            index: the index.
            fill: called in between.

        Raises:
            StaleError: the index cannot answer.
            WrongIndexError: it is not as it was written.
        """
        for _ in range(_MOST_TRIES):
            journals = journals_of(self.files)
            if not IndexBuilder(index).refresh(self.files, self._on_progress):
                continue
            if fill is not None:
                fill()
            if index.begin():
                return self._always(index, journals)
            index.connection.execute("COMMIT")
        raise StaleError

    def _always(self, index: Index, journals: Sequence[ScannedFile]) -> AlwaysRead:
        tails = [*index.tails()]
        open_ids = {trace_id for tail in tails for trace_id in tail.trace_ids()} | _trace_ids_in(journals)
        always = index.linked(with_linked=bool(tails)) | index.numbers_of(open_ids)
        has_runs, damaged = index.counts()
        is_usual = all(segment.is_usual for segment in index.segments.values())
        if not (has_runs and is_usual) or damaged > _MOST_DAMAGED or len(always) > MOST_ALWAYS_READ:
            raise StaleError
        index.find_named([NO_TRACE, *always], tails, journals)
        return AlwaysRead(always, open_ids, tails, journals)

    def always_read(
        self, index: Index, always: AlwaysRead, on_problem: Callable[[Problem], None]
    ) -> Iterator[list[SpanRecord]]:
        """Yield the traces that are read with every query."""
        wanted = index.trace_ids(always.numbers) | always.open_ids
        numbers = [NO_TRACE, *always.numbers]
        read = index.read(numbers, on_problem, always.tails, always.journals, has_media=self._has_media)
        yield from (spans for spans in read if spans[0].trace_id in wanted)

    def _candidates(
        self,
        index: Index,
        query: RunQuery,
        always: Collection[int],
        on_problem: Callable[[Problem], None],
        kept: KeptCosts | None,
    ) -> Iterator[list[SpanRecord]]:
        """Yield the traces that a query may select, but those always read; in its order as far as its limit."""
        selection = selection_of(query, index.connection)
        limit = query.limit if selection.is_limited else None
        rows = index.connection.execute(selection.sql, selection.arguments)
        found: list[tuple[Any, ...]] = []
        seen = set(always)
        size = _LARGEST_BATCH if limit is None else min(limit, _LARGEST_BATCH)
        while batch := [*itertools.islice(rows, size)]:
            if not all(type(value) is int for row in batch for value in row):
                raise WrongIndexError("run")
            if limit is not None and sum(key > batch[0][1:] for key in found) >= limit:
                return
            numbers = {row[0] for row in batch} - seen
            seen |= numbers
            wanted = index.trace_ids(numbers)
            without_cost = {} if kept is None else kept.note(numbers)
            for spans in index.read(numbers, on_problem, has_media=self._has_media) if numbers else ():
                if spans[0].trace_id not in wanted:
                    continue
                wanted.discard(spans[0].trace_id)
                runs = assemble(spans) if limit is not None or without_cost else []
                if kept is not None and spans[0].trace_id in without_cost:
                    kept.compute(without_cost[spans[0].trace_id], runs)
                yield spans
                if limit is not None and query.order is not None:
                    order = query.order
                    found += [order(run)[: len(batch[0]) - 1] for run in runs if query.matches(run, spans)]
            if wanted:
                raise WrongIndexError(str(wanted))
            size = min(2 * size, _LARGEST_BATCH)


class Built(NamedTuple):
    """Describe an index that was brought up to date: its path and size, and the runs, files and bytes that it has.

    `unusual` are the paths of files whose spans cannot be located; with any, the store is read without the index.
    """

    path: str
    index_bytes: int
    runs: int
    files: int
    file_bytes: int
    unusual: tuple[str, ...]


def build_index(path: str, on_progress: Callable[[int, int | None], None] | None = None) -> Built:
    """Make the index of a store, or bring it up to date.

    Args:
        path: the path of the live file, or of its folder.
        on_progress: called now and then with the bytes indexed and their total.

    Raises:
        SourceError: there are no files of a single store, or no index can be made.
    """
    files = FilesSource([path]).files()
    if not any(map(os.path.lexists, files)):
        msg = f"{path}: No such file or directory"
        raise SourceError(msg)
    store = store_at(path, files)
    if store is None:
        msg = f"{path}: an index is of one store: name its live file"
        raise SourceError(msg)
    listing = FilesSource([path]).files
    try:
        built = _built(store, listing, on_progress) or _built(store, listing, on_progress)
    except (UnusableIndexError, StaleError, sqlite3.Error) as error:
        msg = f"{path}: no index can be made: {error}"
        raise SourceError(msg) from error
    if built is None:
        msg = f"{path}: no index can be made: another program changes it"
        raise SourceError(msg)
    return built


def _built(store: StoreFiles, listing: Listing, on_progress: Callable[[int, int | None], None] | None) -> Built | None:
    """Bring an index up to date, or remove one that is not as it was written, and return None."""
    with opened_index(store) as (index, index_path):
        try:
            IndexBuilder(index).refresh(listing, on_progress)
        except WrongIndexError:
            pass
        else:
            (runs,) = index.connection.execute("SELECT count(*) FROM run").fetchone()
            index.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            segments = index.segments.values()
            return Built(
                index_path,
                os.path.getsize(index_path),
                runs,
                len(segments),
                sum(segment.size for segment in segments),
                tuple([index.path_of(segment) for segment in segments if not segment.is_usual]),
            )
    remove_database(index_path)
    return None


class _Narrowed:
    """Read the traces that a query may select; a `SpanSource`."""

    def __init__(self, source: IndexedSource, query: RunQuery) -> None:
        self._source, self._query = source, query

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace."""
        return self._source.selected(self._query, on_problem)


def _trace_ids_in(journals: Sequence[ScannedFile]) -> set[str]:
    traces = traces_in_lines((), journals, lambda problem: None, has_media=False)
    return {spans[0].trace_id for spans in traces if spans}


def _once(on_problem: Callable[[Problem], None]) -> Callable[[Problem], None]:
    """Return a function that passes each problem on once, as lines with damage are read for several traces."""
    seen: set[Problem] = set()

    def report(problem: Problem) -> None:
        if problem not in seen:
            seen.add(problem)
            on_problem(problem)

    return report
