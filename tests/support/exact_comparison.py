"""Comparison by type and value that knows nothing of the library's own, and says where two values differ."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import math
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

NOT_COMPARED = frozenset({"dialect", "interrupted", "recorded_by", "not_recorded"})


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where the two differ, or None."""
    if type(one) is not type(other):
        return f"{path}: {_shown(one)} is {type(one).__name__}, {_shown(other)} is {type(other).__name__}"
    return _comparison(type(one))(one, other, path)


def assert_alike(one: Any, other: Any) -> None:
    """Fail where the two differ."""
    found = difference(one, other)
    assert found is None, found


def _comparison(kind: type) -> Callable[[Any, Any, str], str | None]:
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    if dataclasses.is_dataclass(kind):
        return _fields(field.name for field in dataclasses.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return _fields(name for name in kind.__struct_fields__ if name not in NOT_COMPARED)
    if issubclass(kind, tuple):
        return lambda one, other, path: _sequences(tuple(one), tuple(other), path)
    if hasattr(kind, "model_fields"):
        return _fields(kind.model_fields)
    if issubclass(kind, dict):
        return lambda one, other, path: _members(list(one.items()), list(other.items()), path)
    return lambda one, other, path: _unless(one == other, one, other, path)


def _unless(equal: bool, one: Any, other: Any, path: str) -> str | None:
    return None if equal else f"{path}: {_shown(one)} != {_shown(other)}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {error}>"
    return text if len(text) < 300 else f"{text[:200]}...{text[-90:]}"


def _floats(one: float, other: float, path: str) -> str | None:
    equal = math.isnan(other) if math.isnan(one) else one == other and math.copysign(1, one) == math.copysign(1, other)
    return _unless(equal, one, other, path)


def _complexes(one: complex, other: complex, path: str) -> str | None:
    return _floats(one.real, other.real, path) or _floats(one.imag, other.imag, path)


def _sequences(one: Any, other: Any, path: str) -> str | None:
    if len(one) != len(other):
        return f"{path}: {len(one)} items, {len(other)} items: {_shown(one)}, {_shown(other)}"
    return _first(difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(one, other, strict=True)))


def _members(one: list[Any], other: list[Any], path: str) -> str | None:
    """Each member of one has a match of its own in the other."""
    if len(one) != len(other):
        return f"{path}: {len(one)} members, {len(other)} members: {_shown(one)}, {_shown(other)}"
    rest = list(other)
    for item in one:
        match = next((i for i, candidate in enumerate(rest) if difference(item, candidate) is None), None)
        if match is None:
            return f"{path}: {_shown(item)} is not among {_shown(rest)}"
        del rest[match]
    return None


def _mappings(one: dict[Any, Any], other: dict[Any, Any], path: str) -> str | None:
    if all(type(key) is str for key in (*one, *other)) and one.keys() == other.keys():
        return _first(difference(item, other[key], f"{path}.{key}") for key, item in one.items())
    return _members(list(one.items()), list(other.items()), path)


def _times(one: Any, other: Any, path: str) -> str | None:
    zones = [
        item.tzinfo.key if isinstance(item.tzinfo, zoneinfo.ZoneInfo) else repr(item.tzinfo) for item in (one, other)
    ]
    equal = one.isoformat() == other.isoformat() and one.fold == other.fold and zones[0] == zones[1]
    return _unless(equal, one, other, path)


def _ranges(one: range, other: range, path: str) -> str | None:
    return _unless((one.start, one.stop, one.step) == (other.start, other.stop, other.step), one, other, path)


def _fields(names: Iterable[str]) -> Callable[[Any, Any, str], str | None]:
    return lambda one, other, path: _first(
        difference(getattr(one, name), getattr(other, name), f"{path}.{name}") for name in names
    )


def _first(found: Iterable[str | None]) -> str | None:
    return next((where for where in found if where is not None), None)


_BY_TYPE: dict[type, Callable[[Any, Any, str], str | None]] = {
    float: _floats,
    complex: _complexes,
    list: _sequences,
    tuple: _sequences,
    collections.deque: _sequences,
    set: lambda one, other, path: _members(list(one), list(other), path),
    frozenset: lambda one, other, path: _members(list(one), list(other), path),
    dict: _mappings,
    decimal.Decimal: lambda one, other, path: _unless(str(one) == str(other), one, other, path),
    datetime.datetime: _times,
    datetime.time: _times,
    range: _ranges,
}
