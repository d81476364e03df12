"""Write what the lines of a chunk have into the index: the traces, the places of their lines, and their runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace.sources.index.rows import RunRow, row_of_own
from otel_agent_trace.sources.index.scan import LineScanner, OwnSpan
from otel_agent_trace.sources.index.schema import Link, Names, is_storable, session_number
from otel_agent_trace.sources.index.segments import Chunk

NO_TRACE = 0
"""Number of a trace that stands for none: its places are lines with damage."""

_MOST_OPEN_SPANS = 50_000
_RUN_COLUMNS = 19
_INSERT_RUN = f"INSERT OR REPLACE INTO run VALUES({','.join('?' * _RUN_COLUMNS)})"


class Scanned(NamedTuple):
    """Hold what lines have.

    `own` are the spans of each trace, None where they have to be read as a whole, and `places` where its lines are: where
    one begins and ends, where the next one does, and so on; lines that touch are one place. `damaged` is the same of lines
    with damage.
    """

    own: dict[str, list[OwnSpan] | None]
    places: dict[str, list[int]]
    damaged: list[int]


def scanned(scanner: LineScanner, chunk: Chunk) -> Scanned:
    """Return what the lines of a chunk have.

    Raises:
        UnusualError: as of `LineScanner.read`.
    """
    own, places, damaged = found = Scanned({}, {}, [])
    end = chunk.begin
    for line in chunk.lines:
        begin, end = end, end + len(line)
        spans = scanner.own_spans(line)
        if spans is not None:
            for span in spans:
                trace_id = span.trace_id
                if trace_id not in places:
                    places[trace_id], own[trace_id] = [begin, end], [span]
                    continue
                _note(places[trace_id], begin, end)
                known = own[trace_id]
                if known is not None:
                    known.append(span)
        elif not line.isspace():
            trace_ids, is_damaged = scanner.read(line)
            if is_damaged:
                _note(damaged, begin, end)
            for trace_id in trace_ids:
                _note(places.setdefault(trace_id, []), begin, end)
                own[trace_id] = None
    return found


def _note(places: list[int], begin: int, end: int) -> None:
    last = places[-1] if places else None
    if last == begin:
        places[-1] = end
    elif last != end:
        places += begin, end


class TraceWriter:
    """Write traces and their runs.

    Args:
        connection: the open database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names = Names(connection)
        self._open: dict[str, tuple[list[OwnSpan], int]] = {}

    def forget(self) -> None:
        """Forget what was added, after a rollback."""
        self._names.forget()

    def forget_open(self) -> None:
        """Forget the spans of traces that are not complete yet, which are kept as later lines may have the others."""
        self._open.clear()

    def add(self, segment_id: int, found: Scanned) -> None:
        """Add the traces in some lines of a file, or what these have more of them."""
        rows = {
            trace_id: None if spans is None else row_of_own(trace_id, spans) for trace_id, spans in found.own.items()
        }
        numbers, known = self._insert({trace_id: row[1] if row else Link.UNKNOWN for trace_id, row in rows.items()})
        run_rows: list[tuple[object, ...]] = []
        place_rows: list[tuple[int, int, int, int]] = []
        for trace_id, places in found.places.items():
            number, row, spans, count = numbers[trace_id], rows[trace_id], found.own[trace_id], len(places) // 2
            if number in known:
                spans, count = self._continued(number, trace_id, spans, count)
                row = None if spans is None else row_of_own(trace_id, spans)
                self.clear(number, row[1] if row else Link.UNKNOWN)
            if row is not None:
                run_rows.append(self._columns(number, 0, row[0]))
                self._add_run_ids(number, row[0])
            elif spans is not None and len(spans) + len(self._open) < _MOST_OPEN_SPANS:
                self._open[trace_id] = spans, count
            place_rows += _rows_of_places(number, segment_id, places)
        place_rows += _rows_of_places(NO_TRACE, segment_id, found.damaged)
        self._connection.executemany("INSERT OR IGNORE INTO place VALUES(?,?,?,?)", place_rows)
        self._connection.executemany(_INSERT_RUN, run_rows)

    def _insert(self, links: dict[str, Link]) -> tuple[dict[str, int], set[int]]:
        """Insert those traces that are new, and return the numbers of all, and of those that are not new."""
        execute = self._connection.execute
        (last,) = execute("SELECT coalesce(max(id), 0) FROM trace").fetchone()
        numbers = {trace_id: number for number, trace_id in enumerate(links, last + 1)}
        rows = [(numbers[trace_id], bytes.fromhex(trace_id), link) for trace_id, link in links.items()]
        known = set[int]()
        if self._connection.executemany("INSERT OR IGNORE INTO trace VALUES(?,?,?)", rows).rowcount < len(rows):
            new = {number for (number,) in execute("SELECT id FROM trace WHERE id>?", (last,))}
            for number, key, _ in rows:
                if number not in new:
                    (numbers[key.hex()],) = execute("SELECT id FROM trace WHERE trace_id=?", (key,)).fetchone()
                    known.add(numbers[key.hex()])
        return numbers, known

    def _continued(
        self, number: int, trace_id: str, spans: list[OwnSpan] | None, count: int
    ) -> tuple[list[OwnSpan] | None, int]:
        """Return the spans of a trace that goes on, None where they are not at hand, and the number of their places."""
        (before,) = self._connection.execute("SELECT count(*) FROM place WHERE trace=?", (number,)).fetchone()
        opened, places = self._open.pop(trace_id, (None, 0))
        is_whole = opened is not None and spans is not None and places == before
        return (opened + spans if is_whole else None), before + count  # type: ignore[operator]

    def replace_runs(self, number: int, link: Link, rows: Sequence[RunRow]) -> None:
        """Replace the runs of a trace."""
        self.clear(number, link)
        for place, row in enumerate(rows):
            self._connection.execute(_INSERT_RUN, self._columns(number, place, row))
            self._add_run_ids(number, row)

    def clear(self, number: int, link: Link) -> None:
        """Remove the runs of a trace."""
        self._connection.execute("DELETE FROM run WHERE trace=?", (number,))
        self._connection.execute("DELETE FROM run_id WHERE trace=?", (number,))
        self._connection.execute("UPDATE trace SET link=? WHERE id=?", (link, number))

    def _columns(self, trace: int, number: int, row: RunRow) -> tuple[object, ...]:
        names = self._names
        return (
            trace,
            number,
            row.start_ns,
            row.end_ns,
            row.status,
            names[row.agent],
            names[row.user],
            None if row.session is None else session_number(row.session),
            names[row.services],
            names[row.tools],
            names[row.failed_tools],
            names[row.models],
            names[row.tags],
            *row[12:],
        )

    def _add_run_ids(self, trace: int, row: RunRow) -> None:
        for run_id in row.run_ids:
            if is_storable(run_id):
                self._connection.execute("INSERT OR IGNORE INTO run_id VALUES(?,?)", (run_id, trace))
            else:
                self._connection.execute("UPDATE trace SET link=? WHERE id=?", (Link.LINKED, trace))


def _rows_of_places(trace: int, segment_id: int, places: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    for begin, end in zip(places[::2], places[1::2], strict=True):
        yield trace, segment_id, begin, end - begin
