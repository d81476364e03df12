"""Note beside a store what processes decide about traces, for others that have spans of the same traces.

Only what others cannot know by randomness is noted: what a rule keeps, and what is dropped. Who has waited for a decision in
vain, and has counted the trace as dropped, notes the count in a file of its own: whoever decides later takes it back.

A note is a line of the id of a trace and what is noted of it. A file begins anew at 1 MB, and the one before stays, so that
at least the latest 30,000 decisions are known, and 8,000 counts.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import open_regular

_MOST_BYTES = 1 << 20
_ID_BYTES = 32
_NOTES_BETWEEN_LOOKS = 256
_KEPT, _DROPPED = b"k", b"d"
_decoder = msgspec.json.Decoder(DroppedTraces)


class Decisions:
    """Note decisions beside a store, and look up those of other processes."""

    def __init__(self, files: StoreFiles) -> None:
        self._decided, self._counted = _Notes(files.decisions), _Notes(files.counted_undecided)

    def note(self, trace_id: int, *, is_kept: bool) -> None:
        """Note what was decided about a trace.

        Raises:
            OSError: it cannot be written.
        """
        self._decided.add(trace_id, _KEPT if is_kept else _DROPPED)

    def of(self, trace_id: int) -> bool | None:
        """Return whether a trace was kept; None if no decision is known."""
        found = self._decided.of(trace_id)
        return None if found is None else found == _KEPT

    def note_count(self, trace_id: int, counted: DroppedTraces) -> None:
        """Note that a trace was counted as dropped whose decision another process had not made in time.

        Raises:
            OSError: it cannot be written.
        """
        self._counted.add(trace_id, msgspec.json.encode(counted))

    def count_of(self, trace_id: int) -> DroppedTraces | None:
        """Return as what a trace was counted whose decision was not known in time; None if it was not."""
        found = self._counted.of(trace_id)
        with suppress(ValueError):
            return None if found is None else _decoder.decode(found)
        return None

    def close(self) -> None:
        """Close the files."""
        self._decided.close()
        self._counted.close()


class _Notes:
    """Append notes about traces to a file, and read those of all processes."""

    def __init__(self, path: str) -> None:
        self._path, self._before = path, _before(path)
        self._file = LineFile(path)
        self._written = 0
        self._known: dict[bytes, bytes] = {}
        self._read_to: tuple[int, int] = (-1, 0)

    def add(self, trace_id: int, note: bytes) -> None:
        if self._written % _NOTES_BETWEEN_LOOKS == 0:
            with suppress(FileNotFoundError):
                if os.lstat(self._path).st_size > _MOST_BYTES:
                    os.replace(self._path, self._before)
        self._written += 1
        self._file.append(b"%032x%b\n" % (trace_id, note), 0)

    def of(self, trace_id: int) -> bytes | None:
        with suppress(OSError):
            self._read()
        return self._known.get(b"%032x" % trace_id)

    def _read(self) -> None:
        """Read the notes that were added since the last time."""
        status = os.stat(self._path)
        if (status.st_ino, status.st_size) == self._read_to:
            return
        if status.st_ino != self._read_to[0]:
            self._known = _notes_in(self._before, 0)[0]
            self._read_to = status.st_ino, 0
        notes, position = _notes_in(self._path, self._read_to[1])
        self._known |= notes
        self._read_to = status.st_ino, position

    def close(self) -> None:
        self._file.close()


def has_kept(files: StoreFiles) -> bool:
    """Return whether it is noted beside a store that a rule kept a trace."""
    with suppress(OSError):
        return any(_KEPT in _notes_in(path, 0)[0].values() for path in (files.decisions, _before(files.decisions)))
    return False


def _before(path: str) -> str:
    """Return the path of the file of notes before the present one."""
    return f"{path}.before"


def _notes_in(path: str, position: int) -> tuple[dict[bytes, bytes], int]:
    """Return the notes in a file from a position on, and the position after them; none if there is no such file."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return {}, position
    with open(descriptor, "rb") as file:
        file.seek(position)
        text = file.read(2 * _MOST_BYTES)
    whole = text[: text.rfind(b"\n") + 1]
    lines = (line for line in whole.split(b"\n") if len(line) > _ID_BYTES)
    return {line[:_ID_BYTES]: line[_ID_BYTES:] for line in lines}, position + len(whole)
