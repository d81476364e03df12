"""Writes the attributes of our own spans: every fact of a run or a step in its standard attribute.

Every value stands in its standard attribute as standard JSON; what JSON cannot say is restored from the type tags in
``agent_trace.types``, an object from attribute name to tag. A tag of ``gen_ai.input.messages`` or
``gen_ai.output.messages`` on a run says that the one text part is a text with a tag (``text``) or JSON (``json``).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.messages import (
    FINISH_REASON_KEY,
    NO_FINISH_REASON,
    message_data,
)
from otel_agent_trace.model import Message, StepError, StepKind, Usage
from otel_agent_trace.values import (
    EncodedText,
    Limits,
    encode,
    encode_string,
    encode_text,
    repaired,
)

_INT64_MIN, _INT64_END = -(2**63), 2**63
_NAME_CHARACTERS = 1024
_SHORT_NAME = 256
_LEFT_OUT = "\n...\n"
_KEY_CHARACTERS = 1024
_to_json = msgspec.json.encode
_TAKEN_NAMES = semconv.AWKWARD_NAMES.union(
    (semconv.OPERATION_NAME, semconv.RUN_ID, semconv.RUN_PARENT_ID, semconv.RUN_STATUS, semconv.STEP_ID),
    (semconv.STEP_INDEX, semconv.STEP_NAME, semconv.STEP_KIND, semconv.INPUT, semconv.OUTPUT, semconv.CONFIG),
    (semconv.METADATA, semconv.MESSAGES, semconv.TYPES, semconv.TRUNCATED, semconv.USAGE_DETAILS, semconv.REPLAY_OF),
    (semconv.ERROR_CATEGORY, semconv.ERROR_MESSAGE, semconv.FIRST_CHUNK_AT_NS, semconv.SAMPLING_PROBABILITY),
    (semconv.INFERRED,),
)
"""An attribute of the caller's own that is called so stands under another name."""
_FACTS = frozenset(
    (semconv.AGENT_NAME, semconv.CONVERSATION_ID, semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES, semconv.ERROR_TYPE)
).union((semconv.RESPONSE_MODEL, semconv.TIME_TO_FIRST_CHUNK), semconv.USAGE.values())
_FACTS_OF_KIND = {
    StepKind.AGENT: _FACTS.union((semconv.USER_ID, semconv.ENDUSER_PSEUDO_ID)),
    StepKind.TOOL: _FACTS.union((semconv.TOOL_NAME, semconv.TOOL_TYPE, semconv.TOOL_ARGUMENTS, semconv.TOOL_RESULT)),
    StepKind.RETRIEVAL: _FACTS.union((semconv.RETRIEVAL_QUERY, semconv.RETRIEVAL_DOCUMENTS)),
}


def fact_names(kind: StepKind) -> frozenset[str]:
    """Standard attributes that reading takes for facts of a step; another tracer's may hold something else."""
    return _FACTS_OF_KIND.get(kind, _FACTS)


