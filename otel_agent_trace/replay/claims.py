"""Note which recorded calls have been asked for, so that each answers once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

UNASKED, ANSWERED, EXECUTED = 0, 1, 2
"""States of a recorded call: not asked for yet, answered, or its code runs again."""


class Claims(Protocol):
    """Describe where the states of calls are kept."""

    def take(self, numbers: Iterable[int], state: int) -> int | None:
        """Set the state of the first call that nobody has asked for, and return its number; None if there is none."""

    def state(self, number: int) -> int:
        """Return the state of a call."""

    def mark(self, number: int, state: int) -> None:
        """Set the state of a call that was taken."""


class OwnClaims:
    """Keep the states of the calls of a replay in this process.

    Args:
        size: the number of recorded calls.
    """

    def __init__(self, size: int) -> None:
        self._states = bytearray(size)
        self._lock = threading.Lock()

    def take(self, numbers: Iterable[int], state: int) -> int | None:
        """Set the state of the first call that nobody has asked for, and return its number; None if there is none."""
        with self._lock:
            number = next((one for one in numbers if self._states[one] == UNASKED), None)
            if number is not None:
                self._states[number] = state
            return number

    def state(self, number: int) -> int:
        """Return the state of a call."""
        return self._states[number]

    def mark(self, number: int, state: int) -> None:
        """Set the state of a call that was taken."""
        self._states[number] = state
