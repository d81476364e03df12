"""Read what is new in the files of a store, each time that they are looked at while programs write to them."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from otel_agent_trace.sources.file_contents import BLOCK_BYTES, Content, content_of, ignore_damage
from otel_agent_trace.sources.file_formats import DamagedError, FileFormat
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.open_files import Identity
from otel_agent_trace.sources.open_traces import found_in
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store.journal import MOST_BLANK_BYTES
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.liveness import RECEIVED, is_owner_alive, owner_of, with_liveness
from otel_agent_trace.store.names import StoreFiles, store_of_segment
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import is_lock_free

_RECENT_LINES = 256
_SKIPPED_BYTES = 1 << 20
"""Bytes at the end of a file whose lines are known again in a copy of it, where the rest is not read."""
_MARK_BYTES = 4096
"""Bytes at the beginning and before the place reached by which it is seen that a file was emptied and written anew: more
than most lines have before and after the ids of a span."""
_BLANKS = b" \n"
"""Bytes that are written over a line of a journal when its trace is decided."""
_SETTLED_S = 60.0
_CLOCK_S = 1.0


class _Opened:
    """Hold an open file of the store, and its present path."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file.detach()  # what a buffer holds may have been changed in place
        status = os.fstat(self._file.fileno())
        self.identity: Identity = (status.st_dev, status.st_ino)
        self.path = ""
        self._state: tuple[object, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Return whether it is a closed segment to which nobody writes any more."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _has_changed(self, *more: object) -> bool:
        """Return whether there may be something new; times of files are not exact enough to see it at once."""
        status = os.fstat(self._file.fileno())
        before, self._state = self._state, (status.st_size, status.st_mtime_ns, *more)
        return before != self._state or time.time() - status.st_mtime < _CLOCK_S


class FollowedJournal(_Opened):
    """Hold a journal, in which lines are written over those of what has ended."""

    def __init__(self, file: io.BufferedReader, store: StoreFiles) -> None:
        super().__init__(file)
        self._store, self._lines = store, JsonLines()
        self._is_alive: bool | None = None
        self._head = self._end = b""
        """First line, and bytes before the place reached."""
        self._read_to = 0

    def look_at_owner(self) -> None:
        """Note whether the process of the journal is alive."""
        self._is_alive = is_owner_alive(self._file.fileno(), lock_is_free=is_lock_free(self._file.fileno()))

    def spans(self) -> Iterator[SpanRecord]:
        """Yield what it has, if it has changed, or its process has ended."""
        if not self._has_changed(self._is_alive):
            return
        text = self._new_text()
        content = sampled(self._store, text, is_alive=self._is_alive is not False).content if text else b""
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError):  # it is being written
                for span in self._lines.read(line) if line.strip() else ():
                    yield with_liveness(span, is_alive=self._is_alive)

    def _new_text(self) -> bytes:
        """Return all that a journal has; of a receiver that is alive, the first line and what was appended."""
        begin = self._read_to if self._is_alive and self._is_appended() else 0
        self._file.seek(begin)
        text = self._file.read(MAX_JOURNAL_BYTES)
        size = text.rfind(b"\n") + 1
        if begin and not size:
            return b""
        self._read_to, self._end = begin + size, text[max(0, size - _MARK_BYTES) : size]
        if begin:
            return self._head + text
        self._head = text[: text.find(b"\n") + 1]
        return text

    def _is_appended(self) -> bool:
        """Return whether nothing but blanks was written before the place reached, in the journal of a receiver."""
        descriptor, end = self._file.fileno(), self._end
        if RECEIVED not in owner_of(self._head) or os.fstat(descriptor).st_size < self._read_to:
            return False
        now = os.pread(descriptor, len(end), self._read_to - len(end))
        if now.isspace():  # one that was emptied is filled again from its beginning
            return self._read_to > MOST_BLANK_BYTES
        blanked = (new == old or new in _BLANKS for old, new in zip(end, now, strict=False))
        return now == end or (len(now) == len(end) and all(blanked))


