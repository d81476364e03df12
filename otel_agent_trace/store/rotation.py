"""Close the live file of a store as a segment, by one rename, when it is large or old enough.

Whoever renames it holds the lock file, so that of several writers one does; the others notice that another file is at the
path. Where a file cannot be locked, a single writer rotates nevertheless, as does each of several, perhaps one right after
the other.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from otel_agent_trace.guard import reason_of
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.store.names import StoreFiles, closed_at
from otel_agent_trace.store.settings import StoreSettings
from otel_agent_trace.store.sharing import locked

OnProblem = Callable[[str, str], None]
"""Function that is called with the cause and the text of what a person has to know once."""

NO_LOCKS = "files cannot be locked here, so that nothing is compressed, and only one program may write and rotate"
_RETRY_S = 1.0
_HEAD_BYTES = 64 << 10
_FIRST_START = re.compile(rb'"(?:startTimeUnixNano|timeUnixNano)":"(\d{1,19})"')
_NS_PER_S = 1e9


class Rotation:
    """Decide when the live file of a store is due, and close it.

    Args:
        files: the names of the store.
        settings: the size and the age at which it is due.
        on_problem: called once with why it cannot be closed.
    """

    def __init__(self, files: StoreFiles, settings: StoreSettings, on_problem: OnProblem | None) -> None:
        self._files, self._on_problem = files, on_problem
        self._bytes, self._every_s = settings.rotate_bytes, settings.rotate_every_s
        self._due_s = float("inf")
        self._next_try_s = 0.0

    def note_opened(self, descriptor: int, size: int) -> None:
        """Note the age of the live file: its first record began it, or the segment that was closed last."""
        if self._every_s is None:
            return
        now_s = time.time()
        began_s = now_s if size == 0 else min(now_s, max(_first_start_s(descriptor, now_s), self._last_closed_s()))
        self._due_s = began_s + self._every_s

    def is_due(self, size: int, further_bytes: int) -> bool:
        """Return whether the file is to be closed before so many bytes are appended to it."""
        if size == 0:
            return False
        is_large = self._bytes is not None and size + further_bytes > self._bytes
        return (is_large or time.time() >= self._due_s) and time.monotonic() >= self._next_try_s

    def rotate(self, status: os.stat_result) -> bool:
        """Rename the live file if it is still the one with this status; return whether it is another one now.

        If another process is about to rename it, or it cannot be renamed, the next try is a second away.
        """
        try:
            with locked(self._files.lock) as is_mine:
                if is_mine is None:
                    self._report("lock", f"{self._files.path}: {NO_LOCKS}")
                if is_mine is not False:
                    if not self._is_another(status):
                        os.rename(self._files.path, self._files.new_segment(time.time_ns()))
                    return True
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._report("rotation", f"could not close {self._files.path} as a segment: {reason_of(error)}")
        self._next_try_s = time.monotonic() + _RETRY_S
        return False

    def _is_another(self, status: os.stat_result) -> bool:
        try:
            return not os.path.samestat(os.lstat(self._files.path), status)
        except FileNotFoundError:
            return True

    def _last_closed_s(self) -> float:
        moments = [moment.timestamp() for path in self._files.segments() if (moment := closed_at(path)) is not None]
        return max(moments, default=0.0)

    def _report(self, cause: str, text: str) -> None:
        if self._on_problem is not None:
            self._on_problem(cause, text)


def _first_start_s(descriptor: int, otherwise_s: float) -> float:
    """Return the start of the first span of a file in Unix seconds."""
    match = _FIRST_START.search(os.pread(descriptor, _HEAD_BYTES, 0))
    return int(match[1]) / _NS_PER_S if match else otherwise_s
