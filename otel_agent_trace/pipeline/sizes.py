"""Estimate how much memory spans take."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from sys import getsizeof
from typing import Any

from otel_agent_trace.formats.sdk_span import Shape

_SPAN_BYTES = 2700
"""Bytes of a span of the SDK without the values of its attributes."""
_ENTRY_BYTES = 400
_NUMBERS = frozenset((int, bool, float))
_FEW_CHARS = 4096
"""Number of characters in all below which a few more bytes for some of them do not count."""
_LONG_CHARS, _MOST_BYTES_A_CHAR = 256, 4


def estimated_bytes(span: Any, shape: Shape | None = None) -> int:
    """Return the estimated memory of a span of the SDK in bytes.

    It runs once for each span and blocks the program, and therefore reads the SDK's private fields: its properties
    return copies, and mappings that acquire a lock for each value. Of attributes of a known shape, the texts alone are
    looked at.
    """
    if shape is not None and not (span._events._dq or span._links._dq):  # noqa: SLF001 - see above
        texts = _texts_of(shape)
        if texts is not None:
            chars = sum(map(len, texts(span._attributes._dict)))  # noqa: SLF001
            if chars < _FEW_CHARS:
                return chars + _SPAN_BYTES
    held = getattr(getattr(span, "_attributes", None), "_dict", None)
    size = values_bytes(span.attributes if held is None else held)
    if getattr(span, "_events", None) or getattr(span, "_links", None):
        for entry in (*span.events, *span.links):
            size += _ENTRY_BYTES + values_bytes(entry.attributes)
    return size + _SPAN_BYTES


@functools.lru_cache(maxsize=256)
def _texts_of(shape: Shape) -> Callable[[Mapping[str, Any]], tuple[str, ...]] | None:
    """Return what takes the texts out of attributes of a shape; None for fewer than two, or large other values."""
    keys, types = shape[: len(shape) // 2], shape[len(shape) // 2 :]
    texts = [key for key, kind in zip(keys, types, strict=True) if kind is str]
    is_plain = len(texts) > 1 and all(kind is str or kind in _NUMBERS for kind in types)
    return operator.itemgetter(*texts) if is_plain else None


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
