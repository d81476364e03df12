"""The GenAI conventions of OpenTelemetry, both ways: what our tracer writes, and what anybody's such span means.

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
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.foreign.attributes import exception_of, text_of, whole
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.messages import (
    EXTRA_KEY,
    FINISH_REASON_KEY,
    NO_FINISH_REASON,
    first_text,
    message_data,
    messages_from,
)
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import (
    Cut,
    EncodedText,
    Limits,
    Opaque,
    decode_text,
    encode,
    encode_string,
    encode_text,
    repaired,
    restore,
)

NAME = "genai"
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


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Content:
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

    def put_all_of(self, other: Content) -> None:
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


def put_input(content: Content, kind: StepKind, value: Any) -> None:
    """Write a step's arguments."""
    if kind is StepKind.AGENT:
        content.spoken(semconv.INPUT_MESSAGES, "input", "user", value)
        return
    if kind is StepKind.RETRIEVAL and type(value) is str:
        content.clear(semconv.INPUT)
        content.text(semconv.RETRIEVAL_QUERY, "input", value)
    else:
        content.json(semconv.TOOL_ARGUMENTS if kind is StepKind.TOOL else semconv.INPUT, "input", value)


def put_output(content: Content, kind: StepKind, value: Any, *, failed: bool) -> None:
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


def put_identity(content: Content, kind: StepKind, name: str, model: str | None) -> str:
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


def put_step_id(content: Content, step_id: int | str) -> None:
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


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_RUN_ID, _STEP_INDEX, _AGENT_NAME = semconv.RUN_ID, semconv.STEP_INDEX, semconv.AGENT_NAME
_CONVERSATION_ID, _TOOL_NAME, _TOOL_TYPE = semconv.CONVERSATION_ID, semconv.TOOL_NAME, semconv.TOOL_TYPE
_TOOL_ARGUMENTS, _TOOL_RESULT = semconv.TOOL_ARGUMENTS, semconv.TOOL_RESULT
_SAID_STATUSES = (RunStatus.TIMEOUT.value, RunStatus.ERROR.value)
_TEXTS = frozenset({str, type(None)})
_KIND_OF = {
    semconv.OPERATION_EXECUTE_TOOL: StepKind.TOOL,
    semconv.OPERATION_INVOKE_AGENT: StepKind.AGENT,
    semconv.OPERATION_RETRIEVAL: StepKind.RETRIEVAL,
    **dict.fromkeys(semconv.MODEL_OPERATIONS, StepKind.MODEL),
}


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    attributes = span.attributes
    operation = attributes.get(semconv.OPERATION_NAME)
    kind = _KIND_OF.get(operation) if type(operation) is str else None
    if kind is None:
        if semconv.STEP_KIND not in attributes:
            return None
        kind = StepKind.OTHER
    return _Reader(span, kind).meaning()


