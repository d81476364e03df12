"""Encode the conversations that the model calls of one run are sent: each message once, however often it is sent.

An agent sends the whole conversation with every call, and each turn adds a few messages. So the run keeps the messages
that it has sent: as JSON, and as copies, by which messages that were changed in place are recognised.
"""

from __future__ import annotations

import enum
from dataclasses import is_dataclass
from operator import is_
from typing import Any

import msgspec

from otel_agent_trace.growing_texts import longer
from otel_agent_trace.guard import attempt
from otel_agent_trace.mapping.references import TEXT_KEY, AmbiguousError, plain_reference, refer, references_to
from otel_agent_trace.messages import message_data, message_from
from otel_agent_trace.model import Message
from otel_agent_trace.values import Limits, Tag, encode, same
from otel_agent_trace.values.binary import content_characters
from otel_agent_trace.values.builtin import TEXT_CODECS
from otel_agent_trace.values.limits import MEDIA_OF_A_VALUE

_REMEMBERED = 8
"""Number of conversations that a run keeps: an agent may have several, as those of a planner and a critic."""
_LEAST_DEPTH = 8
"""Levels of nesting that a plain message needs in the input of a call; with a lower limit, nothing is shared."""
_NODE_BYTES = 8
"""Bytes that limits count for a value that is no text."""
_to_json = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Hold a message as JSON text with its tag, in the shape of the conventions and in the shape in which it was given.

    `given` has references in place of texts (see `mapping.references`). `size_bytes` is at least what limits count for
    either form.
    """

    message: Message
    text: str
    tag: Tag | None
    given: str
    given_tag: Tag | None
    size_bytes: int


class EndedCall(msgspec.Struct, frozen=True):
    """Describe a model call that has ended: the ids of its span, the number of messages sent, and the answer.

    `has_input` is whether its recorded input holds the messages too.
    """

    trace_id: int
    span_id: int
    start_ns: int
    sent: int
    answer: Message | None
    has_input: bool


class NamedCall(msgspec.Struct, frozen=True):
    """Refer to an earlier call, which has the first messages of a later one: how many, and how many in its input."""

    span_id: int
    messages: int
    given: int


class Conversation(msgspec.Struct):
    """Hold the messages that a call is sent: themselves, copies of them as they were when it started, their encoded forms.

    `size_bytes` is at least what limits count for all of them; `is_tagged` is whether any has a tag. The first `shared`
    messages are those of the conversation `earlier`. `call` is the call, once it has ended. `known_text` is what `text` has
    returned.
    """

    items: list[Any]
    copies: list[Any]
    entries: list[Entry]
    size_bytes: int
    is_tagged: bool
    earlier: Conversation | None = None
    shared: int = 0
    call: EndedCall | None = None
    known_text: str | None = None

    def text(self) -> str:
        """Return all messages as a JSON array, made from that of the earlier conversation, if this one continues it."""
        earlier = self.earlier
        before = None if earlier is None else earlier.known_text
        if earlier is None or before is None or self.shared < len(earlier.entries):
            text = array_of([entry.text for entry in self.entries])
        else:
            earlier.known_text = None  # otherwise the texts of all conversations that are kept would stay in memory
            new = self.entries[self.shared :]
            text = longer(before, [entry.text for entry in new]) if new else before
        self.known_text = text
        return text

    def earlier_call(self, trace_id: int, start_ns: int, most: int) -> NamedCall | None:
        """Return an ended call of a trace that has the first messages, at most `most` of them; None if there is none.

        It has started before `start_ns`, Unix nanoseconds, since readers ask for that; a clock may be set back.

        The span of a call that has not ended may never be stored, if its process is killed.
        """
        shared, earlier = min(self.shared, most), self.earlier
        while earlier is not None:
            call = earlier.call
            if call is not None:
                shared = min(shared, call.sent)
                with_answer = shared == call.sent and shared < most and self.entries[shared].message == call.answer
                if call.trace_id != trace_id or call.start_ns > start_ns or not shared + with_answer:
                    return None
                return NamedCall(call.span_id, shared + with_answer, shared if call.has_input else 0)
            shared, earlier = min(shared, earlier.shared), earlier.earlier
        return None

    def end(self, call: EndedCall) -> None:
        """Set the call that was sent these messages, when it has ended; later calls may refer to it."""
        self.call = call
        self.earlier = None  # otherwise every conversation of the run would stay in memory

    def messages(self) -> tuple[Message, ...]:
        """Return the messages as `Message` objects."""
        return tuple([entry.message for entry in self.entries])


_EMPTY = Conversation([], [], [], 0, is_tagged=False)


class History:
    """Keep the latest conversations of a run's model calls."""

    __slots__ = ("_known", "_limits", "_message_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._message_limits = msgspec.structs.replace(limits, depth=limits.depth - 2)
        self._known: tuple[Conversation, ...] = ()  # replaced as a whole, since threads may call models at once

    def conversation(self, given: Any) -> Conversation | None:
        """Return a list or tuple of messages as a conversation; None for anything else, or if it exceeds the limits."""
        if type(given) not in (list, tuple) or self._limits.depth < _LEAST_DEPTH:
            return None
        items = list(given)
        earlier, shared = self._longest_match(items)
        conversation = self._extended(earlier, shared, items)
        if conversation is not None:
            continued = earlier if shared == len(earlier.entries) else None
            self._known = (conversation, *(known for known in self._known if known is not continued))[:_REMEMBERED]
        return conversation

    def _longest_match(self, items: list[Any]) -> tuple[Conversation, int]:
        """Return the conversation with the longest common beginning, and how many messages that has."""
        best, most = _EMPTY, 0
        for known in self._known:
            size = len(known.copies)
            if size <= most:
                continue
            if size > len(items) or not all(map(is_, known.items, items)) or known.copies != items[:size]:
                size = _common_length(known.copies, items)
            if size > most:
                best, most = known, size
        return best, most

    def _extended(self, earlier: Conversation, shared: int, items: list[Any]) -> Conversation | None:
        kept, added = earlier.entries[:shared], []
        size_bytes, is_tagged = earlier.size_bytes, earlier.is_tagged
        if shared < len(earlier.entries):
            size_bytes, is_tagged = sum([entry.size_bytes for entry in kept]), any(map(_is_tagged, kept))
        for item in items[shared:]:
            entry = self._entry(item)
            if entry is None:
                return None
            added.append(entry)
            size_bytes += entry.size_bytes
            is_tagged = is_tagged or _is_tagged(entry)
        if size_bytes > self._limits.value_bytes - 8 * _NODE_BYTES:
            return None
        copies = earlier.copies[:shared] + [copy_of(item) for item in items[shared:]]
        return Conversation(items, copies, kept + added, size_bytes, is_tagged, earlier if shared else None, shared)

    def _entry(self, given: Any) -> Entry | None:
        """Return an encoded message; None if it exceeds the limits, or has a key that is used for references."""
        if type(given) is dict and len(given) == 2:
            role, content = given.get("role"), given.get("content")
            if type(role) is str and type(content) is str:
                try:
                    return _plain_entry(given, role, content)
                except UnicodeEncodeError:  # lone surrogates
                    pass
        message = message_from(given)
        shown, as_given = encode(message_data(message), self._message_limits), encode(given, self._message_limits)
        if shown.cuts or as_given.cuts:
            return None
        text, whole = _to_json(shown.data).decode(), _to_json(as_given.data).decode()
        try:
            referring = refer(as_given.data, references_to(message))
        except AmbiguousError:
            return None
        if type(referring) is int:  # the reader would take the number for a reference
            return None
        size_bytes = max(self._size_bytes(text), self._size_bytes(whole))
        return Entry(message, text, shown.tag, _to_json(referring).decode(), as_given.tag, size_bytes)

    def _size_bytes(self, text: str) -> int:
        """Return at least the bytes that limits count for a value, estimated from its JSON text.

        Binary content counts as the part of its own limit that it takes.
        """
        limits, media = self._limits, content_characters(text)
        nodes = text.count(",") + text.count(":") + text.count("[") + text.count("{") + 1
        media_part = media * limits.value_bytes // (MEDIA_OF_A_VALUE * max(1, limits.most_media_bytes))
        return len(text.encode()) - media + media_part + _NODE_BYTES * nodes


def _plain_entry(given: dict[str, Any], role: str, content: str) -> Entry:
    """Return the entry of a message with only a role and a text, faster than for any message; most are such."""
    message = Message(role=role, parts=({"type": "text", "content": content},))
    text = _to_json({"role": role, "parts": message.parts})
    referring = str(plain_reference(given))
    return Entry(message, text.decode(), None, referring, None, len(text) + _PLAIN_VALUES * _NODE_BYTES)


def plain_text(message: Message) -> str | None:
    """Return the JSON of a message with one text part, in the shape of the conventions; None for any other."""
    if message.name is not None or message.extra or len(message.parts) != 1:
        return None
    part = message.parts[0]
    if type(part) is not dict or part.keys() != _PARTS_OF_TEXT or part["type"] != "text":
        return None
    content = part["content"]
    if type(content) is not str or type(message.role) is not str:
        return None
    try:
        return _to_json({"role": message.role, "parts": message.parts}).decode()
    except UnicodeEncodeError:  # lone surrogates
        return None


def text_reference(value: Any, message: Message) -> str | None:
    """Return the reference in place of a value that is the text of a message, or the message itself; else None."""
    if len(message.parts) != 1:
        return None
    content = value.get("content") if type(value) is dict and len(value) == 2 else value
    if type(content) is not str or message.parts[0] != {"type": "text", "content": content}:
        return None
    if content is value:
        return f'{{"{TEXT_KEY}":0}}'
    return str(plain_reference(value)) if value.get("role") == message.role else None


_PARTS_OF_TEXT = {"type", "content"}
_PLAIN_VALUES = 12
"""More than the number of values, containers and keys of a message with only a role and a text."""


def array_of(texts: list[str]) -> str:
    """Return the JSON array of JSON texts; changes the list, so that a long history is copied only once."""
    if not texts:
        return "[]"
    texts[0] = f"[{texts[0]}"
    texts[-1] = f"{texts[-1]}]"
    return ",".join(texts)


def _is_tagged(entry: Entry) -> bool:
    return entry.tag is not None or entry.given_tag is not None


def _common_length(copies: list[Any], items: list[Any]) -> int:
    """Return the number of equal messages at the beginning of two lists."""
    size = 0
    for copy, item in zip(copies, items, strict=False):
        if not _is_copy(copy, item):
            break
        size += 1
    return size


# ── copies, to recognise messages that were changed in place ─────────────────────────────────────────────────────────


def _is_copy(copy: Any, value: Any) -> bool:
    """Return whether `copy_of` gave a copy for such a value, by type and value; no code of the program runs."""
    kind = type(copy)
    if kind is _Exactly or kind is _Unchanged:
        return bool(copy == value)
    if kind is not type(value):
        return False
    if kind is dict:
        return copy.keys() == value.keys() and all(_is_copy(item, value[key]) for key, item in copy.items())
    if kind is list or kind is tuple:
        return len(copy) == len(value) and all(map(_is_copy, copy, value))
    return bool(copy == value)


def copy_of(value: Any) -> Any:
    """Return a copy that equals a value as long as neither it nor anything within it changes.

    In Python, 1 equals True and 1.0, so scalars other than texts are compared by type too.
    """
    kind = type(value)
    if kind is str or value is None:
        return value
    if kind is dict:
        return {key if type(key) is str else _Exactly(key): copy_of(item) for key, item in value.items()}
    if kind is list:
        return [copy_of(item) for item in value]
    if kind is tuple:
        return tuple([copy_of(item) for item in value])
    is_immutable = id(kind) in _IMMUTABLE or issubclass(kind, enum.Enum)
    return _Exactly(value) if is_immutable else _Unchanged(value)


_IMMUTABLE = frozenset(map(id, (bool, int, float, bytes, *TEXT_CODECS)))
"""Ids of classes: a metaclass of the program may define `__hash__`."""


class _Exactly:
    """Equal a value by type and value."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return same(self._value, other)

    def __hash__(self) -> int:
        return hash(self._value)


class _Unchanged:
    """Equal one object, such as a message of OpenAI's client, as long as its fields do not change."""

    __slots__ = ("_fields", "_value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        self._value = value
        self._fields = _fields_of(value, copied=True)

    def __eq__(self, other: object) -> bool:
        return other is self._value and self._fields is not None and self._fields == _fields_of(other, copied=False)


def _fields_of(value: Any, *, copied: bool) -> list[Any] | None:
    """Return the fields of a `Message`, a dataclass or a pydantic model, extra ones too; None for all other objects."""
    fields = attempt(_stored_fields, value)  # a metaclass may raise anything
    return [copy_of(field) for field in fields] if copied and fields is not None else fields


def _stored_fields(value: Any) -> list[Any] | None:
    kind = type(value)
    if kind is Message:
        return [value.role, value.parts, value.name, value.extra]
    if hasattr(kind, "__pydantic_fields__"):
        return [vars(value), getattr(value, "__pydantic_extra__", None)]
    return [vars(value)] if is_dataclass(kind) and hasattr(value, "__dict__") else None
