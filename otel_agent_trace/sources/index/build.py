"""Bring the index of a store up to date with its files, beside others who do the same and readers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.index.files import Listing, files_of
from otel_agent_trace.sources.index.reading import Index
from otel_agent_trace.sources.index.rows import RunRow, rows_of
from otel_agent_trace.sources.index.scan import UnusualError
from otel_agent_trace.sources.index.schema import Link, complete, is_complete
from otel_agent_trace.sources.index.segments import (
    Chunk,
    Segment,
    StaleError,
    Status,
    chunks_of,
    digest_of,
    frames_of,
    packing_of,
)
from otel_agent_trace.sources.index.traces import TraceWriter

_TRACES_AT_ONCE = 64


class IndexBuilder:
    """Bring an index up to date.

    Args:
        index: the index.
    """

    def __init__(self, index: Index) -> None:
        self._index, self._connection = index, index.connection
        self._traces = TraceWriter(index.connection)

    def refresh(self, listing: Listing, on_progress: Callable[[int, int | None], None] | None = None) -> bool:
        """Index what the files of the store have beyond what is indexed; return whether none was replaced meanwhile.

        Args:
            listing: returns the paths of the files.
            on_progress: called now and then with the bytes that were indexed, and their total.

        Raises:
            StaleError: the files change too often.
        """
        self._note_files(listing)
        waiting = [
            segment for segment in self._index.segments.values() if segment.is_usual and segment.indexed < segment.size
        ]
        total = sum(segment.size - segment.indexed for segment in waiting)
        done = replaced = 0
        for segment in waiting:
            try:
                for read in self._index_file(segment):
                    if on_progress is not None:
                        on_progress(done + read, total)
            except StaleError:
                replaced += 1
            done += segment.size - segment.indexed
        self._traces.forget()
        self._complete_rows()
        self._index.segments = self._index.known_segments()
        if not is_complete(self._connection):
            with suppress(sqlite3.OperationalError), self._transaction():
                if not is_complete(self._connection):  # nobody else was faster
                    complete(self._connection)
        return not replaced

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write in the block all or nothing."""
        with ExitStack() as unless_done:
            unless_done.callback(self._traces.forget)
            with self._index.transaction():
                yield
            unless_done.pop_all()

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note_files(self, listing: Listing) -> None:
        """Note files that are new, were renamed or have grown, and drop those that are gone or were changed.

        They are looked at again when nobody else can change the index, who may have seen them later.
        """
        self._index.files = files_of(listing)
        known = self._index.known_segments()
        states = {(each.name, each.identity, each.size, each.mtime_ns) for each in known.values()}
        if states != {(os.path.basename(file.path), *file[1:]) for file in self._index.files}:
            with self._transaction():
                self._index.files = files_of(listing)
                known = self._index.known_segments()
                packed = {segment for (segment,) in self._connection.execute("SELECT DISTINCT segment FROM frame")}
                by_identity = {segment.identity: segment for segment in known.values()}
                for file in self._index.files:
                    segment = by_identity.get(file.identity)
                    state = (os.path.basename(file.path), file.size, file.mtime_ns)
                    if segment is not None and _is_still(segment, file, is_packed=segment.id in packed):
                        self._connection.execute(
                            "UPDATE segment SET name=?, size=?, mtime_ns=? WHERE id=?", (*state, segment.id)
                        )
                        del known[segment.id]
                    else:
                        self._connection.execute(
                            "INSERT INTO segment(name, size, mtime_ns, identity, indexed, digest, is_usual)"
                            " VALUES(?,?,?,?,0,x'',1)",
                            (*state, file.identity),
                        )
                for gone in known:
                    self._drop(gone)
            known = self._index.known_segments()
        self._index.segments = known

    def _drop(self, segment_id: int) -> None:
        """Remove all that is known of a file; traces that others have too are read anew."""
        execute = self._connection.execute
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

    def _index_file(self, segment: Segment) -> Iterator[int]:
        """Index a file from where it is indexed, and yield the number of its bytes so far."""
        path = self._index.path_of(segment)
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
                with self._transaction():
                    rows = [(segment.id, *frame) for frame in known]
                    self._connection.executemany("INSERT OR IGNORE INTO frame VALUES(?,?,?)", rows)
                    self._move(segment, segment.size, path)
        except (UnusualError, SourceError):
            self._traces.forget()
            _check_is_at(path, segment)
            with self._transaction():
                self._connection.execute("UPDATE segment SET is_usual=0 WHERE id=?", (segment.id,))

    def _move(self, segment: Segment, end: int, path: str) -> None:
        digest = digest_of(path, end)
        _check_is_at(path, segment)
        self._connection.execute(  # the file may have grown since its size was noted
            "UPDATE segment SET indexed=?1, size=max(size, ?1), digest=?2 WHERE id=?3", (end, digest, segment.id)
        )

    def _add(self, segment: Segment, chunk: Chunk, end: int, path: str) -> bool:
        """Add the traces in some lines, and return whether the file was indexed up to there when it was locked."""
        found = self._traces.scan(chunk)
        with self._transaction():
            now = self._connection.execute(
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
        self._index.segments = self._index.known_segments()
        last = 0
        while found := self._connection.execute(
            "SELECT id, hex(trace_id) FROM trace WHERE link=? AND link>0 AND id>? ORDER BY id LIMIT ?",
            (Link.UNKNOWN, last, _TRACES_AT_ONCE),
        ).fetchall():
            numbers = {trace_id.lower(): number for number, trace_id in found}
            last = found[-1][0]
            try:
                before, rows = self._whole_rows(numbers)
            except StaleError:
                return  # a file was replaced at this moment: they stay unknown until the next time
            with self._transaction():
                if before != self._index.place_counts(numbers.values()):
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
        is_of_files = self._index.begin()
        try:
            if not is_of_files:
                raise StaleError
            traces = self._index.read([*numbers.values()], lambda problem: None)
            rows = {spans[0].trace_id: rows_of(spans) for spans in traces if spans[0].trace_id in numbers}
            return self._index.place_counts(numbers.values()), rows
        finally:
            self._connection.execute("COMMIT")


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