class _Reader:
    """One reading of one span: takes the attributes it understands, leaves the rest."""

    __slots__ = ("kind", "rest", "span", "types")

    def __init__(self, span: SpanRecord, kind: StepKind) -> None:
        self.span, self.kind = span, kind
        self.rest = rest = dict(span.attributes)
        rest.pop(semconv.OPERATION_NAME, None)
        types = rest.pop(semconv.TYPES, None)
        self.types: dict[str, Any] = {} if types is None else _object(types)

    def meaning(self) -> Meaning:
        kind, rest = self.kind, self.rest
        pop = rest.pop
        index, run_id = pop(_STEP_INDEX, None), pop(_RUN_ID, None)
        agent_name, session_id = pop(_AGENT_NAME, None), pop(_CONVERSATION_ID, None)
        if self.types or not _TEXTS.issuperset((type(run_id), type(agent_name), type(session_id))):
            run_id, agent_name = self.as_text(_RUN_ID, run_id), self.as_text(_AGENT_NAME, agent_name)
            session_id = self.as_text(_CONVERSATION_ID, session_id)
        meaning = Meaning(
            kind=kind,
            dialect=NAME,
            run_id=run_id,
            index=index if type(index) is int else whole(index),
            agent_name=agent_name,
            session_id=session_id,
        )
        if self.span.status_code == semconv.STATUS_ERROR or semconv.ERROR_TYPE in rest:
            meaning.error = self.error()
        if kind is StepKind.TOOL:
            self.tool(meaning)
        elif kind is StepKind.AGENT:
            self.agent(meaning)
        else:
            self.call(meaning)
        if rest:
            self.rare(meaning)
            meaning.attributes = self.unread() if rest else {}
        return meaning

    def tool(self, meaning: Meaning) -> None:
        pop, types, name = self.rest.pop, self.types, self.rest.pop(_TOOL_NAME, None)
        meaning.name = self.as_text(_TOOL_NAME, name) if types or type(name) is not str else name
        given, result = pop(_TOOL_ARGUMENTS, None), pop(_TOOL_RESULT, None)
        if given is not None:
            meaning.input = decode_text(given, types.get(_TOOL_ARGUMENTS))
        if result is not None:
            meaning.output = decode_text(result, types.get(_TOOL_RESULT))
        if self.rest.get(_TOOL_TYPE) == "function":
            del self.rest[_TOOL_TYPE]

    def agent(self, meaning: Meaning) -> None:
        meaning.name = meaning.agent_name
        meaning.label = self.text(semconv.STEP_NAME)
        meaning.input = self.spoken(semconv.INPUT_MESSAGES, "user")
        meaning.output = self.spoken(semconv.OUTPUT_MESSAGES, "assistant")
        meaning.messages = self.messages(semconv.MESSAGES)
        meaning.config = self.json(semconv.CONFIG)
        meaning.user_id = self.text(semconv.ENDUSER_PSEUDO_ID) or self.text(semconv.USER_ID)
        meaning.parent_run_id = self.text(semconv.RUN_PARENT_ID)
        meaning.replay_of = self.text(semconv.REPLAY_OF)
        meaning.status = self.status()
        meaning.model = self.model()

    def call(self, meaning: Meaning) -> None:
        """A model call, a retrieval, or a step of another kind."""
        meaning.input = self.json(semconv.INPUT)
        meaning.output = self.json(semconv.OUTPUT)
        if self.kind is StepKind.RETRIEVAL:
            query, documents = self.text(semconv.RETRIEVAL_QUERY), self.json(semconv.RETRIEVAL_DOCUMENTS)
            meaning.input = query if meaning.input is None else meaning.input
            meaning.output = documents if meaning.output is None else meaning.output
        self.rest.pop(semconv.STEP_KIND, None)
        request = self.as_text(semconv.REQUEST_MODEL, self.rest.get(semconv.REQUEST_MODEL))
        meaning.model = self.model()
        name = self.text(semconv.STEP_NAME)
        meaning.name = name if name is not None else self.default_name(request)

    def default_name(self, request_model: str | None) -> str:
        if self.kind is StepKind.OTHER:
            return self.span.name
        return request_model or str(self.span.attributes.get(semconv.OPERATION_NAME))

    def model(self) -> str | None:
        """The model that answered, else the one that was asked for; where both are known, the latter stays unread."""
        answered = self.text(semconv.RESPONSE_MODEL)
        return answered if answered is not None else self.text(semconv.REQUEST_MODEL)

    def rare(self, meaning: Meaning) -> None:
        take, rest = self.rest.pop, self.rest
        if semconv.METADATA in rest:
            meaning.metadata = _mapping(self.json(semconv.METADATA))
        if semconv.INPUT_MESSAGES in rest or semconv.OUTPUT_MESSAGES in rest:
            meaning.messages = self.messages(semconv.INPUT_MESSAGES) + self.messages(semconv.OUTPUT_MESSAGES)
        meaning.usage = self.usage()
        meaning.step_id = _step_id(take(semconv.STEP_ID, None), self.types.get(semconv.STEP_ID))
        meaning.abandoned = take(semconv.ABANDONED, None) in (True, "true")
        meaning.is_inferred = take(semconv.INFERRED, None) in (True, "true")
        meaning.first_chunk_at_ns = whole(take(semconv.FIRST_CHUNK_AT_NS, None))
        meaning.sampling_probability = _number(take(semconv.SAMPLING_PROBABILITY, None))
        meaning.truncated = _texts(take(semconv.TRUNCATED, None))
        if meaning.first_chunk_at_ns is None:
            meaning.first_chunk_at_ns = self.first_chunk()
        if self.kind is StepKind.TOOL:
            meaning.model = self.model()
        if meaning.output is None:
            meaning.output = self.json(semconv.OUTPUT)  # of a tool that failed

    def first_chunk(self) -> int | None:
        seconds = _number(self.rest.get(semconv.TIME_TO_FIRST_CHUNK))
        return None if seconds is None else self.span.start_ns + int(seconds * 1e9)

    def unread(self) -> dict[str, Any]:
        """What no field holds, with what JSON could not say brought back."""
        attributes: dict[str, Any] = {}
        for key, value in self.rest.items():
            tag = self.types.get(key)
            name = key.removeprefix(semconv.ATTRIBUTE_PREFIX)
            if tag is not None:
                attributes[name] = _tagged(value, tag)
            elif key == semconv.FINISH_REASONS:
                attributes[name] = decode_text(value)
            else:
                attributes[name] = value
        return attributes

    def text(self, key: str) -> str | None:
        return self.as_text(key, self.rest.pop(key, None))

    def as_text(self, key: str, value: Any) -> str | None:
        if value is None:
            return None
        if self.types and key in self.types:
            value = _kept(restore(value, self.types[key]))
        return value if value is None or type(value) is str else str(value)

    def json(self, key: str) -> Any:
        value = self.rest.pop(key, None)
        if value is None:
            return None
        return decode_text(value, self.types.get(key) if self.types else None)

    def spoken(self, key: str, role: str) -> Any:
        """What a run was asked or answered, out of a list of messages."""
        value = self.rest.pop(key, None)
        if value is None:
            return None
        data = decode_text(value)
        said = _only_text(data, role)
        if said is None:
            said = first_text(messages_from(_list(data)), role)
        tag = self.types.get(key)
        return said if said is None or tag is None else _tagged(said, tag)

    def messages(self, key: str) -> tuple[Message, ...]:
        value = self.rest.pop(key, None)
        if value is None:
            return ()
        said = _list(_kept(decode_text(value, self.types.get(key))))
        kept = [_kept_message(item) if self.types else item for item in said]
        return messages_from(list(map(_without_placeholder, kept)) if key == semconv.OUTPUT_MESSAGES else kept)

    def usage(self) -> Usage | None:
        rest, types = self.rest, self.types
        counts = {
            field: whole(restore(rest.pop(key), types.get(key))) for field, key in semconv.USAGE.items() if key in rest
        }
        details = _mapping(self.json(semconv.USAGE_DETAILS))
        return Usage(**counts, details=details) if counts or details else None

    def status(self) -> RunStatus:
        said = self.rest.pop(semconv.RUN_STATUS, None)
        if said in _SAID_STATUSES:
            return RunStatus(said)
        if self.span.end_ns is None:
            return RunStatus.RUNNING
        return RunStatus.ERROR if self.span.status_code == semconv.STATUS_ERROR else RunStatus.SUCCESS

    def error(self) -> StepError | None:
        span = self.span
        happened = exception_of(span)
        category = self.text(semconv.ERROR_CATEGORY)
        error_type = self.text(semconv.ERROR_TYPE) or text_of(happened.get(semconv.EXCEPTION_TYPE))
        message = self.text(semconv.ERROR_MESSAGE)
        if message is None:
            message = span.status_message or text_of(happened.get(semconv.EXCEPTION_MESSAGE)) or ""
        if error_type in (None, semconv.ERROR_TYPE_OTHER) and not message and category is None:
            return None
        error_type = error_type or semconv.ERROR_TYPE_OTHER
        return StepError(
            type=error_type,
            message=message,
            category=category or category_of_type(error_type),
            stacktrace=self.as_text(semconv.EXCEPTION_STACKTRACE, happened.get(semconv.EXCEPTION_STACKTRACE)),
        )


