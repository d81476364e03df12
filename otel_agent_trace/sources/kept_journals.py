"""Keep what was read of the journals of receivers, which may be large, and are read with each query of their stores."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.scanned_files import ScannedFile, read_journals
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.store.liveness import RECEIVED, is_owner_alive, owner_of
from otel_agent_trace.store.names import store_of
from otel_agent_trace.store.sharing import held, is_lock_free, open_regular

_MOST_KNOWN_BYTES = 32 << 20
"""Most bytes of the lines of a journal whose spans are kept."""
_MOST_KEPT = 16
_CLOCK_S = 1.0
"""Time after which a change is seen by the time of a file."""
_HEAD_BYTES = 16 << 10
_State = tuple[object, ...]


class _Known:
    """Hold the spans of lines, for several readers.

    Args:
        before: those of the journal as it was before, or nothing.
    """

    def __init__(self, before: _Known | None) -> None:
        self.before: Mapping[bytes, list[SpanRecord]] = {} if before is None else before.lines or before.before
        self.lines: dict[bytes, list[SpanRecord]] = {}
        self._bytes = 0

    def of(self, line: bytes) -> list[SpanRecord] | None:
        """Return the spans of a line; None if it is not known."""
        found = self.lines.get(line)
        if found is None:
            found = self.before.get(line)
            if found is not None:
                self.add(line, found)
        return found

    def add(self, line: bytes, spans: list[SpanRecord]) -> None:
        """Keep the spans of a line, unless there are too many."""
        if self._bytes < _MOST_KNOWN_BYTES:
            self._bytes += len(line)
            self.lines[line] = spans


class _KnownLines(JsonLines):
    """Read lines, and decode those that are not known."""

    def __init__(self, known: _Known) -> None:
        super().__init__()
        self._known = known
        self._decode, self.read = self.read, self._known_or_decoded

    def _known_or_decoded(self, line: bytes) -> list[SpanRecord]:
        """Return the spans of a line; ValueError if it is none of JSON."""
        found = self._known.of(line)
        if found is None:
            found = self._decode(line)
            self._known.add(line, found)
        return found


class _Kept(NamedTuple):
    """Hold a journal, its state, None if it may change unseen, and its lines."""

    state: _State | None
    journal: ScannedFile
    known: _Known


class KeptJournals:
    """Read journals; of those of receivers only what has changed. May be used by several threads."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def read(self, paths: Sequence[str]) -> list[ScannedFile]:
        """Return the content of journals at this moment, and whether their processes are alive; no removed ones."""
        folders = {*map(os.path.dirname, paths)}
        for path in [*self._kept]:
            if path not in paths and os.path.dirname(path) in folders:
                self._kept.pop(path, None)
        return [journal for path in paths for journal in self._read(path)]

    def _read(self, path: str) -> list[ScannedFile]:
        now_s = time.time()
        found = _state_of(path)
        if found is None:
            return read_journals([path])
        state, changed_s = found
        kept = self._kept.get(path)
        if kept is not None and kept.state == state:
            return [kept.journal.again()]
        known = _Known(None if kept is None else kept.known)
        journals = [journal.with_format(partial(_KnownLines, known)) for journal in read_journals([path])]
        for journal in journals:
            self._kept[path] = _Kept(state if changed_s < now_s - _CLOCK_S else None, journal.again(), known)
        for old in [*self._kept][:-_MOST_KEPT]:
            self._kept.pop(old, None)
        return journals


def _state_of(path: str) -> tuple[_State, float] | None:
    """Return by what a change of the journal of a receiver is seen, and its time; None of another file."""
    with suppress(OSError), held(open_regular(path)) as descriptor:
        if RECEIVED not in owner_of(os.pread(descriptor, _HEAD_BYTES, 0)):
            return None
        is_alive = is_owner_alive(descriptor, lock_is_free=is_lock_free(descriptor))
        status = os.fstat(descriptor)
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        return (*identity, is_alive, *_decisions_beside(path)), status.st_mtime
    return None


def _decisions_beside(path: str) -> list[_State]:
    """Return by what it is seen that something was decided or counted."""
    try:
        entries = [*os.scandir(store_of(path).sampling_folder)]
        states = [(entry.name, entry.stat()) for entry in entries]
    except FileNotFoundError:
        return []
    return sorted((name, status.st_ino, status.st_size, status.st_mtime_ns) for name, status in states)
