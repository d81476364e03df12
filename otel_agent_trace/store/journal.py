"""Keep what has started in a journal beside the store, one file for each process, so that a kill leaves it readable.

A journal holds lines of JSON, each with a span that has started (see `journal_lines`).

The line of a span stays for a while after its end, which readers find in the store: lines are blanked when a run ends, or
some at once. When nothing is open, the next line is written over the blanks: the kernel does that in half of the time that
it needs for a file that grows. When something always is open, it moves to a new file once the file is large.
"""

from __future__ import annotations

import atexit
import errno
import os
import time
import weakref
from collections.abc import Callable

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.journal_file import JournalFile, Place
from otel_agent_trace.store.journal_lines import frame_line
from otel_agent_trace.store.liveness import header
from otel_agent_trace.store.names import StoreFiles

_MOST_ENDED = 32
"""Number of ended spans whose lines are not blanked yet, at most."""
MOST_BLANK_BYTES = 64 << 10
"""Size up to which an empty file keeps its blanks."""
_MOVE_FROM_BYTES = 1 << 20
_MOST_ELSEWHERE = 64
"""Number of traces of the parent process that the first line names, at most."""
_HEADER_S = 10.0
"""Time after which an empty file gets a new first line, with the present position of the live file."""
_RETRY_S = 1.0
_LOOK_S = 0.05
"""Time after which the journal is compared with the file at its path."""
Frame = tuple[bytes, bytes, int]


