"""Refer from the input and output of a model call to the texts of its messages, so that no text is written twice.

The attributes ``gen_ai.input.messages`` and ``gen_ai.output.messages`` hold the messages of a model call in the shape
of the conventions. Its input and output are recorded as they were given, and mostly hold the same texts. There a
reference takes the place of a text:

- ``{"agent_trace.text": 0}``: the text of part 0 of the message,
- ``{"agent_trace.text": [1, 0]}``: the arguments of the tool call in part 1 as JSON, compact (0) or with spaces (1),
- with ``"pieces": [3, 4]``: a list of the pieces of that text, as it was streamed, by their lengths,
- ``1`` in place of a whole message ``{"role": ..., "content": text}``, as most are; ``2`` if the content comes first.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from otel_agent_trace.model import Message

TEXT_KEY = "agent_trace.text"
MESSAGES_KEY = "agent_trace.messages"
"""Key of the object in place of the list of messages in an input; its value is the messages, with references."""
ANSWER_TAG = "answer"
"""Type in the tag of an output that has references to the answer; ``k`` is the tag of the output itself."""
ROLE_FIRST, CONTENT_FIRST = 1, 2
_PIECES = "pieces"
_OWN_KEYS = frozenset((TEXT_KEY, MESSAGES_KEY))
_SEPARATORS = ((",", ":"), (", ", ": "))
"""Separators in JSON texts of arguments: those of most answers of OpenAI's models, and those of `json.dumps`."""

Reference = dict[str, Any]


class AmbiguousError(Exception):
    """Indicate that a value has a key that is used for references, so that it must be written without any."""


def references_to(message: Message) -> dict[str, Reference]:
    """Return the reference to each text of a message, by text."""
    references: dict[str, Reference] = {}
    for place, part in enumerate(message.parts):
        text = _part_text(part)
        if text is not None:
            references.setdefault(text, {TEXT_KEY: place})
        elif part.get("type") == "tool_call" and not isinstance(part.get("arguments"), str | None):
            for style in range(len(_SEPARATORS)):
                written = _arguments_text(part, style)
                if written is not None:
                    references.setdefault(written, {TEXT_KEY: [place, style]})
    return references


def refer(data: Any, references: Mapping[str, Reference]) -> Any:
    """Return data with references in place of the texts that have one.

    Raises:
        AmbiguousError: the data has a key that is used for references.
    """
    kind = type(data)
    if kind is str:
        return references.get(data, data)
    if kind is dict:
        if not _OWN_KEYS.isdisjoint(data):
            raise AmbiguousError
        return {key: refer(item, references) for key, item in data.items()}
    if kind is list:
        return _reference_to_pieces(data, references) or [refer(item, references) for item in data]
    return data


def plain_reference(message: Mapping[str, Any]) -> int:
    """Return the reference in place of a message with only a role and a text."""
    return ROLE_FIRST if next(iter(message)) == "role" else CONTENT_FIRST


def resolve_message(data: Any, message: Message | None) -> Any:
    """Return a message, or an output, as it was given; None if the message lacks the text that it refers to."""
    if type(data) is not int:
        return resolve(data, message)
    content = _text_at(0, message)
    if message is None or content is None:
        return None
    return (
        {"role": message.role, "content": content} if data == ROLE_FIRST else {"content": content, "role": message.role}
    )


def resolve(data: Any, message: Message | None) -> Any:
    """Return data with texts of a message in place of references."""
    if type(data) is dict:
        if TEXT_KEY in data:
            return _referred(data, message)
        return {key: resolve(item, message) for key, item in data.items()}
    if type(data) is list:
        return [resolve(item, message) for item in data]
    return data


def _referred(reference: Reference, message: Message | None) -> str | list[str] | None:
    """Return the text, or its pieces; None if the message does not have it, or the reference is damaged."""
    try:
        text = _text_at(reference[TEXT_KEY], message)
        return text if text is None or _PIECES not in reference else _split(text, reference[_PIECES])
    except (TypeError, ValueError, IndexError):
        return None


def _reference_to_pieces(data: list[Any], references: Mapping[str, Reference]) -> Reference | None:
    """Return the reference to pieces of text which together are a text that has one; None for other lists."""
    if len(data) < 2 or not all(type(piece) is str for piece in data):
        return None
    whole = references.get("".join(data))
    return None if whole is None else {**whole, _PIECES: [len(piece) for piece in data]}


def _split(text: str, lengths: list[int]) -> list[str]:
    ends = list(itertools.accumulate(lengths))
    return [text[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _text_at(place: Any, message: Message | None) -> str | None:
    number, style = place if isinstance(place, list) else (place, None)
    if message is None or not 0 <= number < len(message.parts):
        return None
    part = message.parts[number]
    return _part_text(part) if style is None else _arguments_text(part, style)


def _part_text(part: Mapping[Any, Any]) -> str | None:
    """Return the text of a part of a message, None if it has none."""
    text = part.get("response" if part.get("type") == "tool_call_response" else "content")
    return text if type(text) is str else None


def _arguments_text(part: Mapping[Any, Any], style: int) -> str | None:
    try:
        return json.dumps(part.get("arguments"), separators=_SEPARATORS[style], ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # not representable as JSON: an instance of a class, a cycle
        return None
