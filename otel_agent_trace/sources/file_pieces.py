"""Read the pieces of files as they were when they were looked through: the second of the two passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import OnDamage
from otel_agent_trace.sources.file_formats import DamagedError, FileFormat, Pieces
from otel_agent_trace.sources.open_files import OpenFile
from otel_agent_trace.sources.scanned_files import ScannedFile, ignore_progress
from otel_agent_trace.span import Problem, ignore_problem
from otel_agent_trace.store import names
from otel_agent_trace.store.lines import MAX_LINE_BYTES

_MAX_RENAMES = 3


def read_pieces(
    file: ScannedFile, file_format: FileFormat, on_problem: Callable[[Problem], None], on_read: Callable[[int], None]
) -> Iterator[Pieces]:
    """Yield the pieces of a file as it was in the first pass; `on_read` is called with the bytes read so far."""
    number = 1

    def report_damage(error: DamagedError) -> None:
        on_problem(Problem(file.path, number, f"{error}; what follows it was read"))

    opened = _reopen(file, report_damage)
    if opened is None:
        on_problem(Problem(file.path, 0, "removed or replaced during reading"))
        return
    with opened as (raw, blocks):
        try:
            for found in file_format.pieces(blocks, file.size, MAX_LINE_BYTES):
                yield found
                number = found.numbers[-1] + 1
                on_read(raw.tell())
        except DamagedError as error:
            on_problem(Problem(file.path, number, f"{error}; everything before it was read"))


def _reopen(file: ScannedFile, on_damage: OnDamage) -> OpenFile | None:
    """Open a file under its current name, again if it is renamed at that moment; None if it is gone."""
    if file.held is not None and not file.held.closed:
        return OpenFile(file.held, on_damage)
    for _ in range(_MAX_RENAMES):
        path = file.path_now()
        if path is None:
            return _replacement(file.path, on_damage)
        try:
            opened = OpenFile(path, on_damage)
        except SourceError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        else:
            if opened.identity() == file.identity:
                return opened
            opened.close()
    return None


def _replacement(path: str, on_damage: OnDamage) -> OpenFile | None:
    """Open what stands in the place of a segment of a store: a file without runs that were removed, or a compressed one.

    Each trace in it ends where it did, or before. None if there is nothing.
    """
    if names.store_of_segment(path) is not None:
        for name in (path, f"{path}{names.COMPRESSED}"):
            with suppress(SourceError):
                return OpenFile(name, on_damage)
    return None


def pieces_of(scanned: Iterable[ScannedFile]) -> Iterator[tuple[bytes, FileFormat]]:
    """Yield each piece of some files with its format, without reports."""
    for file in scanned:
        file_format = file.file_format()
        for pieces in read_pieces(file, file_format, ignore_problem, ignore_progress):
            yield from ((piece, file_format) for piece in pieces.pieces if piece)