class Journal:
    """Keep the started spans of this process until they have ended; may be used by several threads.

    Args:
        files: the names of the store.
        position: returns what identifies the end of the live file (see `LineFile.position`).
    """

    def __init__(self, files: StoreFiles, position: Callable[[], str]) -> None:
        self._position = position
        self._turn = ForkSafeLock()
        self._file = JournalFile(files)
        self._open: dict[int, Place] = {}
        self._ended: list[Place] = []
        self._of_traces: dict[int, dict[int, bool]] = {}
        self._sampling = self._began_at = ""
        self.is_received = False
        """True if the spans in it are of other processes; set before anything is added."""
        self._elsewhere: tuple[int, ...] = ()
        self._frames: dict[int, bytes] = {}
        self._size = self._header_bytes = 0
        self._move_from_bytes = _MOVE_FROM_BYTES
        self._next_look_s = self._next_header_s = self._retry_s = 0.0
        self._failure: OSError | None = None
        _JOURNALS.add(self)
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without a file, in a forked child: what is open ends in the parent process, which has the lock."""
        if self._of_traces:
            self._elsewhere = (*self._elsewhere, *self._of_traces)[-_MOST_ELSEWHERE:]
            self._of_traces = {}
        self._open, self._ended = {}, []
        self._file.renew()
        self._frames.clear()

    def sample_by(self, policy: str) -> None:
        """Write the text of a policy into the first line, by which whoever folds the journal decides."""
        with self._turn:
            self._sampling = policy
            if self._file.descriptor is not None:
                self._begin()

    def add(
        self, span_id: int, trace_id: int, line: bytes, frame: Frame | None = None, *, is_held: bool = False
    ) -> None:
        """Write the line of a span that has started, or of one that has ended and waits for a decision.

        Args:
            span_id: the id of the span.
            trace_id: the id of its trace.
            line: the line.
            frame: the bytes before and after the spans of its resource and scope, and the number by which the line names
                these; None if it names none.
            is_held: whether the line is one of `held_lines`.

        Raises:
            OSError: it could not be written; for a second after a failure nothing is tried.
        """
        with self._turn:
            try:
                if not self._file.is_open() or time.monotonic() >= self._next_look_s:
                    self._look()
                if frame is not None and frame[2] not in self._frames:
                    self._add_frame(frame)
                offset, size = self._size, len(line)
                self._file.write(line, offset)
            except OSError as error:
                if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                    raise
                self._failure = OSError(error.errno, error.strerror)
                self._retry_s, self._next_look_s = time.monotonic() + _RETRY_S, 0.0
                raise
            self._size = offset + size
            before = self._open.get(span_id)
            self._open[span_id] = (offset, size, trace_id)
            if self._sampling or is_held:
                self._of_traces.setdefault(trace_id, {})[span_id] = is_held
            if before is not None:
                self._ended.append(before)
                if len(self._ended) >= _MOST_ENDED:
                    self._clear()

    def _add_frame(self, frame: Frame) -> None:
        """Write the line of a resource and a scope, which stays until nothing is open."""
        head, tail, number = frame
        line = frame_line(number, head, tail)
        self._file.write(line, self._size)
        self._size += len(line)
        self._frames[number] = line

    @property
    def has_begun(self) -> bool:
        """Return whether there is a file."""
        return self._file.descriptor is not None

    def look_soon(self) -> None:
        """Compare the file with the one at its path before the next line, since the folder was found to be another one."""
        self._next_look_s = self._retry_s = 0.0

    def remove(self, span_id: int, ends_run: bool = False) -> None:
        """Forget a span whose end is in the store.

        Args:
            span_id: the id of the span.
            ends_run: whether nothing of its run is to be left.

        Raises:
            OSError: the file could not be changed.
        """
        with self._turn:
            place = self._pop(span_id)
            if place is None:
                return
            self._ended.append(place)
            if ends_run or len(self._ended) >= _MOST_ENDED or not self._open:
                self._clear()

    def drop(self, span_id: int) -> None:
        """Forget a span whose end is not in the store: its line is blanked.

        Raises:
            OSError: it could not be.
        """
        with self._turn:
            place = self._pop(span_id)
            if place is not None:
                self._file.blank([place])

    def _pop(self, span_id: int) -> Place | None:
        place = self._open.pop(span_id, None)
        if place is not None and self._of_traces:
            of_trace = self._of_traces.get(place[2])
            if of_trace is not None:
                of_trace.pop(span_id, None)
                if not of_trace:
                    del self._of_traces[place[2]]
        return place

    def held_lines(self, trace_id: int) -> list[bytes]:
        """Return the lines of a trace that wait for a decision, in the order in which they were added.

        Raises:
            OSError: they cannot be read.
        """
        with self._turn:
            places = [self._open[number] for number, is_held in self._of_traces.get(trace_id, {}).items() if is_held]
            if not places:
                return []
            if not self._file.is_readable():
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), self._file.path)
            return self._file.read_all(sorted(places))

    def drop_trace(self, trace_id: int, *, held_only: bool = False) -> None:
        """Forget the lines of a trace, or only those that wait for a decision.

        Raises:
            OSError: they could not be blanked.
        """
        with self._turn:
            of_trace = self._of_traces.get(trace_id, {})
            numbers = [number for number, is_held in of_trace.items() if is_held or not held_only]
            if not self._sampling and not (held_only or self.is_received):  # of a gate: starts are not noted by trace
                numbers += [
                    number for number, place in self._open.items() if place[2] == trace_id and number not in of_trace
                ]
            self._ended += filter(None, map(self._pop, numbers))
            if len(self._ended) >= _MOST_ENDED or not self._open:
                self._clear()

    def sync(self) -> None:
        """Wait until the disk has the file.

        Raises:
            OSError: it cannot take it.
        """
        with self._turn:
            if self._open:
                self._file.sync()

    def close(self) -> None:
        """Remove the file if nothing is open; otherwise it stays, locked, for as long as this process lives."""
        with self._turn:
            if self._file.descriptor is not None and not self._open:
                self._file.end()

    def __del__(self) -> None:
        if hasattr(self, "_file") and self._file.descriptor is not None:
            self.close()

    def _clear(self) -> None:
        """Blank the lines of what has ended."""
        ended, self._ended = self._ended, []
        if not self._open:
            self._empty()
        elif self._size > self._move_from_bytes:
            self._begin()
        else:
            self._file.blank(ended)

    # ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """Begin a file if there is none, or if it is no longer at its path: its folder may have been renamed or removed.

        Raises:
            OSError: it cannot be made.
        """
        if self._failure is not None:
            if time.monotonic() < self._retry_s:
                raise OSError(*self._failure.args)
            self._failure = None
        if not self._file.is_open() or not self._file.is_at_its_path():
            self._begin()
        self._next_look_s = time.monotonic() + _LOOK_S

    def _begin(self) -> None:
        """Begin a file with what is open, which replaces the present one: a kill in between leaves both."""
        places = self._open_places()
        if not places or not self._began_at:  # what is open may just have been appended to the live file
            self._began_at = self._position()
        frames = b"".join(self._frames.values()) if places else b""
        self._header_bytes, size = self._file.replace(self._first_line, frames, [place for _, place in places])
        self._ended = []
        self._next_header_s = time.monotonic() + _HEADER_S
        offset = self._header_bytes + len(frames)
        for span_id, (_, line_bytes, trace_id) in places:
            self._open[span_id] = (offset, line_bytes, trace_id)
            offset += line_bytes
        self._size = size
        if not places:
            self._frames.clear()
        self._move_from_bytes = 2 * self._size + _MOVE_FROM_BYTES

    def _open_places(self) -> list[tuple[int, Place]]:
        """Return the places of the lines of what is open, by the ids of the spans, in order of the places."""
        if not self._open:
            return []
        if not self._file.is_readable():  # closed, and removed
            self._open.clear()
            self._of_traces.clear()
        return sorted(self._open.items(), key=lambda item: item[1])

    def _first_line(self) -> bytes:
        elsewhere = ",".join(f"{trace_id:032x}" for trace_id in self._elsewhere) if self._sampling else ""
        return header(
            self._began_at,
            has_locks=self._file.has_locks,
            sampling=self._sampling,
            sampled_elsewhere=elsewhere,
            is_received=self.is_received,
        )

    def _empty(self) -> None:
        """Blank all lines but the first, which is renewed now and then."""
        if not self._file.is_open():
            return
        if self._size > MOST_BLANK_BYTES or time.monotonic() >= self._next_header_s:
            self._began_at = self._position()
            first = self._first_line()
            self._file.keep_only(first)
            self._header_bytes = len(first)
            self._next_header_s = time.monotonic() + _HEADER_S
        else:
            self._file.blank_range(self._header_bytes, self._size)
        self._size = self._header_bytes
        self._frames.clear()


_JOURNALS: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_all() -> None:
    """Remove the journals without anything open, at the end of the program."""
    for journal in list(_JOURNALS):
        journal.close()


atexit.register(_close_all)
