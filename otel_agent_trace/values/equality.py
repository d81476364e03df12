"""Compare values by type and value, as restored values have to be compared."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from typing import Any, cast

import msgspec

from otel_agent_trace.values.builtin import TEXT_CODECS
from otel_agent_trace.values.classes import BY_CLASS, functions_for


def same(one: Any, other: Any) -> bool:
    """Return whether type and value are equal: NaN equals NaN, but -0.0 is not 0.0, True not 1, a tuple no list."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float:
        return (one == other and math.copysign(1, one) == math.copysign(1, other)) or (one != one and other != other)  # noqa: PLR0124
    if kind is collections.deque and one.maxlen != other.maxlen:
        return False
    if kind is list or kind is tuple or kind is collections.deque:
        return len(one) == len(other) and all(map(same, one, other))
    if kind is dict:
        return _same_mappings(one, other)
    if kind is set or kind is frozenset:
        return _same_members(list(one), list(other))
    if kind in _PLAIN:
        return bool(one == other)
    codec = TEXT_CODECS.get(kind)
    if codec is not None:
        extra = codec.extra or _none
        return codec.to_text(one) == codec.to_text(other) and bool(extra(one) == extra(other))
    to_data = _data_function(kind)
    return bool(one == other) if to_data is None else same(to_data(one), to_data(other))


_PLAIN = frozenset({str, int, bool, bytes, bytearray, type(None)})


def _none(_: Any) -> None:
    """Return None, the extra data of a text codec that has none."""


def _data_function(kind: type) -> Callable[[Any], Any] | None:
    """Return the function whose results are compared in place of instances; None for the class's own ``__eq__``."""
    if issubclass(kind, msgspec.Struct) and not kind.__struct_config__.eq:
        return None
    known = functions_for(kind)[0]
    if known is None and kind in BY_CLASS and cast("Any", kind).__eq__ is object.__eq__:
        return BY_CLASS[kind].to_data
    return known


def _same_mappings(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    if len(one) != len(other):
        return False
    if all(type(key) is str and key in other for key in one):
        return all(same(item, other[key]) for key, item in one.items())
    return _same_members(list(one.items()), list(other.items()))


def _same_members(one: list[Any], other: list[Any]) -> bool:
    """Return whether two collections have the same members, in any order."""
    if len(one) != len(other):
        return False
    rest = list(other)
    for item in one:
        index = next((i for i, candidate in enumerate(rest) if same(item, candidate)), None)
        if index is None:
            return False
        del rest[index]
    return True
