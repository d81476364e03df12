"""Answer by the index of a store, anew where its files are not what they were, and by a search where it cannot."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from otel_agent_trace.query import RunQuery
from otel_agent_trace.viewer.entries import Entry
from otel_agent_trace.viewer.indexed import UNREADABLE, result_of
from otel_agent_trace.viewer.results import Reading, Result, ScannedResult
from otel_agent_trace.viewer.work import Stop

T = TypeVar("T")


class LastingResult:
    """Hold the result of a query; a `Result`, also while programs change the files all the time.

    Args:
        reading: what is read.
        query: the filters and the order.
        stop: stops the reading of the first runs.
    """

    def __init__(self, reading: Reading, query: RunQuery, stop: Stop) -> None:
        self._reading, self._query = reading, query
        self._result = result_of(reading, query, stop)
        self._lock = threading.Lock()

    @property
    def total(self) -> int | None:
        """Return how many there are; None as long as that is not known."""
        return self._result.total

    @property
    def at_least(self) -> int:
        """Return how many are known."""
        return self._result.at_least

    def page(self, begin: int, count: int, stop: Stop) -> Sequence[Entry]:
        """Return the entries of some runs, as `Result` has it."""
        return self._answer(lambda result: result.page(begin, count, stop), stop)

    def close(self) -> None:
        """End what goes on in threads, as `Result` has it."""
        self._result.close()

    def facets(self, stop: Stop) -> dict[str, Any]:
        """Return the counts of what runs have, as `Result` has it."""
        return self._answer(lambda result: result.facets(stop), stop)

    def _answer(self, answer: Callable[[Result], T], stop: Stop) -> T:
        for make in (self._anew, self._scanned):
            result = self._result
            with contextlib.suppress(*UNREADABLE):
                return answer(result)
            with self._lock:
                if self._result is result:  # nobody else was faster
                    self._result = make(stop)
                    result.close()
        return answer(self._result)

    def _anew(self, stop: Stop) -> Result:
        return result_of(self._reading, self._query, stop)

    def _scanned(self, _: Stop) -> Result:
        return ScannedResult(self._reading, self._query)
