"""Overwrite torn lines with blanks, where they stand: readers of JSON lines skip blanks, and refuse a torn line."""

from __future__ import annotations

import errno
import os

import msgspec

_BLOCK_BYTES = 64 << 10
_MOST_BYTES = 64 << 20


def ends_inside_a_line(descriptor: int, size: int) -> bool:
    """Return whether the last line is incomplete, as its writer was killed, or the disk was full."""
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def blanks(size: int) -> bytes:
    """Return so many bytes, at least one, that are a blank line."""
    return b" " * (size - 1) + b"\n"


def blank(descriptor: int, path: str, part: bytes) -> None:
    """Overwrite what the last `write` to a file appended: with blanks, and a line feed at its end.

    Args:
        descriptor: a file that is open for appending by this descriptor only, so that its position is the end of that write.
        path: its path.
        part: what was written.

    Raises:
        OSError: it cannot be overwritten.
    """
    start = os.lseek(descriptor, 0, os.SEEK_CUR) - len(part)
    if start < 0 or os.pread(descriptor, len(part), start) != part:
        return
    size = len(part)
    if part.startswith(b"\n"):  # it ends the line of another writer
        start, size = start + 1, size - 1
    if size:
        _overwrite(descriptor, path, start, blanks(size))


def blank_torn_end(descriptor: int, path: str, size: int) -> None:
    """Overwrite the incomplete last line of a file with blanks; one that lacks nothing but its line feed stays.

    Args:
        descriptor: a file that nobody else has open.
        path: its path.
        size: its size in bytes.
    """
    start = _begin_of_last_line(descriptor, size)
    if start is None:
        return
    line = os.pread(descriptor, size - start, start)
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        _overwrite(descriptor, path, start, blanks(len(line)))


def _begin_of_last_line(descriptor: int, size: int) -> int | None:
    """Return the position after the last line feed, None if that is too far away for one of our lines."""
    end = size
    while end > 0 and size - end < _MOST_BYTES:
        begin = max(0, end - _BLOCK_BYTES)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0 if end == 0 else None


def blank_line(descriptor: int, path: str, start: int, line: bytes) -> None:
    """Overwrite a line that begins at a position, if it is still there.

    Raises:
        OSError: it cannot be overwritten.
    """
    if os.pread(descriptor, len(line), start) == line:
        _overwrite(descriptor, path, start, blanks(len(line)))


def _overwrite(descriptor: int, path: str, start: int, data: bytes) -> None:
    """Write to a place of a file that is open for appending: on Linux, `pwrite` appends there, wherever it should write.

    Raises:
        OSError: it cannot be written, or another file is at the path.
    """
    second = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not os.path.samestat(os.fstat(second), os.fstat(descriptor)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        os.pwrite(second, data, start)
    finally:
        os.close(second)
