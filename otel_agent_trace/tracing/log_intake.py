"""Decide which log records of runs are taken."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics

MAX_LOGS_OF_A_RUN = 1000
"""Records that are kept of one run; further ones are counted."""
_MAX_COUNTED_RUNS = 1024


class LogIntake:
    """Decide which log records a processor takes: those of at least `level`, and only so many of a run."""

    def __init__(self, level: int) -> None:
        self.level = level
        self._counts: OrderedDict[Any, int] = OrderedDict()
        self._lock = ForkSafeLock()

    def takes(self, run_key: Any, diagnostics: Diagnostics) -> bool:
        """Return whether there is room for a further record of a run; if there is none, that is counted."""
        with self._lock:
            number = self._counts.pop(run_key, 0) + 1
            self._counts[run_key] = number
            if len(self._counts) > _MAX_COUNTED_RUNS:
                self._counts.popitem(last=False)
        if number <= MAX_LOGS_OF_A_RUN:
            return True
        diagnostics.count("dropped: too many logs in a run")
        diagnostics.warn_once(
            "too many logs", "a run logged more than %d records; further ones are not recorded", MAX_LOGS_OF_A_RUN
        )
        return False
