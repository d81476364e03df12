"""Conversations of one run, as its model calls are sent them: each message is encoded once, however often it is sent.

An agent sends the whole conversation with every call, and it grows by a few messages a turn. So the run remembers what it
has sent: copies of the messages as they were given, which tell one that was changed in place, and their JSON.
"""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.mapping.references import TEXT_KEY, AmbiguousError, plain_reference, refer, references_to
from otel_agent_trace.messages import message_data, message_from
from otel_agent_trace.model import Message
from otel_agent_trace.values import Limits, Tag, encode, same

_REMEMBERED = 8
"""Conversations that a run remembers: an agent may have several at once, of a planner and a critic."""
_LEAST_DEPTH = 8
"""Levels of nesting that a plain message needs in the input of a call; with less, limits cut each call by itself."""
_NODE_BYTES = 8
"""What limits count for a value that is no text."""
_to_json = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A message: in the shape of the conventions as JSON text with its tag, and likewise as it was given.

    `size_bytes` is not less than what limits count for either.
    """

    message: Message
    text: str
    tag: Tag | None
    given: str
    given_tag: Tag | None
    size_bytes: int


class EndedCall(msgspec.Struct, frozen=True):
    """A model call that has ended: the ids of its span, how many messages it was sent, what it answered.

    `has_input` says whether its input has the messages too.
    """

    trace_id: int
    span_id: int
    sent: int
    answer: Message | None
    has_input: bool


class NamedCall(msgspec.Struct, frozen=True):
    """An earlier call as a later one names it: how many messages it has that come first here, and how many its input has."""

    span_id: int
    messages: int
    given: int


class Conversation(msgspec.Struct):
    """Messages that a call is sent: as they were given when it started, and encoded.

    `size_bytes` is not less than what limits count for all, `is_tagged` whether any has a tag.
    `call` is the call itself, once it has ended, and `earlier` the conversation that the first `shared` messages come from.
    """

    copies: list[Any]
    entries: list[Entry]
    size_bytes: int
    is_tagged: bool
    earlier: Conversation | None = None
    shared: int = 0
    call: EndedCall | None = None

    def earlier_call(self, trace_id: int, most: int) -> NamedCall | None:
        """Return a call of a trace that has ended, and had the first messages here, at most so many; None without any.

        One that goes on may never come where spans are kept, if its process is killed.
        """
        shared, earlier = min(self.shared, most), self.earlier
        while earlier is not None:
            call = earlier.call
            if call is not None:
                shared = min(shared, call.sent)
                with_answer = shared == call.sent and shared < most and self.entries[shared].message == call.answer
                if call.trace_id != trace_id or not shared + with_answer:
                    return None
                return NamedCall(call.span_id, shared + with_answer, shared if call.has_input else 0)
            shared, earlier = min(shared, earlier.shared), earlier.earlier
        return None

    def end(self, call: EndedCall) -> None:
        """Note the call that was sent this, which has ended; later calls may name it."""
        self.call = call
        self.earlier = None  # else every conversation of the run would be kept

    def messages(self) -> tuple[Message, ...]:
        """Return the messages in the shape of the model."""
        return tuple([entry.message for entry in self.entries])


_NOTHING = Conversation([], [], 0, is_tagged=False)


class History:
    """What the model calls of a run have been sent, the last few conversations."""

    __slots__ = ("_known", "_limits", "_of_items")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of_items = msgspec.structs.replace(limits, depth=limits.depth - 2)
        self._known: tuple[Conversation, ...] = ()  # replaced as a whole, since threads may call models at once

    def conversation(self, given: Any) -> Conversation | None:
        """Return a list or tuple of messages as a conversation; None where limits would cut it, or it is something else."""
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
        """Return the conversation that begins most like these messages, and how many are the same."""
        best, most = _NOTHING, 0
        for known in self._known:
            size = len(known.copies)
            if size <= most:
                continue
            if size > len(items) or known.copies != items[:size]:
                size = _common(known.copies, items)
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
        return Conversation(copies, kept + added, size_bytes, is_tagged, earlier if shared else None, shared)

    def _entry(self, given: Any) -> Entry | None:
        """Return a message encoded; None where limits cut it, or it cannot be referred to."""
        if type(given) is dict and len(given) == 2:
            role, content = given.get("role"), given.get("content")
            if type(role) is str and type(content) is str:
                try:
                    return _plain_entry(given, role, content)
                except UnicodeEncodeError:  # lone surrogates
                    pass
        message = message_from(given)
        shown, as_given = encode(message_data(message), self._of_items), encode(given, self._of_items)
        if shown.cuts or as_given.cuts:
            return None
        text, whole = _to_json(shown.data), _to_json(as_given.data)
        try:
            referring = refer(as_given.data, references_to(message))
        except AmbiguousError:
            return None
        if type(referring) is int:  # which stands for another message
            return None
        size_bytes = max(_size_bytes(text), _size_bytes(whole))
        return Entry(message, text.decode(), shown.tag, _to_json(referring).decode(), as_given.tag, size_bytes)


def _plain_entry(given: dict[str, Any], role: str, content: str) -> Entry:
    """Return a message that is a text, as nearly all are; what follows for any message, written out."""
    message = Message(role=role, parts=({"type": "text", "content": content},))
    text = _to_json({"role": role, "parts": message.parts})
    referring = str(plain_reference(given))
    return Entry(message, text.decode(), None, referring, None, len(text) + _PLAIN_VALUES * _NODE_BYTES)


def plain_text(message: Message) -> str | None:
    """Return the JSON of a message that is a text, in the shape of the conventions; None for any other."""
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
    """Return what stands in place of a value that is the text of a message, or a message of that text; None for others."""
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
"""More than the values, containers and keys of a message that is a text."""


def array_of(texts: list[str]) -> str:
    """Return JSON texts as an array. A history is long: it is put together at once, without copies on the way."""
    if not texts:
        return "[]"
    texts[0] = f"[{texts[0]}"
    texts[-1] = f"{texts[-1]}]"
    return ",".join(texts)


def _is_tagged(entry: Entry) -> bool:
    return entry.tag is not None or entry.given_tag is not None


def _size_bytes(text: bytes) -> int:
    """Return not less than what limits count for a value: its texts, and some bytes for each value, by its JSON text."""
    return len(text) + _NODE_BYTES * (text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{") + 1)


def _common(copies: list[Any], items: list[Any]) -> int:
    """Return how many messages two lists begin with that are the same."""
    size = 0
    for copy, item in zip(copies, items, strict=False):
        if copy != item:
            break
        size += 1
    return size


# ── copies, which tell a message that was changed in place ───────────────────────────────────────────────────────────


def copy_of(value: Any) -> Any:
    """Return something that equals a value as long as that, and all within it, is what it is now.

    Equality of Python takes 1 for True and 1.0: of what is no text, the copy looks at the type too.
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
    return _Exactly(value) if kind in _SCALARS else _Unchanged(value)


_SCALARS = frozenset((bool, int, float, bytes))


class _Exactly:
    """Equals a value of the same type."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return same(self._value, other)

    def __hash__(self) -> int:
        return hash(self._value)


class _Unchanged:
    """Equals one object, such as a message of OpenAI's client, as long as its fields are what they were."""

    __slots__ = ("_fields", "_value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        self._value = value
        self._fields = _fields_of(value, copied=True)

    def __eq__(self, other: object) -> bool:
        return other is self._value and self._fields is not None and self._fields == _fields_of(other, copied=False)


def _fields_of(value: Any, *, copied: bool) -> list[Any] | None:
    """Return the fields of a pydantic model (extra ones too) or a `Message`; None of all else, which may change unseen."""
    if isinstance(value, Message):
        fields = [value.role, value.parts, value.name, value.extra]
    elif hasattr(type(value), "__pydantic_fields__"):
        fields = [vars(value), getattr(value, "__pydantic_extra__", None)]
    else:
        return None
    return [copy_of(field) for field in fields] if copied else fields
