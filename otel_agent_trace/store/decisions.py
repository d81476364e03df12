"""Note beside a store what processes decide about traces, for others that have spans of the same traces.

Only what others cannot know by randomness is noted: what a rule keeps, and what is dropped. A note is a line of a letter and
the id of a trace. The file begins anew at 1 MB, and the one before stays, so that at least the latest 30,000 notes are known.
"""

from __future__ import annotations

import os
from contextlib import suppress

from otel_agent_trace.store.lines import LineFile
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import open_regular

_MOST_BYTES = 1 << 20
_NOTE_BYTES = 34
_KEPT, _DROPPED = b"k", b"d"


class Decisions:
    """Note decisions beside a store, and look up those of other processes."""

    def __init__(self, files: StoreFiles) -> None:
        self._path, self._before = files.decisions, _before(files)
        self._file = LineFile(self._path)
        self._written = 0
        self._known: dict[bytes, bool] = {}
        self._read_to: tuple[int, int] = (-1, 0)

    def note(self, trace_id: int, *, is_kept: bool) -> None:
        """Note what was decided about a trace.

        Raises:
            OSError: it cannot be written.
        """
        if self._written % _NOTES_BETWEEN_LOOKS == 0:
            with suppress(FileNotFoundError):
                if os.lstat(self._path).st_size > _MOST_BYTES:
                    os.replace(self._path, self._before)
        self._written += 1
        self._file.append(b"%b%032x\n" % (_KEPT if is_kept else _DROPPED, trace_id), 0)

    def of(self, trace_id: int) -> bool | None:
        """Return whether a trace was kept; None if no decision is known."""
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
        """Close the file."""
        self._file.close()


_NOTES_BETWEEN_LOOKS = 256


def _before(files: StoreFiles) -> str:
    """Return the path of the file of decisions before the present one."""
    return f"{files.decisions}.before"


def has_kept(files: StoreFiles) -> bool:
    """Return whether it is noted beside a store that a rule kept a trace."""
    with suppress(OSError):
        return any(any(_notes_in(path, 0)[0].values()) for path in (files.decisions, _before(files)))
    return False


def _notes_in(path: str, position: int) -> tuple[dict[bytes, bool], int]:
    """Return the notes in a file from a position on, and the position after them; none if there is no such file."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return {}, position
    with open(descriptor, "rb") as file:
        file.seek(position)
        text = file.read(2 * _MOST_BYTES)
    whole = text[: text.rfind(b"\n") + 1]
    lines = (line for line in whole.split(b"\n") if len(line) == _NOTE_BYTES - 1)
    return {line[1:]: line[:1] == _KEPT for line in lines}, position + len(whole)
