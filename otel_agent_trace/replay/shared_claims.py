"""Keep the states of the recorded calls of a replay in a file, for all of its processes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.replay.claims import UNASKED

try:
    import fcntl
except ImportError:  # Windows, where claims are exclusive within a process only
    fcntl = None  # type: ignore[assignment]


class SharedClaims:
    """Keep the state of each call as one byte of a file, which all processes of a replay map and lock.

    Without `flock`, two processes that make the same call at the same moment may both be answered by one recorded call.

    Args:
        path: the file, which holds one byte at least.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = ForkSafeLock()
        self._process = os.getpid()
        self._descriptor: int | None = self._opened()
        self._states: mmap.mmap | bytearray = mmap.mmap(self._descriptor, 0)

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def take(self, numbers: Iterable[int], state: int) -> int | None:
        """Set the state of the first call that nobody has asked for, and return its number; None if there is none."""
        with self._lock:
            if self._process != os.getpid():
                self._reopen()
            if fcntl is None or self._descriptor is None:
                return self._taken(numbers, state)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                return self._taken(numbers, state)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _taken(self, numbers: Iterable[int], state: int) -> int | None:
        states = self._states
        for number in numbers:
            if states[number] == UNASKED:
                states[number] = state
                return number
        return None

    def state(self, number: int) -> int:
        """Return the state of a call."""
        return self._states[number]

    def mark(self, number: int, state: int) -> None:
        """Set the state of a call that was taken."""
        self._states[number] = state

    def _reopen(self) -> None:
        """Open the file anew in a forked child, which would have the lock of its parent in common with that."""
        self._let_go()
        self._process = os.getpid()
        if os.access(self._path, os.F_OK):
            self._descriptor = self._opened()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Close the file; what is taken from then on is known to this process only."""
        with self._lock:
            self._let_go()
            self._states = bytearray(self._states[:])
