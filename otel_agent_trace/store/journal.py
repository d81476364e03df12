"""Keep what has started in a journal beside the store, one file for each process, so that a kill leaves it readable.

A journal holds OTLP/JSON lines like any file of the store, of spans without an end. The file is made under a hidden name,
locked, and renamed, so that nobody ever sees it without its lock, which tells that the process is alive.

The line of a span stays for a while after its end, which readers find in the store: lines are blanked when a run ends, or
some at once. When nothing is open, the file is emptied; when something always is, what is open moves to a new file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.store.liveness import header, keeps_others_out
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import take

_MOST_ENDED = 32
"""Number of ended spans whose lines are not blanked yet, at most."""
_HEADER_S = 10.0
"""Time after which an empty file gets a new first line, with the present position of the live file."""
_MOVE_FROM_BYTES = 1 << 20
_RETRY_S = 1.0
_LOOK_S = 0.5
"""Time after which the journal is compared with the file at its path."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class _Place(NamedTuple):
    """Hold where the line of an open span is, and the id of its trace."""

    offset: int
    size: int
    trace_id: int


class _Content:
    """Hold the file of a journal, None before the first span, and the places of the open spans in it."""

    def __init__(self) -> None:
        self.file: _JournalFile | None = None
        self.open: dict[int, _Place] = {}
        self.ended: list[_Place] = []