def _only_text(data: Any, role: str) -> str | None:
    """The text of the one message that our tracer writes there; None where it is anything else."""
    match data:
        case [{"role": said_by, "parts": [{"type": "text", "content": str(text)}]}] if said_by == role:
            return text
    return None


def _tagged(value: Any, tag: Any) -> Any:
    """A value whose tag says whether its text is JSON (see `Content.extra` and `Content.spoken`)."""
    form = tag.get("t") if isinstance(tag, dict) else None
    if form == "json":
        return decode_text(value, tag.get("k"))
    return restore(value, tag.get("k") if form == "text" else tag)


def _kept(value: Any) -> Any:
    """What a limit left of a list or a text that stands where the model wants exactly that."""
    while isinstance(value, Cut | Opaque):
        value = value.kept if isinstance(value, Cut) else value.data
    return value


def _kept_message(value: Any) -> Any:
    """A message with what limits left of it, where the model wants a text or a list."""
    message = _kept(value)
    if not isinstance(message, dict):
        return message
    kept = {key: _kept(item) if key in _KEPT_OF_MESSAGES else item for key, item in message.items()}
    if isinstance(message.get("parts"), Cut) or isinstance(kept.get("parts"), list):
        kept["parts"] = [_kept(part) or {} for part in kept["parts"] or ()]
    return kept


def _without_placeholder(message: Any) -> Any:
    """A message without the finish reason that stands for none."""
    if not isinstance(message, dict) or message.get(FINISH_REASON_KEY) != NO_FINISH_REASON:
        return message
    return {key: item for key, item in message.items() if key != FINISH_REASON_KEY}


_KEPT_OF_MESSAGES = ("role", "name", "parts", EXTRA_KEY)


def _object(value: Any) -> dict[str, Any]:
    data = decode_text(value)
    return data if isinstance(data, dict) else {}


def _mapping(value: Any) -> dict[Any, Any]:
    kept = _kept(value)
    return kept if isinstance(kept, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in _list(decode_text(value)))


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (ValueError, TypeError):
        return None


def _step_id(value: Any, tag: Any) -> int | str | None:
    if value is None or type(value) is int:
        return value
    restored = _kept(restore(value, tag))
    return restored if isinstance(restored, int) and type(restored) is int else str(restored)
