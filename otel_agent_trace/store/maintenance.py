"""Compact a store beside the program that writes to it, in a thread, so that the program does not wait."""

from __future__ import annotations

import _thread
import sys

from otel_agent_trace.forks import NO_FORK, renewed_in_children
from otel_agent_trace.guard import Diagnostics, shielded
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreSettings


class Maintenance:
    """Compact a store in one thread at a time; a failure is counted, and logged once.

    The thread may be killed at any moment, as it is at the end of the program: whoever compacts next goes on.

    Args:
        files: the names of the store.
        settings: what is compressed and kept.
    """

    def __init__(self, files: StoreFiles, settings: StoreSettings) -> None:
        self._files, self._settings, self._diagnostics = files, settings, Diagnostics()
        self._is_due = False
        self._at_work = _thread.allocate_lock()
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin without the thread, in a forked child."""
        self._at_work = _thread.allocate_lock()

    @property
    def failures(self) -> int:
        """Return the number of compactions that failed."""
        return sum(self._diagnostics.counts().values())

    def soon(self) -> None:
        """Compact the store, once more if it is being compacted."""
        self._is_due = True
        if not self._at_work.acquire(blocking=False):
            return
        try:
            # Not `threading.Thread`, whose start() never returns in a signal handler that has interrupted another start().
            _thread.start_new_thread(self._work, (self._at_work,))
        except RuntimeError:  # no further thread can be started, as at the end of the interpreter
            self._at_work.release()

    def wait(self, timeout_s: float) -> None:
        """Return when the thread has ended, or after some seconds."""
        if not sys.is_finalizing() and self._at_work.acquire(timeout=timeout_s):
            self._at_work.release()

    def _work(self, at_work: _thread.LockType) -> None:
        while self._is_due:
            self._is_due = False
            shielded(self._diagnostics, "compaction", _compact, self._files, self._settings)
        at_work.release()
        if self._is_due:  # since the last look
            self.soon()


def _compact(files: StoreFiles, settings: StoreSettings) -> None:
    with NO_FORK:
        from otel_agent_trace.store.compaction import compact  # noqa: PLC0415 - needed rarely, and slow to import
    compact(files, settings, repairs=False)
