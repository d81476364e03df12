"""Spans that wait to be sent: how many, and how large they are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from sys import getsizeof
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

_SPAN_BYTES = 2700
"""What a span of the SDK takes beside the values of its attributes."""
_ENTRY_BYTES = 400
_NUMBER_BYTES = 32


class Taken(NamedTuple):
    """Spans that are on their way, and their size."""

    spans: list[ReadableSpan]
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
        self._spans: deque[tuple[ReadableSpan, int]] = deque()
        self._bytes = 0
        self._unanswered = 0
        self._is_closed = False
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._spans)

    def put(self, span: ReadableSpan) -> str | None:
        """Add a span; why not, if it cannot be added."""
        size = estimated_bytes(span)
        with self._lock:
            if self._is_closed:
                return "after the end"
            if len(self._spans) >= self._max_spans:
                return "queue full"
            if self._bytes + size > self._max_bytes and self._bytes:
                return "queue too large"
            self._bytes += size
            self._spans.append((span, size))
        return None

    def is_half_full(self) -> bool:
        """Whether it is time to send, however short ago that was."""
        return len(self._spans) * 2 >= self._max_spans or self._bytes * 2 >= self._max_bytes

    def take(self, number: int) -> Taken:
        """The first so many spans, or as many as there are."""
        with self._lock:
            entries = [self._spans.popleft() for _ in range(min(number, len(self._spans)))]
            self._unanswered += len(entries)
        return Taken([span for span, _ in entries], sum(size for _, size in entries))

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


def estimated_bytes(span: ReadableSpan) -> int:
    """About what the span takes in memory."""
    size = _SPAN_BYTES + _values_bytes(span.attributes)
    for entries in (getattr(span, "_events", None), getattr(span, "_links", None)):  # the properties copy
        if entries:
            size += sum([_ENTRY_BYTES + _values_bytes(entry.attributes) for entry in entries])
    return size


def _values_bytes(attributes: Mapping[str, Any] | None) -> int:
    if not attributes:
        return 0
    copy = getattr(attributes, "copy", None)  # the mapping itself takes a lock for each value
    size = 0
    for value in (attributes if copy is None else copy()).values():
        kind = type(value)
        if kind is str or kind is bytes:
            size += getsizeof(value)
        elif kind is int or kind is bool or kind is float:
            size += _NUMBER_BYTES
        else:
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
