"""Bring the index of a store up to date with its files, beside others who do the same and readers."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import blocks_of, open_regular
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.index.files import Listing, files_of
from otel_agent_trace.sources.index.rows import RunRow, rows_of
from otel_agent_trace.sources.index.scan import LineScanner, UnusualError, is_trace_id
from otel_agent_trace.sources.index.schema import Link, complete, is_complete, is_storable
from otel_agent_trace.sources.index.segments import (
    SEGMENT_TYPES,
    Chunk,
    Frame,
    Range,
    Segment,
    StaleError,
    Status,
    WrongIndexError,
    chunks_of,
    digest_of,
    frames_of,
    merged,
    packing_of,
    read_ranges,
)
from otel_agent_trace.sources.index.traces import ANY_TRACE, NO_TRACE, TraceWriter
from otel_agent_trace.sources.located_lines import LocatedLine, traces_in_lines
from otel_agent_trace.sources.named_logs import NamedLogs
from otel_agent_trace.sources.scanned_files import ScannedFile
from otel_agent_trace.span import LogRecord, Problem, SpanRecord
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.names import is_journal

MOST_DAMAGED = 200
"""Lines with damage that are read with every query; a store with more is read without the index."""
_TRACES_AT_ONCE = 64
_MOST_NAMED = 2_000
"""Runs that scores name by their ids only, whose traces are looked for with every query."""
_TRACE_ID_DIGITS = 32


class Index:
    """Read and change the index of a store.

    Args:
        connection: the open database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.segments: dict[int, Segment] = {}
        self.files: Sequence[Status] = ()
        self._traces = TraceWriter(connection)
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
            self._traces.forget()
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

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, listing: Listing, on_progress: Callable[[int, int | None], None] | None = None) -> bool:
        """Index what the files of the store have beyond what is indexed; return whether none was replaced meanwhile.

        Args:
            listing: returns the paths of the files.
            on_progress: called now and then with the bytes that were indexed, and their total.

        Raises:
            StaleError: the files change too often.
        """
        self._note_files(listing)
        waiting = [segment for segment in self.segments.values() if segment.is_usual and segment.indexed < segment.size]
        total = sum(segment.size - segment.indexed for segment in waiting)
        done = replaced = 0
        for segment in waiting:
            try:
                for read in self._index(segment):
                    if on_progress is not None:
                        on_progress(done + read, total)
            except StaleError:
                replaced += 1
            done += segment.size - segment.indexed
        self._traces.forget()
        self._complete_rows()
        self.segments = self._known_segments()
        if not is_complete(self.connection):
            with suppress(sqlite3.OperationalError), self.transaction():
                if not is_complete(self.connection):  # nobody else was faster
                    complete(self.connection)
        return not replaced

    def begin(self) -> bool:
        """Begin a transaction of one state of the index; return whether that is of the files: others change it too."""
        self.connection.execute("BEGIN")
        self.segments = self._known_segments()
        noted = {(segment.name, segment.identity) for segment in self.segments.values()}
        return noted == {(os.path.basename(file.path), file.identity) for file in self.files}

    def _known_segments(self) -> dict[int, Segment]:
        found = {row[0]: Segment(*row) for row in self.connection.execute("SELECT * FROM segment")}
        if not all(tuple(map(type, segment)) == SEGMENT_TYPES for segment in found.values()):
            raise WrongIndexError("segment")
        if not all(0 <= segment.indexed <= segment.size for segment in found.values()):
            raise WrongIndexError("segment")
        return found

    def _note_files(self, listing: Listing) -> None:
        """Note files that are new, were renamed or have grown, and drop those that are gone or were changed.

        They are looked at again when nobody else can change the index, who may have seen them later.
        """
        self.files = files_of(listing)
        known = self._known_segments()
        states = {(each.name, each.identity, each.size, each.mtime_ns) for each in known.values()}
        if states != {(os.path.basename(file.path), *file[1:]) for file in self.files}:
            with self.transaction():
                self.files = files_of(listing)
                known = self._known_segments()
                packed = {segment for (segment,) in self.connection.execute("SELECT DISTINCT segment FROM frame")}
                by_identity = {segment.identity: segment for segment in known.values()}
                for file in self.files:
                    segment = by_identity.get(file.identity)
                    state = (os.path.basename(file.path), file.size, file.mtime_ns)
                    if segment is not None and _is_still(segment, file, is_packed=segment.id in packed):
                        self.connection.execute(
                            "UPDATE segment SET name=?, size=?, mtime_ns=? WHERE id=?", (*state, segment.id)
                        )
                        del known[segment.id]
                    else:
                        self.connection.execute(
                            "INSERT INTO segment(name, size, mtime_ns, identity, indexed, digest, is_usual)"
                            " VALUES(?,?,?,?,0,x'',1)",
                            (*state, file.identity),
                        )
                for gone in known:
                    self._drop(gone)
            known = self._known_segments()
        self.segments = known

    def _drop(self, segment_id: int) -> None:
        """Remove all that is known of a file; traces that others have too are read anew."""
        execute = self.connection.execute
        execute("CREATE TEMP TABLE IF NOT EXISTS touched(trace INTEGER PRIMARY KEY)")
        execute("DELETE FROM touched")
        execute("INSERT OR IGNORE INTO touched SELECT trace FROM place WHERE segment=?", (segment_id,))
        execute("DELETE FROM place WHERE segment=?", (segment_id,))
        execute("DELETE FROM frame WHERE segment=?", (segment_id,))
        execute("DELETE FROM segment WHERE id=?", (segment_id,))
        execute("DELETE FROM run WHERE trace IN touched")
        execute("DELETE FROM run_id WHERE trace IN touched")
        execute("UPDATE trace SET link=? WHERE id IN touched", (Link.UNKNOWN,))
        execute("DELETE FROM trace WHERE id IN touched AND NOT EXISTS (SELECT 1 FROM place WHERE place.trace=trace.id)")

    # ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _index(self, segment: Segment) -> Iterator[int]:
        """Index a file from where it is indexed, and yield the number of its bytes so far."""
        path = self.path_of(segment)
        try:
            packing = packing_of(path)
            known = [] if packing == "file" else frames_of(path, packing)
            for chunk in chunks_of(path, segment.indexed, packing):
                end = segment.indexed if known else chunk.end
                if not self._add(segment, chunk, end, path):
                    return  # another process was faster, or the file is not what it was
                yield chunk.end - segment.indexed
                if not known:
                    segment = segment._replace(indexed=end)
            if known:
                with self.transaction():
                    rows = [(segment.id, *frame) for frame in known]
                    self.connection.executemany("INSERT OR IGNORE INTO frame VALUES(?,?,?)", rows)
                    self._move(segment, segment.size, path)
        except (UnusualError, SourceError):
            self._traces.forget()
            _check_is_at(path, segment)
            with self.transaction():
                self.connection.execute("UPDATE segment SET is_usual=0 WHERE id=?", (segment.id,))

    def _move(self, segment: Segment, end: int, path: str) -> None:
        digest = digest_of(path, end)
        _check_is_at(path, segment)
        self.connection.execute(  # the file may have grown since its size was noted
            "UPDATE segment SET indexed=?1, size=max(size, ?1), digest=?2 WHERE id=?3", (end, digest, segment.id)
        )

    def _add(self, segment: Segment, chunk: Chunk, end: int, path: str) -> bool:
        """Add the traces in some lines, and return whether the file was indexed up to there when it was locked."""
        found = self._traces.scan(chunk)
        with self.transaction():
            now = self.connection.execute(
                "SELECT 1 FROM segment WHERE id=? AND indexed=? AND identity=?",
                (segment.id, segment.indexed, segment.identity),
            ).fetchone()
            if now is None:
                self._traces.forget()
                return False
            _check_is_at(path, segment)
            self._traces.add(segment.id, found)
            if end != segment.indexed:
                self._move(segment, end, path)
        return True

    # ── traces that have to be read as a whole ───────────────────────────────────────────────────────────────────────

    def _complete_rows(self) -> None:
        """Make the rows of traces that were not known from the scan, or go on in what was added."""
        self.segments = self._known_segments()
        last = 0
        while found := self.connection.execute(
            "SELECT id, hex(trace_id) FROM trace WHERE link=? AND link>0 AND id>? ORDER BY id LIMIT ?",
            (Link.UNKNOWN, last, _TRACES_AT_ONCE),
        ).fetchall():
            numbers = {trace_id.lower(): number for number, trace_id in found}
            last = found[-1][0]
            try:
                before, rows = self._whole_rows(numbers)
            except StaleError:
                return  # a file was replaced at this moment: they stay unknown until the next time
            with self.transaction():
                if before != self.place_counts(numbers.values()):
                    continue
                for trace_id, number in numbers.items():
                    runs, link = rows.get(trace_id, ([], Link.NONE))
                    self._traces.replace_runs(number, link, runs)

    def _whole_rows(
        self, numbers: Mapping[str, int]
    ) -> tuple[list[tuple[int, int]], dict[str, tuple[list[RunRow], Link]]]:
        """Return the `place_counts` of some traces, and the rows of those that can be read.

        Raises:
            StaleError: as of `read`.
        """
        is_of_files = self.begin()
        try:
            if not is_of_files:
                raise StaleError
            traces = self.read([*numbers.values()], lambda problem: None)
            rows = {spans[0].trace_id: rows_of(spans) for spans in traces if spans[0].trace_id in numbers}
            return self.place_counts(numbers.values()), rows
        finally:
            self.connection.execute("COMMIT")

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
        return traces_in_lines(lines, journals, _with_line_numbers(on_problem), self.logs, has_media=has_media)

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
            if segment.indexed < segment.size and (tail := self._tail_of(segment)):
                yield tail

    def _tail_of(self, segment: Segment) -> Tail | None:
        path = self.path_of(segment)
        size = segment.size - segment.indexed
        if size > MAX_LINE_BYTES:
            raise StaleError(path)
        try:
            file = open_regular(path)
        except SourceError as error:
            raise StaleError(path) from error
        with file:
            status = os.fstat(file.fileno())
            file.seek(segment.indexed)
            data = file.read(size)
        if f"{status.st_dev}:{status.st_ino}" != segment.identity:
            raise StaleError(path)
        return Tail(path, segment.indexed, data) if data else None

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