class Journal:
    """Keep the started spans of this process until they have ended; may be used by several threads.

    Args:
        files: the names of the store.
        position: returns what identifies the end of the live file (see `LineFile.position`).
    """

    def __init__(self, files: StoreFiles, position: Callable[[], str]) -> None:
        self._files, self._position = files, position
        self._turn = ForkSafeLock()
        self._content = _Content()
        self._failure: OSError | None = None
        self._retry_s = 0.0
        weakref.finalize(self, _end_unless_open, self._content)
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without a file, in a forked child: what is open ends in the parent process."""
        content = self._content
        file, content.file, content.open, content.ended = content.file, None, {}, []
        if file is not None:
            file.let_go()

    @property
    def is_begun(self) -> bool:
        """Return whether there is a file."""
        return self._content.file is not None

    def add(self, span_id: int, trace_id: int, line: bytes) -> None:
        """Append the line of a span that has started, or of one that has ended and waits for a decision.

        Raises:
            OSError: it could not be written; for a second after a failure nothing is tried.
        """
        with self._turn:
            if self._failure is not None:
                if time.monotonic() < self._retry_s:
                    raise OSError(*self._failure.args)
                self._failure = None
            try:
                self._add(span_id, trace_id, line)
            except OSError as error:
                self._failure = OSError(error.errno, error.strerror)
                self._retry_s = time.monotonic() + _RETRY_S
                raise

    def _add(self, span_id: int, trace_id: int, line: bytes) -> None:
        content = self._content
        file = content.file
        if file is None or not file.is_there():
            file = self._begin_file()
        offset = file.size
        file.write(line)
        before = content.open.get(span_id)
        content.open[span_id] = _Place(offset, len(line), trace_id)
        if before is not None:
            file.blank([before])

    def remove(self, span_id: int, ends_run: bool = False) -> None:
        """Forget a span whose end is in the store.

        Args:
            span_id: the id of the span.
            ends_run: whether nothing of its run is to be left.

        Raises:
            OSError: the file could not be changed.
        """
        with self._turn:
            content = self._content
            place = content.open.pop(span_id, None)
            if place is None or content.file is None:
                return
            content.ended.append(place)
            if not content.open:
                content.ended.clear()
                content.file.empty(self._position)
            elif ends_run or len(content.ended) >= _MOST_ENDED:
                ended, content.ended = content.ended, []
                if content.file.size > content.file.move_from_bytes:
                    self._begin_file()
                else:
                    content.file.blank(ended)

    def drop(self, span_id: int) -> None:
        """Forget a span whose end is not in the store: its line is blanked.

        Raises:
            OSError: it could not be.
        """
        with self._turn:
            content = self._content
            place = content.open.pop(span_id, None)
            if place is not None and content.file is not None:
                content.file.blank([place])

    def drop_trace(self, trace_id: int) -> None:
        """Forget the spans of a trace that is not kept.

        Raises:
            OSError: they could not be blanked.
        """
        with self._turn:
            for span_id in [span_id for span_id, place in self._content.open.items() if place.trace_id == trace_id]:
                self.drop(span_id)

    def close(self) -> None:
        """Remove the file if nothing is open; otherwise it stays, locked, for as long as this process lives."""
        with self._turn:
            _end_unless_open(self._content)

    def _begin_file(self) -> _JournalFile:
        """Return a new file with what is open, which replaces the present one."""
        content = self._content
        before, file = content.file, _JournalFile(self._files, self._position())
        moved = {}
        if before is not None:
            for span_id, place in content.open.items():
                moved[span_id] = place._replace(offset=file.size)
                file.write(before.line_at(place.offset, place.size))
            before.end()
        file.move_from_bytes = file.size + _MOVE_FROM_BYTES
        content.file, content.open, content.ended = file, moved, []
        return file


def _end_unless_open(content: _Content) -> None:
    file = content.file
    if file is not None and not content.open:
        content.file = None
        file.end()


class _JournalFile:
    """Hold one file of this process, which has its lock from before it has its name."""

    def __init__(self, files: StoreFiles, position: str) -> None:
        folder = files.journal_folder
        name = f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        hidden = os.path.join(folder, f".{name}")
        self.path = os.path.join(folder, name)
        self._descriptor = _made(folder, hidden)
        self.size = 0
        self.move_from_bytes = _MOVE_FROM_BYTES
        self.next_look_s = time.monotonic() + _LOOK_S
        try:
            self._has_locks = bool(take(self._descriptor)) and keeps_others_out(hidden)
            self._write_header(position)
            os.rename(hidden, self.path)
            status = os.fstat(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
        self._identity = status.st_dev, status.st_ino

    def is_there(self) -> bool:
        """Return whether the file has not been removed; now and then, whether it is still at its path."""
        if os.fstat(self._descriptor).st_nlink == 0:
            return False
        return time.monotonic() < self.next_look_s or self.is_at_its_path()

    def is_at_its_path(self) -> bool:
        """Return whether the file is still the one at its path: its folder may have been renamed or removed."""
        self.next_look_s = time.monotonic() + _LOOK_S
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def write(self, line: bytes) -> None:
        """Append a line.

        Raises:
            OSError: it could not be written whole; nothing of it is left.
        """
        written = os.pwrite(self._descriptor, line, self.size)
        if written != len(line):
            os.ftruncate(self._descriptor, self.size)
            written = os.pwrite(self._descriptor, line, self.size)
            if written != len(line):
                os.ftruncate(self._descriptor, self.size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        self.size += written

    def line_at(self, offset: int, size: int) -> bytes:
        """Return a line."""
        return os.pread(self._descriptor, size, offset)

    def blank(self, places: list[_Place]) -> None:
        """Overwrite lines with blanks; neighbours together."""
        start = end = 0
        for place in sorted(places):
            if place.offset != end:
                self._blank(start, end)
                start = place.offset
            end = place.offset + place.size
        self._blank(start, end)

    def _blank(self, start: int, end: int) -> None:
        if end > start:
            os.pwrite(self._descriptor, b" " * (end - start - 1) + b"\n", start)

    def empty(self, position: Callable[[], str]) -> None:
        """Remove all lines but the first, which is renewed now and then."""
        if time.monotonic() < self._next_header_s:
            os.ftruncate(self._descriptor, self._header_bytes)
            self.size = self._header_bytes
            return
        os.ftruncate(self._descriptor, 0)
        self.size = 0
        self._write_header(position())

    def _write_header(self, position: str) -> None:
        self.write(header(position, has_locks=self._has_locks))
        self._header_bytes = self.size
        self._next_header_s = time.monotonic() + _HEADER_S

    def end(self) -> None:
        """Remove the file, and let go of its lock."""
        if self.is_at_its_path():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        os.close(self._descriptor)
        with contextlib.suppress(OSError):  # others have journals there
            os.rmdir(os.path.dirname(self.path))

    def let_go(self) -> None:
        """Let go of the lock of the parent process, without closing the number, which a call in progress may still use."""
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(nothing, self._descriptor, inheritable=False)
            finally:
                os.close(nothing)


def _made(folder: str, path: str) -> int:
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
