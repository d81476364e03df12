"""The one guard around calls that run in the host's time: what fails is counted and said once, never raised."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.signals import is_of_signal_handler

T = TypeVar("T")
_log = logging.getLogger("otel_agent_trace")


class Diagnostics:
    """Counts by reason, and one log line for each cause.

    Counting takes a lock of its own that is never held while anything else runs.
    """

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._said: set[str] = set()
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Take a new lock, in a forked child."""
        self._lock = threading.RLock()

    def count(self, reason: str, number: int = 1) -> None:
        """Count something that happened."""
        with self._lock:
            self._counts[reason] += number

    def warn_once(self, cause: str, message: str, *arguments: object) -> None:
        """Log a warning, the first time that this cause occurs."""
        with self._lock:
            if cause in self._said:
                return
            self._said.add(cause)
        warn(message, *arguments, diagnostics=self)

    def counts(self) -> dict[str, int]:
        """What was counted so far."""
        with self._lock:
            return dict(self._counts)


def warn(message: str, *arguments: object, diagnostics: Diagnostics | None = None) -> None:
    """Log a warning; a handler or filter of the program that raises is counted, and that is all that can be done."""
    try:
        _log.warning(message, *arguments)
    except BaseException as error:
        if is_of_signal_handler(error):
            raise
        if diagnostics is not None:
            diagnostics.count("failed: logging")


def guarded(diagnostics: Diagnostics, what: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """Call, and give what it gives; when it fails, count it under `what`, say it once, and give None.

    What a signal handler raises here by chance goes through.
    """
    try:
        return call(*arguments)
    except BaseException as error:  # the host must not notice
        if is_of_signal_handler(error):
            raise
        failed(diagnostics, what, error)
        return None


def failed(diagnostics: Diagnostics, what: str, error: BaseException) -> None:
    """Count a failure, and say it once."""
    kind = type(error).__name__
    diagnostics.count(f"failed: {what}")
    diagnostics.warn_once(f"{what}/{kind}", "%s failed: %s: %s (said once)", what, kind, _text(error))


def shielded(diagnostics: Diagnostics, what: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """As `guarded`, in a thread of our own: there also what would end a program ends only the call."""
    try:
        return guarded(diagnostics, what, call, *arguments)
    except BaseException as error:  # noqa: BLE001 - nobody would notice that the thread is gone
        failed(diagnostics, what, error)
        return None


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException as failure:  # an error whose text fails as well
        if is_of_signal_handler(failure):
            raise
        return "?"
