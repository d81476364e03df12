"""Refer from the input and output of a model call to the texts of its messages, so that no text is written twice.

A model call's messages stand in ``gen_ai.input.messages`` and ``gen_ai.output.messages``, in the shape of the conventions.
Its input and output come back in the shape in which they were given, and mostly hold the very same texts: there an object
``{"agent_trace.text": 0}`` stands for the text of part 0 of the message. ``{"agent_trace.text": [1, 0]}`` is the arguments
of the tool call in part 1 as JSON text, compact (0) or with spaces (1); with ``"pieces": [3, 4]`` it is a list of the
pieces of a text that was streamed, by their lengths. In place of a whole message that is ``{"role": ..., "content": text}``, as
nearly all are, stands ``1``; ``2`` where the content comes first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from otel_agent_trace.model import Message

TEXT_KEY = "agent_trace.text"
MESSAGES_KEY = "agent_trace.messages"
"""Key of an object that stands for the list of messages in the input; it holds them, with references."""
ANSWER_TAG = "answer"
"""Says of a tag that the value refers to the answer; ``k`` is the tag of the value itself."""
ROLE_FIRST, CONTENT_FIRST = 1, 2
_PIECES = "pieces"
_OWN_KEYS = frozenset((TEXT_KEY, MESSAGES_KEY))
_SEPARATORS = ((",", ":"), (", ", ": "))
"""How JSON texts of arguments are written: as OpenAI's models do mostly, and as `json.dumps` does."""

Reference = dict[str, Any]


class AmbiguousError(Exception):
    """Say that a value holds a key by which references are known, so that it has to stand as it is."""


def references_to(message: Message) -> dict[str, Reference]:
    """Return what may stand in place of each text of a message."""
    references: dict[str, Reference] = {}
    for place, part in enumerate(message.parts):
        text = _text_of(part)
        if text is not None:
            references.setdefault(text, {TEXT_KEY: place})
        elif part.get("type") == "tool_call" and not isinstance(part.get("arguments"), str | None):
            for style in range(len(_SEPARATORS)):
                written = _arguments_text(part, style)
                if written is not None:
                    references.setdefault(written, {TEXT_KEY: [place, style]})
    return references


def refer(data: Any, references: Mapping[str, Reference]) -> Any:
    """Return JSON-able data with references in place of the texts that have one.

    Raises:
        AmbiguousError: the data has a key by which references are known.
    """
    kind = type(data)
    if kind is str:
        return references.get(data, data)
    if kind is dict:
        if not _OWN_KEYS.isdisjoint(data):
            raise AmbiguousError
        return {key: refer(item, references) for key, item in data.items()}
    if kind is list:
        return _pieces_of(data, references) or [refer(item, references) for item in data]
    return data


def plain_reference(message: Mapping[str, Any]) -> int:
    """Return what stands in place of a message of just a role and a text."""
    return ROLE_FIRST if next(iter(message)) == "role" else CONTENT_FIRST


def resolve_message(data: Any, message: Message | None) -> Any:
    """Return a message, or an output, as it was given; None where the message has not the texts that are referred to."""
    if type(data) is not int:
        return resolve(data, message)
    content = _text_at(0, message)
    if message is None or content is None:
        return None
    return (
        {"role": message.role, "content": content} if data == ROLE_FIRST else {"content": content, "role": message.role}
    )


def resolve(data: Any, message: Message | None) -> Any:
    """Return data with the texts of a message in place of references; None where the message has no such text."""
    if type(data) is dict:
        place = data.get(TEXT_KEY)
        if place is None:
            return {key: resolve(item, message) for key, item in data.items()}
        text = _text_at(place, message)
        return text if _PIECES not in data else _cut(text, data[_PIECES])
    if type(data) is list:
        return [resolve(item, message) for item in data]
    return data


def _pieces_of(data: list[Any], references: Mapping[str, Reference]) -> Reference | None:
    """Return what stands for pieces of text that together are a text which has a reference."""
    if len(data) < 2 or not all(type(piece) is str for piece in data):
        return None
    whole = references.get("".join(data))
    return None if whole is None else {**whole, _PIECES: [len(piece) for piece in data]}


def _cut(text: str | None, lengths: list[int]) -> list[str] | None:
    if text is None:
        return None
    ends = list(itertools.accumulate(lengths))
    return [text[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _text_at(place: Any, message: Message | None) -> str | None:
    number, style = place if isinstance(place, list) else (place, None)
    if message is None or not 0 <= number < len(message.parts):
        return None
    part = message.parts[number]
    return _text_of(part) if style is None else _arguments_text(part, style)


def _text_of(part: Mapping[Any, Any]) -> str | None:
    """Return the text that a part of a message is made of."""
    text = part.get("response" if part.get("type") == "tool_call_response" else "content")
    return text if type(text) is str else None


def _arguments_text(part: Mapping[Any, Any], style: int) -> str | None:
    try:
        return json.dumps(part.get("arguments"), separators=_SEPARATORS[style], ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # no JSON: a value of a class, a cycle
        return None
