"""Estimate how much memory spans take."""

from __future__ import annotations

from collections.abc import Mapping
from sys import getsizeof
from typing import Any

_SPAN_BYTES = 2700
"""Bytes of a span of the SDK without the values of its attributes."""
_ENTRY_BYTES = 400
_NUMBERS = frozenset((int, bool, float))
_LONG_CHARS, _MOST_BYTES_A_CHAR = 256, 4


def estimated_bytes(span: Any) -> int:
    """Return the estimated memory of a span of the SDK in bytes.

    It runs once for each span and blocks the program, and therefore reads the SDK's private fields: its properties return
    copies, and mappings that acquire a lock for each value.
    """
    held = getattr(getattr(span, "_attributes", None), "_dict", None)
    size = values_bytes(span.attributes if held is None else held)
    if getattr(span, "_events", None) or getattr(span, "_links", None):
        for entry in (*span.events, *span.links):
            size += _ENTRY_BYTES + values_bytes(entry.attributes)
    return size + _SPAN_BYTES


def values_bytes(attributes: Mapping[str, Any] | None) -> int:
    """Return the estimated memory of the values of some attributes in bytes."""
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
