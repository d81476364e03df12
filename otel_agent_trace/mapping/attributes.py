"""Write the attributes of one span, with type tags and within limits, and read them back.

Values are written as standard JSON. What JSON does not represent is restored from the type tags in the attribute
``agent_trace.types``, an object from attribute name to tag. The messages of a run (``gen_ai.input.messages``,
``gen_ai.output.messages``) are one text part each; their tag has the type ``text`` if that is a text whose own tag is
``k``, or ``json`` if it is a JSON text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.mapping.exceptions import exception_data
from otel_agent_trace.messages import FINISH_REASON_KEY, NO_FINISH_REASON, message_data
from otel_agent_trace.model import Message, RecordedException, StepError, StepKind, Usage
from otel_agent_trace.span_facts import integer_of
from otel_agent_trace.values import (
    EncodedText,
    Limits,
    Opaque,
    Truncated,
    decode_text,
    encode,
    encode_string,
    encode_text,
    repaired,
    restore,
)

_INT64_MIN, _INT64_END = -(2**63), 2**63
_ELLIPSIS = "\n...\n"
_KEY_CHARACTERS = 1024
_to_json = msgspec.json.encode


class AttributeWriter:
    """Collect the attributes of one span, with type tags and the paths of what limits truncated.

    A value that is written again replaces the earlier one, even if that was already set on the span.
    """

    __slots__ = ("_earlier_cuts", "_extra", "_written", "attributes", "cut_paths", "limits", "types")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.attributes: dict[str, Any] = {}
        self.types: dict[str, Any] = {}
        self.cut_paths: dict[str, list[str]] = {}
        self._earlier_cuts: list[str] | None = None
        self._extra: set[str] = set()
        self._written: set[str] = set()

    @property
    def cuts(self) -> list[str]:
        """Return the paths of what limits truncated."""
        if self._earlier_cuts is not None:
            return self._earlier_cuts
        return list(dict.fromkeys(path for paths in self.cut_paths.values() for path in paths))

    def put_all_of(self, other: AttributeWriter) -> None:
        """Copy the attributes, tags and cuts of another writer, from which nothing was taken yet."""
        self.attributes.update(other.attributes)
        if other.types:
            self.types.update(other.types)
        if other.cut_paths:
            self.cut_paths.update(other.cut_paths)

    def list_cuts(self, paths: Iterable[str]) -> None:
        """Set the paths of what was truncated when the values were first recorded, in place of those found here."""
        self._earlier_cuts = list(paths)

    def json(self, key: str, field: str, value: Any) -> None:
        """Write a value as JSON text; None only if it replaces another value."""
        if value is None:
            self.clear(key)
            return
        encoded = encode_text(value, self.limits)
        self.attributes[key] = encoded.text
        if encoded.tag is not None or self.types or self.cut_paths:
            self.beside(key, field, encoded.tag, encoded.cuts)

    def text(self, key: str, field: str, value: object) -> None:
        """Write a text as it is; None only if it replaces another text."""
        if value is None:
            self.clear_text(key)
            return
        if type(value) is str and value.isascii() and len(value) <= self.limits.value_bytes:
            self.attributes[key] = value
            self.beside(key, field, None, ())
            return
        encoded = encode_string(value, self.limits)
        self.attributes[key] = encoded.text
        self.beside(key, field, encoded.tag, encoded.cuts)

    def texts(self, key: str, field: str, values: Iterable[str]) -> None:
        """Write an array of texts."""
        encoded = [encode_string(value, self.limits) for value in values]
        self.attributes[key] = tuple(one.text for one in encoded)
        self.beside(key, field, None, [f"[{index}]" for index, one in enumerate(encoded) if one.cuts])

    def clear(self, key: str) -> None:
        """Replace a value by JSON null, if one was written: a span's attributes can be replaced, but not removed."""
        if self._has_field(key):
            self.attributes[key] = "null"
            self.beside(key, "", None, ())

    def clear_text(self, key: str) -> None:
        """Replace a text by an empty one that is tagged as None, if one was written."""
        if self._has_field(key):
            self.attributes[key] = ""
            self.beside(key, "", "none", ())

    def _has_field(self, key: str) -> bool:
        """Return whether a field was written under a key, rather than an attribute of the caller's own."""
        return (key in self.attributes or key in self._written) and key not in self._extra

    def beside(self, key: str, field: str, tag: Any, cuts: Iterable[str]) -> None:
        """Set the type tag and the truncated paths of the value under a key, in place of earlier ones."""
        if tag is not None:
            self.types[key] = tag
        elif self.types:
            self.types.pop(key, None)
        if cuts:
            self.cut_paths[key] = [field + path for path in cuts]
        elif self.cut_paths:
            self.cut_paths.pop(key, None)

    def message_text(self, key: str, field: str, role: str, value: Any) -> None:
        """Write the input or output of a run as one message with one text part."""
        if value is None:
            self.clear(key)
            return
        encoded = encode_string(value, self.limits) if type(value) is str else encode_text(value, self.limits)
        message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": encoded.text}]}
        if key == semconv.OUTPUT_MESSAGES:
            message[FINISH_REASON_KEY] = NO_FINISH_REASON
        self.attributes[key] = _to_json([message]).decode()
        form = "text" if type(value) is str else "json"
        plain = form == "text" and encoded.tag is None
        self.beside(key, field, None if plain else {"t": form, "k": encoded.tag}, encoded.cuts)

    def messages(self, messages: tuple[Message, ...], kind: StepKind) -> None:
        """Write the messages of a model call: the last one as the answer, if it is the assistant's, or all choices."""
        data = list(map(message_data, messages))
        if kind is StepKind.AGENT:
            self.json(semconv.MESSAGES, "messages", data or None)
            return
        sent = len(data) - _answers_in(messages)
        self.json(semconv.INPUT_MESSAGES, "messages", data[:sent] or None)
        self.answer(data[sent:], sent)

    def answer(self, messages: list[dict[str, Any]], sent: int) -> None:
        """Write the answer of a model, a message for each choice, to so many messages that were sent."""
        if len(messages) > 1:
            messages = [{FINISH_REASON_KEY: NO_FINISH_REASON, **message} for message in messages]
        self.json(semconv.OUTPUT_MESSAGES, "messages", messages or None)
        if len(messages) == 1 and _has_no_finish_reason(messages[0]):
            self._put_placeholder()
        if sent and semconv.OUTPUT_MESSAGES in self.cut_paths:
            paths = self.cut_paths[semconv.OUTPUT_MESSAGES]
            self.cut_paths[semconv.OUTPUT_MESSAGES] = [_shifted(path, sent) for path in paths]

    def plain_answer(self, message: str) -> None:
        """Write an answer given as the JSON text of a message without finish reason, within the limits."""
        self.attributes[semconv.OUTPUT_MESSAGES] = f"[{message}]"
        self._put_placeholder()
        self.beside(semconv.OUTPUT_MESSAGES, "messages", None, ())

    def encoded(self, key: str, field: str, text: EncodedText) -> None:
        """Write a text that is already encoded, with its tag and truncated paths."""
        self.attributes[key] = text.text
        self.beside(key, field, text.tag, text.cuts)

    def whole_text_of(self, key: str) -> EncodedText | None:
        """Return the text that was written under a key, with its tag; None if it was cut, or is larger than most may be."""
        text = self.attributes[key]
        is_whole = len(text) <= self.limits.value_bytes and key not in self.cut_paths
        return EncodedText(text, self.types.get(key)) if is_whole else None

    def _put_placeholder(self) -> None:
        """Add the placeholder for a finish reason, which the conventions require; limits do not count it."""
        text = self.attributes[semconv.OUTPUT_MESSAGES]
        if text.startswith('[{"'):
            self.attributes[semconv.OUTPUT_MESSAGES] = f"{text[:-2]},{_PLACEHOLDER}}}]"

    def usage(self, usage: Usage | None) -> None:
        """Write token counts under the names of the conventions."""
        if usage is None:
            return
        for field, key in semconv.USAGE.items():
            count = getattr(usage, field)
            if count is not None:
                self.count(key, f"usage.{field}", count)
        self.json(semconv.USAGE_DETAILS, "usage.details", usage.details or None)

    def count(self, key: str, field: str, number: int) -> None:
        """Write an integer; one that is too large for an attribute as a text with a tag."""
        if _is_attribute(number):
            self.attributes[key] = number
            return
        encoded = encode(number, self.limits)
        self.attributes[key] = encoded.data or ""
        self.beside(key, field, encoded.tag, encoded.cuts)

    def extra(self, attributes: Mapping[Any, Any], taken: Collection[str]) -> None:
        """Write attributes of the caller's own: scalars and texts as they are, other values as JSON text with a tag.

        An attribute with one of the names `taken`, which mean facts to the reader, is written with the prefix
        ``agent_trace.attribute.``.
        """
        for given, value in attributes.items():
            key = self._own_key(given if type(given) is str else str(given))
            if key in taken or key.startswith(semconv.ATTRIBUTE_PREFIX):
                key = semconv.ATTRIBUTE_PREFIX + key
            self._extra.add(key)
            if _is_attribute(value):
                self.attributes[key] = value
            elif type(value) is str:
                self.text(key, f"attributes.{key}", value)
                if key == semconv.FINISH_REASONS:  # its text is read as JSON if it has no tag
                    self.types[key] = {"t": "text", "k": self.types.get(key)}
            else:
                encoded = encode_text(value, self.limits)
                self.attributes[key] = encoded.text
                self.beside(key, f"attributes.{key}", {"t": "json", "k": encoded.tag}, encoded.cuts)

    def fields_of(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes without those of the caller's own."""
        return {key: value for key, value in attributes.items() if key not in self._extra}

    def _own_key(self, given: str) -> str:
        if len(given) > _KEY_CHARACTERS:
            self.cut_paths.setdefault("", ["attributes"])
        return repaired(given[:_KEY_CHARACTERS])

    def error(self, error: StepError, *, failed: bool) -> str:
        """Write an error, and return its message as spans can hold it: the description of an Error status.

        If the span has no such status (`failed` is False), or the message needs a tag, it is an attribute too.
        """
        self.text(semconv.ERROR_TYPE, "error.type", error.type)
        self.text(semconv.ERROR_CATEGORY, "error.category", error.category)
        message = encode_string(error.message, Limits(value_bytes=self.limits.error_bytes))
        if message.tag is not None or not failed:
            self.attributes[semconv.ERROR_MESSAGE] = message.text
            self.beside(semconv.ERROR_MESSAGE, "error.message", message.tag, message.cuts)
        if error.exception is not None:
            self.raised(error.exception)
        return message.text

    def raised(self, exception: RecordedException | None) -> None:
        """Write an exception; None only if it replaces another one."""
        self.json(semconv.EXCEPTION, "error.exception", None if exception is None else exception_data(exception))

    def exception(self, message: str, stacktrace: str) -> dict[str, Any]:
        """Return the attributes of an exception event; of a stack trace that is too long, both ends are kept."""
        shortened = both_ends(stacktrace, self.limits.error_bytes)
        shown = encode_string(shortened)
        cuts = () if shortened is stacktrace else ("",)
        self.beside(semconv.EXCEPTION_STACKTRACE, "error.stacktrace", shown.tag, cuts)
        return {
            semconv.EXCEPTION_TYPE: self.attributes[semconv.ERROR_TYPE],
            semconv.EXCEPTION_MESSAGE: message,
            semconv.EXCEPTION_STACKTRACE: shown.text,
        }

    def taken(self) -> dict[str, Any]:
        """Return the attributes since the last call, with the tags and truncated paths of all."""
        attributes, self.attributes = self.attributes, {}
        if self.types or semconv.TYPES in self._written:
            attributes[semconv.TYPES] = _to_json(self.types).decode()
        if self.cut_paths or self._earlier_cuts or semconv.TRUNCATED in self._written:
            attributes[semconv.TRUNCATED] = _to_json(self.cuts).decode()
        self._written.update(attributes)
        return attributes


def both_ends(text: str, size_bytes: int) -> str:
    """Return a text, or its two ends if it has more than so many bytes in UTF-8."""
    if len(text) * 4 <= size_bytes or (text.isascii() and len(text) <= size_bytes):
        return text
    if len(text) <= size_bytes and len(text.encode("utf-8", "backslashreplace")) <= size_bytes:
        return text
    half = max(0, size_bytes - len(_ELLIPSIS)) // 2
    head = text[:half].encode("utf-8", "backslashreplace")[:half].decode("utf-8", "ignore")
    tail = text[max(0, len(text) - half) :].encode("utf-8", "backslashreplace")[-half:].decode("utf-8", "ignore")
    return f"{head}{_ELLIPSIS}{tail}" if half else _ELLIPSIS[: max(0, size_bytes)]


_PLACEHOLDER = _to_json({FINISH_REASON_KEY: NO_FINISH_REASON}).decode()[1:-1]


def _answers_in(messages: tuple[Message, ...]) -> int:
    """Return how many messages at the end are answers: the choices, each with a finish reason of its own, or one."""
    choices = itertools.takewhile(_is_choice, reversed(messages))
    return sum(1 for _ in choices) or int(bool(messages) and messages[-1].role == "assistant")


def _is_choice(message: Message) -> bool:
    return message.role == "assistant" and FINISH_REASON_KEY in message.extra


def _has_no_finish_reason(answer: dict[Any, Any]) -> bool:
    """Return whether an answer has no finish reason; False if it has a key whose JSON may be the same text."""
    return FINISH_REASON_KEY not in answer and all(type(key) is str for key in answer)


def _shifted(path: str, sent: int) -> str:
    """Return the path of a value in an answer as one in all messages, of which so many were sent."""
    return re.sub(r"\[(\d+)\]", lambda index: f"[{int(index[1]) + sent}]", path, count=1)


def _is_attribute(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(_INT64_MIN <= value < _INT64_END)
    return kind is bool or (kind is float and value - value == 0.0 and value != 0.0)


class AttributeReader:
    """Read the attributes of one span: each method removes those it returns from `rest`."""

    __slots__ = ("rest", "types")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.rest = rest = dict(attributes)
        types = rest.pop(semconv.TYPES, None)
        self.types: dict[str, Any] = {} if types is None else _json_object(types)

    def text(self, key: str) -> str | None:
        """Take a text."""
        return self.as_text(key, self.rest.pop(key, None))

    def as_text(self, key: str, value: Any) -> str | None:
        """Return the value of an attribute as a text."""
        if value is None:
            return None
        if self.types and key in self.types:
            value = kept(restore(value, self.types[key]))
        return value if value is None or type(value) is str else str(value)

    def json(self, key: str) -> Any:
        """Take a value from its JSON text."""
        value = self.rest.pop(key, None)
        if value is None:
            return None
        return decode_text(value, self.types.get(key) if self.types else None)

    def mapping(self, key: str) -> dict[Any, Any]:
        """Take a mapping from its JSON text; an empty one for anything else."""
        value = kept(self.json(key))
        return value if isinstance(value, dict) else {}

    def texts(self, key: str) -> tuple[str, ...]:
        """Take texts from a JSON array."""
        items = [kept(item) for item in as_list(kept(self.json(key)))]
        return tuple([item if type(item) is str else str(item) for item in items if item is not None])

    def integer(self, key: str) -> int | None:
        """Take an integer, also one of more than 64 bits."""
        return integer_of(restore(self.rest.pop(key, None), self.types.get(key)))

    def probability(self, key: str) -> float | None:
        """Return a sampling probability, and remove it from `rest`; None if it is none."""
        return probability_of_value(self.rest.pop(key, None))

    def unread(self) -> dict[str, Any]:
        """Return the attributes that were not taken, under the names and with the values that callers gave."""
        attributes: dict[str, Any] = {}
        for key, value in self.rest.items():
            tag = self.types.get(key)
            name = key.removeprefix(semconv.ATTRIBUTE_PREFIX)
            if tag is not None:
                attributes[name] = tagged(value, tag)
            elif key == semconv.FINISH_REASONS:
                attributes[name] = decode_text(value)
            elif key != semconv.MEDIA:
                attributes[name] = value
        return attributes


def tagged(value: Any, tag: Any) -> Any:
    """Return a value by a tag of the type ``text`` or ``json`` (see `AttributeWriter.extra`, `.message_text`)."""
    form = tag.get("t") if isinstance(tag, dict) else None
    if form == "json":
        return decode_text(value, tag.get("k"))
    return restore(value, tag.get("k") if form == "text" else tag)


def kept(value: Any) -> Any:
    """Return what limits kept of a value, for a field of the model that cannot hold a `Truncated` or an `Opaque`."""
    while isinstance(value, Truncated | Opaque):
        value = value.kept if isinstance(value, Truncated) else value.data
    return value


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, None as an empty one, anything else as its only item."""
    return value if isinstance(value, list) else [] if value is None else [value]


def number_of(value: Any) -> float | None:
    """Return the number that a number or a text holds, else None."""
    try:
        return None if value is None else float(value)
    except (ValueError, TypeError, OverflowError):
        return None


def probability_of_value(value: Any) -> float | None:
    """Return the sampling probability that a number or a text holds, above 0 and at most 1; None for everything else."""
    number = None if isinstance(value, bool) else number_of(value)
    return number if number is not None and 0 < number <= 1 else None


def _json_object(value: Any) -> dict[str, Any]:
    data = decode_text(value)
    return data if isinstance(data, dict) else {}
