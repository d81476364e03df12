"""Write the input of a model call that holds the messages of the call, with references to them, and read it back.

The input is written as JSON, with ``{"agent_trace.messages": [...]}`` in place of the list of messages, and with
references in place of texts in them (see `mapping.references`). Its tag is an object with

- ``t``: ``"messages"``,
- ``k``: the tag of the input without the messages,
- ``c``: the tags of the messages, by index,
- ``x``: ``"tuple"`` if the messages were given as a tuple,
- ``after``: how many messages come before these, in the input of the earlier call that the span names (see
  `mapping.history`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.conversation import Conversation, Entry, array_of
from otel_agent_trace.mapping.references import MESSAGES_KEY, resolve_message
from otel_agent_trace.model import Message
from otel_agent_trace.values import EncodedText, decode_text, encode, restore

MESSAGES_TAG, CHILDREN, AFTER = "messages", "c", "after"
_INDEX_DIGITS = 9
_to_json = msgspec.json.Encoder().encode


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode_input(
    content: AttributeWriter, value: Any, messages: Any, conversation: Conversation, first: int
) -> EncodedText | None:
    """Return the input of a call with references to its messages, or None if it has none or exceeds the limits.

    Args:
        content: the writer, whose limits apply.
        value: the input: the messages themselves, or a dict that has them under one of its keys.
        messages: the list or tuple of messages of the call, the same object as in `value`.
        conversation: the same messages, encoded.
        first: the index of the first message to be written; an earlier call has those before.
    """
    entries = conversation.entries[first:] if first else conversation.entries
    written = f'{{"{MESSAGES_KEY}":{array_of([entry.given for entry in entries])}}}'
    tag = _list_tag(messages, entries if conversation.is_tagged else (), first)
    if value is messages:
        return EncodedText(written, tag)
    key = _key_of(messages, value) if type(value) is dict else None
    if key is None or key == MESSAGES_KEY or not all(type(name) is str for name in value):
        return None
    if len(value) == 1:
        return EncodedText(f"{{{_to_json(key).decode()}:{written}}}", tag)
    rest = encode({name: item for name, item in value.items() if name != key}, content.limits)
    if rest.cuts or type(rest.data) is not dict or len(rest.data) != len(value) - 1 or key in rest.data:
        return None
    if MESSAGES_KEY in rest.data or any(type(item) is dict and MESSAGES_KEY in item for item in rest.data.values()):
        return None  # a reader would take that item for the messages
    if conversation.size_bytes + 8 * len(_to_json(rest.data)) > content.limits.value_bytes:
        return None
    if rest.tag is not None:
        tag["k"] = rest.tag
    return EncodedText(_to_json({**rest.data, key: msgspec.Raw(written.encode())}).decode(), tag)


def _key_of(messages: Any, value: dict[Any, Any]) -> str | None:
    """Return the key under which a dict has the messages; None if it has them under none, or under several."""
    keys = [key for key, item in value.items() if item is messages]
    return keys[0] if len(keys) == 1 else None


def _list_tag(messages: Any, entries: Sequence[Entry], first: int) -> dict[str, Any]:
    tag: dict[str, Any] = {"t": MESSAGES_TAG}
    if first:
        tag[AFTER] = first
    if type(messages) is tuple:
        tag["x"] = "tuple"
    children = {str(index): entry.given_tag for index, entry in enumerate(entries) if entry.given_tag is not None}
    return {**tag, CHILDREN: children} if children else tag


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def has_messages(tag: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a tag is that of an input with references to the messages of its call."""
    return isinstance(tag, dict) and tag.get("t") == MESSAGES_TAG


def read_input(text: Any, tag: Mapping[str, Any], messages: Sequence[Message], missing: int = 0) -> Any:
    """Return an input as it was given.

    Args:
        text: the attribute.
        tag: its tag, for which `has_messages` holds.
        messages: the messages of the call: those that were sent, and the answer.
        missing: how many come before these, in an earlier call that is not available; they are omitted.
    """
    data = decode_text(text)
    own, tags = own_messages(data), children_of(tag)
    if own is None:  # not what was written, as after an attribute length limit
        return data
    first = max(0, missing - number_of_earlier(tag)) if missing else 0
    given: Any = [
        restore(resolve_message(item, messages[index] if index < len(messages) else None), tags.get(str(index + first)))
        for index, item in enumerate(own[first:])
    ]
    if tag.get("x") == "tuple":
        given = tuple(given)
    key = key_of_messages(data)
    if key is None:
        return given
    rest = restore({name: item for name, item in data.items() if name != key}, tag.get("k"))
    if not isinstance(rest, dict):
        return rest
    return {name: given if name == key else rest[name] for name in data if name == key or name in rest}


def number_of_earlier(tag: Mapping[str, Any]) -> int:
    """Return how many messages of an input the earlier call has."""
    number = tag.get(AFTER)
    return number if type(number) is int and number > 0 else 0


def children_of(tag: Any) -> dict[str, Any]:
    """Return the tags of messages in the tag of their list, or of an input, by index; none if it is damaged."""
    children = tag.get(CHILDREN) if isinstance(tag, dict) else None
    if not isinstance(children, dict):
        return {}
    return {index: item for index, item in children.items() if index.isdecimal() and len(index) <= _INDEX_DIGITS}


def own_messages(data: Any) -> list[Any] | None:
    """Return the messages that an input has itself, with references; None if it has no list of them."""
    key = key_of_messages(data)
    held = data if key is None else data[key]
    own = held.get(MESSAGES_KEY) if isinstance(held, dict) else None
    return own if isinstance(own, list) else None


def key_of_messages(data: Any) -> str | None:
    """Return the key of the messages in an input; None if the messages are the input."""
    if not isinstance(data, dict) or MESSAGES_KEY in data:
        return None
    return next((key for key, item in data.items() if isinstance(item, dict) and MESSAGES_KEY in item), None)
