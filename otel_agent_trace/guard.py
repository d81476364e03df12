"""Guard the calls that run in the host's time: an exception is counted and logged once, never raised."""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.signals import is_of_signal_handler

T = TypeVar("T")
_log = logging.getLogger("otel_agent_trace")


class Diagnostics:
    """Count events by reason, and log one warning for each cause.

    The lock is held only while counting, never while other code runs.
    """

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._warned: set[str] = set()
        self._lock = ForkSafeLock()

    def count(self, reason: str, number: int = 1) -> None:
        """Add to the count of a reason."""
        with self._lock:
            self._counts[reason] += number

    def warn_once(self, cause: str, message: str, *arguments: object) -> None:
        """Log a warning with its arguments, unless one of the same cause was logged before."""
        with self._lock:
            if cause in self._warned:
                return
            self._warned.add(cause)
        warn(message, *arguments, diagnostics=self)

    def count_error(self, what: str, error: OSError, message: str, path: str, number: int = 1) -> str:
        """Count an error of a file by its reason, log one warning for each reason, and return the reason.

        Args:
            what: what did not happen, as statistics name it.
            error: the error.
            message: the warning, whose arguments are the path and the reason.
            path: the path of the file or folder.
            number: what is added to the count; 0 only logs.
        """
        reason = reason_of(error)
        if number:
            self.count(f"{what}: {reason}", number)
        self.warn_once(f"{what}: {reason}", message, path, reason)
        return reason

    def counts(self) -> dict[str, int]:
        """Return the counts by reason."""
        with self._lock:
            return dict(self._counts)


def reason_of(error: OSError) -> str:
    """Return the reason that the system gives for an error, or else the error's own text."""
    return error.strerror or str(error)


def warn(message: str, *arguments: object, diagnostics: Diagnostics | None = None) -> None:
    """Log a warning, and count an exception of the program's own log handlers or filters instead of raising it."""
    try:
        _log.warning(message, *arguments)
    except BaseException as error:
        if is_of_signal_handler(error):
            raise
        if diagnostics is not None:
            diagnostics.count("failed: logging")


def guarded(diagnostics: Diagnostics, what: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """Return the result of a call, or None when it raises: the exception is counted under `what` and logged once.

    An exception that a signal handler raises during the call is not the call's, and is raised.

    Args:
        diagnostics: counts and logs the exception.
        what: the call as statistics and warnings name it.
        call: the function to call.
        *arguments: its arguments.
    """
    try:
        return call(*arguments)
    except BaseException as error:  # the host must not notice
        if is_of_signal_handler(error):
            raise
        failed(diagnostics, what, error)
        return None


def attempt(call: Callable[..., T], *arguments: Any) -> T | None:
    """Return the result of a call, or None when it raises, as objects of the program may, where that need not be known.

    An exception that a signal handler raises during the call is not the call's, and is raised.
    """
    try:
        return call(*arguments)
    except BaseException as error:
        if is_of_signal_handler(error):
            raise
        return None


def failed(diagnostics: Diagnostics, what: str, error: BaseException) -> None:
    """Count an exception under `what`, and log it unless one of its class was logged for `what` before."""
    kind = type(error).__name__
    diagnostics.count(f"failed: {what}")
    diagnostics.warn_once(f"{what}/{kind}", "%s failed: %s: %s (logged once)", what, kind, _error_text(error))


def shielded(diagnostics: Diagnostics, what: str, call: Callable[..., T], *arguments: Any) -> T | None:
    """Call as `guarded` does, in a thread of our own, and catch exceptions of signal handlers as well."""
    try:
        return guarded(diagnostics, what, call, *arguments)
    except BaseException as error:  # noqa: BLE001 - raised further, it would end the thread without notice
        failed(diagnostics, what, error)
        return None


def _error_text(error: BaseException) -> str:
    """Return the first 500 characters of an exception's text, or ``?`` where its ``__str__`` raises."""
    try:
        return str(error)[:500]
    except BaseException as failure:
        if is_of_signal_handler(failure):
            raise
        return "?"
