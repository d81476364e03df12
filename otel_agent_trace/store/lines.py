"""Append lines to one private file, with one `write` a call, so that several writers may share the file.

With ``O_APPEND`` the kernel does not mix the bytes of two writes (on local file systems of Linux and macOS), even of
different processes. Threads take turns, so that none closes the file while another writes to it.

An incomplete line of another writer is ended first; the size of the file shows whether there was another writer.

Whether the file is still the one at its path is checked 20 times a second, not for each line: after each `stat`, the
kernel (Linux 6.13 and later) writes the inode with the next line, which takes as long as writing the line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.sharing import mark_in_use

_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_CHECK_INTERVAL_S = 0.05


class LineFile:
    """Append to a file of lines, which is opened for the first one; made with mode 0600, its folders with 0700."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._status: os.stat_result | None = None
        self._next_check_s = 0.0
        self._end = 0
        self.records = 0
        """Number of records that were appended."""
        self._turn = ForkSafeLock()

    def check(self) -> None:
        """Check that the path may be such a file.

        Raises:
            ConfigurationError: it is a directory, a device, a pipe, or a path below a file.
        """
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            msg = f"{self.path}: {getattr(error, 'strerror', None) or error}"
            raise ConfigurationError(msg) from error
        if not stat.S_ISREG(mode):
            msg = f"{self.path}: not a regular file, so traces cannot be stored there"
            raise ConfigurationError(msg)

    def append(self, lines: bytes, records: int = 1) -> None:
        """Append whole lines, each with its line feed, in one write, and count `records`.

        Raises:
            OSError: they could not be written whole; readers skip the incomplete line that remains.
        """
        with self._turn:
            descriptor = self._descriptor
            if descriptor is None or time.monotonic() >= self._next_check_s:
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
        """Write the lines again from the beginning, on a new line, after a short write."""
        data = b"\n" + lines
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, "the disk took only a part", self.path)

    def _opened(self) -> int:
        """Return the open file; a new one if it was deleted, renamed or replaced, since readers open its path."""
        descriptor = self._descriptor
        if descriptor is None or not self._is_at_its_path():
            descriptor = self._reopened()
            if not self._is_at_its_path():  # it was replaced before it was marked as in use
                descriptor = self._reopened()
        self._next_check_s = time.monotonic() + _CHECK_INTERVAL_S
        return descriptor

    def _reopened(self) -> int:
        self.close()
        self._descriptor = descriptor = self._open()
        return descriptor

    def _is_at_its_path(self) -> bool:
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except PermissionError:  # the folder is no longer accessible, but the open file can still be written
            return True
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            return False
        return self._status is None or os.path.samestat(there, self._status)

    def _open(self) -> int:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        descriptor = os.open(self.path, _FLAGS, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", self.path)
        mark_in_use(descriptor)
        self._status, self._end = status, 0
        return descriptor

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def __del__(self) -> None:
        # The program may have closed all descriptors, as daemons do, so that the number is another file by now. Where
        # objects refer to each other, this is called although a tracer's release follows, which must not close it again.
        descriptor, status = getattr(self, "_descriptor", None), getattr(self, "_status", None)
        if descriptor is None or status is None:
            return
        self._descriptor = None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                os.close(descriptor)


def _ends_inside_a_line(descriptor: int, size: int) -> bool:
    """Return whether the last line is incomplete, as its writer was killed, or the disk was full."""
    if size == 0:
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"
