"""Hold what was read last, each thing as it was at one state of the source."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class _Held(msgspec.Struct, Generic[T], frozen=True):
    """Hold something that was read: the state then, and its weight."""

    value: T
    state: object
    weight: int


class Cache(Generic[T]):
    """Hold what was read last by its key; each thing is read by one thread at a time, and the others wait for it.

    Args:
        most: how many things are held at most.
        most_weight: how much they weigh together; the last one is held whatever its weight.
    """

    def __init__(self, most: int, most_weight: int) -> None:
        self._most, self._most_weight = most, most_weight
        self._held: OrderedDict[str, _Held[T]] = OrderedDict()
        self._reading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, state: object, read: Callable[[], tuple[T, int]]) -> T:
        """Return something as it is held, or as it is read.

        Args:
            key: its key.
            state: what differs where it may have changed; None takes it as it is held.
            read: reads it, and returns it with its weight.
        """
        with self._lock:
            reading = self._reading.setdefault(key, threading.Lock())
        try:
            with reading:
                held = self._found(key)
                if held is not None and state in (None, held.state):
                    return held.value
                value, weight = read()
                self._keep(key, _Held(value, state, weight))
                return value
        finally:
            with self._lock:
                if not reading.locked():
                    self._reading.pop(key, None)

    def forget(self, key: str) -> None:
        """Let something be read again when it is asked for."""
        with self._lock:
            self._held.pop(key, None)

    def _found(self, key: str) -> _Held[T] | None:
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
            return held

    def _keep(self, key: str, held: _Held[T]) -> None:
        with self._lock:
            self._held[key] = held
            self._held.move_to_end(key)
            while len(self._held) > 1 and (len(self._held) > self._most or self._weight() > self._most_weight):
                self._held.popitem(last=False)

    def _weight(self) -> int:
        return sum(held.weight for held in self._held.values())