class Tail(NamedTuple):
    """Hold the end of a file, from a position on, that is not indexed: an incomplete line, or what is new."""

    path: str
    begin: int
    data: bytes

    def lines(self) -> Iterator[LocatedLine]:
        """Yield its lines."""
        begin = self.begin
        for line in io.BytesIO(self.data).readlines():
            yield LocatedLine(self.path, begin, line.removesuffix(b"\n"))
            begin += len(line)

    def trace_ids(self) -> set[str]:
        """Return the ids of its traces, as 32 hex digits.

        Raises:
            StaleError: it has what belongs to no trace.
        """
        scanner = LineScanner()
        try:
            lines = (line.data + b"\n" for line in self.lines() if line.data.strip())
            return {trace_id for line in lines for trace_id in scanner.trace_ids(line)}
        except UnusualError as error:
            raise StaleError(self.path) from error


def _with_line_numbers(on_problem: Callable[[Problem], None]) -> Callable[[Problem], None]:
    """Return a function for the problems of located lines, which are counted only then."""

    def report(problem: Problem) -> None:
        is_located = problem.line and not is_journal(problem.path)
        on_problem(msgspec.structs.replace(problem, line=_line_number(problem)) if is_located else problem)

    return report


def _line_number(problem: Problem) -> int:
    number, left = 1, problem.line - 1
    with suppress(SourceError):  # renamed or removed meanwhile
        for block in blocks_of(problem.path):
            number += block[:left].count(b"\n")
            left -= len(block)
            if left <= 0:
                break
    return number


def _check_is_at(path: str, segment: Segment) -> None:
    """Check that a path is still that of a file.

    Raises:
        StaleError: it is that of another one, of which something may have been read, or of none.
    """
    try:
        is_there = Status.of(path).identity == segment.identity
    except OSError:
        is_there = False
    if not is_there:
        raise StaleError(path)


def _is_still(segment: Segment, file: Status, *, is_packed: bool) -> bool:
    """Return whether a file has still all that is indexed of it; one that is packed does not grow."""
    if segment.size == file.size and segment.mtime_ns == file.mtime_ns:
        return True
    if not segment.is_usual or file.size < segment.indexed or (is_packed and file.size != segment.size):
        return False
    try:
        return not segment.indexed or digest_of(file.path, segment.indexed) == segment.digest
    except SourceError:
        return False