class FollowedFile(_Opened):
    """Hold a file to which programs append, and how far it has been read."""

    def __init__(self, file: io.BufferedReader, on_log: Callable[[LogRecord], object]) -> None:
        super().__init__(file)
        self._on_log = on_log
        self.recent: deque[int] = deque(maxlen=_RECENT_LINES)
        """Hashes of the last lines that have spans."""
        self._lines: JsonLines | None = None
        self._is_read = False
        self._offset = self._number = self._skipped = 0
        self._head = self._end = b""

    @property
    def is_settled(self) -> bool:
        """Return whether it is a closed segment to which nobody has written for a while."""
        changed_s = 0.0 if self._is_read else os.fstat(self._file.fileno()).st_mtime
        return is_settled_segment(self.path, changed_s)

    def skip_known(self, known: Container[int]) -> None:
        """Skip the lines up to the last one that was read before, here or in another file."""
        last = 0
        with contextlib.suppress(DamagedError):
            for number, (piece, _) in enumerate(self._all(), 1):
                if hash(piece) in known:
                    last = number
        self._skipped = last

    def skip_all(self) -> None:
        """Skip what the file has now, but for a last line that is incomplete; its last lines are known if they come again."""
        size = os.fstat(self._file.fileno()).st_size
        if not size:
            return
        content = self._content()
        self._is_read = content.packing != "file"
        if not (content.is_plain and type(content.file_format) is JsonLines):
            self._skipped = 0 if self._is_read else sum(1 for _ in self._all())
            return
        begin = max(0, size - _SKIPPED_BYTES)
        self._file.seek(begin)
        *lines, rest = self._file.read(size - begin).split(b"\n")
        self.recent.extend(map(hash, filter(None, lines)))
        self._lines, self._offset = JsonLines(), size - len(rest) if lines else size
        self._head, self._end = self._marks(min(self._offset, _MARK_BYTES))

    def new_spans(self, *, is_last: bool) -> Iterator[Sequence[SpanRecord]]:
        """Yield the spans of each new line; those of an incomplete last line only if nothing follows."""
        size = os.fstat(self._file.fileno()).st_size
        if self._is_read or not self._has_changed(is_last) or not size:
            return
        if self._lines is None:
            content = self._content()
            self._skipped, self._number = max(self._skipped, self._number), 0
            if not (content.is_plain and type(content.file_format) is JsonLines):
                self._is_read = content.packing != "file"
                yield from self._whole()
                return
            self._lines = JsonLines()
        elif size < self._offset or not self._goes_on():
            self._offset = self._number = 0
            self.skip_known(frozenset(self.recent))
        begin = self._offset
        blocks = itertools.chain(self._blocks(size), () if is_last else (b"\n",))  # the latter is beyond the size
        for pieces in self._lines.pieces(blocks, size - begin, MAX_LINE_BYTES):
            self._offset = begin + pieces.position
            yield from self._spans_in((piece, self._lines) for piece in pieces.pieces)
        self._head, self._end = self._marks(min(self._offset, _MARK_BYTES))

    def _whole(self) -> Iterator[Sequence[SpanRecord]]:
        """Yield the new spans of a compressed file, which is read once, or of one of another format, from its beginning."""
        with contextlib.suppress(DamagedError):
            yield from self._spans_in(self._all())

    def _content(self) -> Content:
        self._file.seek(0)
        file: io.BufferedReader = io.BufferedReader(io.FileIO(self._file.fileno(), closefd=False), BLOCK_BYTES)
        return content_of(file, ignore_damage)

    def _all(self) -> Iterator[tuple[bytes | None, FileFormat]]:
        content = self._content()
        for pieces in content.file_format.pieces(content.blocks, sys.maxsize, MAX_LINE_BYTES):
            yield from ((piece, content.file_format) for piece in pieces.pieces)

    def _spans_in(self, pieces: Iterable[tuple[bytes | None, FileFormat]]) -> Iterator[Sequence[SpanRecord]]:
        for piece, file_format in pieces:
            self._number += 1
            if not piece or self._number <= self._skipped:
                continue
            found = found_in(piece, file_format)
            for log in found.logs:
                self._on_log(log)
            if found.spans:
                self.recent.append(hash(piece))
                yield found.spans

    def _blocks(self, size: int) -> Iterator[bytes]:
        self._file.seek(self._offset)
        left = size - self._offset
        while left > 0 and (block := self._file.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            yield block

    def _goes_on(self) -> bool:
        """Return whether the file has only grown: it may have been emptied and written anew, or changed in place."""
        return self._marks(len(self._head)) == (self._head, self._end)

    def _marks(self, head_bytes: int) -> tuple[bytes, bytes]:
        """Return the beginning of the file, and the bytes before the place reached."""
        self._file.seek(0)
        head = self._file.read(head_bytes)
        self._file.seek(max(0, self._offset - _MARK_BYTES))
        return head, self._file.read(min(self._offset, _MARK_BYTES))


def is_settled_segment(path: str, changed_s: float) -> bool:
    """Return whether a file is a closed segment that was changed so long ago that nobody writes to it any more."""
    return store_of_segment(path) is not None and time.time() - changed_s > _SETTLED_S
