"""Find in the messages of each model call those that an earlier call of the same agent had, so that each is shown once."""

from __future__ import annotations

import bisect
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.model import Message
from otel_agent_trace.values import Truncated, encode_text
from otel_agent_trace.views.json_values import result_in

INSTRUCTIONS = ("system", "developer")
"""Roles of messages with the instructions of an agent."""


class Exchange(NamedTuple):
    """Hold the messages of a model call, and at which place the model's own answer begins."""

    messages: Sequence[Message]
    answer: int


class MessageKey(NamedTuple):
    """Hold what makes two messages the same, however a provider writes them: not reasoning, nor white space around."""

    role: str
    text: str
    calls: tuple[tuple[str, str], ...]
    others: tuple[str, ...]


class _Call:
    """Hold the messages of a model call as keys, its answer last, which may go on from a message of the assistant."""

    def __init__(self, keys: list[MessageKey], answer: int) -> None:
        self.keys, self.answer = keys, answer

    @functools.cached_property
    def places(self) -> Mapping[MessageKey, list[int]]:
        """Return the places of each key, in order."""
        places = defaultdict[MessageKey, list[int]](list)
        for place, key in enumerate(self.keys):
            places[key].append(place)
        return places


class History:
    """Hold the messages that the model calls of one agent had.

    A call goes on from the latest one that began with the same two messages, else from the last one: an agent may have
    several conversations, and may cut old messages off.
    """

    def __init__(self) -> None:
        self._by_beginning: dict[tuple[MessageKey, ...], _Call] = {}
        self._last: _Call | None = None

    def new_places(self, call: Exchange) -> list[int]:
        """Return the places of the messages of the next call that no earlier one had, its answer always among them."""
        keys, answer = _keys_of(call.messages), call.answer
        beginning = tuple(keys[:2])
        known = self._by_beginning.get(beginning, self._last)
        self._last = self._by_beginning[beginning] = _Call(keys, answer)
        sent = range(answer) if known is None else _not_in(known, keys[:answer])
        return [*(place for place in sent if not _is_recorded_twice(keys, place)), *range(answer, len(keys))]


def new_from(earlier: Sequence[Exchange], call: Exchange) -> int:
    """Return the place of the first message of a call that none of the earlier calls, the latest first, had.

    That is what a `History` finds that has read the earlier calls; of these only the one is read that the call goes on
    from, and the beginnings of those after it.
    """
    beginning = _keys_of(call.messages[:2])
    history = History()
    if earlier:
        going_on = (each for each in earlier if _keys_of(each.messages[:2]) == beginning)
        history.new_places(next(going_on, earlier[0]))
    return next(iter(history.new_places(call)), len(call.messages))


def _keys_of(messages: Sequence[Message]) -> list[MessageKey]:
    return [key_of(message) for message in messages]


def _is_recorded_twice(keys: Sequence[MessageKey], place: int) -> bool:
    """Return whether a message is the instructions that stand before it too, as an instrumentation may write them."""
    return place > 0 and keys[place].role in INSTRUCTIONS and keys[place] == keys[place - 1]


def _not_in(known: _Call, keys: Sequence[MessageKey]) -> list[int]:
    """Return the places of keys that do not follow each other, with gaps or without, in an earlier call."""
    at = next((at for at, (one, other) in enumerate(zip(known.keys, keys, strict=False)) if one != other), None)
    if at is None:
        return [*range(min(len(known.keys), len(keys)), len(keys))]
    new = []
    for place, key in enumerate(keys[at:], at):
        found = known.places.get(key, ())
        index = bisect.bisect_left(found, at)
        if index < len(found):
            at = found[index] + 1
        elif at < len(known.keys) and _is_answer_again(known.keys[at], key):
            at += 1
        elif 0 < at == known.answer - 1 and _is_joined(known.keys[at:], key):
            at = len(known.keys)
        else:
            new.append(place)
    return new


def _is_answer_again(answer: MessageKey, key: MessageKey) -> bool:
    """Return whether an answer of a model is sent again in another form."""
    if answer.role != key.role or key.role != "assistant":
        return False
    names, other_names = ([name for name, _ in each.calls] for each in (answer, key))
    return (bool(key.text) and key.text == answer.text) or (bool(names) and names == other_names)


def _is_joined(keys: Sequence[MessageKey], key: MessageKey) -> bool:
    """Return whether the beginning of an answer, and what a model went on with, are sent again as one message."""
    return key.role == "assistant" and compact_text(key.text) == compact_text("".join(one.text for one in keys))


def key_of(message: Message) -> MessageKey:
    """Return the key of a message; of a tool call with an id, only that and its name."""
    texts, calls, others = [], [], []
    for part in message.parts:
        kind = part.get("type")
        if kind == "text":
            texts.append(_text(part.get("content")))
        elif kind == "tool_call":
            call_id = part.get("id")
            calls.append(
                (str(part.get("name")), compact_text(part.get("arguments")) if call_id is None else str(call_id))
            )
        elif kind == "tool_call_response":
            others.append(_text(result_in(part)).strip())
        elif kind != "reasoning":
            others.append(_text(part))
    return MessageKey(message.role, "".join(texts).strip(), tuple(calls), tuple(others))


def key_of_call(part: Mapping[Any, Any]) -> tuple[str, str]:
    """Return the name of a tool call with its id, or where it has none, with its arguments."""
    call_id = part.get("id")
    return str(part.get("name")), compact_text(part.get("arguments")) if call_id is None else str(call_id)


def is_empty_call(part: Mapping[Any, Any]) -> bool:
    """Return whether a tool call has no name, as instrumentations write them that fill lists up."""
    return not part.get("name") and part.get("id") is None


def compact_text(value: Any) -> str:
    """Return a text without white space, or the JSON of another value likewise, to compare them."""
    return "".join(_text(value).split())


def _text(value: Any) -> str:
    kept = value.kept if isinstance(value, Truncated) else value
    return kept if isinstance(kept, str) else "" if kept is None else encode_text(kept).text
