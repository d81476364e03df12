"""Read the index of a store, and the lines of its files that it names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.index.scan import is_trace_id
from otel_agent_trace.sources.index.schema import Link, is_storable
from otel_agent_trace.sources.index.segments import (
    SEGMENT_TYPES,
    Frame,
    Range,
    Segment,
    StaleError,
    Status,
    WrongIndexError,
    merged,
    read_ranges,
)
from otel_agent_trace.sources.index.tails import Tail, tail_of
from otel_agent_trace.sources.index.traces import ANY_TRACE, NO_TRACE
from otel_agent_trace.sources.located_lines import LocatedLine, traces_in_lines, with_line_numbers
from otel_agent_trace.sources.named_logs import NamedLogs
from otel_agent_trace.sources.scanned_files import ScannedFile
from otel_agent_trace.span import LogRecord, Problem, SpanRecord

_MOST_NAMED = 2_000
"""Runs that scores name by their ids only, whose traces are looked for with every query."""
_TRACE_ID_DIGITS = 32


class Index:
    """Read the index of a store, and change it in transactions.

    Args:
        connection: the open database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.segments: dict[int, Segment] = {}
        self.files: Sequence[Status] = ()
        self.logs: Sequence[LogRecord] = ()
        """Scores that name only a run, as records of the traces of these: read with the spans."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write in the block all or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def path_of(self, segment: Segment) -> str:
        """Return the path of a file that is one of the store, whatever the index has.

        Raises:
            StaleError: there is none.
        """
        for status in self.files:
            if status.identity == segment.identity and os.path.basename(status.path) == segment.name:
                return status.path
        raise StaleError(segment.name)

    def begin(self) -> bool:
        """Begin a transaction of one state of the index; return whether that is of the files: others change it too."""
        self.connection.execute("BEGIN")
        self.segments = self.known_segments()
        noted = {(segment.name, segment.identity) for segment in self.segments.values()}
        return noted == {(os.path.basename(file.path), file.identity) for file in self.files}

    def known_segments(self) -> dict[int, Segment]:
        """Return the rows of the files that are indexed, by their numbers.

        Raises:
            WrongIndexError: one is not as it was written.
        """
        found = {row[0]: Segment(*row) for row in self.connection.execute("SELECT * FROM segment")}
        if not all(tuple(map(type, segment)) == SEGMENT_TYPES for segment in found.values()):
            raise WrongIndexError("segment")
        if not all(0 <= segment.indexed <= segment.size for segment in found.values()):
            raise WrongIndexError("segment")
        return found

    # ── traces ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def place_counts(self, numbers: Iterable[int]) -> list[tuple[int, int]]:
        """Return how many places traces have, and their bytes: they change when lines are added."""
        return [
            self.connection.execute("SELECT count(*), total(size) FROM place WHERE trace=?", (number,)).fetchone()
            for number in numbers
        ]

    def linked(self, *, with_linked: bool) -> set[int]:
        """Return the numbers of the traces that are read with every query."""
        select = "SELECT id FROM trace WHERE link>=? AND link>0"
        found = {number for (number,) in self.connection.execute(select, (Link.LINKED,))}
        if found or with_linked:
            found.update(number for (number,) in self.connection.execute(select, (Link.WITH_LINKED,)))
        return found

    def numbers_of(self, trace_ids: Iterable[str]) -> set[int]:
        """Return the numbers of those traces that are indexed."""
        select = "SELECT id FROM trace WHERE trace_id=?"
        rows = (self.connection.execute(select, (bytes.fromhex(each),)).fetchone() for each in trace_ids)
        return {row[0] for row in rows if row is not None}

    def trace_ids(self, numbers: Iterable[int]) -> set[str]:
        """Return the ids of traces, as 32 hex digits."""
        select = "SELECT trace_id FROM trace WHERE id=?"
        rows = (self.connection.execute(select, (number,)).fetchone() for number in numbers)
        return {bytes(row[0]).hex() for row in rows if row is not None and type(row[0]) is bytes}

    def last_trace(self) -> int:
        """Return the number of the trace that was added last."""
        (number,) = self.connection.execute("SELECT coalesce(max(id), 0) FROM trace").fetchone()
        return int(number)

    def counts(self) -> tuple[int, int]:
        """Return the number of runs, or 1 for any if counting takes longer, and that of lines with damage."""
        has_runs = self.connection.execute("SELECT 1 FROM run LIMIT 1").fetchone() is not None
        (damaged,) = self.connection.execute("SELECT count(*) FROM place WHERE trace=?", (NO_TRACE,)).fetchone()
        return int(has_runs), damaged

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def read(
        self,
        numbers: Collection[int],
        on_problem: Callable[[Problem], None],
        tails: Sequence[Tail] = (),
        journals: Sequence[ScannedFile] = (),
        *,
        has_media: bool = False,
    ) -> Iterator[list[SpanRecord]]:
        """Yield the traces in the lines of some, which may have parts of others as well.

        Args:
            numbers: the numbers of the traces.
            on_problem: called with each problem of reading.
            tails: what the files have beyond what is indexed.
            journals: journals, as `read_journals` returns them.
            has_media: whether to put the content of binary parts that stand beside the store into the spans.

        Raises:
            StaleError: the files are not what was indexed.
        """
        lines = self._lines(numbers, {tail.path: tail for tail in tails})
        return traces_in_lines(lines, journals, with_line_numbers(on_problem), self.logs, has_media=has_media)

    def find_named(self, always: Collection[int], tails: Sequence[Tail], journals: Sequence[ScannedFile]) -> None:
        """Find the traces of scores that name only a run, so that they are read with these from now on.

        Args:
            always: the numbers of traces that may have any of the runs.
            tails: as of `read`.
            journals: as of `read`.

        Raises:
            StaleError: as of `read`, or there are too many.
        """
        self.logs = ()
        named, run_ids, text = NamedLogs(), set[str](), JsonLines()
        for line in self._lines([ANY_TRACE], {}):
            for log in text.read_unusual(line.data, None).logs:
                named.add(log)
                run_ids.add(log.run_id or "")
        if len(run_ids) > _MOST_NAMED:
            raise StaleError
        if run_ids:
            numbers = {number for run_id in run_ids for number in self._numbers_with(run_id)}
            traces = self.read([*numbers.union(always)], lambda problem: None, tails, journals)
            self.logs = named.placed_by(span for spans in traces for span in spans)

    def _numbers_with(self, run_id: str) -> set[int]:
        """Return the numbers of the traces that may have a run."""
        trace_id = run_id[:_TRACE_ID_DIGITS]
        rows = (
            self.connection.execute("SELECT trace FROM run_id WHERE text=?", (run_id,)) if is_storable(run_id) else ()
        )
        return {number for (number,) in rows} | (self.numbers_of([trace_id]) if is_trace_id(trace_id) else set())

    def tails(self) -> Iterator[Tail]:
        """Yield what the files have beyond what is indexed.

        Raises:
            StaleError: the files are not what was indexed.
        """
        for segment in self.segments.values():
            if segment.indexed < segment.size and (tail := tail_of(segment, self.path_of(segment))):
                yield tail

    def _lines(self, numbers: Collection[int], tails: Mapping[str, Tail]) -> Iterator[LocatedLine]:
        by_segment: dict[int, list[Range]] = {}
        for number in numbers:
            rows = self.connection.execute("SELECT segment, begin, size FROM place WHERE trace=?", (number,))
            for segment_id, begin, size in rows:
                if not (type(begin) is type(size) is int and segment_id in self.segments):
                    raise WrongIndexError(str(number))
                by_segment.setdefault(segment_id, []).append(Range(begin, size))
        order = {file.identity: place for place, file in enumerate(self.files)}
        for segment in sorted(self.segments.values(), key=lambda each: order.get(each.identity, 0)):
            path = self.path_of(segment)
            if segment.id in by_segment:
                rows = self.connection.execute("SELECT begin, at FROM frame WHERE segment=?", (segment.id,))
                known = [Frame(*row) for row in rows]
                if not all(type(number) is int for frame in known for number in frame):
                    raise WrongIndexError(path)
                for begin, line in read_ranges(path, segment.identity, known, merged(by_segment[segment.id])):
                    yield LocatedLine(path, begin, line)
            if path in tails:
                yield from tails[path].lines()
