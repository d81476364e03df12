"""Write what the lines of a chunk have into the index: the traces, the places of their lines, and their runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace.sources.index.own_rows import OwnRun
from otel_agent_trace.sources.index.rows import RunRow
from otel_agent_trace.sources.index.scan import LineScanner
from otel_agent_trace.sources.index.schema import UNKNOWN, Link, Names, is_storable, session_number
from otel_agent_trace.sources.index.segments import Chunk

NO_TRACE = 0
"""Number of a trace that stands for none: its places are lines with damage."""
ANY_TRACE = -1
"""Number of a trace that stands for any: its places are lines with scores that name only a run."""

_MOST_OPEN_SPANS = 50_000
_RUN_COLUMNS = 20
_INSERT_RUN = f"INSERT OR REPLACE INTO run VALUES({'?,' * _RUN_COLUMNS}NULL,NULL,NULL,NULL)"


class Scanned(NamedTuple):
    """Hold what lines have.

    `runs` are those of the traces, None for one that has to be read as a whole, and `places` where the lines of a trace
    are: where one begins and ends, where the next one does, and so on; lines that touch are one place. `damaged` is the
    same of lines with damage, `named` of lines with scores that name only a run.
    """

    runs: dict[str, OwnRun | None]
    places: dict[str, list[int]]
    damaged: list[int]
    named: list[int]


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
        self._scanner = LineScanner()
        self._open: dict[str, tuple[OwnRun, int]] = {}

    def forget(self) -> None:
        """Forget what was added, after a rollback, and which runs may go on in later lines."""
        self._names.forget()
        self._open.clear()

    def scan(self, chunk: Chunk) -> Scanned:
        """Return what the lines of a chunk have, which has to be added next, or else forgotten.

        Raises:
            UnusualError: as of `LineScanner.read`.
        """
        runs, places, damaged, named = found = Scanned({}, {}, [], [])
        end = chunk.begin
        for line in chunk.lines:
            begin, end = end, end + len(line)
            spans = self._scanner.own_spans(line)
            if spans is not None:
                for span in spans:
                    trace_id = span.trace_id
                    if trace_id in places:
                        _note(places[trace_id], begin, end)
                        run = runs[trace_id]
                    else:
                        places[trace_id] = [begin, end]
                        runs[trace_id] = run = self._open[trace_id][0] if trace_id in self._open else OwnRun(trace_id)
                    if run is not None:
                        run.add(span)
            elif not line.isspace():
                trace_ids, is_damaged, names_runs = self._scanner.read(line)
                if is_damaged:
                    _note(damaged, begin, end)
                if names_runs:
                    _note(named, begin, end)
                for trace_id in trace_ids:
                    _note(places.setdefault(trace_id, []), begin, end)
                    runs[trace_id] = None
        return found

    def add(self, segment_id: int, found: Scanned) -> None:
        """Add the traces in some lines of a file, or what these have more of them."""
        rows = {trace_id: None if run is None else run.row() for trace_id, run in found.runs.items()}
        numbers, known = self._insert({trace_id: row[1] if row else Link.UNKNOWN for trace_id, row in rows.items()})
        run_rows: list[tuple[object, ...]] = []
        place_rows: list[tuple[int, int, int, int]] = []
        for trace_id, places in found.places.items():
            number, row, run, count = numbers[trace_id], rows[trace_id], found.runs[trace_id], len(places) // 2
            if number in known or trace_id in self._open:
                before = self._place_count(number)
                if self._open.pop(trace_id, (None, 0))[1] != before:
                    row = run = None  # the run lacks what was indexed before
                count += before
                self.clear(number, row[1] if row else Link.UNKNOWN)
            if row is not None:
                run_rows.append(self._columns(number, 0, row[0]))
                self._add_run_ids(number, row[0])
            elif run is not None and not run.is_unusual and len(run) + len(self._open) < _MOST_OPEN_SPANS:
                self._open[trace_id] = run, count
            place_rows += _rows_of_places(number, segment_id, places)
        place_rows += _rows_of_places(NO_TRACE, segment_id, found.damaged)
        place_rows += _rows_of_places(ANY_TRACE, segment_id, found.named)
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

    def _place_count(self, number: int) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM place WHERE trace=?", (number,)).fetchone()
        return int(count)

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
            *row[12:-1],
            row.run_id if row.run_id is None or is_storable(row.run_id) else UNKNOWN,
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
