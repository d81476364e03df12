"""Append lines to one private file, with one `write` a call, so that several writers may share the file.

With ``O_APPEND`` the kernel does not mix the bytes of two writes (on local file systems of Linux and macOS), even of
different processes. Threads take turns, so that none closes the file while another writes to it.

Every reader of JSON lines refuses a file with a torn line, so that none is left: what a full disk took of a line is
overwritten with blanks where it stands, which needs no room, and touches no line that another writer appended meanwhile.
The torn line of a writer that was killed looks just like one in progress. It is blanked when nobody else has the file
open; otherwise the next line begins with a line feed.

Before each line, the file is compared with the one at its path, since programs such as logrotate rename it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import reason_of
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.blanking import blank, blank_line, blank_torn_end, ends_inside_a_line
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.rotation import OnProblem, Rotation
from otel_agent_trace.store.settings import StoreSettings
from otel_agent_trace.store.sharing import detach, is_at, is_only_user, mark_in_use

MAX_LINE_BYTES = 64 << 20
"""Most bytes of a line, which is what readers take."""
_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_RETRY_S = 1.0
"""Time after which a full disk is tried again, unless it has room before."""
_LOOK_S = 0.03
"""Longest look for others who have a file open that ends inside a line."""
_LEAST_ROOM_BYTES, _AMPLE_BYTES = 64 << 10, 16 << 20
_MOST_UNSYNCED_BYTES = 16 << 20
_SYNC_RETRY_S = 60.0


class LineFile:
    """Append to a file of lines, which is opened for the first one; made with mode 0600, its folders with 0700.

    Args:
        path: the path of the file; a symbolic link there is refused.
        settings: when it is closed as a segment of the store, and its durability.
        on_opened: called after it was opened, again if another file was at the path.
        on_rotated: called after it was closed as a segment.
        on_problem: called with the cause and the text of what a person has to know.
    """

    def __init__(
        self,
        path: str,
        settings: StoreSettings | None = None,
        *,
        on_opened: Callable[[], object] | None = None,
        on_rotated: Callable[[], object] | None = None,
        on_problem: OnProblem | None = None,
    ) -> None:
        self.path = path
        settings = settings or StoreSettings()
        self._rotation = Rotation(StoreFiles(path), settings, on_problem) if settings.rotates else None
        self._on_opened, self._on_rotated, self._on_problem = on_opened, on_rotated, on_problem
        self._keeps_unsynced = settings.durability != "none"
        self._unsynced: list[tuple[int, bytes]] = []
        self._unsynced_bytes = 0
        self._next_sync_s = 0.0
        self._descriptor: int | None = None
        self._inode = self._device = -1
        self._position = 0
        self._is_marked = False
        self._end = 0
        self._full_since_s: float | None = None
        self._room_when_full_bytes = 0
        self.records = 0
        """Number of records that were appended."""
        self._turn = ForkSafeLock()
        renewed_in_children(self)

    def renew(self) -> None:
        """Open the file anew, in a forked child: of one description, nobody could know who holds its lock."""
        descriptor, self._descriptor = self._descriptor, None
        self._unsynced.clear()
        if descriptor is not None:
            detach(descriptor)

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

    @property
    def position(self) -> str:
        """Return device, inode and size of the file at the path: whatever is written from now on, is after its end."""
        try:
            there = os.lstat(self.path)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            return ""
        return f"{there.st_dev}:{there.st_ino}:{there.st_size}"

    def append(self, lines: bytes, records: int = 1, sync: bool = False) -> None:
        """Append whole lines, each with its line feed, in one write, and count `records`.

        Args:
            lines: the lines.
            records: the number of records in them.
            sync: whether to return when the disk has them.

        Raises:
            OSError: they could not be written whole, and none of them is left in the file.
        """
        with self._turn:
            descriptor, end = self._looked_at()
            if self._full_since_s is not None:
                self._check_room(len(lines))
            if not self._is_marked:  # whoever repairs the file has it for a moment
                self._is_marked = mark_in_use(descriptor) is not False
            if self._rotation is not None and self._rotation.is_due(end, len(lines)):
                descriptor, end = self._rotated(descriptor, end)
            data = lines
            if end != self._end and ends_inside_a_line(descriptor, end):
                data = b"\n" + lines
            try:
                written = os.write(descriptor, data)
                if written != len(data):
                    self._write_again(descriptor, data[:written], lines)
            except OSError as error:
                self._note(error)
                raise
            finally:  # also if Ctrl-C is pressed
                self._position = os.lseek(descriptor, 0, os.SEEK_CUR)
            self._full_since_s, self._end = None, self._position
            self.records += records
            if self._keeps_unsynced:
                self._keep_until_synced(lines, sync)

    def _looked_at(self) -> tuple[int, int]:
        """Return the file at the path, and its size, after opening it if it is not the open one.

        The number may be another file by now, of a program that closes all descriptors, as daemons do: ours is where the
        last write has left it.
        """
        descriptor = self._descriptor
        if descriptor is not None and not is_at(descriptor, self._position):
            descriptor = self._descriptor = None
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return self._reopened()
        except PermissionError:  # the folder is no longer accessible, but the open file can still be written
            if descriptor is None:
                raise
            return descriptor, os.fstat(descriptor).st_size
        if descriptor is None or there.st_ino != self._inode or there.st_dev != self._device:
            return self._reopened()
        return descriptor, there.st_size

    # ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_room(self, size: int) -> None:
        """Check that a disk that was full has room again: otherwise partial lines would fill whatever is freed.

        A little room, which others or a quota may have reserved, is tried after a second.

        Raises:
            OSError: it has not.
        """
        room = _room_bytes(self.path)
        is_little = room < _AMPLE_BYTES and room <= self._room_when_full_bytes
        waits = is_little and time.monotonic() - (self._full_since_s or 0.0) < _RETRY_S
        if room < size + _LEAST_ROOM_BYTES or waits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def _write_again(self, descriptor: int, part: bytes, lines: bytes) -> None:
        """Blank the part that was written, and write the lines again from the beginning."""
        blank(descriptor, self.path, part)
        written = os.write(descriptor, lines)
        if written != len(lines):
            blank(descriptor, self.path, lines[:written])
            raise OSError(errno.ENOSPC, "the disk took only a part", self.path)

    def _note(self, error: OSError) -> None:
        """Note that the disk is full, if that is the error."""
        if error.errno in _FULL:
            self._full_since_s = time.monotonic()
            self._room_when_full_bytes = _room_bytes(self.path)

    # ── another file at the path ─────────────────────────────────────────────────────────────────────────────────────

    def _reopened(self) -> tuple[int, int]:
        """Return the file that is at the path now, after opening or making it, and its size."""
        for _ in range(2):  # again, if it was replaced before it was marked as in use
            self._close()
            self._descriptor = descriptor = self._open()
            with contextlib.suppress(OSError):
                there = os.lstat(self.path)
                if there.st_ino == self._inode and there.st_dev == self._device:
                    break
        if self._on_opened is not None:
            self._on_opened()
        return descriptor, os.fstat(descriptor).st_size

    def _open(self) -> int:
        os.makedirs(os.path.dirname(self.path) or ".", mode=0o700, exist_ok=True)
        descriptor = os.open(self.path, _FLAGS, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", self.path)  # noqa: TRY301
            if ends_inside_a_line(descriptor, status.st_size) and is_only_user(descriptor, _LOOK_S):
                blank_torn_end(descriptor, self.path, status.st_size)
            self._is_marked = mark_in_use(descriptor) is not False
        except BaseException:
            os.close(descriptor)
            raise
        self._inode, self._device, self._end, self._position = status.st_ino, status.st_dev, 0, 0
        if self._rotation is not None:
            self._rotation.note_opened(descriptor, status.st_size)
        return descriptor

    def _rotated(self, descriptor: int, end: int) -> tuple[int, int]:
        """Return the new file, and its size, after closing the present one as a segment; the present one if that fails."""
        assert self._rotation is not None  # noqa: S101 - for type checkers
        if self._keeps_unsynced:
            self._sync(descriptor)
        status = os.fstat(descriptor)
        if os.name == "nt":  # where an open file cannot be renamed
            self._close()
        is_another = self._rotation.rotate(status)
        if not is_another and self._descriptor is not None:
            return descriptor, end
        opened = self._reopened()
        if not is_another:
            return opened
        if self._on_rotated is not None:
            self._on_rotated()
        return opened

    # ── durability ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _keep_until_synced(self, lines: bytes, sync: bool) -> None:
        """Keep lines until the disk has them: after a failed `fdatasync`, the kernel forgets those that it could not write."""
        self._unsynced.append((self._end - len(lines), lines))
        self._unsynced_bytes += len(lines)
        if sync or self._unsynced_bytes > _MOST_UNSYNCED_BYTES:
            assert self._descriptor is not None  # noqa: S101 - for type checkers
            self._sync(self._descriptor)

    def _sync(self, descriptor: int) -> None:
        if time.monotonic() < self._next_sync_s:
            return
        try:
            fdatasync(descriptor)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._begin_new_file(descriptor, error)
        self._unsynced.clear()
        self._unsynced_bytes = 0

    def _begin_new_file(self, descriptor: int, error: OSError) -> None:
        """Move the lines of which it is not known whether the disk has them to a new file.

        If that is not synced either, the lines are there nevertheless, and the next try is a minute later.
        """
        if self._on_problem is not None:
            self._on_problem(
                "sync", f"could not sync {self.path} ({reason_of(error)}): a new file is begun, with the lines since"
            )
        segment, old = StoreFiles(self.path).new_segment(time.time_ns()), os.dup(descriptor)
        try:
            os.rename(self.path, segment)
            self._write_unsynced()
            for start, lines in self._unsynced:
                blank_line(old, segment, start, lines)
            fdatasync(self._descriptor if self._descriptor is not None else descriptor)
        except OSError as failure:
            if is_of_signal_handler(failure):
                raise
            self._next_sync_s = time.monotonic() + _SYNC_RETRY_S
        finally:
            os.close(old)

    def _write_unsynced(self) -> None:
        descriptor, _ = self._reopened()
        data = b"".join(lines for _, lines in self._unsynced)
        written = os.write(descriptor, data)
        self._end = self._position = os.lseek(descriptor, 0, os.SEEK_CUR)
        if written != len(data):
            blank(descriptor, self.path, data[:written])
            raise OSError(errno.ENOSPC, "the disk took only a part", self.path)

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        with self._turn:
            if self._unsynced and self._descriptor is not None:
                with contextlib.suppress(OSError):
                    self._sync(self._descriptor)
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and is_at(descriptor, self._position):
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self._close()


def _room_bytes(path: str) -> int:
    """Return the bytes that are free for this user on the disk of a file."""
    if not hasattr(os, "statvfs"):  # Windows
        return 0
    try:
        there = os.statvfs(os.path.dirname(path) or ".")
    except OSError as error:
        if is_of_signal_handler(error):
            raise
        return 0
    return there.f_bavail * there.f_frsize


def fdatasync(descriptor: int) -> None:
    """Wait until the disk has the content of a file."""
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS and Windows have no fdatasync