class AttributeWriter:
    """The attributes of one span while they are written, with the type tags and the cuts that go beside them.

    What is written under a key again replaces what stood there, also when that has gone to the span already.
    """

    __slots__ = ("_extra", "_written", "attributes", "cut_paths", "limits", "types")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.attributes: dict[str, Any] = {}
        self.types: dict[str, Any] = {}
        self.cut_paths: dict[str, list[str]] = {}
        self._extra: set[str] = set()
        self._written: set[str] = set()

    @property
    def cuts(self) -> list[str]:
        """The paths of what was cut."""
        return (
            list(dict.fromkeys(path for paths in self.cut_paths.values() for path in paths)) if self.cut_paths else []
        )

    def put_all_of(self, other: AttributeWriter) -> None:
        """Write what was written into another one, which is not taken yet."""
        self.attributes.update(other.attributes)
        if other.types:
            self.types.update(other.types)
        if other.cut_paths:
            self.cut_paths.update(other.cut_paths)

    def list_cuts(self, paths: Iterable[str]) -> None:
        """Say what was cut when this was first recorded, instead of what is cut now."""
        self.cut_paths = {"": list(paths)}

    def json(self, key: str, field: str, value: Any) -> None:
        """A value as JSON text; None is not written, unless it replaces something."""
        if value is None:
            self.clear(key)
            return
        encoded = encode_text(value, self.limits)
        self.attributes[key] = encoded.text
        if encoded.tag is not None or self.types or self.cut_paths:
            self._beside(key, field, encoded.tag, encoded.cuts)

    def text(self, key: str, field: str, value: object) -> None:
        """A text as it is; None is not written, unless it replaces something."""
        if value is None:
            self.clear_text(key)
            return
        if type(value) is str and value.isascii() and len(value) <= self.limits.value_bytes:
            self.attributes[key] = value
            self._beside(key, field, None, ())
            return
        encoded = encode_string(value, self.limits)
        self.attributes[key] = encoded.text
        self._beside(key, field, encoded.tag, encoded.cuts)

    def texts(self, key: str, field: str, values: Iterable[str]) -> None:
        """Texts that stand as they are."""
        encoded = [encode_string(value, self.limits) for value in values]
        self.attributes[key] = tuple(one.text for one in encoded)
        self._beside(key, field, None, [f"[{index}]" for index, one in enumerate(encoded) if one.cuts])

    def clear(self, key: str) -> None:
        """Take back what was written under a key: a span's attributes can be replaced, but not removed."""
        if self._stands(key):
            self.attributes[key] = "null"
            self._beside(key, "", None, ())

    def clear_text(self, key: str) -> None:
        """Take back a text that stands as it is."""
        if self._stands(key):
            self.attributes[key] = ""
            self._beside(key, "", "none", ())

    def _stands(self, key: str) -> bool:
        """Whether a field was written there; an attribute of the caller's own stays."""
        return (key in self.attributes or key in self._written) and key not in self._extra

    def _beside(self, key: str, field: str, tag: Any, cuts: Iterable[str]) -> None:
        if tag is not None:
            self.types[key] = tag
        elif self.types:
            self.types.pop(key, None)
        if cuts:
            self.cut_paths[key] = [field + path for path in cuts]
        elif self.cut_paths:
            self.cut_paths.pop(key, None)

    def spoken(self, key: str, field: str, role: str, value: Any) -> None:
        """What a run was asked or answered: one message with one text part."""
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
        self._beside(key, field, None if plain else {"t": form, "k": encoded.tag}, encoded.cuts)

    def messages(self, messages: tuple[Message, ...], kind: StepKind) -> None:
        """What a model was sent, and what it answered: the last message where that is the assistant's."""
        data = list(map(message_data, messages))
        if kind is StepKind.AGENT:
            self.json(semconv.MESSAGES, "messages", data or None)
            return
        sent = len(data) - 1 if data and messages[-1].role == "assistant" else len(data)
        self.json(semconv.INPUT_MESSAGES, "messages", data[:sent] or None)
        answer = data[sent:]
        self.json(semconv.OUTPUT_MESSAGES, "messages", answer or None)
        if answer and _lacks_reason(answer[0]):
            self._put_placeholder()
        if sent and semconv.OUTPUT_MESSAGES in self.cut_paths:
            paths = self.cut_paths[semconv.OUTPUT_MESSAGES]
            self.cut_paths[semconv.OUTPUT_MESSAGES] = [path.replace("[0]", f"[{sent}]", 1) for path in paths]

    def _put_placeholder(self) -> None:
        """Give the one answer a finish reason that stands for none; afterwards, since limits are for what users gave."""
        text = self.attributes[semconv.OUTPUT_MESSAGES]
        if text.startswith('[{"'):
            self.attributes[semconv.OUTPUT_MESSAGES] = f"{text[:-2]},{_PLACEHOLDER}}}]"

    def usage(self, usage: Usage | None) -> None:
        """Token counts under their standard names."""
        if usage is None:
            return
        for field, key in semconv.USAGE.items():
            count = getattr(usage, field)
            if count is not None:
                self.count(key, f"usage.{field}", count)
        self.json(semconv.USAGE_DETAILS, "usage.details", usage.details or None)

    def count(self, key: str, field: str, number: int) -> None:
        """An integer; one that attributes cannot hold as a text with a tag."""
        if _is_attribute(number):
            self.attributes[key] = number
            return
        encoded = encode(number, self.limits)
        self.attributes[key] = encoded.data or ""
        self._beside(key, field, encoded.tag, encoded.cuts)

    def extra(self, attributes: Mapping[Any, Any], taken: Collection[str] = ()) -> None:
        """Attributes of the caller's own: scalars as they are, everything else as JSON text with a tag.

        One with a name of those that are `taken` stands under another.
        """
        for given, value in attributes.items():
            key = self._own_key(given if type(given) is str else str(given))
            if key in _TAKEN_NAMES or key in taken or key.startswith(semconv.ATTRIBUTE_PREFIX):
                key = semconv.ATTRIBUTE_PREFIX + key
            self._extra.add(key)
            if _is_attribute(value):
                self.attributes[key] = value
            elif type(value) is str:
                self.text(key, f"attributes.{key}", value)
                if key == semconv.FINISH_REASONS:  # of which reading takes a text for JSON
                    self.types[key] = {"t": "text", "k": self.types.get(key)}
            else:
                encoded = encode_text(value, self.limits)
                self.attributes[key] = encoded.text
                self._beside(key, f"attributes.{key}", {"t": "json", "k": encoded.tag}, encoded.cuts)

    def fields_of(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """What is no attribute of the caller's own."""
        return {key: value for key, value in attributes.items() if key not in self._extra}

    def _own_key(self, given: str) -> str:
        if len(given) > _KEY_CHARACTERS:
            self.cut_paths.setdefault("", ["attributes"])
        return repaired(given[:_KEY_CHARACTERS])

    def error(self, error: StepError, *, failed: bool = True) -> None:
        """What went wrong, beside the status of the span; the message where that does not say it, or not as it is."""
        self.text(semconv.ERROR_TYPE, "error.type", error.type)
        self.text(semconv.ERROR_CATEGORY, "error.category", error.category)
        message = _message(error, self.limits)
        if message.tag is not None or not failed:
            self.attributes[semconv.ERROR_MESSAGE] = message.text
            self._beside(semconv.ERROR_MESSAGE, "error.message", message.tag, message.cuts)

    def exception(self, error: StepError, stacktrace: str) -> dict[str, Any]:
        """The attributes of the event that holds the stack trace; of one that is too long both ends are kept."""
        kept = _ends(stacktrace, self.limits.error_bytes)
        shown = encode_string(kept)
        cuts = () if kept is stacktrace else ("",)
        self._beside(semconv.EXCEPTION_STACKTRACE, "error.stacktrace", shown.tag, cuts)
        return {
            semconv.EXCEPTION_TYPE: self.attributes[semconv.ERROR_TYPE],
            semconv.EXCEPTION_MESSAGE: status_message(error, self.limits),
            semconv.EXCEPTION_STACKTRACE: shown.text,
        }

    def taken(self) -> dict[str, Any]:
        """The attributes since the last time, with all tags and cuts."""
        attributes, self.attributes = self.attributes, {}
        if self.types or semconv.TYPES in self._written:
            attributes[semconv.TYPES] = _to_json(self.types).decode()
        if self.cut_paths or semconv.TRUNCATED in self._written:
            attributes[semconv.TRUNCATED] = _to_json(self.cuts).decode()
        self._written.update(attributes)
        return attributes


def _ends(text: str, size_bytes: int) -> str:
    """The text, or its two ends where its UTF-8 is larger than that."""
    if len(text) * 4 <= size_bytes or (text.isascii() and len(text) <= size_bytes):
        return text
    if len(text) <= size_bytes and len(text.encode("utf-8", "backslashreplace")) <= size_bytes:
        return text
    half = max(0, size_bytes - len(_LEFT_OUT)) // 2
    head = text[:half].encode("utf-8", "backslashreplace")[:half].decode("utf-8", "ignore")
    tail = text[max(0, len(text) - half) :].encode("utf-8", "backslashreplace")[-half:].decode("utf-8", "ignore")
    return f"{head}{_LEFT_OUT}{tail}" if half else _LEFT_OUT[: max(0, size_bytes)]


def status_message(error: StepError, limits: Limits) -> str:
    """The description of an Error status: the message, as far as UTF-8 and the limits let it."""
    return _message(error, limits).text


def _message(error: StepError, limits: Limits) -> EncodedText:
    return encode_string(error.message, Limits(value_bytes=limits.error_bytes))


def output_key(kind: StepKind, value: Any, *, failed: bool) -> str:
    """The attribute for a step's output; the standard ones are for results of what succeeded."""
    if kind is StepKind.TOOL and not failed:
        return semconv.TOOL_RESULT
    if kind is StepKind.RETRIEVAL and type(value) is list:
        return semconv.RETRIEVAL_DOCUMENTS
    return semconv.OUTPUT


def put_input(content: AttributeWriter, kind: StepKind, value: Any) -> None:
    """Write a step's arguments."""
    if kind is StepKind.AGENT:
        content.spoken(semconv.INPUT_MESSAGES, "input", "user", value)
        return
    if kind is StepKind.RETRIEVAL and type(value) is str:
        content.clear(semconv.INPUT)
        content.text(semconv.RETRIEVAL_QUERY, "input", value)
    else:
        content.json(semconv.TOOL_ARGUMENTS if kind is StepKind.TOOL else semconv.INPUT, "input", value)


def put_output(content: AttributeWriter, kind: StepKind, value: Any, *, failed: bool) -> None:
    """Write a step's return value."""
    if kind is StepKind.AGENT:
        content.spoken(semconv.OUTPUT_MESSAGES, "output", "assistant", value)
    else:
        content.json(output_key(kind, value, failed=failed), "output", value)


_PLACEHOLDER = _to_json({FINISH_REASON_KEY: NO_FINISH_REASON}).decode()[1:-1]


def _lacks_reason(answer: dict[Any, Any]) -> bool:
    """Whether it says none, nor has a key that JSON may write like that one."""
    return FINISH_REASON_KEY not in answer and all(type(key) is str for key in answer)


_OPERATION = {
    StepKind.TOOL: semconv.OPERATION_EXECUTE_TOOL,
    StepKind.MODEL: semconv.OPERATION_CHAT,
    StepKind.AGENT: semconv.OPERATION_INVOKE_AGENT,
    StepKind.RETRIEVAL: semconv.OPERATION_RETRIEVAL,
}


def put_identity(content: AttributeWriter, kind: StepKind, name: str, model: str | None) -> str:
    """Write what a step is, and say how its span is called."""
    attributes = content.attributes
    if (
        kind is StepKind.TOOL
        and model is None
        and len(name) <= _SHORT_NAME <= content.limits.value_bytes
        and name.isascii()
    ):
        span_name, known = _tool_identity(name)
        attributes.update(known)
        return span_name
    operation = _OPERATION.get(kind)
    if model is not None:
        content.text(semconv.REQUEST_MODEL, "model", model)
    if operation is None:
        attributes[semconv.STEP_KIND] = kind.value
        content.text(semconv.STEP_NAME, "name", name)
        return _span_name(name)
    attributes[semconv.OPERATION_NAME] = operation
    if kind is StepKind.TOOL:
        content.text(semconv.TOOL_NAME, "name", name)
        attributes[semconv.TOOL_TYPE] = "function"
    elif kind is StepKind.AGENT:
        content.text(semconv.AGENT_NAME, "name", name)
    elif name != (model or operation):
        content.text(semconv.STEP_NAME, "name", name)
    called = model if kind is StepKind.MODEL else name
    return _span_name(f"{operation} {called[:_NAME_CHARACTERS]}") if called else operation


@functools.lru_cache(maxsize=512)
def _tool_identity(name: str) -> tuple[str, Mapping[str, str]]:
    """The span's name and the attributes of a tool whose name needs neither repair nor cut."""
    attributes = {
        semconv.OPERATION_NAME: semconv.OPERATION_EXECUTE_TOOL,
        semconv.TOOL_NAME: name,
        semconv.TOOL_TYPE: "function",
    }
    return f"{semconv.OPERATION_EXECUTE_TOOL} {name}" if name else semconv.OPERATION_EXECUTE_TOOL, attributes


def _span_name(text: str) -> str:
    """A name of bearable length; the whole stands in an attribute."""
    return repaired(text[:_NAME_CHARACTERS])


def put_step_id(content: AttributeWriter, step_id: int | str) -> None:
    """Write the id that the caller gave a step: as a number, as far as attributes can hold it, or as a text."""
    if type(step_id) is int:
        content.count(semconv.STEP_ID, "step_id", step_id)
    else:
        content.text(semconv.STEP_ID, "step_id", step_id)


def _is_attribute(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(_INT64_MIN <= value < _INT64_END)
    return kind is bool or (kind is float and value - value == 0.0 and value != 0.0)
