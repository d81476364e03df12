"""Write lines to places in the file of a journal, blank them there, and replace the file by another one.

The file is made under a hidden name, locked, and renamed, so that nobody ever sees it without its lock, which shows that the
process is alive.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Sequence

from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.blanking import blanks
from otel_agent_trace.store.journal_lines import in_parts
from otel_agent_trace.store.lines import fdatasync
from otel_agent_trace.store.liveness import keeps_others_out
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sharing import detach, is_at, take

_NEAR = 4
_POSITION = 0x5EED_0F_7ACE
"""Position at which the file is left, although lines are written to places: a closed number is another file by now."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
Place = tuple[int, int, int]
"""Offset and size of the line of an open span, and the id of its trace."""


class JournalFile:
    """Hold the file of a journal, once there is one; lines are written to places, and blanked there.

    Args:
        files: the names of the store.
    """

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        self.descriptor: int | None = None
        """Number of the file, which may be another file by now, of a program that closes all descriptors."""
        self._unnamed: int | None = None  # a file that is being made
        self.path, self._identity = "", (-1, -1)
        self.has_locks = False
        """True if other processes see by a lock that this one is alive."""

    def renew(self) -> None:
        """Forget the file, in a forked child: its number is not closed, which a call in progress may still use."""
        descriptor, self.descriptor = self.descriptor, None
        for inherited in (descriptor, self._unnamed):
            if inherited is not None:
                detach(inherited)
        self._unnamed, self.path = None, ""

    def is_open(self) -> bool:
        """Return whether the file is open; its number may be another file by now, of a program that closes all descriptors."""
        if self.descriptor is not None and not is_at(self.descriptor, _POSITION):
            self.descriptor = None
        return self.descriptor is not None

    def is_at_its_path(self) -> bool:
        """Return whether the file is still at its path: its folder may have been renamed or removed."""
        try:
            there = os.lstat(self.path)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def is_readable(self) -> bool:
        """Return whether the file is open, after opening it again if a program has closed all descriptors."""
        if not self.is_open():
            with contextlib.suppress(OSError):
                self.descriptor = os.open(self.path, os.O_RDWR)
                os.lseek(self.descriptor, _POSITION, os.SEEK_SET)
        return self.descriptor is not None

    def replace(self, first_line: Callable[[], bytes], frames: bytes, places: Sequence[Place]) -> tuple[int, int]:
        """Begin a file with lines of the present one, which it replaces: a kill in between leaves both.

        Args:
            first_line: returns the first line, when it is known whether there are locks.
            frames: lines that are next.
            places: places in the present file, whose lines are the last ones.

        Returns:
            the size of the first line, and that of the file.

        Raises:
            OSError: it cannot be made.
        """
        descriptor, path, header_bytes, size = self._made(first_line, frames, places)
        self.end()
        self.descriptor, self.path = descriptor, path
        self._unnamed = None
        status = os.fstat(descriptor)
        self._identity = status.st_dev, status.st_ino
        return header_bytes, size

    def _made(
        self, first_line: Callable[[], bytes], frames: bytes, places: Sequence[Place]
    ) -> tuple[int, str, int, int]:
        """Return a new file with its first line, frames, and the lines at some places of the present one.

        Returns:
            its descriptor, its path, the size of the first line, and that of the file.
        """
        folder, name = self._files.journal_folder, f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        path, hidden = os.path.join(folder, name), os.path.join(folder, f".{name}")
        self._unnamed = descriptor = _opened(folder, hidden)
        try:
            os.lseek(descriptor, _POSITION, os.SEEK_SET)
            self.has_locks = bool(take(descriptor)) and keeps_others_out(hidden)
            first = first_line()
            size = 0
            for part in in_parts(itertools.chain([first + frames], map(self._read, places))):
                content = b"".join(part)
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

    def write(self, line: bytes, offset: int) -> None:
        """Write a line at an offset, which is the end; nothing of it is left if the disk takes only a part.

        Raises:
            OSError: it could not be written.
        """
        written = os.pwrite(self.descriptor, line, offset)  # type: ignore[arg-type]  # open, as the caller knows
        if written != len(line):
            self._write_rest(line, written, offset)

    def _write_rest(self, line: bytes, written: int, offset: int) -> None:
        """Write the rest of a line of which the disk took only a part; nothing of it is left if it does not take that.

        Raises:
            OSError: it does not, for the reason that the system gives.
        """
        assert self.descriptor is not None  # noqa: S101 - for type checkers
        rest = line[written:]
        try:
            is_whole = os.pwrite(self.descriptor, rest, offset + written) == len(rest)
        except OSError:  # also of a signal handler
            os.ftruncate(self.descriptor, offset)
            raise
        if not is_whole:
            os.ftruncate(self.descriptor, offset)
            raise OSError(errno.ENOSPC, "the disk took only a part", self.path)

    def read_all(self, places: Sequence[Place]) -> list[bytes]:
        """Return the lines at some places, which are read at once if they are close to each other."""
        first, last = places[0][0], sum(places[-1][:2])
        if last - first > _NEAR * sum(size for _, size, _ in places):
            return [self._read(place) for place in places]
        text = self._read((first, last - first, 0))
        return [text[offset - first : offset - first + size] for offset, size, _ in places]

    def _read(self, place: Place) -> bytes:
        assert self.descriptor is not None  # noqa: S101 - for type checkers
        return os.pread(self.descriptor, place[1], place[0])

    def blank(self, places: Iterable[Place]) -> None:
        """Overwrite lines with blanks; neighbours together."""
        start = end = 0
        for offset, size, _ in sorted(places):
            if offset != end:
                self.blank_range(start, end)
                start = offset
            end = offset + size
        self.blank_range(start, end)

    def blank_range(self, start: int, end: int) -> None:
        """Overwrite what is between two offsets with blanks."""
        if end > start and self.is_open():
            assert self.descriptor is not None  # noqa: S101 - for type checkers
            os.pwrite(self.descriptor, blanks(end - start), start)

    def keep_only(self, first: bytes) -> None:
        """Leave nothing but a first line."""
        assert self.descriptor is not None  # noqa: S101 - for type checkers
        os.pwrite(self.descriptor, first, 0)
        os.ftruncate(self.descriptor, len(first))

    def sync(self) -> None:
        """Wait until the disk has the file.

        Raises:
            OSError: it cannot take it.
        """
        if self.is_open():
            assert self.descriptor is not None  # noqa: S101 - for type checkers
            fdatasync(self.descriptor)

    def end(self) -> None:
        """Remove the file, and let go of its lock."""
        if not self.path:
            return
        if self.is_at_its_path():
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        if self.is_open():
            assert self.descriptor is not None  # noqa: S101 - for type checkers
            os.close(self.descriptor)
        self.descriptor = None
        with contextlib.suppress(OSError):  # others have journals there
            os.rmdir(os.path.dirname(self.path))


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
