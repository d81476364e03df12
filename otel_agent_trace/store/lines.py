"""Lines appended to one private file, each call one `write`, safe beside other writers of the same file.

With ``O_APPEND`` the kernel keeps one write together (local file systems of Linux and macOS), which holds among
processes and across a fork. Threads take turns, so that one opens the file for all, and none closes it under another.

A line that another writer left torn is ended first; that one has written is seen by the size.

Whether the file is still the one at its path is looked at 20 times a second, not for each line: after a look at its times
the kernel (Linux 6.13 and later) writes the inode anew with the next line, which takes as long as writing the line.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children

_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_LOOK_INTERVAL_S = 0.05


class LineFile:
    """A file of lines, opened when the first is appended; made with mode 0600, its folders with 0700."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._status: os.stat_result | None = None
        self._next_look_s = 0.0
        self._end = 0
        self.records = 0
        """How many records were appended."""
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Take a new lock, in a forked child."""
        self._turn = threading.RLock()

    def check(self) -> None:
        """Refuse what can never be such a file.

        Raises:
            ConfigurationError: a directory, a device, a pipe, or something below a file.
        """
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            msg = f"{self.path}: {getattr(error, 'strerror', None) or error}"
            raise ConfigurationError(msg) from error
        if not stat.S_ISREG(mode):
            msg = f"{self.path}: not a regular file, so no traces can be kept there"
            raise ConfigurationError(msg)

    def append(self, lines: bytes, records: int = 1) -> None:
        """Append whole lines, each with its line feed, in one write; so many records are counted.

        Raises:
            OSError: they could not be written whole; what was written of them is a torn line that readers skip.
        """
        with self._turn:
            descriptor = self._descriptor
            if descriptor is None or time.monotonic() >= self._next_look_s:
                descriptor = self._opened()
            end = os.lseek(descriptor, 0, os.SEEK_END)
            data = lines
            if end != self._end and _ends_inside_a_line(descriptor, end):
                data = b"\n" + lines
            if os.write(descriptor, data) != len(data):
                self._write_again(descriptor, lines)
            self._end = end + len(data)
            self.records += records

    def _write_again(self, descriptor: int, lines: bytes) -> None:
        """After a short write: once more from the beginning, on a line of its own."""
        data = b"\n" + lines
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, "the disk took only a part", self.path)

    def _opened(self) -> int:
        """The open file; a new one where somebody has deleted or renamed it, since readers look at its path."""
        if self._descriptor is None or not self._is_at_its_path():
            self.close()
            self._descriptor = self._open()
        self._next_look_s = time.monotonic() + _LOOK_INTERVAL_S
        return self._descriptor

    def _is_at_its_path(self) -> bool:
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except PermissionError:  # a folder that may no longer be searched: the open file can be written nevertheless
            return True
        except OSError:
            return False
        return self._status is None or os.path.samestat(there, self._status)

    def _open(self) -> int:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        descriptor = os.open(self.path, _FLAGS, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", self.path)
        self._status, self._end = status, 0
        return descriptor

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


def _ends_inside_a_line(descriptor: int, size: int) -> bool:
    """Whether the last line lacks its end: its writer was killed, or the disk was full."""
    if size == 0:
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"
