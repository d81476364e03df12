"""Find the value in a run that a path of an earlier answer leads to."""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace.views.details import value_fields
from otel_agent_trace.views.item_facts import name_of
from otel_agent_trace.views.items import Item, RunItems, messages_of
from otel_agent_trace.views.json_values import result_in, whole_text

_OF_ITEM = re.compile(r"@(\d{1,9})\.(.+)")
_PART = re.compile(r"messages\.(\d{1,9})\.parts\.(\d{1,9})")


def text_at(items: RunItems, number: int, path: str) -> str:
    """Return the value at a path of an item whole, as text.

    The path is a field (``input``), a part of a message (``messages.3.parts.0``), ``error.message`` or
    ``error.stacktrace``; with ``@12.`` before it, that of the item 12.

    Raises:
        IndexError: there is no such item.
        KeyError: the item has no such value.
    """
    elsewhere = _OF_ITEM.fullmatch(path)
    if elsewhere is not None:
        number, path = int(elsewhere[1]), elsewhere[2]
    value = _value_at(items[number], path)
    if value is None:
        raise KeyError(path)
    return whole_text(value)


def text_of(item: Item) -> str:
    """Return all texts of an item: its name, error, values and messages."""
    error = item.subject.error or item.error
    values = [value for value in value_fields(item).values() if value is not None]
    parts = [part for message in messages_of(item) for part in message.parts]
    return "\n".join([name_of(item), str(error or ""), *map(whole_text, [*values, *parts])])


def _value_at(item: Item, path: str) -> Any:
    place = _PART.fullmatch(path)
    if place is not None:
        return _content_of_part(item, int(place[1]), int(place[2]))
    if path.startswith("error"):
        error = item.subject.error or item.error
        texts = {} if error is None else {"error": str(error), "error.message": error.message}
        return {**texts, "error.stacktrace": error and error.stacktrace}.get(path)
    return value_fields(item).get(path)


def _content_of_part(item: Item, message: int, part: int) -> Any:
    messages = messages_of(item)
    if message >= len(messages) or part >= len(messages[message].parts):
        return None
    found = messages[message].parts[part]
    kind = found.get("type")
    if kind in ("text", "reasoning"):
        return found.get("content")
    if kind == "tool_call":
        return found.get("arguments")
    return result_in(found) if kind == "tool_call_response" else found
