"""Write an exception as data for a JSON attribute, and read it back.

It is an object with the fields of `RecordedException`, without those that are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_agent_trace.model import RecordedException
from otel_agent_trace.values import Opaque, Truncated


def exception_data(exception: RecordedException) -> dict[str, Any]:
    """Return an exception as data."""
    data: dict[str, Any] = {"classes": list(exception.classes)}
    if exception.args:
        data["args"] = list(exception.args)
    if exception.attributes:
        data["attributes"] = exception.attributes
    if exception.notes:
        data["notes"] = list(exception.notes)
    if exception.cause is not None:
        data["cause"] = exception_data(exception.cause)
    if exception.members:
        data["members"] = list(map(exception_data, exception.members))
    return data


def exception_from_data(data: Any) -> RecordedException | None:
    """Return the exception that data describe, as far as limits kept it; None if they describe none."""
    fields = _kept(data)
    if not isinstance(fields, Mapping):
        return None
    attributes = _kept(fields.get("attributes"))
    return RecordedException(
        classes=tuple(map(str, map(_kept, _items(fields, "classes")))),
        args=tuple(_items(fields, "args")),
        attributes=attributes if isinstance(attributes, dict) else {},
        notes=tuple(map(str, map(_kept, _items(fields, "notes")))),
        cause=exception_from_data(fields.get("cause")),
        members=tuple(filter(None, map(exception_from_data, _items(fields, "members")))),
    )


def _items(fields: Mapping[Any, Any], name: str) -> list[Any]:
    items = _kept(fields.get(name))
    return items if isinstance(items, list) else []


def _kept(value: Any) -> Any:
    """Return what limits kept of a value."""
    while isinstance(value, Truncated | Opaque):
        value = value.kept if isinstance(value, Truncated) else value.data
    return value
