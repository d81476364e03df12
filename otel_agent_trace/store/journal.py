"""Keep what has started in a journal beside the store, one file for each process, so that a kill leaves it readable.

A journal holds lines of JSON, each with a span that has started (see `journal_lines`). The file is made under a hidden name,
locked, and renamed, so that nobody ever sees it without its lock, which shows that the process is alive.

The line of a span stays for a while after its end, which readers find in the store: lines are blanked when a run ends, or
some at once. When nothing is open, the next line is written over the blanks: the kernel does that in half of the time that
it needs for a file that grows. When something always is open, it moves to a new file once the file is large.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterator

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.blanking import blanks
from otel_agent_trace.store.journal_lines import frame_line
from otel_agent_trace.store.lines import fdatasync
from otel_agent_trace.store.liveness import header, keeps_others_out
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import detach, is_at, take

_MOST_ENDED = 32
"""Number of ended spans whose lines are not blanked yet, at most."""
MOST_BLANK_BYTES = 64 << 10
"""Size up to which an empty file keeps its blanks."""
_MOVE_FROM_BYTES = 1 << 20
_COPIED_BYTES = 1 << 20
_NEAR = 4
_MOST_ELSEWHERE = 64
"""Number of traces of the parent process that the first line names, at most."""
_HEADER_S = 10.0
"""Time after which an empty file gets a new first line, with the present position of the live file."""
_RETRY_S = 1.0
_LOOK_S = 0.05
"""Time after which the journal is compared with the file at its path."""
_POSITION = 0x5EED_0F_7ACE
"""Position at which the file is left, although lines are written to places: a closed number is another file by now."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
Frame = tuple[bytes, bytes, int]
_Place = tuple[int, int, int]
"""Offset and size of the line of an open span, and the id of its trace."""


