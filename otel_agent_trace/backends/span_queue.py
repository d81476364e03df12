"""Spans that wait to be sent: how many, and how large they are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from sys import getsizeof
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from otel_agent_trace.policies.user_ids import UserIds

_SPAN_BYTES = 2700
"""What a span of the SDK takes beside the values of its attributes."""
_ENTRY_BYTES = 400
_NUMBERS = frozenset((int, bool, float))
_LONG_CHARS, _MOST_BYTES_A_CHAR = 256, 4


class Taken(NamedTuple):
    """Spans that are on their way, each with the policy for it, and their size."""

    spans: list[tuple[ReadableSpan, UserIds]]
    size: int


class SpanQueue:
    """A queue bounded by number and by estimated bytes, for any number of threads that put and one that takes.

    Of what was taken the memory counts until it is released, and each span until it is answered for: so every span is
    counted once, either by whoever takes them, or by whoever closes the queue meanwhile.

    The lock may be taken again by a signal handler of the thread that holds it. A sum that such a handler spoils in this
    moment is right again as soon as the queue is empty.
    """

    def __init__(self, max_spans: int, max_bytes: int) -> None:
        self._max_spans, self._max_bytes = max_spans, max_bytes
        self._half_spans, self._half_bytes = max_spans / 2, max_bytes / 2
        self._spans: deque[tuple[ReadableSpan, UserIds, int]] = deque()
        self._bytes = 0
        self._unanswered = 0
        self._is_closed = False
        self.is_half_full = False
        """It is time to send, however short ago that was; until something is taken."""
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._spans)

    def put(self, span: ReadableSpan, mode: UserIds) -> str | None:
        """Add a span; why not, if it cannot be added."""
        size = estimated_bytes(span)
        with self._lock:
            if self._is_closed:
                return "after the end"
            number, size_of_all = len(self._spans), self._bytes + size
            if number >= self._max_spans:
                return "queue full"
            if size_of_all > self._max_bytes and size_of_all > size:
                return "queue too large"
            self._bytes = size_of_all
            self._spans.append((span, mode, size))
            if number + 1 >= self._half_spans or size_of_all >= self._half_bytes:
                self.is_half_full = True
        return None

    def take(self, number: int) -> Taken:
        """The first so many spans, or as many as there are."""
        with self._lock:
            entries = [self._spans.popleft() for _ in range(min(number, len(self._spans)))]
            self._unanswered += len(entries)
            self.is_half_full = False
        return Taken([(span, mode) for span, mode, _ in entries], sum(size for *_, size in entries))

    def answer(self, number: int | None = None) -> int:
        """So many of the taken spans are answered for, or all; how many nobody has counted before."""
        with self._lock:
            number = self._unanswered if number is None else min(number, self._unanswered)
            self._unanswered -= number
        return number

    def close(self) -> int:
        """Take no more spans, and forget those that are here; how many these and the unanswered ones are."""
        with self._lock:
            self._is_closed = True
            left = len(self._spans) + self._unanswered
            self._spans.clear()
            self._unanswered = 0
        return left

    def release(self, taken: Taken) -> None:
        """Nothing is kept of them any more."""
        with self._lock:
            self._bytes = max(self._bytes - taken.size, 0) if self._spans else 0


def estimated_bytes(span: Any) -> int:
    """About what the span takes in memory.

    It runs once a span in the time of the program, and is therefore spelled out; what the SDK's properties give are
    copies, and mappings that take a lock for each value.
    """
    held = getattr(getattr(span, "_attributes", None), "_dict", None)
    size = _values_bytes(span.attributes if held is None else held)
    if getattr(span, "_events", None) or getattr(span, "_links", None):
        for entry in (*span.events, *span.links):
            size += _ENTRY_BYTES + _values_bytes(entry.attributes)
    return size + _SPAN_BYTES


def _values_bytes(attributes: Mapping[str, Any] | None) -> int:
    if not attributes:
        return 0
    size = 0
    for value in attributes.values():
        kind = type(value)
        if kind is str:
            length = len(value)
            size += length if length < _LONG_CHARS or value.isascii() else length * _MOST_BYTES_A_CHAR
        elif kind not in _NUMBERS:
            size += _nested_bytes(value)
    return size


def _nested_bytes(value: Any) -> int:
    size, pending = 0, [value]
    while pending:
        item = pending.pop()
        size += getsizeof(item)
        if isinstance(item, Mapping):
            pending += item.values()
        elif isinstance(item, tuple | list):
            pending += item
    return size
