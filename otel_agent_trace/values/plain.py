"""Encode at once what JSON represents exactly and what is certainly within the limits, which most values are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from otel_agent_trace.values.limits import Limits

INT64_MIN, INT64_END = -(2**63), 2**63
_JSON = msgspec.json.Encoder()


def plain_json(value: Any, limits: Limits) -> bytes | None:
    """Return the JSON of a value that needs no tags and is certainly within the limits; None if it needs a `_Walk`."""
    try:
        most = limits.value_bytes // _MAX_COST_OF_A_BYTE
        if type(value) is dict:  # arguments and most results: wrapped in a tuple, each would cost one more call
            left = _room_after_mapping(value, limits.depth + 1, most)
        else:
            left = _room_after((value,), limits.depth + 1, most)
        if left < 0:
            return None
        text = _JSON.encode(value)
    except (UnicodeEncodeError, RuntimeError):  # a lone surrogate; a dict that another thread changes meanwhile
        return None
    return text if len(text) <= most else None


def _room_after(items: Iterable[Any], depth: int, left: int) -> int:  # noqa: PLR0912 - a branch a type, inlined
    """Return how many characters are left after some items; negative if none are, or if an item needs tags.

    The caller has subtracted their number, so that there are not too many of them.
    """
    if depth == 0 or left < 0:
        return -1
    for item in items:
        kind = type(item)
        if kind is str:
            left -= len(item)
        elif kind is float:
            if item - item != 0.0 or (not item and math.copysign(1, item) < 0):
                return -1
        elif kind is int:
            if not INT64_MIN <= item < INT64_END:
                return -1
        elif kind is dict:
            for key in item:  # the same as in _room_after_mapping: a call would cost as much as this loop
                if type(key) is not str:
                    return -1
            size = len(item)
            left = _room_after(item.values(), depth - 1, left - (size if size <= _FEW_KEYS else len("".join(item))))
            if left < 0:
                return -1
        elif kind is list:
            left = _room_after(item, depth - 1, left - len(item))
            if left < 0:
                return -1
        elif item is not None and kind is not bool:
            return -1
    return left


def _room_after_mapping(mapping: dict[Any, Any], depth: int, left: int) -> int:
    """Return how many characters are left after a mapping; negative as in `_room_after`."""
    for key in mapping:
        if type(key) is not str:
            return -1
    size = len(mapping)
    return _room_after(mapping.values(), depth - 1, left - (size if size <= _FEW_KEYS else len("".join(mapping))))


_MAX_COST_OF_A_BYTE = 8
"""Maximum that `Limits.value_bytes` counts for a byte of JSON: 8 for a number of one digit."""
_FEW_KEYS = 64
"""Up to so many keys are counted by number, not by length, which would cost a microsecond for each tool's result."""