class Journal:
    """Keep the started spans of this process until they have ended; may be used by several threads.

    Args:
        files: the names of the store.
        position: returns what identifies the end of the live file (see `LineFile.position`).
    """

    def __init__(self, files: StoreFiles, position: Callable[[], str]) -> None:
        self._files, self._position = files, position
        self._turn = ForkSafeLock()
        self._descriptor: int | None = None
        self._unnamed: int | None = None  # a file that is being made
        self._open: dict[int, _Place] = {}
        self._ended: list[_Place] = []
        self._of_traces: dict[int, dict[int, bool]] = {}
        self._sampling = self._began_at = ""
        self.is_received = False
        """True if the spans in it are of other processes; set before anything is added."""
        self._elsewhere: tuple[int, ...] = ()
        self._frames: dict[int, bytes] = {}
        self._path, self._identity = "", (-1, -1)
        self._has_locks = False
        self._size = self._header_bytes = 0
        self._move_from_bytes = _MOVE_FROM_BYTES
        self._next_look_s = self._next_header_s = self._retry_s = 0.0
        self._failure: OSError | None = None
        _JOURNALS.add(self)
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without a file, in a forked child: what is open ends in the parent process, which has the lock.

        Its number is not closed, which a call in progress may still use.
        """
        if self._of_traces:
            self._elsewhere = (*self._elsewhere, *self._of_traces)[-_MOST_ELSEWHERE:]
            self._of_traces = {}
        descriptor, self._descriptor, self._open, self._ended = self._descriptor, None, {}, []
        for inherited in (descriptor, self._unnamed):
            if inherited is not None:
                detach(inherited)
        self._unnamed, self._path = None, ""
        self._frames.clear()

    def sample_by(self, policy: str) -> None:
        """Write the text of a policy into the first line, by which whoever folds the journal decides."""
        with self._turn:
            self._sampling = policy
            if self._descriptor is not None:
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
                if not self._has_file() or time.monotonic() >= self._next_look_s:
                    self._look()
                if frame is not None and frame[2] not in self._frames:
                    self._add_frame(frame)
                offset, size = self._size, len(line)
                written = os.pwrite(self._descriptor, line, offset)  # type: ignore[arg-type]  # open after the look
                if written != size:
                    self._write_rest(line, written)
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
        assert self._descriptor is not None  # noqa: S101 - for type checkers
        written = os.pwrite(self._descriptor, line, self._size)
        if written != len(line):
            self._write_rest(line, written)
        self._size += len(line)
        self._frames[number] = line

    @property
    def has_begun(self) -> bool:
        """Return whether there is a file."""
        return self._descriptor is not None

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
                self._blank([place])

    def _pop(self, span_id: int) -> _Place | None:
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
            if not self._is_readable():
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
            return self._read_all(sorted(places))

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
            if self._open and self._has_file():
                assert self._descriptor is not None  # noqa: S101 - for type checkers
                fdatasync(self._descriptor)

    def close(self) -> None:
        """Remove the file if nothing is open; otherwise it stays, locked, for as long as this process lives."""
        with self._turn:
            if self._descriptor is not None and not self._open:
                self._end()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()

    def _clear(self) -> None:
        """Blank the lines of what has ended."""
        ended, self._ended = self._ended, []
        if not self._open:
            self._empty()
        elif self._size > self._move_from_bytes:
            self._begin()
        else:
            self._blank(ended)

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
        if not self._has_file() or not self._is_at_its_path():
            self._begin()
        self._next_look_s = time.monotonic() + _LOOK_S

    def _has_file(self) -> bool:
        """Return whether the file is open; its number may be another file by now, of a program that closes all descriptors."""
        if self._descriptor is not None and not is_at(self._descriptor, _POSITION):
            self._descriptor = None
        return self._descriptor is not None

    def _is_at_its_path(self) -> bool:
        try:
            there = os.lstat(self._path)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def _begin(self) -> None:
        """Begin a file with what is open, which replaces the present one: a kill in between leaves both."""
        places = self._open_places()
        if not places or not self._began_at:  # what is open may just have been appended to the live file
            self._began_at = self._position()
        frames = b"".join(self._frames.values()) if places else b""
        descriptor, path, header_bytes, size = self._made(frames, places)
        self._end()
        self._descriptor, self._path, self._header_bytes = descriptor, path, header_bytes
        self._unnamed = None
        status = os.fstat(descriptor)
        self._identity = status.st_dev, status.st_ino
        self._ended = []
        self._next_header_s = time.monotonic() + _HEADER_S
        offset = header_bytes + len(frames)
        for span_id, (_, line_bytes, trace_id) in places:
            self._open[span_id] = (offset, line_bytes, trace_id)
            offset += line_bytes
        self._size = size
        if not places:
            self._frames.clear()
        self._move_from_bytes = 2 * self._size + _MOVE_FROM_BYTES

    def _open_places(self) -> list[tuple[int, _Place]]:
        """Return the places of the lines of what is open, by the ids of the spans, in order of the places."""
        if not self._open:
            return []
        if not self._is_readable():  # closed, and removed
            self._open.clear()
            self._of_traces.clear()
        return sorted(self._open.items(), key=lambda item: item[1])

    def _is_readable(self) -> bool:
        """Return whether the file is open, after opening it again if a program has closed all descriptors."""
        if not self._has_file():
            with contextlib.suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDWR)
                os.lseek(self._descriptor, _POSITION, os.SEEK_SET)
        return self._descriptor is not None

    def _read_all(self, places: list[_Place]) -> list[bytes]:
        """Return the lines at some places, which are read at once if they are close to each other."""
        first, last = places[0][0], sum(places[-1][:2])
        if last - first > _NEAR * sum(size for _, size, _ in places):
            return [self._read(place) for place in places]
        text = self._read((first, last - first, 0))
        return [text[offset - first : offset - first + size] for offset, size, _ in places]

    def _read(self, place: _Place) -> bytes:
        assert self._descriptor is not None  # noqa: S101 - for type checkers
        return os.pread(self._descriptor, place[1], place[0])

    def _made(self, frames: bytes, places: list[tuple[int, _Place]]) -> tuple[int, str, int, int]:
        """Return a new file with its first line and what is open.

        Returns:
            its descriptor, its path, the size of the first line, and that of the file.
        """
        folder, name = self._files.journal_folder, f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        path, hidden = os.path.join(folder, name), os.path.join(folder, f".{name}")
        self._unnamed = descriptor = _opened(folder, hidden)
        try:
            os.lseek(descriptor, _POSITION, os.SEEK_SET)
            self._has_locks = bool(take(descriptor)) and keeps_others_out(hidden)
            first = self._first_line()
            size = 0
            for content in self._content(first + frames, places):
                if os.pwrite(descriptor, content, size) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), hidden)  # noqa: TRY301
                size += len(content)
            os.rename(hidden, path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
        return descriptor, path, len(first), size

    def _content(self, head: bytes, places: list[tuple[int, _Place]]) -> Iterator[bytes]:
        """Yield the head of a file, and the lines that are copied from the present one, in parts of about 1 MB."""
        part, size = [head], len(head)
        for _, place in places:
            part.append(self._read(place))
            size += place[1]
            if size >= _COPIED_BYTES:
                yield b"".join(part)
                part, size = [], 0
        yield b"".join(part)

    def _first_line(self) -> bytes:
        elsewhere = ",".join(f"{trace_id:032x}" for trace_id in self._elsewhere) if self._sampling else ""
        return header(
            self._began_at,
            has_locks=self._has_locks,
            sampling=self._sampling,
            sampled_elsewhere=elsewhere,
            is_received=self.is_received,
        )

    def _write_rest(self, line: bytes, written: int) -> None:
        """Write the rest of a line of which the disk took only a part; nothing of it is left if it does not take that.

        Raises:
            OSError: it does not, for the reason that the system gives.
        """
        assert self._descriptor is not None  # noqa: S101 - for type checkers
        rest = line[written:]
        try:
            is_whole = os.pwrite(self._descriptor, rest, self._size + written) == len(rest)
        except OSError:  # also of a signal handler
            os.ftruncate(self._descriptor, self._size)
            raise
        if not is_whole:
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, "the disk took only a part", self._path)

    def _blank(self, places: list[_Place]) -> None:
        """Overwrite lines with blanks; neighbours together."""
        start = end = 0
        for offset, size, _ in sorted(places):
            if offset != end:
                self._blank_range(start, end)
                start = offset
            end = offset + size
        self._blank_range(start, end)

    def _blank_range(self, start: int, end: int) -> None:
        if end > start and self._has_file():
            assert self._descriptor is not None  # noqa: S101 - for type checkers
            os.pwrite(self._descriptor, blanks(end - start), start)

    def _empty(self) -> None:
        """Blank all lines but the first, which is renewed now and then."""
        if not self._has_file():
            return
        assert self._descriptor is not None  # noqa: S101 - for type checkers
        if self._size > MOST_BLANK_BYTES or time.monotonic() >= self._next_header_s:
            self._began_at = self._position()
            first = self._first_line()
            os.pwrite(self._descriptor, first, 0)
            os.ftruncate(self._descriptor, len(first))
            self._header_bytes = len(first)
            self._next_header_s = time.monotonic() + _HEADER_S
        else:
            self._blank_range(self._header_bytes, self._size)
        self._size = self._header_bytes
        self._frames.clear()

    def _end(self) -> None:
        """Remove the file, and let go of its lock."""
        if not self._path:
            return
        if self._is_at_its_path():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        if self._has_file():
            assert self._descriptor is not None  # noqa: S101 - for type checkers
            os.close(self._descriptor)
        self._descriptor = None
        with contextlib.suppress(OSError):  # others have journals there
            os.rmdir(os.path.dirname(self._path))


def _opened(folder: str, path: str) -> int:
    """Return a new file, open, in a folder that is made if it is not there.

    Raises:
        OSError: one of them cannot be made.
    """
    for missing in (os.path.dirname(folder), folder):  # of several missing ones, `makedirs` gives the mode to the last
        os.makedirs(missing, mode=0o700, exist_ok=True)
    if os.path.islink(folder):
        raise OSError(errno.ELOOP, "a symbolic link in place of the folder of journals", folder)
    try:
        return os.open(path, _FLAGS, 0o600)
    except FileNotFoundError:  # another process that had the last journal there has removed the folder
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.open(path, _FLAGS, 0o600)


_JOURNALS: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_all() -> None:
    """Remove the journals without anything open, at the end of the program."""
    for journal in list(_JOURNALS):
        journal.close()


atexit.register(_close_all)
